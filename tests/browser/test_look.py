"""What every page keeps: no sideways scrolling on a phone, no accessibility faults, nothing that jumps, no silence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.browser import browsers

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RESTORED_MS = 120_000

SHIFT = """() => new Promise(resolve => new PerformanceObserver((list, observer) => {
  observer.disconnect();
  resolve(list.getEntries().filter(shift => !shift.hadRecentInput).reduce((sum, shift) => sum + shift.value, 0));
}).observe({ type: "layout-shift", buffered: true }) || setTimeout(() => resolve(0), 300))"""


def find_violations(page: Page) -> list[str]:
    """Return what axe-core finds against WCAG 2.2 AA."""
    # The page's security policy blocks foreign scripts, but the browser's debugger may run them.
    page.evaluate(AXE.read_text())
    found = page.evaluate("rules => axe.run({ runOnly: rules })", RULES)
    return [f"{violation['id']}: {violation['nodes'][0]['html'][:120]}" for violation in found["violations"]]


@pytest.fixture(scope="module")
def gallery() -> dict[str, str]:
    """Paths of the pages of one restored batch, filled in by the first test that needs them."""
    return {}


@pytest.fixture
def paths(
    gallery: dict[str, str],
    open_page: Callable[..., Page],
    make_print: Callable[..., Path],
    deposit: Callable[..., str],
    tmp_path: Path,
) -> dict[str, str]:
    """Where each page is."""
    if not gallery:
        (tmp_path / "letter.jpg").write_text("Dear Sir, this is no photograph.")
        batch = deposit("Look", [make_print(), make_print(), tmp_path / "letter.jpg"])
        page = open_page(batch)
        expect(page.locator("#progress")).to_contain_text("2 of 3 restored", timeout=RESTORED_MS)
        expect(page.locator("#show-refused .number")).to_have_text("1", timeout=RESTORED_MS)
        cards = {state: page.locator(f".card:has(.{state}) .name").first for state in ("restored", "refused")}
        gallery |= {state: str(card.get_attribute("href")) for state, card in cards.items()}
        gallery |= {"batches": "/", "batch": batch, "deposit": "/deposit", "workers": "/admin/", "account": "/account"}
        gallery |= {"people": "/people", "service accounts": "/service-accounts", "forgot": "/forgot", "api": "/api"}
        gallery |= {
            "catalogue": f"{batch}/catalogue",
            "search": "/search?q=print",
            "found": f"{batch}?q=print&sort=name",
        }
        gallery |= {"audit": "/audit/"}
        gallery |= {"networks": "/networks", "card": "/networks/compact", "not here": "/networks/stable"}
        page.goto(gallery["restored"])
        page.get_by_role("button", name="Try other networks").click()
        page.wait_for_url("**/trials/*")
        gallery |= {"trial": page.url, "try": "/trials/new"}
        expect(page.locator("#progress:not([hx-get])")).to_have_count(1, timeout=RESTORED_MS)
    return gallery


PAGES = [
    "batches", "batch", "restored", "refused", "deposit", "workers", "account", "networks", "card", "not here", "trial",
    "try", "catalogue", "search", "found", "people", "service accounts", "forgot", "audit", "api",
]  # fmt: skip


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_a_phone_and_everybody(
    paths: dict[str, str], open_page: Callable[..., Page], name: str, scheme: str
) -> None:
    page = open_page(paths[name], **browsers.PHONE, color_scheme=scheme)
    expect(page.locator("main")).to_be_visible()
    for closed in page.locator("details:not([open]) > summary").all():
        if closed.is_visible():
            closed.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert find_violations(page) == []


@pytest.mark.parametrize("device", [browsers.DESKTOP, browsers.PHONE], ids=["desktop", "phone"])
def test_nothing_jumps_while_a_batch_runs(
    open_page: Callable[..., Page],
    make_print: Callable[..., Path],
    deposit: Callable[..., str],
    device: dict[str, Any],
) -> None:
    page = open_page(deposit("Calm", [make_print() for _ in range(6)]), **device)
    expect(page.locator("#progress strong")).to_have_text("6 of 6 restored", timeout=RESTORED_MS)
    expect(page.locator(".card .state.restored")).to_have_count(6)
    assert page.evaluate(SHIFT) < 0.02


def test_a_lost_connection_is_said_and_repairs_itself(
    open_page: Callable[..., Page], make_print: Callable[..., Path], deposit: Callable[..., str]
) -> None:
    page = open_page("/admin/", forgive="ERR_FAILED")
    page.route("**/admin/live", lambda route: route.abort())
    expect(page.get_by_text("The portal does not answer")).to_be_visible()
    page.unroute("**/admin/live")
    expect(page.get_by_text("The portal does not answer")).to_be_hidden()
