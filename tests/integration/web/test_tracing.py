"""Every request has an id that its lines in the log and its answer name."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from flask import Flask
from structlog.testing import capture_logs
from tests.integration.web.conftest import Person


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """The lines that are logged, with what is bound."""
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as captured:
        yield captured


def find(lines: list[Any], event: str) -> dict[str, Any]:
    [line] = [line for line in lines if line["event"] == event]
    return dict(line)


def test_a_deposit_can_be_followed_from_its_request_to_its_job(member: Person, lines: list[Any]) -> None:
    batch_id = member.open_batch()
    lines.clear()
    path, headers = f"/batches/{batch_id}/files?name=Aunt%20Emma.jpg", {"X-Request-ID": "museum-2026.07_a"}
    answer = member.api("PUT", path, data=b"\xff\xd8 a photo", headers=headers)
    assert answer.headers["X-Request-ID"] == "museum-2026.07_a"
    person = {"tenant_id": str(member.identity.tenant_id), "user_id": str(member.identity.user_id)}
    named = {"request_id": "museum-2026.07_a", **person}
    added = find(lines, "job_added")
    assert added.items() >= {**named, "batch_id": batch_id, "job_id": answer.json["id"]}.items()
    answered = find(lines, "request_answered")
    assert answered.items() >= {**named, "method": "PUT", "status": 201}.items()
    assert answered["route"] == "/api/v1/batches/<uuid:batch_id>/files"
    assert "Emma" not in str(lines)


@pytest.mark.parametrize(
    "given", ["", "short", "a" * 65, "with a space in it", "line\tbreak-line", "https://evil/1", '{"level":"error"}']
)
def test_an_id_that_is_no_plain_token_is_replaced(app: Flask, given: str) -> None:
    answers = [app.test_client().get("/healthz", headers={"X-Request-ID": given}) for _ in range(2)]
    ids = [answer.headers["X-Request-ID"] for answer in answers]
    assert all(re.fullmatch("[0-9a-f]{32}", request_id) for request_id in ids)
    assert ids[0] != ids[1]


def test_an_error_names_its_request(app: Flask, member: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.view_functions, "batches.index", lambda: 1 // 0)
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        page = member.browser().get("/")
    assert page.status_code == 500
    request_id = page.headers["X-Request-ID"]
    assert request_id in page.text
    assert find(lines, "request_crashed")["request_id"] == request_id
    problem = member.api("GET", "/batches/nothing")
    assert problem.json["request_id"] == problem.headers["X-Request-ID"] != request_id


def test_a_request_does_not_name_the_person_of_the_one_before(app: Flask, member: Person, lines: list[Any]) -> None:
    member.open_batch()
    app.test_client().post("/sign-in")
    after = [line for line in lines if line["event"] == "request_answered"][-1]
    assert "user_id" not in after
