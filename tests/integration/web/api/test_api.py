import hashlib
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from tests.integration.web.conftest import JPEG, Person

from retint import fleets
from retint.errors import OutOfMemory, Refused, Transient
from retint.jobs.leases import claim, settle
from retint.lifecycle import FAULT_LIMIT, Stage
from retint.roles import Role
from retint.services import Services

SHA256 = hashlib.sha256(JPEG).hexdigest()


@pytest.fixture
def quarantine(services: Services) -> Callable[[str], None]:
    """Make a job's first stage fail until the job is quarantined."""

    def fail(job_id: str) -> None:
        for _ in range(FAULT_LIMIT):
            with services.begin() as session:
                leases = claim(session, Stage.INGEST, [UUID(job_id)], None, 60)
                problem: Transient = OutOfMemory("There was not enough memory.")
                settle(session, [(lease, problem) for lease in leases], backoff_s=0.001, requeue_s=60)

    return fail


def test_a_file_goes_in_and_its_result_comes_out(member: Person, restore: Callable[..., None]) -> None:
    batch_id = member.open_batch("Grandmother's box")
    job = member.deposit(batch_id, "1912/a.jpg", sha256=SHA256)
    assert (job["name"], job["sha256"], job["state"], job["stage"]) == ("1912/a.jpg", SHA256, "ready", "ingest")
    restore(job["id"])
    shown = member.api("GET", f"/jobs/{job['id']}").json
    assert shown["state"] == "restored"
    assert [attempt["stage"] for attempt in shown["attempts"]] == ["ingest", "colorize", "defade", "render"]
    assert {"original", "proxy", "result", "preview", "provenance"} <= set(shown["files"])
    assert member.api("GET", f"/jobs/{job['id']}/files/result").data == b"the result"
    assert member.api("GET", f"/jobs/{job['id']}/files/original").data == JPEG
    batch = member.api("GET", f"/batches/{batch_id}").json
    assert batch["counts"]["total"] == batch["counts"]["restored"] == batch["counts"]["ended"] == 1
    assert batch["eta_s"] is None


def test_an_idempotency_key_opens_one_batch(member: Person) -> None:
    def open_batch(name: str, key: str | None) -> Any:
        return member.api("POST", "/batches", json={"name": name}, headers={"Idempotency-Key": key} if key else {})

    first, again, other = open_batch("Box", "k1"), open_batch("Box", "k1"), open_batch("Box", "k2")
    assert first.status_code == again.status_code == 201
    assert first.json["id"] == again.json["id"] != other.json["id"]
    assert open_batch("Box", None).json["id"] != open_batch("Box", None).json["id"]
    refused = open_batch("Another name", "k1")
    assert (refused.status_code, refused.json["code"]) == (422, "idempotency_key_reused")
    assert len(member.api("GET", "/batches").json["items"]) == 4


def test_two_tenants_may_use_the_same_idempotency_key(member: Person, stranger: Person) -> None:
    ids = {
        who.api("POST", "/batches", json={"name": "Box"}, headers={"Idempotency-Key": "k"}).json["id"]
        for who in (member, stranger)
    }
    assert len(ids) == 2


def test_a_repeated_upload_is_the_same_job_and_another_name_another(member: Person, services: Services) -> None:
    batch_id = member.open_batch()
    first, again = member.deposit(batch_id, "a.jpg"), member.deposit(batch_id, "a.jpg")
    other = member.deposit(batch_id, "copy of a.jpg")
    assert first["id"] == again["id"] != other["id"]
    assert first["photo_id"] == other["photo_id"]
    assert [blob.size for blob in services.store.list("tenants/")] == [len(JPEG)], "the bytes are kept once"


@pytest.mark.parametrize("character", ["x", "写", "\U0001f4f7"], ids=["ascii", "cjk", "emoji"])
def test_the_longest_name_of_any_script_is_one_job(member: Person, character: str) -> None:
    batch_id = member.open_batch()
    names = [character * 1020 + ".jpg", character * 1019 + "2.jpg"]
    jobs = [member.deposit(batch_id, name) for name in names]
    assert [job["name"] for job in jobs] == names
    assert member.deposit(batch_id, names[0])["id"] == jobs[0]["id"]
    body = {"sha256": jobs[0]["sha256"], "name": names[1]}
    assert member.api("POST", f"/batches/{batch_id}/jobs", json=body).json["id"] == jobs[1]["id"]


