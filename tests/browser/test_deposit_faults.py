"""The deposit page where something fails: the session ends, an entry of a folder cannot be read, a name is odd."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from tests.browser import browsers
from tests.platforms import ADMIN, PlatformUnderTest
from tests.unit.core.test_folders import DEBRIS, PHOTOGRAPHS

from retint import accounts
from retint.errors import NotFound
from retint.folders import is_left_out
from retint.services import Services

EMAIL = "depositor@localhost"

DROP_ENTRIES = """([drop, names]) => {
  const broken = (entry) => (resolve, reject) => reject(new DOMException(`${entry.name} is gone`, "NotFoundError"));
  const make = (path, content) => {
    const entry = { name: path.split("/").at(-1), fullPath: path, isFile: !Array.isArray(content) };
    if (content === null) Object.assign(entry, { file: broken(entry) });
    else if (content === "silent") entry.file = () => {};
    else if (content === "throws") entry.file = () => { throw new TypeError("no such entry"); };
    else if (entry.isFile) entry.file = (resolve) => resolve(new File([content], entry.name, { type: "image/jpeg" }));
    else {
      const left = content.map(([name, inner]) => make(`${path}/${name}`, inner));
      entry.createReader = () => ({
        readEntries: content[0]?.[0] === "locked" ? broken(entry) : (resolve) => resolve(left.splice(0, 2)),
      });
    }
    return entry;
  };
  const items = names.map(([name, content]) => ({ kind: "file", webkitGetAsEntry: () => make(`/${name}`, content) }));
  const event = new Event("drop", { bubbles: true, cancelable: true });
  Object.defineProperty(event, "dataTransfer", { value: { items, files: [] } });
  drop.dispatchEvent(event);
}"""


@contextmanager
def services_of(platform: PlatformUnderTest) -> Iterator[Services]:
    services = Services.connect(platform.settings)
    yield services
    services.engine.dispose()


def invite(platform: PlatformUnderTest) -> str:
    with services_of(platform) as services, services.begin() as session:
        return f"{platform.url}/sign-in/{accounts.invite(session, accounts.find_user(session, EMAIL))}"


def end_sessions(platform: PlatformUnderTest, password: str) -> None:
    """Set a new password, as on another machine: all sessions end."""
    with services_of(platform) as services, services.begin() as session:
        user = accounts.find_user(session, EMAIL)
        identity = accounts.identify_token(session, accounts.issue_token(session, user, "other machine"))
        accounts.set_password(session, identity, password)


@pytest.fixture
def depositor(running_platform: PlatformUnderTest, browser: Browser) -> Iterator[BrowserContext]:
    """The browser of a person whose session may end."""
    with services_of(running_platform) as services, services.begin() as session:
        admin = accounts.find_user(session, ADMIN)
        try:
            accounts.find_user(session, EMAIL)
        except NotFound:
            accounts.create_user(session, admin.tenant_id, EMAIL)
    context = browser.new_context(base_url=running_platform.url, **browsers.DESKTOP)
    browsers.sign_in(context, invite(running_platform))
    yield context
    context.close()


def stored_names(platform: PlatformUnderTest, page: Page) -> list[str]:
    address = page.get_by_role("link", name="Show the batch").get_attribute("href")
    assert address
    with platform.client() as client:
        return sorted(job["name"] for job in client.jobs(address.rsplit("/", 1)[1]))


def write_files(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    files = [folder / f"{number:02}.jpg" for number in range(count)]
    for file in files:
        file.write_bytes(f"not looked at here: {file}".encode())
    return files


@pytest.mark.case("53")
def test_a_session_that_ends_keeps_the_list_and_goes_on_after_a_sign_in(
    running_platform: PlatformUnderTest, depositor: BrowserContext, tmp_path: Path
) -> None:
    """indico#917, xibo#552: the session ends while thirty files go up."""
    page = depositor.new_page()
    page.goto("/deposit")
    opened = 0

    def count(route: Route) -> None:
        nonlocal opened
        opened += 1
        if opened == 3:
            end_sessions(running_platform, "a new long password, somewhere else")
        route.continue_()

    page.route(browsers.UPLOADS, count)
    page.locator("#files").set_input_files(write_files(tmp_path / "box", 30))
    page.get_by_role("button", name="Deposit 30 photos").click()
    ended = page.locator("[data-ended]")
    expect(ended).to_contain_text("Your session has ended")
    expect(page.locator(".sending li", has_text="not sent: sign in again").first).to_be_visible()
    expect(page.locator(".sending li[data-state=sending]")).to_have_count(0)
    sent = page.locator(".sending li[data-state=sent] .name").all_text_contents()
    assert len(sent) < 30
    # The session may also end while a file is being stored: then it is there, and sending it again changes nothing.
    assert set(sent) <= set(stored_names(running_platform, page)), "what is called sent is stored"
    assert "/deposit" in page.url
    expect(page.locator(".sending li")).to_have_count(30)

    page.get_by_role("button", name="Go on").click()
    expect(ended).to_contain_text("You are not signed in yet")
    browsers.sign_in(depositor, invite(running_platform))
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url("**/batches/*")
    expect(page.locator(".counts, #progress")).to_contain_text("30")


