"""What people and programs are told when a quota is reached, and the operator's pages of institutions."""

import base64
import io
import os
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from flask import Flask
from sqlalchemy import select, update
from tests.integration.web.conftest import PASSWORD, Person, csrf_token, make_browser
from tests.integration.web.portals import run_portal

from retint import accounts, institutions, quotas, uploads
from retint.audit_tables import AuditEntry
from retint.jobs import tallies
from retint.lifecycle import State
from retint.quotas import Limits
from retint.services import Services
from retint.settings import Settings
from retint.tables import Batch, Job, Tenant

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)

KB = 1000
MakePerson = Callable[..., Person]


def limit(services: Services, person: Person, **limits: int) -> None:
    with services.begin() as session:
        quotas.set_limits(session, person.identity.tenant_id, Limits(**limits))


def bytes_of(size: int) -> bytes:
    return uuid.uuid4().bytes + bytes(size - 16)


def put(person: Person, batch_id: str, name: str, data: bytes) -> Any:
    return person.api("PUT", f"/batches/{batch_id}/files", data=data, query_string={"name": name})


def test_a_full_store_is_told_with_the_numbers_and_whom_to_ask(
    services: Services, member: Person, operator: Person
) -> None:
    limit(services, member, most_bytes=10 * KB)
    batch_id = member.open_batch()
    assert put(member, batch_id, "1.jpg", bytes_of(8 * KB)).status_code == 201
    answer = put(member, batch_id, "2.jpg", bytes_of(3 * KB))
    assert (answer.status_code, answer.json["code"]) == (413, "quota_exceeded")
    assert answer.json["quota"] == {
        "name": "bytes", "limit": 10_000, "used": 8000, "needs": 3000, "left_out": 0, "ask": [operator.email],
    }  # fmt: skip
    assert "8,000 B are kept or reserved, and this needs 3,000 B" in answer.json["detail"]
    limit(services, member, most_bytes=20 * KB)
    assert put(member, batch_id, "2.jpg", bytes_of(3 * KB)).status_code == 201


def test_bytes_that_are_kept_already_need_no_room(services: Services, member: Person) -> None:
    data = bytes_of(2 * KB)
    batch_id = member.open_batch()
    job = member.deposit(batch_id, "1.jpg", data)
    limit(services, member, most_bytes=1)
    again = member.deposit(batch_id, "1.jpg", data, sha256=job["sha256"])
    assert again["id"] == job["id"]


def test_an_upload_by_tus_is_refused_when_it_is_opened(services: Services, member: Person) -> None:
    limit(services, member, most_bytes=10 * KB)
    metadata = f"filename {base64.b64encode(b'a.jpg').decode()}"
    headers = {"Tus-Resumable": "1.0.0", "Upload-Metadata": metadata}

    def open_upload(size: int) -> Any:
        return member.app.test_client().post(
            "/api/v1/uploads", headers=headers | {"Authorization": f"Bearer {member.token}", "Upload-Length": str(size)}
        )

    first = open_upload(9 * KB)
    assert first.status_code == 201
    refused = open_upload(2 * KB)
    assert (refused.status_code, refused.json["quota"]["used"]) == (413, 9 * KB)
    assert refused.headers["Tus-Resumable"] == "1.0.0"
    assert member.api("GET", "/usage").json["reserved_bytes"] == 9 * KB
    authorized = {"Authorization": f"Bearer {member.token}", "Tus-Resumable": "1.0.0"}
    assert member.app.test_client().delete(first.headers["Location"], headers=authorized).status_code == 204
    assert open_upload(2 * KB).status_code == 201


def test_known_files_name_what_is_left_out(services: Services, member: Person) -> None:
    batch_id = member.open_batch()
    hashes = [member.deposit(batch_id, f"{n}.jpg", bytes_of(KB))["sha256"] for n in range(3)]
    other = member.open_batch("Box 8")
    limit(services, member, most_in_flight=5)
    files = [{"name": f"{n}.jpg", "sha256": sha256} for n, sha256 in enumerate(hashes)]
    answer = member.api("POST", f"/batches/{other}/known", json={"files": files})
    assert [job is not None for job in answer.json["jobs"]] == [True, True, False]
    assert answer.json["left_out"]["quota"]["left_out"] == 1
    assert put(member, other, "3.jpg", bytes_of(KB)).status_code == 409
    with services.begin() as session:
        session.execute(update(Job).values(state=State.RESTORED))
    again = member.api("POST", f"/batches/{other}/known", json={"files": files})
    assert all(again.json["jobs"])
    assert again.json["left_out"] is None


