"""The deposit page with whole folders: thousands of files, a tab and a portal that are killed, files that change."""

import csv
import hashlib
import io
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect
from tests import bulk
from tests.browser import browsers
from tests.browser.test_look import find_violations
from tests.platforms import PlatformUnderTest

LENT_FOLDER = """async (files) => {
  // A folder that the browser lends and remembers, like one from its picker, which no script can answer.
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle("estate", { create: true });
  for (const [name, content] of files) {
    const handle = await folder.getFileHandle(name, { create: true });
    const writable = await handle.createWritable();
    await writable.write(content);
    await writable.close();
  }
}"""
PICKER = """window.showDirectoryPicker = async () =>
  (await navigator.storage.getDirectory()).getDirectoryHandle("estate");"""
COUNT_KEPT = """() => new Promise((resolve) => {
  const request = indexedDB.open("retint-deposits");
  request.onsuccess = () => {
    const database = request.result;
    const stores = database.transaction(["deposits", "files"]);
    const files = stores.objectStore("files").count();
    const deposits = stores.objectStore("deposits").getAll();
    stores.oncomplete = () => { database.close(); resolve([files.result, deposits.result.map((one) => one.sent)]); };
  };
})"""
NO_HASHING = """export const sha256 = { create() { throw new Error("it is hashed again"); } };"""

Contents = dict[str, str]


def make_contents(count: int, mark: str) -> Contents:
    return {f"{number:03}.jpg": f"not looked at here: {mark} {number}" for number in range(count)}


def lend(page: Page, contents: Contents) -> None:
    """Put files into the folder that the browser lends to this page and the later ones of its context."""
    page.evaluate(LENT_FOLDER, list(contents.items()))


def hash_all(contents: Contents) -> dict[str, str]:
    return {f"estate/{name}": hashlib.sha256(text.encode()).hexdigest() for name, text in contents.items()}


def read_receipt(platform: PlatformUnderTest, page: Page) -> list[dict[str, str]]:
    text = platform.get(f"/api/v1/batches/{page.url.rsplit('/', 1)[1]}/receipt.csv").text
    return list(csv.DictReader(io.StringIO(text)))


def expect_receipt(platform: PlatformUnderTest, page: Page, expected: dict[str, str]) -> None:
    """Expect the receipt of the batch that is shown to have exactly these files, by path and SHA-256."""
    rows = read_receipt(platform, page)
    assert sorted((row["path"], row["sha256"]) for row in rows) == sorted(expected.items())


def count_uploads(page: Page) -> list[str]:
    """Collect the names of the files that uploads are opened for."""
    names: list[str] = []

    def count(route: Route) -> None:
        names.append(browsers.name_of_upload(route.request))
        route.continue_()

    page.route(browsers.UPLOADS, count)
    return names


@pytest.fixture
def context(browser: Any, running_platform: PlatformUnderTest, signed_in: Any) -> Any:
    """A browser in which the picker of folders answers, and whose tabs may be killed."""
    made: BrowserContext = browser.new_context(
        base_url=running_platform.url, storage_state=signed_in, **browsers.DESKTOP
    )
    made.add_init_script(PICKER)
    yield made
    made.close()


def open_deposit(context: BrowserContext, path: str = "/deposit") -> Page:
    page = context.new_page()
    page.goto(path)
    return page


def choose_lent_folder(page: Page, count: int) -> None:
    page.get_by_role("button", name="Choose a folder").click()
    expect(page.locator("[data-total]")).to_contain_text(f"{count} photo")


def stop_after(page: Page, count: int) -> list[str]:
    """Let so many uploads through; for the others the portal is dead."""
    passed: list[str] = []

    def answer(route: Route) -> None:
        if len(passed) < count:
            passed.append(browsers.name_of_upload(route.request))
            route.continue_()
        else:
            route.abort("connectionrefused")

    page.route(browsers.UPLOADS, answer)
    return passed


def wait_until_kept(page: Page, *, sent: list[int], files: int | None = None) -> None:
    """Wait until the browser keeps so many files, and of each deposit how many were sent."""
    deadline = time.monotonic() + 60
    while True:
        kept = page.evaluate(COUNT_KEPT)
        if kept[1] == sent and files in (None, kept[0]):
            return
        assert time.monotonic() < deadline, kept
        page.wait_for_timeout(100)


def test_thousands_of_files_are_a_hundred_rows_in_the_page(open_page: Callable[..., Page], tmp_path: Path) -> None:
    folder = tmp_path / "estate"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:04}.jpg").write_bytes(b"%d" % number)
    page = open_page("/deposit", **browsers.PHONE)
    page.locator("#folder").set_input_files(folder)
    expect(page.get_by_role("button", name="Deposit 3,000 photos")).to_be_enabled()
    rows = page.locator(".sending li")
    expect(rows).to_have_count(100)
    assert page.locator(".sending li").first.get_attribute("aria-setsize") == "3000"
    page.locator(".rows").evaluate("rows => rows.scrollTo(0, rows.scrollHeight)")
    expect(page.locator(".sending li[aria-posinset='3000']")).to_be_visible()
    expect(rows).to_have_count(100)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert find_violations(page) == []