def test_a_session_that_ended_before_anything_was_sent(
    running_platform: PlatformUnderTest, depositor: BrowserContext, tmp_path: Path
) -> None:
    page = depositor.new_page()
    page.goto("/deposit")
    end_sessions(running_platform, "yet another long password of somebody")
    page.locator("#files").set_input_files(write_files(tmp_path / "box", 2))
    page.get_by_role("button", name="Deposit 2 photos").click()
    expect(page.locator("[data-ended]")).to_contain_text("Your session has ended")
    expect(page.locator(".sending li[data-state=waiting]")).to_have_count(2)
    browsers.sign_in(depositor, invite(running_platform))
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url("**/batches/*")


@pytest.mark.case("53")
@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", "<h1>Sign in to the guest network</h1>"),
        (200, "application/json", '{"id": "1"}'),
        (201, "application/json", "{}"),
        (204, "application/json", ""),
    ],
    ids=["page", "200", "no id", "nothing"],
)
def test_only_the_portals_own_word_counts_as_sent(
    open_page: Callable[..., Page], make_print: Callable[..., Path], status: int, kind: str, body: str
) -> None:
    page = open_page("/deposit")
    page.route(browsers.UPLOADS, lambda route: route.fulfill(status=status, content_type=kind, body=body))
    page.locator("#files").set_input_files([make_print()])
    page.get_by_role("button", name="Deposit 1 photo").click()
    expect(page.locator(".sending li[data-state=failed]")).to_have_count(1)
    assert "/deposit" in page.url


def drop(page: Page, *entries: tuple[str, object]) -> None:
    page.evaluate(DROP_ENTRIES, [page.locator(".drop").element_handle(), list(entries)])


@pytest.mark.case("54")
def test_an_entry_that_cannot_be_read_is_named_and_the_others_are_deposited(open_page: Callable[..., Page]) -> None:
    """twake-drive#3779, ng-file-upload#396: NotFoundError of one entry of a dropped folder."""
    page = open_page("/deposit")
    drop(page, ("estate", [
        ["a.jpg", "first"], ["dangling.jpg", None], ["@eaDir", [["thumb.jpg", None]]], ["thrown.jpg", "throws"],
        ["closed", [["locked", None]]], ["b.jpg", "second"], ["Thumbs.db", None], ["deep", [["c.jpg", "third"]]],
    ]))  # fmt: skip
    failed = page.locator(".sending li[data-state=failed]")
    expect(failed).to_have_count(3)
    # Inner text is empty as long as a row is not drawn, for instance below the fold.
    assert [row.locator("span").all_text_contents() for row in failed.all()] == [
        ["estate/dangling.jpg", "not read", "It cannot be read: dangling.jpg is gone."],
        ["estate/thrown.jpg", "not read", "It cannot be read: no such entry."],
        ["estate/closed", "not read", "It cannot be read: closed is gone."],
    ]
    expect(page.locator("[data-rest]")).to_contain_text(
        "3 could not be read · 2 files are not photographs and were left out"
    )
    page.get_by_role("button", name="Deposit 3 photos").click()
    expect(page.locator(".sending li[data-state=sent]")).to_have_count(3)
    expect(page.get_by_role("button", name="Retry failed files")).to_be_visible()
    assert "/deposit" in page.url, "the page stays, because not everything was sent"


