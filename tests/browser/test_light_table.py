"""Judging on the light table: by keyboard, by two at once, on a phone, without a script."""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select
from tests import platforms
from tests.browser import browsers, results
from tests.browser.test_look import find_violations
from tests.platforms import PlatformUnderTest

from retint import accounts
from retint.jobs import changes, tallies
from retint.lifecycle import Verdict
from retint.roles import Role
from retint.services import Services
from retint.tables import Job, Judgement

MANY = 200


@pytest.fixture(scope="module")
def services(running_platform: PlatformUnderTest) -> Iterator[Services]:
    made = Services.connect(running_platform.settings)
    yield made
    made.engine.dispose()


@pytest.fixture
def open_table(open_page: Callable[..., Page], services: Services) -> Callable[..., tuple[Page, str]]:
    """Open the light table of a new batch with some results; return the page and the batch's id."""

    def open_(count: int, *, remark: str | None = None, **options: Any) -> tuple[Page, str]:
        batch_id = results.add(services, platforms.ADMIN, count, remark=remark)
        page = open_page(f"/batches/{batch_id}/light-table", **options)
        expect(page.locator("#light-table.live")).to_have_count(1)
        return page, batch_id

    return open_


def name_of(page: Page) -> str:
    return page.locator("#shown-name").inner_text()


def count_verdicts(services: Services, batch_id: str) -> dict[Verdict, int]:
    with services.read() as session:
        return tallies.count_jobs(session, [UUID(batch_id)])[UUID(batch_id)].verdicts


def wait_restored(services: Services, batch_id: str, count: int) -> None:
    """Wait until a batch has so many results: what is reworked comes back from the workers when they have it."""
    deadline = time.monotonic() + 60
    while sum(count_verdicts(services, batch_id).values()) != count:
        assert time.monotonic() < deadline, count_verdicts(services, batch_id)
        time.sleep(0.1)


def wait_sent(page: Page, left: int) -> None:
    expect(page.locator(f"#bar[data-left='{left}']")).to_have_count(1)


def test_two_hundred_results_are_judged_by_keyboard_alone(
    open_table: Callable[..., tuple[Page, str]], services: Services
) -> None:
    page, batch_id = open_table(MANY)
    waits: list[float] = []
    expect(page.locator("#shown-name")).to_have_text("photo 001.jpg")
    began = time.monotonic()
    for number in range(1, MANY + 1):
        expected = f"photo {number:03}.jpg"
        page.wait_for_function(
            """name => document.querySelector('#shown-name')?.innerText === name &&
            document.querySelector('#after').complete && document.querySelector('#after').naturalWidth > 0""",
            arg=expected,
        )
        waits.append(time.monotonic())
        page.keyboard.press("x" if number % 10 == 0 else "a")
    seconds = time.monotonic() - began
    expect(page.get_by_role("heading", name="All 200 results are judged")).to_be_visible(timeout=180_000)
    written = time.monotonic() - began
    longest = max(later - earlier for earlier, later in pairwise(waits))
    print(f"{seconds / MANY:.3f} s a verdict, at most {longest:.3f} s; written after {written / MANY:.3f} s a verdict")
    assert count_verdicts(services, batch_id) == {Verdict.APPROVED: 180, Verdict.REJECTED: 20}
    assert seconds / MANY < 1