def test_bytes_that_the_server_has_need_not_be_sent_again(member: Person, stranger: Person) -> None:
    batch_id = member.open_batch()
    unknown = hashlib.sha256(b"another").hexdigest()
    member.deposit(batch_id, "a.jpg")
    assert member.api("POST", "/photos/known", json={"sha256": [SHA256, unknown]}).json == {"known": [SHA256]}
    assert stranger.api("POST", "/photos/known", json={"sha256": [SHA256]}).json == {"known": []}
    second = member.open_batch("Second")
    added = member.api("POST", f"/batches/{second}/jobs", json={"sha256": SHA256, "name": "b.jpg"})
    assert (added.status_code, added.json["sha256"], added.json["name"]) == (201, SHA256, "b.jpg")
    missing = member.api("POST", f"/batches/{second}/jobs", json={"sha256": unknown, "name": "b.jpg"})
    assert (missing.status_code, missing.json["code"]) == (404, "unknown_photo")
    theirs = stranger.open_batch()
    stolen = stranger.api("POST", f"/batches/{theirs}/jobs", json={"sha256": SHA256, "name": "b.jpg"})
    assert stolen.status_code == 404, "knowing a hash gives nobody the bytes"


def test_a_thousand_known_files_are_deposited_in_one_request(
    member: Person, stranger: Person, services: Services
) -> None:
    member.deposit(member.open_batch(), "first.jpg")
    batch_id = member.open_batch()
    files = [{"name": f"{number}.jpg", "sha256": SHA256} for number in range(998)]
    files += [files[0], {"name": "unknown.jpg", "sha256": "0" * 64}]
    answer = member.api("POST", f"/batches/{batch_id}/known", json={"files": files})
    assert answer.status_code == 200, answer.text
    jobs = answer.json["jobs"]
    assert (len(jobs), len(set(jobs)), jobs[998] == jobs[0], jobs[999]) == (1000, 999, True, None)
    assert member.api("POST", f"/batches/{batch_id}/known", json={"files": files}).json["jobs"] == jobs
    assert member.api("GET", f"/batches/{batch_id}").json["counts"]["total"] == 998
    assert member.api("GET", f"/jobs/{jobs[997]}").json["name"] == "997.jpg"
    theirs = stranger.api("POST", f"/batches/{stranger.open_batch()}/known", json={"files": files[:1]})
    assert theirs.json["jobs"] == [None]
    assert member.api("POST", f"/batches/{batch_id}/known", json={"files": files * 2}).status_code == 400
    member.api("POST", f"/batches/{batch_id}/cancel")
    refused = member.api("POST", f"/batches/{batch_id}/known", json={"files": files})
    assert (refused.status_code, refused.json["code"]) == (409, "batch_cancelled")


def test_a_damaged_upload_is_refused_and_leaves_nothing(member: Person, services: Services) -> None:
    batch_id = member.open_batch()
    answer = member.api(
        "PUT", f"/batches/{batch_id}/files", data=JPEG + b"!", query_string={"name": "a.jpg", "sha256": SHA256}
    )
    assert (answer.status_code, answer.json["code"]) == (400, "damaged")
    assert member.api("GET", f"/batches/{batch_id}").json["counts"]["total"] == 0
    assert not list(services.store.list("tenants/"))


def test_pages_of_a_list_hold_everything_once(member: Person) -> None:
    batch_ids = [member.open_batch(f"Box {n}") for n in range(5)]
    job_ids = [member.deposit(batch_ids[0], f"{n}.jpg")["id"] for n in range(5)]
    assert _all(member, "/batches", limit=2) == batch_ids[::-1]
    assert _all(member, f"/batches/{batch_ids[0]}/jobs", limit=2) == job_ids
    assert _all(member, f"/batches/{batch_ids[0]}/jobs", limit=5) == job_ids
    assert _all(member, f"/batches/{batch_ids[0]}/jobs", limit=2, state="restored") == []
    assert _all(member, f"/batches/{batch_ids[0]}/jobs", limit=2, state="ready") == job_ids


def _all(person: Person, path: str, **query: Any) -> list[str]:
    ids: list[str] = []
    while True:
        page = person.api("GET", path, query_string=query).json
        assert len(page["items"]) <= query["limit"]
        ids += [item["id"] for item in page["items"]]
        if page["next"] is None:
            return ids
        query["after"] = page["next"]