def test_a_trial_keeps_to_the_quotas(services: Services, member: Person) -> None:
    job = member.deposit(member.open_batch(), data=bytes_of(KB))
    limit(services, member, most_in_flight=2, highest_priority=3)
    recipes = [{"colorizer": "keep", "strength": n / 4} for n in range(2)]
    trial = {"sha256": job["sha256"], "name": "a.jpg", "recipes": recipes}
    assert member.api("POST", "/trials", json=trial).status_code == 409
    assert member.api("POST", "/trials", json=trial | {"recipes": recipes[:1]}).status_code == 201
    with services.read() as session:
        assert session.scalars(select(Batch.priority).where(Batch.trial.is_not(None))).all() == [3]


def test_priorities_are_asked_for_and_given(services: Services, member: Person) -> None:
    limit(services, member, highest_priority=2)
    refused = member.api("POST", "/batches", json={"name": "Box", "priority": 3})
    assert (refused.status_code, refused.json["quota"]["name"]) == (403, "priority")
    browser = member.browser()
    form = {"csrf_token": csrf_token(browser, "/deposit"), "name": "Browser", "colorizer": "keep"}
    assert browser.post("/deposit/batches", data=form).status_code == 201
    with services.read() as session:
        assert session.scalars(select(Batch.priority)).all() == [2]


def test_the_form_without_script_keeps_what_fits_and_says_what_is_left_out(services: Services, member: Person) -> None:
    limit(services, member, most_bytes=2 * KB)
    browser = member.browser()
    files = [(io.BytesIO(bytes_of(KB)), f"{n}.jpg") for n in range(4)]
    form = {"csrf_token": csrf_token(browser, "/deposit"), "name": "Box", "colorizer": "keep", "files": files}
    page = browser.post("/deposit", data=form, follow_redirects=True).text
    assert "2 files are left out; those before stay." in page
    with services.read() as session:
        assert tallies.count_in_flight(session, member.identity.tenant_id) == 2


@pytest.mark.parametrize(("used", "said"), [(79, None), (80, "used 80%"), (94, "used 94%"), (96, "before you deposit")])
def test_people_are_warned_before_a_quota_is_reached(
    services: Services, member: Person, used: int, said: str | None
) -> None:
    limit(services, member, most_bytes=100 * KB)
    uploads.open(services, member.identity.tenant_id, used * KB)
    for path in ("/deposit", "/account"):
        page = member.browser().get(path).text
        assert ("room for originals:" in page) == (said is not None), path
        assert said is None or said in page
    assert len(member.api("GET", "/usage").json["warnings"]) == (said is not None)


def test_an_operator_adds_an_institution_whose_first_administrator_signs_in(
    app: Flask, services: Services, operator: Person
) -> None:
    browser = operator.browser()
    form = {"csrf_token": csrf_token(browser, "/institutions/"), "name": "City Archive", "email": "kim@archive.example"}
    page = browser.post("/institutions/", data=form | {"weight": "3", "most_gb": "1.5", "highest_priority": "0"}).text
    link = page.partition('id="secret">')[2].partition("<")[0]
    guest = make_browser(app)
    token = csrf_token(guest, link)
    assert guest.post(link, data={"csrf_token": token}, follow_redirects=True).status_code == 200
    own = guest.get("/account").text
    assert "City Archive" in own
    assert "of 1.5 GB" in own
    [added] = [each for each in operator.api("GET", "/institutions").json["items"] if each["name"] == "City Archive"]
    assert (added["weight"], added["people"]) == (3, 1)
    assert added["limits"]["most_bytes"] == 1_500_000_000
    assert added["limits"]["highest_priority"] == 0
    assert link not in browser.get(f"/institutions/{added['id']}").text  # shown once
    taken = browser.post("/institutions/", data=form)
    assert taken.status_code == 409
    assert "There is already an institution City Archive." in taken.text
    with services.read() as session:
        assert "institution_added" in session.scalars(select(AuditEntry.action)).all()


