"""One photo through several networks, as a person tries it: choose, watch, compare, use."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from tests.browser import browsers
from tests.browser.test_look import SHIFT
from tests.platforms import PlatformUnderTest

from retint import trials
from retint_models.weights.cards import read_cards

RESTORED_MS = 120_000
TRIES = 6
"""Two networks are here on every machine, with three settings each."""
GAIN = read_cards()["compact"].settings["gain"].default
STRONG, STRONGEST = (f"{trials.suggest_recipes()[place].colorizer_settings['gain']:g}" for place in (2, 5))
"""The largest gain that is tried of each."""


def test_a_photo_is_tried_and_the_one_that_is_liked_is_used_for_others(
    open_page: Callable[..., Page], make_print: Callable[..., Path]
) -> None:
    page = open_page("/deposit")
    page.get_by_role("link", name="Try one photo first").click()
    page.get_by_label("Choose a photo").set_input_files(make_print("aunt.jpg"))
    expect(page.get_by_role("img", name="The photo that you chose")).to_be_visible()
    page.get_by_role("button", name="Try this photo").click()
    page.wait_for_url("**/trials/*")
    expect(page.locator("#gallery .card")).to_have_count(TRIES)
    expect(page.locator("#progress strong")).to_have_text(f"{TRIES} of {TRIES} ready", timeout=RESTORED_MS)
    expect(page.get_by_role("link", name="Use this")).to_have_count(TRIES)
    for picture in page.locator(".trial img").all():
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("img => img.naturalWidth") > 0
    assert page.locator(".trial img").count() == TRIES + 1

    page.locator(".card", has_text=f"gain {STRONGEST}").get_by_role("link", name="Use this").click()
    expect(page.get_by_role("radio", name="Vivid")).to_be_checked()
    expect(page.locator("[name='compact-vivid.gain']")).to_have_value(STRONGEST)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/uploads") else None)
    page.locator("#files").set_input_files([make_print()])
    page.get_by_role("button", name="Deposit 2 photos").click()
    page.wait_for_url("**/batches/*")
    expect(page.get_by_text(f"gain {STRONGEST}")).to_be_visible()
    expect(page.locator("#progress strong")).to_have_text("2 of 2 restored", timeout=RESTORED_MS)
    expect(page.get_by_role("link", name="aunt.jpg")).to_be_visible()
    assert len(sent) == 1, "the photo of the trial was sent again"


def test_another_setting_is_tried_and_used_by_keyboard(
    open_page: Callable[..., Page], make_print: Callable[..., Path], deposit: Callable[..., str]
) -> None:
    page = open_page(deposit("Keys", [make_print()]))
    expect(page.locator("#progress strong")).to_have_text("1 of 1 restored", timeout=RESTORED_MS)
    page.locator(".card .name").click()
    page.get_by_role("button", name="Try other networks").press("Enter")
    page.wait_for_url("**/trials/*")
    page.locator(".another > summary").press("Enter")
    page.locator(".another summary", has_text="Settings").first.press("Enter")
    slider = page.get_by_role("slider", name="Gain").first
    slider.press("ArrowLeft")
    slider.press("ArrowLeft")
    expect(page.locator(".another output").first).to_have_text(f"{GAIN - 0.2:g}")
    page.get_by_role("button", name="Try this too").press("Enter")
    page.wait_for_url("**/trials/*#job-*")
    expect(page.locator("#gallery .card")).to_have_count(TRIES + 1)
    expect(page.locator("#progress strong")).to_have_text(f"{TRIES + 1} of {TRIES + 1} ready", timeout=RESTORED_MS)
    name = f"Use this : Balanced, gain {GAIN - 0.2:g}"
    page.get_by_role("link", name=name, exact=True).press("Enter")
    page.get_by_role("button", name="Deposit 1 photo").press("Enter")
    page.wait_for_url("**/batches/*")
    expect(page.locator("#progress strong")).to_have_text("1 of 1 restored", timeout=RESTORED_MS)


def test_nothing_jumps_while_a_trial_runs(open_page: Callable[..., Page], make_print: Callable[..., Path]) -> None:
    page = open_page("/trials/new", **browsers.PHONE)
    page.get_by_label("Choose a photo").set_input_files(make_print())
    page.get_by_role("button", name="Try this photo").click()
    page.wait_for_url("**/trials/*")
    expect(page.locator("#progress strong")).to_have_text(f"{TRIES} of {TRIES} ready", timeout=RESTORED_MS)
    expect(page.get_by_role("link", name="Use this")).to_have_count(TRIES)
    assert page.evaluate(SHIFT) < 0.05


def test_a_trial_works_without_script(
    running_platform: PlatformUnderTest, browser: Browser, signed_in: object, make_print: Callable[..., Path]
) -> None:
    context = browser.new_context(base_url=running_platform.url, storage_state=signed_in, java_script_enabled=False)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto("/trials/new")
    page.get_by_label("Choose a photo").set_input_files(make_print())
    page.get_by_role("checkbox", name="Vivid").uncheck()
    page.get_by_role("button", name="Try this photo").click()
    expect(page.locator("#gallery .card")).to_have_count(3)
    while page.get_by_role("link", name="Use this").count() < 3:
        page.wait_for_timeout(500)
        page.reload()
    page.get_by_role("link", name="Use this").last.click()
    expect(page.get_by_role("slider", name="Gain")).to_have_value(STRONG)
    page.get_by_role("button", name="Deposit photos").click()
    expect(page.locator(".card")).to_have_count(1)
    expect(page.get_by_text(f"gain {STRONG}")).to_be_visible()
    context.close()


def test_a_file_that_is_no_photo_says_why(open_page: Callable[..., Page], tmp_path: Path) -> None:
    (tmp_path / "letter.jpg").write_text("Dear Sir, this is no photograph.")
    page = open_page("/trials/new")
    page.get_by_label("Choose a photo").set_input_files(tmp_path / "letter.jpg")
    page.get_by_role("button", name="Try this photo").click()
    expect(page.get_by_role("heading", name="This file cannot be restored")).to_be_visible(timeout=RESTORED_MS)
    page.get_by_role("link", name="Try another photo").last.click()
    expect(page.get_by_role("heading", name="Try one photo first")).to_be_visible()
