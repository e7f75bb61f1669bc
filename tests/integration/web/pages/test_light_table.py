"""The light table and the form that runs photos again, as forms; and the API that does the same."""

import csv
import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from tests.integration.web.conftest import Person

from retint.jobs import long_moves
from retint.services import Services
from retint.tables import Job

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)
SHA256 = hashlib.sha256(b"the result").hexdigest()


@pytest.fixture
def app(app: Flask) -> Flask:
    app.config["WTF_CSRF_ENABLED"] = False
    return app


@pytest.fixture
def batch(reviewer: Person, restore: Callable[..., None]) -> tuple[str, list[str]]:
    """A batch with three results of falling risk; its id and those of the jobs."""
    batch_id = reviewer.open_batch()
    job_ids = [str(reviewer.deposit(batch_id, f"album/{name}.jpg")["id"]) for name in "abc"]
    for job_id, risk in zip(job_ids, (0.9, 0.5, 0.1), strict=True):
        restore(job_id, risk=risk)
    return batch_id, job_ids


def judge(person: Person, job_id: str, verdict: str, **seen: Any) -> Any:
    body = {"verdict": verdict, "seen_sha256": SHA256, **seen}
    return person.api("PUT", f"/jobs/{job_id}/verdict", json=body)


def test_the_api_judges_lists_and_counts(reviewer: Person, batch: tuple[str, list[str]]) -> None:
    batch_id, job_ids = batch
    answer = judge(reviewer, job_ids[1], "rejected", note="=HYPERLINK()")
    assert (answer.status_code, answer.json["judged_by"]) == (200, reviewer.email)
    assert judge(reviewer, job_ids[1], "approved").status_code == 409
    assert judge(reviewer, job_ids[0], "approved", seen_sha256="0" * 64).status_code == 409
    assert judge(reviewer, job_ids[0], "rework").status_code == 400
    assert judge(reviewer, job_ids[0], "excellent").status_code == 400
    open_ones = reviewer.api("GET", f"/batches/{batch_id}/results").json["items"]
    assert [(each["id"], each["risk"]) for each in open_ones] == [(job_ids[0], 0.9), (job_ids[2], 0.1)]
    page = reviewer.api("GET", f"/batches/{batch_id}/results?limit=1").json
    rest = reviewer.api("GET", f"/batches/{batch_id}/results?limit=5&after={page['next']}").json["items"]
    assert [each["id"] for each in rest] == [job_ids[2]]
    counts = reviewer.api("GET", f"/batches/{batch_id}").json["counts"]["verdicts"]
    assert counts == {"unjudged": 2, "rejected": 1}
    assert reviewer.api("GET", f"/jobs/{job_ids[1]}").json["verdict"] == "rejected"
    rows = list(csv.DictReader(io.StringIO(reviewer.api("GET", f"/batches/{batch_id}/report.csv").text)))
    assert [row["verdict"] for row in rows] == ["", "rejected", ""]
    assert (rows[1]["judged_by"], rows[1]["note"]) == (reviewer.email, "'=HYPERLINK()")
    assert judge(reviewer, job_ids[1], "unjudged", seen_verdict="rejected").json["verdict"] == "unjudged"


def test_the_api_makes_a_result_anew(reviewer: Person, batch: tuple[str, list[str]]) -> None:
    batch_id, (job_id, *_) = batch
    body = {"seen_sha256": SHA256, "recipe": {"colorizer": "keep"}, "note": "too red"}
    answer = reviewer.api("POST", f"/jobs/{job_id}/rework", json=body)
    assert (answer.status_code, answer.json["replaces"]) == (201, job_id)
    assert reviewer.api("GET", f"/jobs/{answer.json['id']}").json["recipe"]["colorizer"] == "keep"
    assert reviewer.api("POST", f"/jobs/{job_id}/rework", json=body).status_code == 409
    wrong = body | {"recipe": {"colorizer": "no"}}
    assert reviewer.api("POST", f"/jobs/{job_id}/rework", json=wrong).status_code == 422
    assert reviewer.api("GET", f"/batches/{batch_id}").json["counts"]["total"] == 3


def test_a_stranger_judges_nothing(stranger: Person, batch: tuple[str, list[str]]) -> None:
    batch_id, (job_id, *_) = batch
    assert judge(stranger, job_id, "approved").status_code == 404
    assert stranger.api("GET", f"/batches/{batch_id}/results").status_code == 404
    assert stranger.api("POST", f"/batches/{batch_id}/again", json={}).status_code == 404
    browser = stranger.browser()
    assert browser.get(f"/jobs/{job_id}/frame").status_code == 404
    assert browser.get(f"/batches/{batch_id}/light-table/more").status_code == 404


