"""A batch is run again, by real workers: its new results come to the light table, the old ones stay."""

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import update
from tests import platforms
from tests.browser import browsers, results
from tests.browser.test_look import RESTORED_MS, find_violations
from tests.platforms import PlatformUnderTest

from retint.lifecycle import Verdict
from retint.services import Services
from retint.tables import Job


@pytest.fixture
def services(running_platform: PlatformUnderTest) -> Iterator[Services]:
    made = Services.connect(running_platform.settings)
    yield made
    made.engine.dispose()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_form_fits_a_phone_and_everybody(open_page: Callable[..., Page], services: Services, scheme: str) -> None:
    batch_id = results.add(services, platforms.ADMIN, 2)
    page = open_page(f"/batches/{batch_id}/again", **browsers.PHONE, color_scheme=scheme)
    page.locator("summary", has_text="The other recipe").click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert find_violations(page) == []


def test_a_rejected_result_is_run_again_and_comes_back_to_the_light_table(
    open_page: Callable[..., Page], services: Services
) -> None:
    batch_id = results.add(services, platforms.ADMIN, 2)
    with services.begin() as session:
        chosen = (Job.batch_id == UUID(batch_id), Job.risk == 1)
        session.execute(update(Job).where(*chosen).values(verdict=Verdict.REJECTED))
    page = open_page(f"/batches/{batch_id}")
    page.get_by_role("link", name="Run again…").click()
    page.get_by_label("Those whose results were rejected").check()
    page.get_by_label("Another one, for all of them").check()
    page.locator("summary", has_text="The other recipe").click()
    page.get_by_label("No color").check()
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_text("1 photo is run again.")).to_be_visible()
    expect(page.locator("#progress strong")).to_have_text("2 of 2 restored", timeout=RESTORED_MS)
    page.reload()
    page.get_by_role("link", name="Judge 2 results").click()
    expect(page.locator("#light-table.live")).to_have_count(1)
    page.keyboard.press("j")
    expect(page.locator("#bar")).to_contain_text("0 of 2 judged")
    page.goto(f"/batches/{batch_id}")
    page.locator(".card .name", has_text="photo 001.jpg").click()
    expect(page.get_by_role("heading", name="Results of this file")).to_be_visible()
    page.get_by_role("link", name="an earlier one").click()
    expect(page.get_by_role("link", name="the newest")).to_be_visible()
    assert find_violations(page) == []