def test_a_dropped_folder_is_walked_with_the_folders_in_it(
    running_platform: PlatformUnderTest, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    contents = {"one.jpg": "dropped 1", "attic/two.jpg": "dropped 2", "attic/box/three.jpg": "dropped 3"}
    for name, text in (contents | {"attic/.DS_Store": "of no use"}).items():
        path = tmp_path / "estate" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    page = open_page("/deposit")
    bulk.drop(page, tmp_path / "estate")
    expect(page.locator("[data-rest]")).to_contain_text("1 file is not a photograph and was left out")
    page.get_by_role("button", name="Deposit 3 photos").click()
    page.wait_for_url("**/batches/*")
    expect_receipt(running_platform, page, hash_all(contents))


def test_a_killed_tab_and_a_killed_portal_go_on_with_one_click(
    running_platform: PlatformUnderTest, context: BrowserContext
) -> None:
    contents = make_contents(40, "killed")
    page = open_deposit(context)
    lend(page, contents)
    choose_lent_folder(page, 40)
    passed = stop_after(page, 10)
    page.get_by_label("Name of the batch").fill("Killed")
    page.get_by_role("radio", name="Vivid").check()
    page.get_by_role("button", name="Deposit 40 photos").click()
    expect(page.locator("[data-total]")).to_have_text("10 of 40 photos sent")
    wait_until_kept(page, files=40, sent=[10])
    page.close()
    running_platform.kill("portal")

    wait_for_portal(running_platform)
    page = open_deposit(context)
    expect(page.locator("[data-story]")).to_contain_text("“Killed” broke off: 10 of 40 photos sent.")
    sent = count_uploads(page)
    page.route("**/noble-hashes/sha2.js", lambda route: route.fulfill(content_type="text/javascript", body=NO_HASHING))
    page.get_by_role("button", name="Go on", exact=True).click()
    page.wait_for_url("**/batches/*")
    assert len(sent) == 30
    assert not set(sent) & set(passed), "what has arrived is not sent again, and nothing is hashed again"
    expect(page.get_by_text("colorized by compact-vivid")).to_be_visible()
    expect(page.get_by_role("link", name="Receipt")).to_be_visible()
    expect_receipt(running_platform, page, hash_all(contents))
    page.goto("/deposit")
    assert page.evaluate(COUNT_KEPT) == [0, []], "what is done is forgotten"


def wait_for_portal(platform: PlatformUnderTest) -> None:
    """Wait until the portal is back."""
    deadline = time.monotonic() + 90
    while True:
        with suppress(httpx.TransportError):
            if httpx.get(f"{platform.url}/readyz").status_code == 200:
                return
        assert time.monotonic() < deadline, platform.logs()
        time.sleep(0.1)


@pytest.mark.parametrize("lends", [True, False], ids=["other browser", "no https"])
def test_a_browser_that_lends_no_folder_goes_on_when_it_is_dropped_again(
    running_platform: PlatformUnderTest, context: BrowserContext, tmp_path: Path, lends: bool
) -> None:
    context.add_init_script("delete window.showDirectoryPicker;")
    if not lends:
        context.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false });")
    contents = make_contents(20, f"dropped {lends}")
    folder = tmp_path / "estate"
    folder.mkdir()
    for name, text in contents.items():
        (folder / name).write_text(text)
    page = open_deposit(context)
    expect(page.locator("[data-remembers]")).to_contain_text(
        "does not lend folders" if lends else "is not reached by HTTPS"
    )
    page.locator("#folder").set_input_files(folder)
    stop_after(page, 5)
    page.get_by_role("button", name="Deposit 20 photos").click()
    wait_until_kept(page, files=20, sent=[5])
    page.close()

    page = open_deposit(context)
    expect(page.locator("[data-story]")).to_contain_text("drop the same folder or files again")
    sent = count_uploads(page)
    page.get_by_role("button", name="Go on", exact=True).click()
    expect(page.locator("[data-total]")).to_contain_text("Drop the same folder again")
    page.locator("#files").set_input_files([folder / "000.jpg"])
    expect(page.locator("[data-rest]")).to_contain_text("drop the other files again, too")
    page.locator("#folder").set_input_files(folder)
    page.wait_for_url("**/batches/*")
    assert len(sent) == 15
    alone = {"000.jpg": hashlib.sha256(contents["000.jpg"].encode()).hexdigest()}
    expect_receipt(running_platform, page, hash_all(contents) | alone)


def test_a_deposit_that_another_tab_is_at_is_not_offered(context: BrowserContext) -> None:
    page = open_deposit(context)
    lend(page, make_contents(8, "two tabs"))
    choose_lent_folder(page, 8)
    stop_after(page, 2)
    page.get_by_role("button", name="Deposit 8 photos").click()
    wait_until_kept(page, sent=[2])
    other = open_deposit(context)
    other.wait_for_timeout(800)
    expect(other.locator("[data-broken-off]")).to_be_hidden()
    page.close()
    other.reload()
    other.get_by_role("button", name="Do not go on").click()
    expect(other.locator("[data-broken-off]")).to_be_hidden()
    wait_until_kept(other, files=0, sent=[])


