"""Trials: one photo restored by several networks, shown side by side, and the deposit that follows."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.integration.web.conftest import JPEG, Person, csrf_token

from retint import recipes, trials
from retint.errors import Refused, Transient
from retint.jobs import tallies
from retint.jobs.leases import AttemptEnd, claim, settle
from retint.lifecycle import Stage
from retint.services import Services
from retint.settings import Settings
from retint_models.weights.cards import read_cards

EMBEDDED = pytest.mark.parametrize("backends", ["embedded"], indirect=True)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with weights of `artistic` and `lab-resnet18`, which nobody runs."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("artistic", "lab-resnet18"):
        (folder / f"{name}.safetensors").write_bytes(b"weights")
        (folder / f"{name}.toml").write_text(f'sha256 = "{"0" * 64}"\n')
    return settings.model_copy(update={"weights": folder})


@pytest.fixture
def begin_trial(member: Person) -> Callable[..., dict[str, Any]]:
    """Upload a photo and begin a trial of it."""

    def begin(**body: Any) -> dict[str, Any]:
        sha256 = member.api("PUT", "/photos", data=JPEG).json["sha256"]
        answer = member.api("POST", "/trials", json={"sha256": sha256, "name": "album/aunt.jpg", **body})
        assert answer.status_code == 201, answer.text
        return dict(answer.json)

    return begin


def tried_settings(trial: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    return [(each["recipe"]["colorizer"], each["recipe"]["colorizer_settings"]) for each in trial["tries"]]


@EMBEDDED
def test_every_installed_network_is_tried_at_its_telling_settings(
    begin_trial: Callable[..., dict[str, Any]],
) -> None:
    assert tried_settings(begin_trial()) == [
        ("compact", {"gain": 1.3}),
        ("compact", {"gain": 2.2}),
        ("compact", {"gain": 2.8}),
        ("compact-vivid", {"gain": 2.1}),
        ("compact-vivid", {"gain": 3.5}),
        ("compact-vivid", {"gain": 4.0}),
        ("artistic", {"render_factor": 21}),
        ("artistic", {"render_factor": 35}),
        ("artistic", {"render_factor": 44}),
        ("lab-resnet18", {}),
    ]


def test_where_all_networks_are_here_each_is_tried_once_before_any_is_tried_twice(tmp_path: Path) -> None:
    colorizers = [card.name for card in read_cards().values() if card.kind == "colorizer"]
    for name in colorizers:
        (tmp_path / f"{name}.safetensors").write_bytes(b"weights")
        (tmp_path / f"{name}.toml").write_text('sha256 = "0"\n')
    usual = trials.suggest_recipes(imported=tmp_path)
    assert len(usual) == trials.SUGGESTED_LIMIT
    assert {recipe.colorizer for recipe in usual} == set(colorizers) - {"ddcolor-artistic"}, "undisclosed data"
    named = trials.suggest_recipes(["ddcolor-artistic"], imported=tmp_path)
    assert [recipe.colorizer_settings for recipe in named] == [{"side": 320}, {"side": 512}, {"side": 640}]
    for recipe in usual:
        recipes.check(recipe, tmp_path)


def test_the_leading_networks_are_compared_where_they_are_here(tmp_path: Path) -> None:
    assert [recipe.colorizer for recipe in trials.suggest_leading(imported=tmp_path)] == ["compact"]
    for name in ("ddcolor", "artistic", "ddcolor-artistic"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"weights")
        (tmp_path / f"{name}.toml").write_text('sha256 = "0"\n')
    base = recipes.parse({"invert": True, "colorizer_settings": {"gain": 1}})
    leading = trials.suggest_leading(base, tmp_path)
    assert [recipe.colorizer for recipe in leading] == ["compact", "artistic", "ddcolor"]
    assert all(recipe.invert and not recipe.colorizer_settings for recipe in leading)


@EMBEDDED
def test_the_form_compares_the_leading_networks_with_one_button(member: Person, settings: Settings) -> None:
    (settings.weights / "ddcolor-artistic.safetensors").write_bytes(b"weights")
    (settings.weights / "ddcolor-artistic.toml").write_text('sha256 = "0"\n')
    browser = member.browser()
    form = browser.get("/trials/new").text
    assert re.search(r'value="artistic" checked', form)
    assert re.search(r'value="ddcolor-artistic">', form), "undisclosed data: only where a person ticks it"
    assert "Compare Balanced and Artistic only" in form
    sent = browser.post(
        "/trials",
        data={
            "csrf_token": csrf_token(browser, "/trials/new"),
            "photo": (io.BytesIO(JPEG), "aunt.jpg"),
            "leading": "1",
        },
        content_type="multipart/form-data",
    )
    trial = member.api("GET", f"/trials/{sent.headers['Location'].split('/')[-1]}").json
    assert tried_settings(trial) == [("compact", {}), ("artistic", {})]


def test_a_trial_is_found_again_and_hides_from_the_batches(
    member: Person, stranger: Person, begin_trial: Callable[..., dict[str, Any]], restore: Callable[..., None]
) -> None:
    first, second = begin_trial(), begin_trial(recipes=[{"colorizer": "keep"}])
    assert member.api("GET", "/batches").json["items"] == []
    listed = member.api("GET", "/trials", query_string={"limit": 1}).json
    assert [each["id"] for each in listed["items"]] == [second["id"]]
    rest = member.api("GET", "/trials", query_string={"after": listed["next"]}).json["items"]
    assert [(each["id"], each["tries"]) for each in rest] == [(first["id"], 10)]
    assert stranger.api("GET", "/trials").json["items"] == []
    assert stranger.api("GET", f"/trials/{first['id']}").status_code == 404

    restore(second["tries"][0]["id"])
    shown = member.api("GET", f"/trials/{second['id']}").json
    assert shown["is_over"]
    assert shown["name"] == "album/aunt.jpg"
    [only] = shown["tries"]
    assert (only["state"], only["recipe"]["colorizer"]) == ("restored", "keep")
    assert only["seconds"] > 0
    assert {"before", "preview", "result"} <= only["files"].keys()
    assert not member.api("GET", f"/trials/{first['id']}").json["is_over"]


def test_tries_overtake_deposits_of_the_same_tenant(
    services: Services, member: Person, begin_trial: Callable[..., dict[str, Any]]
) -> None:
    begin_trial(recipes=[{}])
    member.deposit(member.open_batch(priority=5))
    with services.begin() as session:
        assert sorted(load.priority for load in tallies.list_loads(session)) == [5, trials.PRIORITY]


@EMBEDDED
def test_one_more_is_tried_once_and_no_more_than_a_page_holds(
    services: Services, member: Person, begin_trial: Callable[..., dict[str, Any]]
) -> None:
    trial = begin_trial(recipes=[{}])
    path = f"/trials/{trial['id']}/tries"
    for _ in range(2):
        again = member.api("POST", path, json={"recipe": {"colorizer": "compact-vivid"}}).json
        assert tried_settings(again) == [("compact", {}), ("compact-vivid", {})]
    not_here = member.api("POST", path, json={"recipe": {"colorizer": "stable"}})
    assert not_here.status_code == 422
    assert "weights of stable are not installed" in not_here.json["detail"]
    for strength in range(trials.TRY_LIMIT - 2):
        member.api("POST", path, json={"recipe": {"strength": strength / 100}})
    full = member.api("POST", path, json={"recipe": {"strength": 0.5}})
    assert (full.status_code, full.json["code"]) == (422, "too_many_tries")


def test_stopping_a_trial_stops_what_has_not_ended(
    member: Person, begin_trial: Callable[..., dict[str, Any]], restore: Callable[..., None]
) -> None:
    trial = begin_trial(recipes=[{}, {"colorizer": "compact-vivid"}])
    restore(trial["tries"][0]["id"])
    stopped = member.api("POST", f"/trials/{trial['id']}/cancel").json
    assert [each["state"] for each in stopped["tries"]] == ["restored", "cancelled"]
    # What was stopped may be tried again.
    again = member.api("POST", f"/trials/{trial['id']}/tries", json={"recipe": {"colorizer": "compact-vivid"}}).json
    assert sorted(each["state"] for each in again["tries"]) == ["cancelled", "ready", "restored"]


@pytest.mark.parametrize("body", [{}, {"url": "https://photos.example/a.jpg"}, {"recipes": [{}] * 25}])
@EMBEDDED
def test_a_trial_needs_one_photo_and_a_few_recipes(member: Person, body: dict[str, Any]) -> None:
    sha256 = member.api("PUT", "/photos", data=JPEG).json["sha256"]
    if body:
        body = {"sha256": sha256} | body
    assert member.api("POST", "/trials", json=body).status_code in (400, 422)


@EMBEDDED
def test_a_photo_is_tried_by_the_form_and_the_one_that_is_liked_is_used(
    member: Person, restore: Callable[..., None]
) -> None:
    browser = member.browser()
    token = csrf_token(browser, "/trials/new")
    sent = browser.post(
        "/trials",
        data={"csrf_token": token, "photo": (io.BytesIO(JPEG), "aunt.jpg"), "network": ["artistic"]},
        content_type="multipart/form-data",
    )
    assert sent.status_code == 303
    page = browser.get(sent.headers["Location"]).text
    assert page.count('class="card"') == 3
    assert "render factor 44" in page
    assert "hx-get" in page

    trial = member.api("GET", f"/trials/{sent.headers['Location'].split('/')[-1]}").json
    middle = next(each for each in trial["tries"] if each["recipe"]["colorizer_settings"] == {"render_factor": 21})
    restore(*(each["id"] for each in trial["tries"]))
    page = browser.get(sent.headers["Location"]).text
    assert f'href="/deposit?like={middle["id"]}"' in page
    assert "hx-get" not in page
    assert page.count("Use this<") == 3

    form = browser.get(f"/deposit?like={middle['id']}").text
    assert re.search(r'value="artistic" checked', form)
    assert re.search(r'name="artistic.render_factor"[^>]*value="21', form)
    assert f'name="include" value="{middle["id"]}" checked' in form
    used = browser.post(
        "/deposit",
        data={
            "csrf_token": token,
            "name": "Aunts",
            "colorizer": "artistic",
            "artistic.render_factor": "21",
            "compact.gain": "1.5",
            "include": middle["id"],
        },
    )
    batch_id = used.headers["Location"].split("/")[-1]
    batch = member.api("GET", f"/batches/{batch_id}").json
    assert batch["recipe"] == middle["recipe"]
    [job] = member.api("GET", f"/batches/{batch_id}/jobs").json["items"]
    shown = member.api("GET", f"/jobs/{job['id']}").json
    assert (shown["name"], shown["sha256"]) == ("aunt.jpg", trial["sha256"])


@EMBEDDED
def test_a_photo_of_a_batch_is_tried_without_sending_it_again(
    member: Person, stranger: Person, restore: Callable[..., None]
) -> None:
    job = member.deposit(member.open_batch(), "aunt.jpg")
    restore(job["id"])
    browser = member.browser()
    assert "Try other networks" in browser.get(f"/jobs/{job['id']}").text
    token = csrf_token(browser, "/trials/new")
    begun = browser.post("/trials", data={"csrf_token": token, "job": job["id"]})
    trial = member.api("GET", f"/trials/{begun.headers['Location'].split('/')[-1]}").json
    assert (trial["sha256"], trial["name"]) == (job["sha256"], "aunt.jpg")
    # Its page leads back to the trial, not to a batch that nobody opened.
    page = browser.get(f"/jobs/{trial['tries'][1]['id']}").text
    assert f'href="/trials/{trial["id"]}"' in page
    assert 'rel="prev"' in page
    assert 'rel="next"' in page
    foreign = stranger.browser()
    refused = foreign.post("/trials", data={"csrf_token": csrf_token(foreign, "/trials/new"), "job": job["id"]})
    assert refused.status_code == 404


@EMBEDDED
def test_a_file_that_is_no_photo_is_said_once(
    services: Services, member: Person, admin: Person, begin_trial: Callable[..., dict[str, Any]]
) -> None:
    trial = begin_trial(recipes=[{}, {"colorizer": "compact-vivid"}])
    ids = [UUID(each["id"]) for each in trial["tries"]]
    with services.begin() as session:
        leases = claim(session, Stage.INGEST, ids, None, 60)
        ended: list[AttemptEnd] = [
            (lease, Refused("This is a letter, not a photo.", code="no_image")) for lease in leases
        ]
        settle(session, ended, backoff_s=1, requeue_s=60)
    browser = member.browser()
    assert browser.get(f"/trials/{trial['id']}/live").headers["HX-Refresh"] == "true"
    page = browser.get(f"/trials/{trial['id']}").text
    assert page.count("This is a letter, not a photo.") == 1
    assert "hx-get" not in page
    # An administrator, who counts refused deposits, is spared that one file was tried twice.
    assert admin.api("GET", "/failures").json["items"] == []


@EMBEDDED
def test_an_empty_form_says_what_is_missing(member: Person) -> None:
    browser = member.browser()
    answer = browser.post("/trials", data={"csrf_token": csrf_token(browser, "/trials/new")}, follow_redirects=True)
    assert answer.status_code == 200
    assert "Choose a photo to try." in answer.text


@EMBEDDED
def test_an_administrator_sees_a_trial_as_one_line_and_a_fault_of_it(
    services: Services, admin: Person, member: Person, begin_trial: Callable[..., dict[str, Any]]
) -> None:
    trial = begin_trial(recipes=[{}, {"colorizer": "compact-vivid"}])
    page = admin.browser().get("/admin/").text
    assert page.count("Trial of") == 1
    assert f'href="/trials/{trial["id"]}"' in page
    batch_id = admin.api("GET", f"/jobs/{trial['tries'][0]['id']}").json["batch_id"]
    assert member.browser().get(f"/batches/{batch_id}").headers["Location"] == f"/trials/{trial['id']}"
    for _ in range(3):
        with services.begin() as session:
            [lease] = claim(session, Stage.INGEST, [UUID(trial["tries"][0]["id"])], None, 60)
            settle(session, [(lease, Transient("The GPU was lost."))], backoff_s=0, requeue_s=60)
    [failure] = admin.api("GET", "/failures").json["items"]
    assert (failure["state"], failure["count"]) == ("quarantined", 1)
    shown = member.browser().get(f"/trials/{trial['id']}").text
    assert "The GPU was lost." in shown