def test_a_batch_is_paused_resumed_and_cancelled(member: Person, services: Services) -> None:
    batch_id = member.open_batch()
    job_id = UUID(member.deposit(batch_id)["id"])
    assert member.api("POST", f"/batches/{batch_id}/pause").json["paused"] is True
    with services.begin() as session:
        assert claim(session, Stage.INGEST, [job_id], None, 60) == []
    assert member.api("POST", f"/batches/{batch_id}/pause").status_code == 200, "pausing again changes nothing"
    assert member.api("POST", f"/batches/{batch_id}/resume").json["paused"] is False
    cancelled = member.api("POST", f"/batches/{batch_id}/cancel").json
    assert cancelled["cancelled"] is True
    assert cancelled["counts"]["cancelled"] == 1
    assert member.api("POST", f"/batches/{batch_id}/pause").status_code == 409
    late = member.api("PUT", f"/batches/{batch_id}/files", data=JPEG, query_string={"name": "late.jpg"})
    assert (late.status_code, late.json["code"]) == (409, "batch_cancelled")


def test_a_quarantined_job_is_retried_and_no_other(admin: Person, quarantine: Callable[[str], None]) -> None:
    batch_id = admin.open_batch()
    job_id = admin.deposit(batch_id)["id"]
    assert admin.api("POST", f"/jobs/{job_id}/retry").status_code == 409
    quarantine(job_id)
    shown = admin.api("GET", f"/jobs/{job_id}").json
    assert (shown["state"], shown["reason_code"], len(shown["attempts"])) == (
        "quarantined",
        "out_of_memory",
        FAULT_LIMIT,
    )
    assert admin.api("POST", f"/jobs/{job_id}/retry").json["state"] == "ready"


def test_a_job_is_cancelled_once(member: Person, restore: Callable[..., None]) -> None:
    batch_id = member.open_batch()
    job_id, restored = member.deposit(batch_id, "a.jpg")["id"], member.deposit(batch_id, "b.jpg", b"b")["id"]
    restore(restored)
    assert member.api("POST", f"/jobs/{job_id}/cancel").json["state"] == "cancelled"
    assert member.api("POST", f"/jobs/{restored}/cancel").status_code == 409


def test_a_workers_trouble_is_seen_with_its_reason_and_since_when(
    admin: Person, worker: UUID, services: Services
) -> None:
    browser = admin.browser()
    [sound] = admin.api("GET", "/workers").json["items"]
    assert (sound["trouble"], sound["trouble_since"]) == (None, None)
    assert "in trouble" not in browser.get("/admin/").text
    with services.begin() as session:
        fleets.record_heartbeat(session, worker, "", trouble="The disk of <gpu-1> is full.")
    [sick] = admin.api("GET", "/workers").json["items"]
    assert sick["trouble"] == "The disk of <gpu-1> is full."
    assert sick["trouble_since"] is not None
    page = browser.get("/admin/live").text
    assert re.search(r"#quarantined\"/></svg>in trouble for \d", page)
    assert "The disk of &lt;gpu-1&gt; is full." in page


def test_an_administrator_sees_workers_and_scales(admin: Person, worker: UUID) -> None:
    [found] = admin.api("GET", "/workers").json["items"]
    assert (found["id"], found["fleet"]) == (str(worker), "gpu")
    shown = admin.api("GET", "/fleets/gpu").json
    assert (shown["name"], shown["mode"], shown["wanted"], shown["live"]) == ("gpu", "fixed", 1, 1)
    assert admin.api("PUT", "/fleets/gpu", json={"wanted": 3}).json["wanted"] == 3
    assert admin.api("GET", "/fleets/gpu").json["wanted"] == 3
    assert admin.api("GET", "/fleets/tpu").status_code == 404
    assert admin.api("PUT", "/fleets/tpu", json={"wanted": 3}).status_code == 404
    admin.deposit(admin.open_batch())
    queues = {queue["stage"]: queue for queue in admin.api("GET", "/queues").json["items"]}
    assert (queues["ingest"]["ready"], queues["ingest"]["fleet"]) == (1, "cpu")