def test_a_portal_that_does_not_answer_is_waited_for(
    running_platform: PlatformUnderTest, context: BrowserContext
) -> None:
    contents = make_contents(12, "dead portal")
    page = open_deposit(context)
    lend(page, contents)
    choose_lent_folder(page, 12)
    is_dead = True

    def answer(route: Route) -> None:
        if is_dead:
            route.abort("connectionrefused")
        else:
            route.continue_()

    page.route(browsers.UPLOADS, answer)
    page.get_by_role("button", name="Deposit 12 photos").click()
    expect(page.locator("[data-waits]")).to_have_text("The portal does not answer; trying again.")
    expect(page.locator(".sending li[data-state=failed]")).to_have_count(0)
    is_dead = False
    page.wait_for_url("**/batches/*")
    expect_receipt(running_platform, page, hash_all(contents))


def test_a_busy_portal_says_when_to_come_again(running_platform: PlatformUnderTest, context: BrowserContext) -> None:
    contents = make_contents(3, "busy portal")
    page = open_deposit(context)
    lend(page, contents)
    choose_lent_folder(page, 3)
    sentence = "You send 32 files already. Wait until one of them has arrived."
    seen: list[str] = []

    def answer(route: Route) -> None:
        seen.append(browsers.name_of_upload(route.request))
        if seen.count(seen[-1]) == 1:
            problem = {"detail": sentence, "code": "too_many_uploads"}
            route.fulfill(status=429, headers={"Retry-After": "2"}, json=problem)
        else:
            route.continue_()

    page.route(browsers.UPLOADS, answer)
    page.get_by_role("button", name="Deposit 3 photos").click()
    expect(page.locator("[data-waits]")).to_have_text(sentence)
    page.wait_for_timeout(1000)
    assert len(seen) == 3, "nobody asks before the time"
    page.wait_for_url("**/batches/*")
    expect_receipt(running_platform, page, hash_all(contents))


def test_a_file_that_changes_is_told_and_sent_as_it_is_then(
    running_platform: PlatformUnderTest, context: BrowserContext
) -> None:
    contents = make_contents(6, "changing")
    page = open_deposit(context)
    lend(page, contents)
    choose_lent_folder(page, 6)
    changed = {"003.jpg": "another picture, and longer than the one before"}

    def change(route: Route) -> None:
        lend(page, changed)
        route.continue_()

    page.route("**/deposit/batches/*/known", change, times=1)
    page.get_by_role("button", name="Deposit 6 photos").click()
    failed = page.locator(".sending li[data-state=failed]")
    expect(failed).to_contain_text("It changed while it was sent. Send it again.")
    expect(failed).to_contain_text("estate/003.jpg")
    expect(page.locator("[data-total]")).to_have_text("5 of 6 photos sent")
    page.get_by_role("button", name="Problems").click()
    expect(page.locator(".sending li")).to_have_count(1)
    assert find_violations(page) == []
    page.get_by_role("button", name="Retry failed files").click()
    page.wait_for_url("**/batches/*")
    expect_receipt(running_platform, page, hash_all(contents | changed))


def test_a_folder_that_grew_is_added_to_its_batch(running_platform: PlatformUnderTest, context: BrowserContext) -> None:
    first, more = make_contents(10, "grown"), {"new.jpg": "the eleventh", "newer.jpg": "the twelfth"}
    page = open_deposit(context)
    lend(page, first)
    choose_lent_folder(page, 10)
    page.get_by_role("button", name="Deposit 10 photos").click()
    page.wait_for_url("**/batches/*")
    batch = page.url
    lend(page, more)
    page.get_by_role("link", name="Add photos").click()
    choose_lent_folder(page, 12)
    sent = count_uploads(page)
    page.get_by_role("button", name="Deposit 12 photos").click()
    page.wait_for_url("**/batches/*")
    assert page.url == batch
    assert sorted(sent) == ["estate/new.jpg", "estate/newer.jpg"]
    expect_receipt(running_platform, page, hash_all(first | more))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_broke_off_is_offered_on_a_phone_to_everybody(
    running_platform: PlatformUnderTest, browser: Any, signed_in: Any, scheme: str
) -> None:
    context = browser.new_context(
        base_url=running_platform.url, storage_state=signed_in, color_scheme=scheme, **browsers.PHONE
    )
    context.add_init_script(PICKER)
    page = open_deposit(context)
    lend(page, make_contents(5, f"phone {scheme}"))
    choose_lent_folder(page, 5)
    stop_after(page, 1)
    page.get_by_role("button", name="Deposit 5 photos").click()
    wait_until_kept(page, sent=[1])
    assert find_violations(page) == []
    page.close()
    page = open_deposit(context)
    expect(page.get_by_role("button", name="Go on", exact=True)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert find_violations(page) == []
    context.close()