def test_each_key_does_what_the_help_says(open_table: Callable[..., tuple[Page, str]], services: Services) -> None:
    page, batch_id = open_table(6)
    press = page.keyboard.press
    expect(page.locator("#shown-said")).to_have_text("Risk 100%")
    press("j")
    expect(page.locator("#shown-name")).to_have_text("photo 002.jpg")
    press("ArrowLeft")
    expect(page.locator("#shown-name")).to_have_text("photo 001.jpg")
    press(" ")
    expect(page.locator("#before")).to_be_visible()
    expect(page.locator("#after")).to_be_hidden()
    press(" ")
    expect(page.locator("#after")).to_be_visible()
    press("n")
    page.keyboard.type("a sky, xj?")
    expect(page.locator("#shown-name")).to_have_text("photo 001.jpg")
    press("Enter")
    press("x")
    expect(page.get_by_role("status").filter(has_text="Rejected: photo 001.jpg.")).to_have_count(1)
    wait_sent(page, 5)
    press("u")
    expect(page.locator("#shown-name")).to_have_text("photo 001.jpg")
    wait_sent(page, 6)
    press("a")
    wait_sent(page, 5)
    press("z")
    expect(page.locator("#closer .picture[data-drawn]")).to_have_count(1)
    press("a")  # belongs to the viewer
    press("Escape")
    press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    press("Escape")
    press("r")
    expect(page.get_by_role("heading", name="Make it anew with")).to_be_visible()
    press("2")
    expect(page.get_by_role("status").filter(has_text="photo 002.jpg is made anew.")).to_have_count(1)
    wait_sent(page, 4)
    assert list_said(services, batch_id) == [
        ("rejected", "a sky, xj?"),
        ("unjudged", None),
        ("approved", None),
        ("rework", None),
    ]
    with services.read() as session:
        newest = session.scalars(select(Job).where(Job.replaces.is_not(None), Job.batch_id == UUID(batch_id))).one()
    assert newest.recipe_hash, "its own recipe"


def test_keys_that_are_switched_off_stay_off(open_table: Callable[..., tuple[Page, str]]) -> None:
    page, _ = open_table(2)
    page.get_by_role("checkbox", name="Keys").uncheck()
    page.keyboard.press("a")
    page.reload()
    expect(page.locator("#light-table.live")).to_have_count(1)
    page.keyboard.press("a")
    page.get_by_role("checkbox", name="Keys").check()
    page.keyboard.press("a")
    expect(page.locator("#shown-name")).to_have_text("photo 002.jpg")
    wait_sent(page, 1)


def list_said(services: Services, batch_id: str) -> list[tuple[Verdict, str | None]]:
    query = select(Judgement).join(Job, Job.id == Judgement.job_id).where(Job.batch_id == UUID(batch_id))
    with services.read() as session:
        return [(each.verdict, each.note) for each in session.scalars(query.order_by(Judgement.id))]


@pytest.fixture
def second_reviewer(
    browser: Browser, running_platform: PlatformUnderTest, services: Services
) -> Iterator[Callable[[str], Page]]:
    """Open pages as a reviewer of the institution, ana@museum.example."""
    with services.begin() as session:
        admin = accounts.find_user(session, platforms.ADMIN)
        user = accounts.create_user(session, admin.tenant_id, "ana@museum.example", role=Role.REVIEWER)
        secret = accounts.invite(session, user)
    context = browser.new_context(base_url=running_platform.url, **browsers.DESKTOP)
    browsers.sign_in(context, f"{running_platform.url}/sign-in/{secret}")

    def open_(path: str) -> Page:
        page = context.new_page()
        page.goto(path)
        expect(page.locator("#light-table.live")).to_have_count(1)
        return page

    yield open_
    context.close()


def test_of_two_reviewers_nobody_overwrites_the_other_and_nobody_is_told_nothing(
    open_table: Callable[..., tuple[Page, str]],
    second_reviewer: Callable[[str], Page],
    services: Services,
) -> None:
    page, batch_id = open_table(4, forgive="409")
    other = second_reviewer(f"/batches/{batch_id}/light-table")
    other.keyboard.press("a")
    wait_sent(other, 3)
    page.keyboard.press("x")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("photo 001.jpg: ana@museum.example approved this photo at ")
    expect(alert).to_contain_text("Your verdict was not written.")
    page.keyboard.press("k")
    expect(page.locator("#shown-said")).to_contain_text("Approved by ana@museum.example")
    page.keyboard.press("x")  # seen now: this is meant
    wait_sent(page, 3)
    page.keyboard.press("a")
    wait_sent(page, 2)
    assert count_verdicts(services, batch_id) == {Verdict.REJECTED: 1, Verdict.APPROVED: 1, Verdict.UNJUDGED: 2}