def test_a_conflict_is_told_and_the_result_shown_as_it_is(reviewer: Person, batch: tuple[str, list[str]]) -> None:
    _, (job_id, *_) = batch
    judge(reviewer, job_id, "approved")
    form = {"verdict": "rejected", "seen_sha256": SHA256, "seen_verdict": "unjudged"}
    browser = reviewer.browser()
    shown = browser.post(f"/jobs/{job_id}/verdict", data=form, follow_redirects=True)
    assert f"{reviewer.email} approved this photo at" in shown.text
    assert f"at={job_id}" in shown.request.url
    told = browser.post(f"/jobs/{job_id}/verdict/bar", data=form, headers={"Sec-Fetch-Mode": "cors"})
    assert (told.status_code, told.mimetype) == (409, "application/problem+json")
    assert json.loads(told.data)["detail"].endswith("Your verdict was not written.")
    written = browser.post(f"/jobs/{job_id}/verdict/bar", data=form | {"seen_verdict": "approved"})
    assert "1 of 3" in written.text


def test_what_rework_cannot_change_is_refused(reviewer: Person, batch: tuple[str, list[str]]) -> None:
    _, (job_id, *_) = batch
    seen = {"seen_sha256": SHA256, "seen_verdict": "unjudged"}
    for change in ("", "strength=7", "colorizer=none-such", "proxy_side=1"):
        answer = reviewer.browser().post(f"/jobs/{job_id}/rework", data=seen | {"change": change})
        assert answer.status_code in (400, 422), change
    assert reviewer.browser().post(f"/jobs/{job_id}/verdict", data={"verdict": "?"}).status_code == 400
    assert reviewer.browser().get(f"/batches/{batch[0]}/light-table?verdict=?").status_code == 400
    assert reviewer.api("GET", f"/jobs/{job_id}").json["replaced_by"] is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("colorizer=keep", {"colorizer": "keep", "strength": 1.0}),
        ("strength=0", {"defader": "keep", "strength": 1.0}),
        ("strength=0.5", {"defader": "compact-defade", "strength": 0.5}),
    ],
)
def test_rework_changes_one_thing(
    reviewer: Person, batch: tuple[str, list[str]], change: str, expected: dict[str, Any]
) -> None:
    _, (job_id, *_) = batch
    form = {"seen_sha256": SHA256, "seen_verdict": "unjudged", "change": change}
    assert reviewer.browser().post(f"/jobs/{job_id}/rework", data=form).status_code == 303
    newer = reviewer.api("GET", f"/jobs/{job_id}").json["replaced_by"]
    assert expected.items() <= reviewer.api("GET", f"/jobs/{newer}").json["recipe"].items()


def test_photos_are_run_again_by_form_and_api(
    reviewer: Person, batch: tuple[str, list[str]], services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id, job_ids = batch
    judge(reviewer, job_ids[0], "rejected")
    browser = reviewer.browser()
    form = browser.get(f"/batches/{batch_id}/again").text
    assert "Those whose results were rejected" in form
    assert "Those in quarantine" not in form
    address = f"/batches/{batch_id}/again"
    data = {"which": "rejected", "recipe": "other", "colorizer": "keep", "strength": "1"}
    assert "1 photo is run again." in browser.post(address, data=data, follow_redirects=True).text
    with services.read() as session:
        newest = session.scalars(select(Job).where(Job.replaces.is_not(None))).one()
    assert reviewer.api("GET", f"/jobs/{newest.id}").json["recipe"]["colorizer"] == "keep"
    assert browser.post(address, data={"which": "none"}).status_code == 400
    monkeypatch.setattr(long_moves, "MOMENT_S", 0.0)
    monkeypatch.setattr(long_moves.carry_out, "__defaults__", (0.0,))
    answer = reviewer.api("POST", f"/batches/{batch_id}/again", json={"verdict": "unjudged"})
    assert answer.json == {"replaced": 0, "complete": False}
    assert "Photos are being run again" in browser.get(f"/batches/{batch_id}").text
    assert reviewer.api("POST", f"/batches/{batch_id}/again", json={}).status_code == 409
    assert reviewer.api("POST", f"/batches/{batch_id}/again", json={"state": "running"}).status_code == 400