@pytest.fixture
def refuse(services: Services) -> Callable[[str], None]:
    """Let a job be refused, as a file that is no photograph is."""

    def fail(job_id: str) -> None:
        with services.begin() as session:
            leases = claim(session, Stage.INGEST, [UUID(job_id)], None, 60)
            problem = Refused("This file is not an image.", code="not_an_image")
            settle(session, [(lease, problem) for lease in leases], backoff_s=0.001, requeue_s=60)

    return fail


def test_what_machines_failed_at_is_the_operators_to_retry_and_what_is_refused_the_institutions(
    stranger: Person, operator: Person, quarantine: Callable[[str], None], refuse: Callable[[str], None]
) -> None:
    """The stranger is an administrator of an institution, the operator belongs to another one."""
    batch_id = stranger.open_batch()
    jobs = [stranger.deposit(batch_id, f"{name}.jpg", name.encode())["id"] for name in "abcd"]
    for job_id in jobs[:2]:
        quarantine(job_id)
    for job_id in jobs[2:]:
        refuse(job_id)
    groups = {group["reason_code"]: group["count"] for group in stranger.api("GET", "/failures").json["items"]}
    assert groups == {"out_of_memory": 2, "not_an_image": 2}
    assert stranger.api("POST", "/faults/retry").status_code == 403
    assert stranger.api("POST", f"/jobs/{jobs[0]}/retry").status_code == 403
    page = stranger.browser().get(f"/batches/{batch_id}").text
    assert "Try again" in page
    assert "Retry" not in page
    assert stranger.api("POST", "/failures/retry", json={"reason_code": "other"}).json["retried"] == 0
    assert stranger.api("POST", "/failures/retry", json={"batch_id": str(uuid4())}).status_code == 404
    assert stranger.api("POST", "/failures/retry").json == {"retried": 2, "complete": True}
    counts = stranger.api("GET", f"/batches/{batch_id}").json["counts"]
    assert (counts["quarantined"], counts["refused"], counts["ready"]) == (2, 0, 2)
    [fault] = operator.api("GET", "/faults").json["items"]
    assert (fault["reason_code"], fault["count"]) == ("out_of_memory", 2)
    assert operator.api("POST", "/faults/retry", json={"reason_code": "other"}).json == {"retried": 0, "complete": True}
    assert operator.api("POST", "/faults/retry").json == {"retried": 2, "complete": True}


def test_only_operators_see_more_of_a_fault_than_its_sentence(
    admin: Person, make_person: Callable[..., Person], services: Services
) -> None:
    job_id = admin.deposit(admin.open_batch())["id"]
    with services.begin() as session:
        leases = claim(session, Stage.INGEST, [UUID(job_id)], None, 60)
        problem = OutOfMemory("There was not enough memory.\n\nTraceback (most recent call last): /srv/host-7")
        settle(session, [(lease, problem) for lease in leases], backoff_s=0.001, requeue_s=60)
    for role in Role:
        person = make_person(role=role, email=f"{role}@museum.test")
        page = person.browser().get(f"/jobs/{job_id}").text
        error = person.api("GET", f"/jobs/{job_id}").json["attempts"][0]["error"]
        assert error == "There was not enough memory.", role
        assert "Traceback" not in page, role
    assert "Traceback" in admin.api("GET", f"/jobs/{job_id}").json["attempts"][0]["error"]


def test_only_administrators_administrate(member: Person, app: Flask) -> None:
    for method, path in (("GET", "/workers"), ("GET", "/queues"), ("GET", "/fleets/cpu"), ("GET", "/failures")):
        assert member.api(method, path).status_code == 403
    assert member.api("PUT", "/fleets/cpu", json={"wanted": 9}).status_code == 403
    assert member.api("POST", "/failures/retry", json={}).status_code == 403


def test_a_batch_knows_its_rate_and_when_it_ends(member: Person, restore: Callable[..., None]) -> None:
    batch_id = member.open_batch()
    ids = [member.deposit(batch_id, f"{n}.jpg")["id"] for n in range(6)]
    assert member.api("GET", f"/batches/{batch_id}").json["eta_s"] is None, "nothing has ended yet"
    for job_id in ids[:3]:
        restore(job_id)
    going = member.api("GET", f"/batches/{batch_id}").json
    assert going["rate_per_minute"] > 0
    assert going["eta_s"] == pytest.approx(3 / (going["rate_per_minute"] / 60))
    assert member.api("POST", f"/batches/{batch_id}/pause").json["eta_s"] is None
