"""A batch is proved in the browser: deposit it so that it waits, compare, restore all of it with what is liked."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser import browsers
from tests.browser.test_look import SHIFT, find_violations
from tests.platforms import PlatformUnderTest

RESTORED_MS = 180_000
PHOTOS = 3


@pytest.fixture
def waiting(
    running_platform: PlatformUnderTest, make_print: Callable[..., Path], tmp_path: Path
) -> Callable[[str], str]:
    """Open a paused batch of prints and a letter by the API; return the address of its page."""

    def deposit(name: str) -> str:
        letter = tmp_path / "letter.jpg"
        letter.write_text("Dear Sir, this is no photograph.")
        with running_platform.client() as client:
            batch = client.call("POST", "/api/v1/batches", status=201, json={"name": name, "paused": True})
            for file in [*(make_print() for _ in range(PHOTOS)), letter]:
                client.upload(batch["id"], f"album/{file.name}", file, lambda _: None)
        return f"/batches/{batch['id']}"

    return deposit


def test_a_batch_is_proved_and_all_of_it_restored_with_what_is_liked(
    open_page: Callable[..., Page], make_print: Callable[..., Path]
) -> None:
    page = open_page("/deposit")
    page.locator("#files").set_input_files([make_print() for _ in range(PHOTOS)])
    page.get_by_role("checkbox", name="Prove first").check()
    page.get_by_role("button", name=f"Deposit {PHOTOS} photos").click()
    page.wait_for_url("**/batches/*")
    expect(page.get_by_text(f"Paused, {PHOTOS} waiting")).to_be_visible()
    page.get_by_role("link", name="Prove first").click()
    page.get_by_role("button", name="Open the proof").click()
    expect(page.locator("#gallery .card:not(.original)")).to_have_count(2 * PHOTOS)
    ready = f"{2 * PHOTOS} of {2 * PHOTOS} ready"
    expect(page.locator("#progress strong")).to_have_text(ready, timeout=RESTORED_MS)
    expect(page.locator("#progress:not([hx-get])")).to_have_count(1)
    expect(page.get_by_text("with the workers that run now")).to_have_count(2)
    for picture in page.locator("#gallery img").all():
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("img => img.naturalWidth") > 0
    assert page.locator("#gallery img").count() == 3 * PHOTOS
    assert page.evaluate(SHIFT) < 0.05
    vivid = page.locator(".heads li", has=page.get_by_role("heading", name="Vivid"))
    vivid.get_by_role("button", name=f"Restore all {PHOTOS} with this").click()
    page.wait_for_url("**/batches/*")
    expect(page.get_by_text("colorized by compact-vivid")).to_be_visible()
    expect(page.locator("#progress strong")).to_have_text(f"{PHOTOS} of {PHOTOS} restored", timeout=RESTORED_MS)
    page.locator(".card .name").first.click()
    expect(page.locator("#taken-over")).to_contain_text("It was taken over; nothing was computed again.")
    page.locator("#taken-over a").click()
    page.get_by_role("link", name="Proof").click()
    expect(page.get_by_text("The batch is restored with this.")).to_be_visible()
    expect(page.get_by_role("button", name="Restore all")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_proof_fits_a_phone_and_everybody(
    open_page: Callable[..., Page], waiting: Callable[[str], str], scheme: str
) -> None:
    page = open_page(f"{waiting('Phone')}/proof", **browsers.PHONE, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert find_violations(page) == []
    page.get_by_role("checkbox", name="Vivid").uncheck()
    page.get_by_role("button", name="Open the proof").press("Enter")
    expect(page.locator("#progress:not([hx-get])")).to_have_count(1, timeout=RESTORED_MS)
    expect(page.locator("#progress strong")).to_have_text(f"{PHOTOS} of {PHOTOS + 1} ready")
    expect(page.locator(".why")).to_contain_text("neither an image nor a film")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert find_violations(page) == []
    page.get_by_role("button", name="Discard proof").press("Enter")
    expect(page.get_by_role("button", name="Open the proof")).to_be_visible()


def test_of_two_people_the_second_is_told_what_the_first_has_released(
    open_page: Callable[..., Page], waiting: Callable[[str], str]
) -> None:
    path = f"{waiting('Two people')}/proof"
    first, second = open_page(path), open_page(path)
    first.get_by_role("button", name="Open the proof").click()
    second.goto(path)
    first.locator("#release-1").click()
    first.wait_for_url("**/batches/*")
    second.locator("#release-2").click()
    expect(second.get_by_text("it runs with the colorizer compact.")).to_be_visible()
    expect(second.get_by_text("The batch is restored with this.")).to_be_visible()


def test_a_proof_works_without_script(
    running_platform: PlatformUnderTest, browser: Browser, signed_in: object, waiting: Callable[[str], str]
) -> None:
    context = browser.new_context(base_url=running_platform.url, storage_state=signed_in, java_script_enabled=False)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(waiting("No script"))
    page.get_by_role("link", name="Prove first").click()
    page.get_by_role("button", name="Open the proof").click()
    page.get_by_role("button", name="Restore all 4 with this").first.click()
    expect(page.get_by_text("The whole batch is restored with this recipe.")).to_be_visible()
    context.close()