def test_a_result_that_was_made_anew_meanwhile_is_not_judged(
    open_table: Callable[..., tuple[Page, str]], services: Services
) -> None:
    page, batch_id = open_table(2, forgive="Failed to load resource")  # first 409, then 404
    with services.begin() as session:
        first = session.scalars(select(Job).where(Job.batch_id == UUID(batch_id), Job.risk == 1)).one()
        changes.replace_job(session, first.tenant_id, first.id)
    page.keyboard.press("a")
    expect(page.get_by_role("alert")).to_contain_text("photo 001.jpg: This photo was made anew meanwhile")
    with services.read() as session:
        assert session.get_one(Job, first.id).verdict is Verdict.UNJUDGED


def test_a_verdict_that_the_portal_did_not_hear_is_sent_again(
    open_table: Callable[..., tuple[Page, str]], services: Services
) -> None:
    page, batch_id = open_table(3, forgive="ERR_FAILED")
    page.route("**/verdict/bar*", lambda route: route.abort())
    page.keyboard.press("a")
    page.keyboard.press("x")
    expect(page.get_by_text("The portal does not answer")).to_be_visible()
    page.unroute("**/verdict/bar*")
    wait_sent(page, 1)
    expect(page.get_by_text("The portal does not answer")).to_be_hidden()
    assert count_verdicts(services, batch_id) == {Verdict.APPROVED: 1, Verdict.REJECTED: 1, Verdict.UNJUDGED: 1}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [browsers.DESKTOP, browsers.PHONE], ids=["desktop", "phone"])
def test_everybody_can_judge_by_pointer(
    open_table: Callable[..., tuple[Page, str]], services: Services, device: dict[str, Any], scheme: str
) -> None:
    page, batch_id = open_table(3, remark="The network found no color.", color_scheme=scheme, **device)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert find_violations(page) == []
    if device is browsers.PHONE:
        for name in ("Approve", "Reject", "Rework…"):
            box = page.get_by_role("button", name=name).bounding_box()
            assert box
            assert box["height"] >= 48
            assert box["y"] > 600, "within a thumb's reach"
    page.locator("#look").click()
    expect(page.locator("#before")).to_be_visible()
    page.get_by_role("button", name="Rework…").click()
    assert find_violations(page) == []
    page.get_by_role("button", name="Close", exact=True).click()
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#shown-name")).to_have_text("photo 002.jpg")
    page.get_by_role("button", name="Reject").click()
    wait_sent(page, 1)
    page.get_by_role("button", name="Undo").click()
    wait_sent(page, 2)
    assert count_verdicts(services, batch_id) == {Verdict.APPROVED: 1, Verdict.UNJUDGED: 2}


def test_forms_judge_without_a_script(open_page: Callable[..., Page], services: Services) -> None:
    batch_id = results.add(services, platforms.ADMIN, 3)
    page = open_page(f"/batches/{batch_id}", java_script_enabled=False)
    page.get_by_role("link", name="Judge 3 results").click()
    expect(page.locator("#shown-name")).to_have_text("photo 001.jpg")
    page.locator("#note").fill("good")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: photo 001.jpg")).to_be_visible()
    expect(page.locator("#shown-name")).to_have_text("photo 002.jpg")
    page.get_by_role("button", name="Take the last verdict back").click()
    expect(page.locator("#shown-name")).to_have_text("photo 001.jpg")
    page.get_by_role("button", name="Reject").click()
    page.locator("summary", has_text="Rework").click()
    page.locator("#plain-change").select_option("No color")
    page.get_by_role("button", name="Rework", exact=True).click()
    expect(page.locator("#shown-name")).to_have_text("photo 003.jpg")
    wait_restored(services, batch_id, 3)
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#shown-name")).to_have_text("photo 002.jpg")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", name="are judged")).to_be_visible()
