"""What of a scan is restored: shown on the photo's page, stated in forms, and restored again otherwise."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from tests.integration.web.conftest import Person, csrf_token

FOUND = {"rectangles": [[0.1, 0.2, 0.5, 0.6]], "confidence": 0.8, "found": "auto"}
EMBEDDED = pytest.mark.parametrize("backends", ["embedded"], indirect=True)
pytestmark = EMBEDDED


@pytest.fixture
def show(member: Person, restore: Callable[..., None]) -> Callable[..., tuple[str, str]]:
    """Restore a photo of which ingest found this; return the path of its page, and the page."""

    def show_photo(recipe: dict[str, Any] | None = None, **found: Any) -> tuple[str, str]:
        job = member.deposit(member.open_batch(recipe=recipe or {}))
        restore(job["id"], found={"kind": "neutral", **found}, notes=["A note."])
        path = f"/jobs/{job['id']}"
        return path, member.browser().get(path).text

    return show_photo


def test_a_region_is_drawn_and_told_with_its_confidence(show: Callable[..., tuple[str, str]]) -> None:
    _, page = show(region=FOUND)
    assert page.count('<rect x="0.1" y="0.2" width="0.5" height="0.6"/>') == 1
    assert "data-outline" in page
    assert "30% of the page, where very likely the picture is" in page
    assert ">0.1, 0.2, 0.5, 0.6</textarea>" in page
    assert "style=" not in page
    two = FOUND | {"rectangles": [[0, 0, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]], "confidence": 1.0}
    assert "50% of the page, where surely 2 pictures are" in show(region=two)[1]
    stated = FOUND | {"found": "stated"}
    assert "30% of the page, as the recipe states" in show({"region": [[0.1, 0.2, 0.5, 0.6]]}, region=stated)[1]


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"region": {"rectangles": [[0, 0, 1, 1]], "confidence": 1.0, "found": "whole"}},
        {"region": FOUND, "kind": "document"},
    ],
)
def test_nothing_is_drawn_where_nothing_is_left_out(
    found: dict[str, Any], show: Callable[..., tuple[str, str]]
) -> None:
    _, page = show(**found)
    assert "<rect" not in page
    assert "Restored part" not in page
    assert "Restore another part of the scan" in page


def test_what_is_said_of_the_picture_is_no_exception_from_keeping_all(show: Callable[..., tuple[str, str]]) -> None:
    assert "metadata, except as said above" in show(region=FOUND)[1]
    assert "metadata, and records" in show(region=FOUND, picture_notes=["A note."])[1]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"kind": "blank"}, "blank"),
        ({"kind": "document"}, "a document or a drawing"),
        ({"kind": "neutral", "inverted": True}, "black and white, inverted"),
    ],
)
def test_a_page_says_what_the_original_is(
    found: dict[str, Any], words: str, show: Callable[..., tuple[str, str]]
) -> None:
    assert f"<dt>Original is</dt><dd>{words}</dd>" in show(**found)[1]


def test_another_part_is_restored_as_a_trial_of_the_photo(member: Person, show: Callable[..., tuple[str, str]]) -> None:
    path, _ = show({"strength": 0.5}, region=FOUND)
    browser = member.browser()
    form = {"csrf_token": csrf_token(browser, path), "region": "whole", "rectangles": "0.1, 0.2, 0.5, 0.6"}
    answer = browser.post(f"{path}/again", data=form)
    assert answer.status_code == 303
    trial_id = re.sub(r".*/trials/", "", answer.headers["Location"])
    [first] = member.api("GET", f"/trials/{trial_id}").json["tries"]
    assert (first["recipe"]["region"], first["recipe"]["strength"]) == ("whole", 0.5)
    form |= {"region": "stated", "rectangles": "0.5 0.5 0.4 0.4\r\n\r\n0, 0, .25, .25", "invert": "1"}
    again = browser.post(f"/jobs/{first['id']}/again", data=form)
    assert again.headers["Location"].endswith(trial_id)
    shown = browser.get(f"/trials/{trial_id}").text
    assert "the whole page" in shown
    assert "inverted, a stated region" in shown
    added = member.api("GET", f"/trials/{trial_id}").json["tries"][1]["recipe"]
    assert (added["region"], added["invert"]) == ([[0, 0, 0.25, 0.25], [0.5, 0.5, 0.4, 0.4]], True)
    form["rectangles"] = "0.5, 0.5, 0.9, 0.9"
    refused = browser.post(f"{path}/again", data=form)
    assert refused.status_code == 400
    assert "does not reach beyond the page" in refused.text


def test_nobody_restores_what_is_another_institutions(
    member: Person, stranger: Person, show: Callable[..., tuple[str, str]]
) -> None:
    path, _ = show()
    browser = stranger.browser()
    form = {"csrf_token": csrf_token(browser, "/deposit"), "region": "whole"}
    assert browser.post(f"{path}/again", data=form).status_code == 404


def test_a_deposit_and_a_trial_take_a_region(member: Person, show: Callable[..., tuple[str, str]]) -> None:
    browser = member.browser()
    form = {"csrf_token": csrf_token(browser, "/deposit"), "name": "Album", "region": "stated", "invert": "1"}
    opened = browser.post("/deposit/batches", data=form | {"rectangles": "0.1, 0.1, 0.8, 0.8"})
    assert opened.status_code == 201
    batch_id = opened.json["page"].rpartition("/")[2]  # type: ignore[index]
    recipe = member.api("GET", f"/batches/{batch_id}").json["recipe"]
    assert (recipe["region"], recipe["invert"]) == ([[0.1, 0.1, 0.8, 0.8]], True)
    path, _ = show({"region": "whole"})
    like = browser.get(f"/deposit?like={path.rpartition('/')[2]}").text
    assert re.search(r'value="whole" checked', like)
    tried = browser.post("/trials", data={"csrf_token": form["csrf_token"], "job": path.rpartition("/")[2]})
    trial_id = tried.headers["Location"].rpartition("/")[2]
    tries = member.api("GET", f"/trials/{trial_id}").json["tries"]
    assert {each["recipe"]["region"] for each in tries} == {"whole"}
