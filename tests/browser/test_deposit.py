"""The deposit page: dropped files, a folder, the form without JavaScript, failed files, and the results."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from tests.browser import browsers
from tests.platforms import PlatformUnderTest

from retint_models.weights.cards import read_cards

RESTORED_MS = 120_000
GAIN = read_cards()["compact"].settings["gain"].default

DROP = """async ([drop, files]) => {
  const transfer = new DataTransfer();
  for (const [name, address] of files) {
    transfer.items.add(new File([await (await fetch(address)).blob()], name, { type: "image/jpeg" }));
  }
  for (const kind of ["dragover", "drop"]) {
    drop.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""


def expect_restored(page: Page, count: int) -> None:
    expect(page.locator("#progress strong")).to_have_text(f"{count} of {count} restored", timeout=RESTORED_MS)


def test_dropped_photos_are_restored_before_a_persons_eyes(
    open_page: Callable[..., Page], make_print: Callable[..., Path]
) -> None:
    page = open_page("/deposit")
    expect(page.get_by_role("button", name="Deposit photos")).to_be_disabled()
    prints = [make_print() for _ in range(3)]
    # A script cannot drag real files in: the page gets the same event with files that it reads from here.
    page.route("**/from-disk/*", lambda route: route.fulfill(path=prints[0].parent / route.request.url.split("/")[-1]))
    drop = page.locator(".drop").element_handle()
    page.evaluate(DROP, [drop, [[file.name, f"/from-disk/{file.name}"] for file in prints]])
    page.get_by_label("Name of the batch").fill("Dropped")
    page.get_by_role("button", name="Deposit 3 photos").click()

    page.wait_for_url("**/batches/*")
    expect(page.get_by_role("heading", name="Dropped")).to_be_visible()
    expect(page.locator(".card")).to_have_count(3)
    expect_restored(page, 3)
    expect(page.locator(".card .state.restored")).to_have_count(3)
    for picture in page.locator(".card img").all():
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("img => img.naturalWidth") > 0
    # Nothing is left to wait for, so the page asks for nothing more.
    page.wait_for_timeout(500)
    expect(page.locator("#progress[hx-get]")).to_have_count(0, timeout=60_000)


def test_a_folder_keeps_its_names_and_leaves_system_files_out(
    open_page: Callable[..., Page], make_print: Callable[..., Path], tmp_path: Path
) -> None:
    make_print("estate/attic/one.jpg")
    make_print("estate/two.jpg")
    (tmp_path / "estate" / ".DS_Store").write_bytes(b"of no use")
    page = open_page("/deposit")
    page.locator("#folder").set_input_files(tmp_path / "estate")
    expect(page.locator("[data-rest]")).to_contain_text("1 file is not a photograph and was left out")
    page.get_by_role("button", name="Deposit 2 photos").click()
    page.wait_for_url("**/batches/*")
    expect(page.locator(".card .name[title='estate/attic/one.jpg']")).to_have_count(1)
    expect_restored(page, 2)


def test_the_plain_form_works_without_script(
    running_platform: PlatformUnderTest, browser: Browser, signed_in: object, make_print: Callable[..., Path]
) -> None:
    context = browser.new_context(base_url=running_platform.url, storage_state=signed_in, java_script_enabled=False)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/deposit")
    page.get_by_label("Choose photos").set_input_files([make_print(), make_print()])
    page.get_by_label("No color").check()
    page.get_by_role("button", name="Deposit photos").click()
    expect(page.locator(".card")).to_have_count(2)
    expect(page.get_by_text("colors kept")).to_be_visible()
    context.close()


def test_what_cannot_be_sent_says_why_and_is_sent_again(
    open_page: Callable[..., Page], make_print: Callable[..., Path]
) -> None:
    page = open_page("/deposit", forgive="422")
    refuse = True

    def answer(route: Route) -> None:
        if refuse and browsers.name_of_upload(route.request) == "stubborn.jpg":
            route.fulfill(status=422, json={"detail": "The file is larger than today allows."})
        else:
            route.continue_()

    page.route(browsers.UPLOADS, answer)
    page.locator("#files").set_input_files([make_print(), make_print("stubborn.jpg")])
    page.get_by_role("button", name="Deposit 2 photos").click()
    stubborn = page.locator(".sending li[data-state=failed]")
    expect(stubborn).to_contain_text("larger than today allows")
    expect(page.locator("[data-total]")).to_have_text("1 of 2 photos sent")
    refuse = False
    page.get_by_role("button", name="Retry failed files").click()
    page.wait_for_url("**/batches/*")
    expect(page.locator(".card")).to_have_count(2)


def test_an_address_that_must_not_be_asked_says_why(
    open_page: Callable[..., Page], make_print: Callable[..., Path]
) -> None:
    page = open_page("/deposit", forgive="422")
    page.get_by_label("Or from a web address").fill("http://127.0.0.1/aunt.jpg")
    page.get_by_role("button", name="Add", exact=True).click()
    page.locator("#files").set_input_files([make_print()])
    page.get_by_label("Or from a web address").fill("http://10.0.0.1/uncle.jpg")
    page.get_by_role("button", name="Deposit 3 photos").click()
    failed = page.locator(".sending li[data-state=failed]")
    expect(failed).to_have_count(2)
    for reason in failed.locator(".reason").all_text_contents():
        assert "public" in reason
    page.get_by_role("link", name="Show the batch").click()
    expect(page.locator(".card")).to_have_count(1)


def test_only_the_chosen_networks_settings_are_shown(open_page: Callable[..., Page]) -> None:
    page = open_page("/deposit")
    expect(page.get_by_text("Settings")).to_have_count(2)
    shown = page.locator("summary:visible")
    expect(shown).to_have_count(1)
    shown.click()
    gain = page.get_by_role("slider", name="Gain")
    expect(gain).to_have_count(1)
    gain.press("ArrowRight")
    expect(page.locator("output:visible").first).to_have_text(f"{GAIN + 0.1:g}")
    page.get_by_role("radio", name="Vivid").check()
    expect(gain).to_have_count(0)
    expect(page.locator("summary:visible")).to_have_count(1)


def test_a_failure_says_why_and_the_rest_goes_on(
    open_page: Callable[..., Page], make_print: Callable[..., Path], deposit: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "letter.jpg").write_text("Dear Sir, this is no photograph.")
    page = open_page(deposit("One bad apple", [make_print(), tmp_path / "letter.jpg"]))
    expect(page.locator("#progress")).to_contain_text("1 of 2 restored", timeout=RESTORED_MS)
    reason = page.locator(".reasons li")
    expect(reason).to_have_count(1)
    expect(reason).to_contain_text("refused")
    sentence = page.locator(".card .reason").inner_text()
    assert sentence.endswith(".")
    page.locator(".filters").get_by_text("refused").click()
    expect(page.locator(".card")).to_have_count(1)
    page.get_by_role("link", name="letter.jpg").click()
    expect(page.locator("#wait")).to_contain_text(sentence)
    expect(page.get_by_role("link", name="Original")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/batches/0192d3a0-0000-7000-8000-000000000000", "/admin/"])
def test_nobody_sees_a_page_without_signing_in(
    running_platform: PlatformUnderTest, browser: Browser, path: str
) -> None:
    context = browser.new_context(base_url=running_platform.url)
    page = context.new_page()
    page.goto(path)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    context.close()


def test_a_link_signs_in_once(
    running_platform: PlatformUnderTest, browser: Browser, new_link: Callable[[], str]
) -> None:
    link = new_link()
    first, second = browser.new_context(), browser.new_context()
    browsers.sign_in(first, link)
    page = second.new_page()
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("main")).to_contain_text("used already")
    first.close()
    second.close()