def test_an_entry_that_never_answers_does_not_hold_up_the_others(
    running_platform: PlatformUnderTest, browser: Browser, signed_in: object
) -> None:
    context = browser.new_context(base_url=running_platform.url, storage_state=signed_in)  # type: ignore[arg-type]
    page = context.new_page()
    page.clock.install()
    page.goto("/deposit")
    drop(page, ("placeholder.jpg", "silent"), ("a.jpg", "first"))
    page.clock.run_for(61_000)
    expect(page.locator(".sending li[data-state=failed]")).to_contain_text("It cannot be read: it does not answer.")
    expect(page.locator(".sending li[data-state=waiting]")).to_contain_text("a.jpg")
    context.close()


@pytest.mark.case("54")
def test_a_lone_surrogate_in_a_name_is_written_out_and_sent(
    running_platform: PlatformUnderTest, open_page: Callable[..., Page]
) -> None:
    page = open_page("/deposit", forgive="422")

    def answer(route: Route) -> None:
        if browsers.name_of_upload(route.request) == "z.jpg":
            route.fulfill(status=422, json={"detail": "Not this one."})
        else:
            route.continue_()

    page.route(browsers.UPLOADS, answer)
    page.evaluate(
        """([drop]) => {
          const items = ["b\\ud800ad.jpg", "a.jpg", "z.jpg"].map((name) => ({
            kind: "file",
            webkitGetAsEntry: () => (
              { name, fullPath: `/${name}`, isFile: true, file: (done) => done(new File([name], name)) }
            ),
          }));
          const event = new Event("drop", { bubbles: true, cancelable: true });
          Object.defineProperty(event, "dataTransfer", { value: { items, files: [] } });
          drop.dispatchEvent(event);
        }""",
        [page.locator(".drop").element_handle()],
    )
    page.get_by_role("button", name="Deposit 3 photos").click()
    expect(page.locator(".sending li[data-state=sent]")).to_have_count(2)
    assert stored_names(running_platform, page) == ["a.jpg", "b<U+D800>ad.jpg"]


def test_a_file_that_vanishes_before_it_is_sent_says_so(
    open_page: Callable[..., Page], make_print: Callable[..., Path]
) -> None:
    page = open_page("/deposit", forgive="ERR_")
    gone, stays = make_print(), make_print()
    page.locator("#files").set_input_files([gone, stays])
    gone.unlink()
    page.get_by_role("button", name="Deposit 2 photos").click()
    expect(page.locator(".sending li[data-state=failed]")).to_contain_text("It cannot be read")
    expect(page.locator(".sending li[data-state=sent]")).to_have_count(1)


def test_a_name_that_the_portal_refuses_is_that_files_row(open_page: Callable[..., Page]) -> None:
    page = open_page("/deposit", forgive="422")
    drop(page, ("写" * 1100 + ".jpg", "long"), ("写" * 1000 + ".jpg", "shorter"))
    page.get_by_role("button", name="Deposit 2 photos").click()
    expect(page.locator(".sending li[data-state=failed]")).to_contain_text("1024 characters")
    expect(page.locator(".sending li[data-state=sent]")).to_have_count(1)


def test_page_and_command_leave_the_same_files_out(open_page: Callable[..., Page]) -> None:
    page = open_page("/deposit")
    names = [*DEBRIS, *PHOTOGRAPHS]
    judged = page.evaluate(
        """(names) => {
          const pattern = new RegExp(document.querySelector("form.deposit").dataset.leftOut, "i");
          return names.map((name) => pattern.test(name));
        }""",
        json.loads(json.dumps(names)),
    )
    assert dict(zip(names, judged, strict=True)) == {name: is_left_out(name) for name in names}