def test_an_operator_changes_limits_on_the_page_and_by_the_api(
    services: Services, operator: Person, member: Person
) -> None:
    browser, path = operator.browser(), f"/institutions/{member.identity.tenant_id}"
    form = {"csrf_token": csrf_token(browser, path), "name": "The museum", "weight": "2"}
    browser.post(path, data=form | {"most_in_flight": "20000", "per_minute": "500"})
    shown = operator.api("GET", path).json
    assert (shown["name"], shown["weight"], shown["limits"]["most_in_flight"]) == ("The museum", 2, 20_000)
    assert "67 of 100 that start are of this one" in browser.get(path).text
    wrong = browser.post(path, data=form | {"most_gb": "much"}, follow_redirects=True).text
    assert "number of gigabytes" in wrong
    changed = operator.api("PUT", path, json={"name": "Museum", "limits": {"most_bytes": 5}})
    assert (changed.json["weight"], changed.json["limits"]["most_in_flight"]) == (1, None)
    assert operator.api("PUT", path, json={"name": "Museum", "weight": 101}).status_code == 400
    assert operator.api("GET", f"/institutions/{uuid.uuid4()}").status_code == 404
    with services.read() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.action == "institution_changed")).all()
    changes = [
        (each.before and each.before["most_in_flight"], each.after and each.after["most_in_flight"]) for each in entries
    ]
    assert (None, 20000) in changes


def test_a_disabled_institution_is_shut_out_and_loses_nothing(
    app: Flask, services: Services, operator: Person, member: Person
) -> None:
    job = member.deposit(member.open_batch(), data=bytes_of(KB))
    signed_in = member.browser()
    with services.begin() as session:
        secret = accounts.invite(session, accounts.find_user(session, member.email))
    path = f"/institutions/{member.identity.tenant_id}"
    assert operator.api("POST", f"{path}/disable").json["disabled"] is True
    assert signed_in.get("/").status_code == 303
    assert member.api("GET", "/batches").status_code == 401
    guest = make_browser(app)
    form = {"csrf_token": csrf_token(guest, "/sign-in"), "email": member.email, "password": PASSWORD}
    assert guest.post("/sign-in", data=form).status_code == 403
    assert guest.post(f"/sign-in/{secret}", data=form).status_code == 403
    with services.read() as session:
        assert {load.paused for load in tallies.list_loads(session)} == {True}
    assert "none of its photos starts" in operator.browser().get(path).text
    assert operator.api("POST", f"{path}/enable").json["disabled"] is False
    assert member.api("GET", f"/jobs/{job['id']}").json["state"] == "ready"
    own = operator.api("POST", f"/institutions/{operator.identity.tenant_id}/disable")
    assert own.status_code == 409


def test_the_list_shows_no_names_of_photographs(services: Services, operator: Person, make_person: MakePerson) -> None:
    member = make_person()
    member.deposit(member.open_batch("Love letters"), "grandmother.jpg", bytes_of(KB))
    browser = operator.browser()
    for path in ("/institutions/", f"/institutions/{member.identity.tenant_id}"):
        page = browser.get(path).text
        assert "museum" in page
        assert "1.0 kB" in page
        assert "grandmother" not in page
        assert "Love letters" not in page
    with services.read() as session:
        assert session.scalar(select(Tenant.name).where(Tenant.id == member.identity.tenant_id)) == "museum"


def test_a_killed_portal_leaves_the_reservation_and_another_one_goes_on(
    services: Services, settings: Settings, member: Person, tmp_path: Path
) -> None:
    size = 40 << 20
    limit(services, member, most_bytes=size)
    data = os.urandom(1 << 20) * 40
    tus = {"Tus-Resumable": "1.0.0"}
    sending = tus | {"Content-Type": "application/offset+octet-stream"}
    with run_portal(settings, member.token, tmp_path) as portal:
        opened = portal.http.post("/api/v1/uploads", headers=tus | {"Upload-Length": str(size)})
        address = httpx.URL(opened.headers["Location"]).path
        head = f"PATCH {address} HTTP/1.1\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Length: {size}\r\n"
        head += (
            f"Content-Type: application/offset+octet-stream\r\nAuthorization: Bearer {member.token}\r\nHost: x\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", portal.port)) as connection:
            connection.sendall(head.encode() + data[: 36 << 20])
            for process in psutil.Process(portal.process.pid).children():
                process.kill()
            portal.process.kill()
            portal.process.wait()
    assert count(services, member) == (0, 0, size)
    with run_portal(settings, member.token, tmp_path) as portal:
        refused = portal.http.post("/api/v1/uploads", headers=tus | {"Upload-Length": "1"})
        assert refused.status_code == 413
        offset = int(portal.http.head(address, headers=tus).headers["Upload-Offset"])
        answer = portal.http.patch(address, headers=sending | {"Upload-Offset": str(offset)}, content=data[offset:])
        assert answer.status_code == 204
    assert count(services, member) == (1, size, 0)
    with services.read() as session:
        assert institutions.recount(session) == []


def count(services: Services, person: Person) -> tuple[int, int, int]:
    with services.read() as session:
        quota = quotas.read(session, person.identity.tenant_id)
        return quota.photos, quota.kept_bytes, quota.reserved_bytes
