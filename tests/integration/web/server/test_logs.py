"""The log of the command `retint portal`."""

import json
import re
from pathlib import Path
from typing import Any

from tests.integration.web.conftest import Person
from tests.integration.web.portals import run_portal

from retint.settings import Settings

TALKING = """
import structlog
from flask import Response
import retint_web.app
make, log = retint_web.app.create_app, structlog.get_logger()

def body():
    for number in range(3):
        log.info("streams", number=number)
        yield bytes(1 << 20)

def create_app(services):
    app = make(services)
    endpoint, _ = app.url_map.bind("localhost").match("/api/v1/batches")
    app.view_functions[endpoint] = lambda: Response(body())
    return app

retint_web.app.create_app = create_app
"""


def read_lines(*files: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_every_line_of_the_portal_is_json_also_after_its_file_was_renamed(
    settings: Settings, member: Person, tmp_path: Path
) -> None:
    file, renamed = tmp_path / "log", tmp_path / "log.1"
    settings = settings.model_copy(update={"log_json": True, "log_file": file})
    with run_portal(settings, member.token, tmp_path) as portal:
        file.rename(renamed)
        portal.open_batch()
    lines = read_lines(renamed, file)
    assert {line["process"] for line in lines} == {"portal"}
    after = read_lines(file)
    assert "request_answered" in [line["event"] for line in after]
    assert "Shutting down: Master" in [line["event"] for line in after]
    assert (tmp_path / "portal.log").read_text() == ""


def test_lines_name_their_request_also_while_the_answer_is_sent(
    settings: Settings, member: Person, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"log_json": True})
    with run_portal(settings, member.token, tmp_path, TALKING) as portal:
        answers = [portal.http.get("/api/v1/batches") for _ in range(2)]
    assert [len(answer.content) for answer in answers] == [3 << 20] * 2
    streamed = [line for line in read_lines(tmp_path / "portal.log") if line["event"] == "streams"]
    ids = [answer.headers["X-Request-ID"] for answer in answers for _ in range(3)]
    assert [line["request_id"] for line in streamed] == ids
    assert {line["user_id"] for line in streamed} == {str(member.identity.user_id)}


def test_a_request_that_waits_for_its_body_is_one_request(settings: Settings, member: Person, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"log_json": True})
    with run_portal(settings, member.token, tmp_path) as portal:
        batch_id = portal.open_batch()
        answer = portal.put(batch_id, "Aunt Emma.jpg", b"\xff\xd8 a photo" * 100_000)
    text = (tmp_path / "portal.log").read_text()
    lines = [line for line in read_lines(tmp_path / "portal.log") if line.get("method") == "PUT"]
    assert [(line["request_id"], line["status"]) for line in lines] == [(answer.headers["X-Request-ID"], 201)]
    [added] = re.findall('"event": "job_added".*', text)
    assert answer.headers["X-Request-ID"] in added
    assert "Emma" not in text


CRASHING = """
import retint.photos, retint_web.pages.accounts
from retint.errors import StoreUnavailable

def crash(*arguments, **options):
    raise RuntimeError("a bug")

retint.photos.deposit = retint_web.pages.accounts.render_template = crash
"""


def test_errors_are_logged_without_names_bytes_and_secrets(settings: Settings, member: Person, tmp_path: Path) -> None:
    secrets = ["Aunt Emma", "Aunt%20Emma", "grandmothers-face", "one-time-secret", "my-password", member.token]
    with run_portal(settings, member.token, tmp_path, CRASHING) as portal:
        batch_id = portal.open_batch()
        assert portal.put(batch_id, "Aunt Emma.jpg", b"grandmothers-face").status_code == 500
        assert portal.http.get("/sign-in/one-time-secret?next=/Aunt%20Emma").status_code == 500
        portal.http.post("/sign-in", data={"email": member.email, "password": "my-password"})
        portal.http.get("/Aunt%20Emma.jpg")
        portal.http.get("/api/v1/batches", headers={"Authorization": "Bearer my-password"})
        portal.http.get("/api/v1/batches", headers={"X-Request-ID": "Aunt Emma"})
    text = (tmp_path / "portal.log").read_text()
    assert text.count("request_crashed") == 2
    assert text.count("RuntimeError: a bug") == 2
    assert [secret for secret in secrets if secret in text] == []
