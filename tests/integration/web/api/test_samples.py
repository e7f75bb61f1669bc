"""Every sample of the OpenAPI document does what it says, in curl and in Python, on a real portal."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.integration.web.api.conftest import CATALOGUE, LivingPortal, make_print

from retint import accounts
from retint.providers import EXAMPLE
from retint.tables import User

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)

Values = dict[str, str]


def prepare(portal: LivingPortal, number: int) -> Values:
    """Make one of everything that a sample may name, and return what it is called."""
    batch_id = portal.open_batch()
    job_ids = portal.deposit(batch_id, number)
    portal.restore(job_ids)
    job = portal.call("GET", f"/jobs/{job_ids[0]}")
    trial = portal.call("POST", "/trials", json={"sha256": job["sha256"], "recipes": [{"colorizer": "keep"}]})
    size = str(len(make_print(0)))
    upload = portal.http.post("/api/v1/uploads", headers={"Tus-Resumable": "1.0.0", "Upload-Length": size})
    return {
        "batch_id": batch_id,
        "job_id": job["id"],
        "trial_id": trial["id"],
        "upload_id": upload.headers["Location"].rpartition("/")[2],
        "upload_length": size,
        "upload_offset": "0",
        "sha256": job["sha256"],
        "seen_sha256": job["facts"]["render"]["sha256"],
    }


def with_paused_batch(portal: LivingPortal, number: int) -> Values:
    batch_id = portal.open_batch(paused=True)
    portal.deposit(batch_id, number)
    return {"batch_id": batch_id}


def with_proof(portal: LivingPortal, number: int) -> Values:
    values = with_paused_batch(portal, number)
    proof = portal.call("POST", f"/batches/{values['batch_id']}/proof", json={"recipes": [{}, {"colorizer": "keep"}]})
    portal.restore([each["id"] for column in proof["columns"] for each in column["tries"]])
    return values | {"recipe_hash": proof["columns"][0]["recipe_hash"]}


def with_ready_job(portal: LivingPortal, number: int) -> Values:
    return {"job_id": portal.deposit(portal.open_batch(), number)[0]}


def with_quarantined_job(portal: LivingPortal, number: int) -> Values:
    values = with_ready_job(portal, number)
    portal.quarantine(values["job_id"])
    return values


def with_webhook(portal: LivingPortal, number: int) -> Values:
    added = portal.call("POST", "/webhooks", json={"url": f"https://{number}.example.org", "kinds": ["batch.ended"]})
    return {"webhook_id": added["id"]}


def with_notification(portal: LivingPortal, number: int) -> Values:
    values = with_webhook(portal, number)
    told = portal.call("POST", f"/webhooks/{values['webhook_id']}/test")
    return values | {"notification_id": told["id"]}


def with_person(portal: LivingPortal, number: int) -> Values:
    invited = portal.call("POST", "/people", json={"email": f"{number}@museum.example", "role": "member"})
    return {"user_id": invited["person"]["id"]}


def with_session(portal: LivingPortal, number: int) -> Values:
    values = with_person(portal, number)
    with portal.services.begin() as session:
        user = session.get_one(User, UUID(values["user_id"]))
        begun = accounts.begin_session(session, accounts.identify(user), "192.0.2.8", "Firefox on Linux")
    return values | {"session_id": str(begun.session_id)}


def with_service_account(portal: LivingPortal, number: int) -> Values:
    portal.call("POST", "/service-accounts", json={"name": f"scanner {number}", "scopes": ["deposit"]})
    return {"token_id": portal.call("GET", "/service-accounts")["items"][0]["id"]}


def with_provider(portal: LivingPortal, number: int) -> Values:
    return {"provider_id": portal.call("POST", "/providers", json=EXAMPLE | {"slug": f"p-{number}"})["id"]}


def with_institution(portal: LivingPortal, number: int) -> Values:
    wanted = {"name": f"Institution {number}", "email": f"{number}@archive.example"}
    return {"tenant_id": portal.call("POST", "/institutions", json=wanted)["id"]}


NAMED: dict[str, Callable[[LivingPortal, int], Values]] = {
    "webhook_id": with_webhook,
    "notification_id": with_notification,
    "user_id": with_person,
    "session_id": with_session,
    "token_id": with_service_account,
    "provider_id": with_provider,
    "tenant_id": with_institution,
}
"""What must be there for a path to name it; the later ones have more."""
STATES: dict[str, Callable[[LivingPortal, int], Values]] = {
    "open_proof": with_paused_batch,
    "show_proof": with_proof,
    "release_batch": with_proof,
    "discard_proof": with_proof,
    "cancel_job": with_ready_job,
    "retry_job": with_quarantined_job,
}
"""What else must be there for an operation to succeed."""
NOT_HERE = {"download_zoom": 202, "show_confidence": 404, "check_provider": 502}
"""What is answered where there is no file that only a worker makes, and no provider."""


def run_curl(portal: LivingPortal, source: str, values: Values, folder: Path) -> str:
    token = portal.http.headers["Authorization"].removeprefix("Bearer ")
    variables = {name.upper(): value for name, value in values.items()} | {"RETINT": portal.api, "TOKEN": token}
    command = source.replace("curl ", "curl --silent --show-error --write-out '%{stderr}%{http_code}' ", 1)
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=60
    )
    return done.stderr.strip()[-3:] if done.returncode in (0, 22) else done.stderr


def run_python(portal: LivingPortal, source: str, values: Values, folder: Path) -> str:
    with httpx.Client(base_url=portal.api, headers=portal.http.headers, timeout=60) as api:
        names: dict[str, Any] = values | {"api": api, "Path": lambda name: folder / name, "print": lambda *_: None}
        with suppress(httpx.HTTPStatusError):
            exec(compile(source, "sample", "exec"), names)
    return str(names["answer"].status_code)


@pytest.mark.parametrize(("label", "run"), [("curl", run_curl), ("httpx", run_python)])
def test_every_sample_succeeds(
    living_portal: LivingPortal, label: str, run: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(make_print(0))
    (tmp_path / "catalogue.csv").write_text(CATALOGUE)
    document = living_portal.http.get("/api/v1/openapi.json").json()
    differences, ran = [], 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = operation["operationId"]
            values = prepare(living_portal, ran)
            for parameter, make in NAMED.items():
                values |= make(living_portal, ran * 10 + len(parameter)) if f"{{{parameter}}}" in path else {}
            values |= STATES[name](living_portal, ran) if name in STATES else {}
            [source] = [each["source"] for each in operation["x-codeSamples"] if each["label"] == label]
            expected = str(NOT_HERE.get(name) or min(status for status in operation["responses"] if status[0] == "2"))
            seen = run(living_portal, source, values, tmp_path)
            ran += 1
            if seen != expected:
                differences.append(f"{method.upper()} {path}: {seen}, not {expected}\n{source}")
    assert ran >= 50
    assert not differences, "\n\n".join(differences)


def test_what_is_sent_arrives(living_portal: LivingPortal, tmp_path: Path) -> None:
    """The samples of uploads send the file itself, and not its name."""
    (tmp_path / "photo.jpg").write_bytes(make_print(5))
    document = living_portal.http.get("/api/v1/openapi.json").json()
    [source] = [
        each["source"] for each in document["paths"]["/photos"]["put"]["x-codeSamples"] if each["lang"] == "Shell"
    ]
    assert run_curl(living_portal, source, {}, tmp_path) == "201"
    sha256 = hashlib.sha256(make_print(5)).hexdigest()
    assert living_portal.call("POST", "/photos/known", json={"sha256": [sha256]}) == {"known": [sha256]}
