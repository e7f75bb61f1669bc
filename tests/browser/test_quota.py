"""A deposit in the browser that meets a quota: what was sent stays, the rest goes on later."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser.test_deposit_faults import services_of
from tests.browser.test_look import find_violations
from tests.platforms import ADMIN, PlatformUnderTest

from retint import accounts, quotas
from retint.quotas import Limits

OpenPage = Callable[..., Page]
REFUSED = "the server responded with a status of 4"


@pytest.fixture
def limit(running_platform: PlatformUnderTest) -> Iterator[Callable[..., None]]:
    """Set the quotas of the institution beyond what it uses; none afterwards."""

    def set_limits(more_bytes: int | None = None, **limits: int) -> None:
        with services_of(running_platform) as services, services.begin() as session:
            tenant_id = accounts.find_user(session, ADMIN).tenant_id
            used = quotas.read(session, tenant_id).used_bytes
            quotas.set_limits(session, tenant_id, Limits(None if more_bytes is None else used + more_bytes, **limits))

    yield set_limits
    set_limits()


def make_files(folder: Path, names: list[str]) -> list[Path]:
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(name.encode() * 200)
    return sorted(folder.iterdir())


def test_a_quota_in_the_middle_leaves_what_was_sent_and_the_rest_goes_on_later(
    open_page: OpenPage, limit: Callable[..., None], tmp_path: Path
) -> None:
    files = make_files(tmp_path / "box", [f"quota-{number:02}.jpg" for number in range(20)])
    limit(sum(file.stat().st_size for file in files[:8]) + 100)
    page = open_page("/deposit", forgive=REFUSED)
    page.get_by_label("Name of the batch").fill("A full shelf")
    page.locator("#files").set_input_files(files)
    page.get_by_role("button", name="Deposit 20 photos").click()
    notice = page.locator("[data-shortage]")
    expect(notice).to_contain_text("The quota of your institution is reached")
    expect(page.locator("[data-total]")).to_have_text("8 of 20 photos sent")
    expect(page.locator("[data-rest]")).to_contain_text("12 left out")
    assert find_violations(page) == []
    limit(1_000_000)
    page.get_by_role("button", name="Retry failed files").click()
    page.wait_for_url(re.compile("/batches/"))
    expect(page.get_by_role("heading", name="A full shelf")).to_be_visible()
    expect(page.get_by_text("20", exact=True).first).to_be_visible()


def test_people_are_warned_on_the_deposit_page(open_page: OpenPage, limit: Callable[..., None]) -> None:
    limit(0)
    page = open_page("/deposit", viewport={"width": 360, "height": 740})
    expect(page.get_by_text("of its room for originals")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert find_violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_pages_of_institutions(open_page: OpenPage, scheme: str, width: int, limit: Callable[..., None]) -> None:
    limit(0, most_in_flight=20_000)
    page = open_page("/institutions/", viewport={"width": width, "height": 900}, color_scheme=scheme)
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert find_violations(page) == []
        page.get_by_role("main").get_by_role("link").first.click()
    page.goto("/institutions/")
    page.get_by_label("Name").fill(f"Archive {scheme} {width}")
    page.get_by_label("Email of its first administrator").fill(f"kim-{scheme}-{width}@archive.example")
    page.get_by_role("button", name="Add the institution").click()
    expect(page.get_by_text("Send this link to kim-")).to_be_visible()
    assert find_violations(page) == []
    page.get_by_role("button", name="Disable").click()
    expect(page.get_by_text("Its people cannot sign in, and none of its photos starts.")).to_be_visible()
