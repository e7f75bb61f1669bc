"""What an administrator does while a batch runs: scale, pause, resume; and tokens."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect
from tests.platforms import PlatformUnderTest

RESTORED_MS = 180_000


def scale(page: Page, fleet: str, wanted: int) -> None:
    page.get_by_label("Wanted").nth(0 if fleet == "cpu" else 1).fill(str(wanted))
    page.locator(f"#scale-{fleet}").click()


def test_scaling_up_and_down_while_a_batch_runs_loses_nothing(
    running_platform: PlatformUnderTest,
    open_page: Callable[..., Page],
    make_print: Callable[..., Path],
    deposit: Callable[..., str],
) -> None:
    batch = deposit("Scaled", [make_print() for _ in range(24)])
    page = open_page("/admin/")
    running = page.locator("#running-cpu")
    expect(running).to_contain_text("1 running of 1 wanted", timeout=60_000)
    scale(page, "cpu", 3)
    expect(running).to_contain_text("3 running of 3 wanted", timeout=90_000)
    expect(page.locator("#live td[data-label=Fleet]", has_text="cpu")).to_have_count(3)
    scale(page, "cpu", 1)
    expect(running).to_contain_text("1 running of 1 wanted", timeout=90_000)
    page.goto(batch)
    expect(page.locator("#progress strong")).to_have_text("24 of 24 restored", timeout=RESTORED_MS)
    with running_platform.client() as client:
        for job in client.jobs(batch.rsplit("/", 1)[1]):
            done = [a["stage"] for a in client.job(job["id"])["attempts"] if a["outcome"] == "done"]
            assert sorted(done) == ["colorize", "defade", "ingest", "render"]


def test_a_paused_batch_waits_and_goes_on(
    open_page: Callable[..., Page], make_print: Callable[..., Path], deposit: Callable[..., str]
) -> None:
    page = open_page(deposit("Paused", [make_print() for _ in range(20)]))
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#progress")).to_contain_text("Paused,")
    expect(page.locator("#show-running .number")).to_have_text("0", timeout=60_000)
    waiting = page.locator("#progress strong").inner_text()
    page.wait_for_timeout(3000)
    assert page.locator("#progress strong").inner_text() == waiting != "20 of 20 restored"
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#progress strong")).to_have_text("20 of 20 restored", timeout=RESTORED_MS)


def test_a_cancelled_batch_says_so(
    open_page: Callable[..., Page], make_print: Callable[..., Path], deposit: Callable[..., str]
) -> None:
    page = open_page(deposit("Cancelled", [make_print() for _ in range(16)]))
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_role("button", name="Cancel the batch").click()
    expect(page.locator("#progress")).to_contain_text("Cancelled,")
    expect(page.locator("#show-cancelled .number")).not_to_have_text("0")


def test_a_token_is_shown_once_and_can_be_revoked(open_page: Callable[..., Page]) -> None:
    page = open_page("/account")
    page.get_by_label("Name", exact=True).fill("Scanner room")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("#secret")).to_contain_text("retint_")
    page.goto("/account")
    expect(page.locator("#secret")).to_have_count(0)
    page.locator("tr", has_text="Scanner room").get_by_role("button", name="Revoke").click()
    expect(page.locator("tr", has_text="Scanner room")).to_have_count(0)
