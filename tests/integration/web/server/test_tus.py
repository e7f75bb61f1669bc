"""Resumable uploads: what breaks off goes on, in any process, and no byte is lost or kept twice."""

import base64
import hashlib
import operator
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import select, update
from tests.integration.web.conftest import Person
from tests.integration.web.portals import Portal, run_portal

from retint import uploads
from retint.columns import now
from retint.photos import Incoming
from retint.services import Services
from retint.settings import Settings
from retint.stores import Partial
from retint.tables import Photo, Upload
from retint_web import tus

MIB = 1 << 20
DATA = os.urandom(21 * MIB + 5)
SHA256 = hashlib.sha256(DATA).hexdigest()
TUS = {"Tus-Resumable": "1.0.0"}
BYTES = TUS | {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def portal(settings: Settings, member: Person, tmp_path: Path) -> Iterator[Portal]:
    with run_portal(settings, member.token, tmp_path) as running:
        yield running


def describe(**values: str) -> dict[str, str]:
    pairs = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())
    return {"Upload-Metadata": ",".join(pairs)}


def open_upload(portal: Portal, *, size: int = len(DATA), **values: str) -> str:
    answer = portal.http.post("/api/v1/uploads", headers=TUS | {"Upload-Length": str(size)} | describe(**values))
    assert answer.status_code == 201, answer.text
    return str(httpx.URL(answer.headers["Location"]).path)


def read_offset(portal: Portal, address: str) -> int:
    answer = portal.http.head(address, headers=TUS)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    return int(answer.headers["Upload-Offset"])


def send(portal: Portal, address: str, offset: int, data: bytes, **headers: str) -> httpx.Response:
    return portal.http.patch(address, headers=BYTES | {"Upload-Offset": str(offset)} | headers, content=data)


def break_off(portal: Portal, member: Person, address: str, offset: int, data: bytes) -> None:
    """Send some bytes of a request that announces all the rest, and close the connection."""
    head = [f"PATCH {address} HTTP/1.1", f"Content-Length: {len(DATA) - offset}", f"Upload-Offset: {offset}"]
    head += [f"{name}: {value}" for name, value in BYTES.items()]
    with portal.connect("\r\n".join(head), data, token=member.token):
        time.sleep(1)  # what nobody has read when a connection ends is lost


def wait_for_offset(portal: Portal, address: str, is_reached: Callable[[int], bool]) -> int:
    deadline = time.monotonic() + 30
    while not is_reached(offset := read_offset(portal, address)):
        assert time.monotonic() < deadline, offset
        time.sleep(0.05)
    return offset


def stored(services: Services) -> list[str]:
    return [blob.key for blob in services.store.list("tenants/")]


def read_original(services: Services) -> bytes:
    [key] = stored(services)
    with services.store.open(key) as blob:
        return blob.read()


def test_an_upload_in_pieces_becomes_a_photo_and_a_job(portal: Portal, services: Services) -> None:
    batch_id = portal.open_batch()
    address = open_upload(portal, filename="shelf/a.tif", batch=batch_id, sha256=SHA256)
    offset = 0
    for size in (5, 9 * MIB, 3 * MIB, len(DATA)):
        answer = send(portal, address, offset, DATA[offset : offset + size])
        assert answer.status_code == 204, answer.text
        offset = min(len(DATA), offset + size)
        assert answer.headers["Upload-Offset"] == str(offset)
        assert answer.headers["Upload-Expires"].endswith("GMT")
    shown = portal.http.get(address).json()
    job = portal.http.get(f"/api/v1/jobs/{shown['job_id']}").json()
    assert (job["name"], job["sha256"], job["batch_id"]) == ("shelf/a.tif", SHA256, batch_id)
    assert read_original(services) == DATA, "and nothing else is left in the store"


def test_what_arrived_before_a_connection_broke_is_kept(portal: Portal, member: Person, services: Services) -> None:
    address = open_upload(portal)
    offset = 0
    for size in (1, 10 * MIB, 2 * MIB):
        break_off(portal, member, address, offset, DATA[offset : offset + size])
        offset = wait_for_offset(portal, address, partial(operator.le, offset + size))
    assert send(portal, address, offset, DATA[offset:]).status_code == 204
    assert read_original(services) == DATA


def test_a_killed_portal_loses_little(
    portal: Portal, member: Person, services: Services, settings: Settings, tmp_path: Path
) -> None:
    address = open_upload(portal)
    head = f"PATCH {address} HTTP/1.1\r\nContent-Length: {len(DATA)}\r\nUpload-Offset: 0\r\n"
    head += "\r\n".join(f"{name}: {value}" for name, value in BYTES.items())
    with portal.connect(head, DATA[: 17 * MIB], token=member.token) as connection:
        time.sleep(uploads.CHECKPOINT_S + 1)
        connection.sendall(DATA[17 * MIB : 20 * MIB])
        offset = wait_for_offset(portal, address, lambda now: now > 0)
        parent = psutil.Process(portal.process.pid)
        for process in [*parent.children(recursive=True), parent]:
            process.kill()
    with run_portal(settings, member.token, tmp_path) as other:
        assert read_offset(other, address) == offset >= 16 * MIB
        assert send(other, address, offset, DATA[offset:]).status_code == 204
    assert read_original(services) == DATA


def test_the_newest_request_wins_and_the_stalled_one_changes_nothing(
    portal: Portal, member: Person, services: Services
) -> None:
    address = open_upload(portal)
    head = f"PATCH {address} HTTP/1.1\r\nContent-Length: {len(DATA)}\r\nUpload-Offset: 0\r\n"
    head += "\r\n".join(f"{name}: {value}" for name, value in BYTES.items())
    with portal.connect(head, bytes(3 * MIB), token=member.token) as stalled:
        time.sleep(0.5)
        assert send(portal, address, 0, DATA[: 9 * MIB]).status_code == 204
        stalled.sendall(bytes(len(DATA) - 3 * MIB))
        assert b" 409 " in stalled.recv(65536).splitlines()[0]
    assert send(portal, address, 9 * MIB, DATA[9 * MIB :]).status_code == 204
    assert read_original(services) == DATA


def test_the_first_bytes_may_come_with_the_opening(portal: Portal, services: Services) -> None:
    answer = portal.http.post("/api/v1/uploads", headers=BYTES | {"Upload-Length": str(len(DATA))}, content=DATA)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (201, str(len(DATA)))
    assert read_original(services) == DATA


def test_bytes_that_are_known_are_kept_once(portal: Portal, services: Services) -> None:
    first = portal.http.get(finish(portal)).json()
    second = portal.http.get(finish(portal)).json()
    assert first["photo_id"] == second["photo_id"] == first["id"] != second["id"]
    assert read_original(services) == DATA


def finish(portal: Portal) -> str:
    address = open_upload(portal)
    for start in (0, 11 * MIB):
        assert send(portal, address, start, DATA[start : start + 11 * MIB]).status_code == 204
    return address


@pytest.mark.parametrize("algorithm", tus.CHECKSUMS)
def test_a_request_that_arrives_damaged_is_not_kept(portal: Portal, services: Services, algorithm: str) -> None:
    address = open_upload(portal)
    digest = base64.b64encode(hashlib.new(algorithm, DATA[: 9 * MIB]).digest()).decode()
    damaged = send(portal, address, 0, bytes(9 * MIB), **{"Upload-Checksum": f"{algorithm} {digest}"})
    assert (damaged.status_code, damaged.json()["code"]) == (460, "checksum_differs")
    assert read_offset(portal, address) == 0
    sound = send(portal, address, 0, DATA[: 9 * MIB], **{"Upload-Checksum": f"{algorithm} {digest}"})
    assert sound.status_code == 204
    assert send(portal, address, 9 * MIB, DATA[9 * MIB :]).status_code == 204
    assert read_original(services) == DATA


def test_a_file_with_another_hash_is_given_up(portal: Portal, services: Services) -> None:
    address = open_upload(portal, sha256="0" * 64)
    assert send(portal, address, 0, DATA[: 9 * MIB]).status_code == 204
    answer = send(portal, address, 9 * MIB, DATA[9 * MIB :])
    assert (answer.status_code, answer.json()["code"]) == (400, "damaged")
    assert portal.http.head(address).status_code == 404
    assert stored(services) == []


def test_an_upload_may_outlive_its_batch_but_enters_it_no_more(portal: Portal, services: Services) -> None:
    batch_id = portal.open_batch()
    address = open_upload(portal, filename="a.tif", batch=batch_id)
    portal.http.post(f"/api/v1/batches/{batch_id}/cancel")
    answer = send(portal, address, 0, DATA)
    assert (answer.status_code, answer.json()["code"]) == (409, "batch_cancelled")
    assert portal.http.head(address).status_code == 404
    assert portal.http.get(f"/api/v1/batches/{batch_id}/jobs").json()["items"] == []
    assert portal.http.post("/api/v1/photos/known", json={"sha256": [SHA256]}).json() == {"known": [SHA256]}


def test_an_upload_that_is_ended_or_expires_leaves_nothing(portal: Portal, services: Services) -> None:
    ended, expired = open_upload(portal), open_upload(portal)
    for address in (ended, expired):
        assert send(portal, address, 0, DATA[: 9 * MIB]).status_code == 204
    assert portal.http.delete(ended, headers=TUS).status_code == 204
    with services.begin() as session:
        session.execute(update(Upload).values(expires_at=now(-1.0)))
    assert uploads.expire(services) == 1
    for address in (ended, expired):
        assert portal.http.head(address).status_code == 404
    assert stored(services) == []


def test_what_the_store_has_lost_is_sent_again(portal: Portal, services: Services) -> None:
    address = open_upload(portal)
    assert send(portal, address, 0, DATA[: 9 * MIB]).status_code == 204
    with services.begin() as session:
        upload = session.scalars(select(Upload)).one()
        photos_incoming = Incoming(services, upload.tenant_id, upload.id, Partial.from_json(upload.partial))
    photos_incoming.discard()
    assert send(portal, address, 9 * MIB, DATA[9 * MIB :]).status_code == 409
    assert read_offset(portal, address) == 0
    assert send(portal, address, 0, DATA).status_code == 204
    assert read_original(services) == DATA


def test_what_is_kept_never_becomes_less(services: Services, member: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """An S3 service keeps whole parts while a request runs, and the rest only at its end."""
    monkeypatch.setattr(uploads, "CHECKPOINT_S", 0.0)
    opened = uploads.open(services, member.identity.tenant_id, 9)
    for start in (0, 3, 6):
        with services.read() as session:
            upload = uploads.get(session, member.identity.tenant_id, opened.id)
        receiver = uploads.Receiver(services, upload)
        receiver.write(b"photo-one"[start : start + 3])
        with services.read() as session:
            assert uploads.get(session, member.identity.tenant_id, opened.id).offset >= start
        receiver.finish()
        receiver.end()
    assert read_original(services) == b"photo-one"


def test_a_file_that_arrived_whole_before_its_process_died_is_found(portal: Portal, services: Services) -> None:
    """The store has it, but the row does not say so: the process died between the two."""
    address = open_upload(portal)
    assert send(portal, address, 0, DATA[: 9 * MIB]).status_code == 204
    with services.read() as session:
        upload = session.scalars(select(Upload)).one()
    writer = services.store.write(
        Photo(id=upload.id, tenant_id=upload.tenant_id).original_key, so_far=Partial.from_json(upload.partial)
    )
    writer.write(DATA[9 * MIB :])
    writer.commit()
    answer = send(portal, address, 9 * MIB, DATA[9 * MIB :])
    assert answer.status_code in (204, 409)
    assert read_offset(portal, address) == len(DATA)
    assert read_original(services) == DATA


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": "5"}, 412),
        (TUS, 400),
        (TUS | {"Upload-Length": "-1"}, 400),
        (TUS | {"Upload-Length": "5e3"}, 400),
        (TUS | {"Upload-Length": "0"}, 422),
        (TUS | {"Upload-Length": str(1 << 60)}, 413),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "filename not-base64!"}, 400),
        (TUS | {"Upload-Length": "5", "Upload-Metadata": "filename /w=="}, 400),
        (TUS | {"Upload-Length": "5"} | describe(batch="7"), 400),
        (TUS | {"Upload-Length": "5"} | describe(batch="0190b5a0-0000-7000-8000-000000000000", filename="a"), 404),
        (TUS | {"Upload-Length": "5"} | describe(sha256="ABC"), 400),
    ],
)
def test_a_bad_opening_is_refused(portal: Portal, headers: dict[str, str], status: int) -> None:
    answer = portal.http.post("/api/v1/uploads", headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["Tus-Resumable"] == "1.0.0"


def test_bad_bytes_are_refused_and_change_nothing(portal: Portal) -> None:
    address = open_upload(portal, size=5)
    assert portal.http.patch(address, headers=TUS | {"Upload-Offset": "0"}, content=b"x").status_code == 415
    assert send(portal, address, 1, b"x").status_code == 409
    assert send(portal, address, 0, b"more than five").status_code == 400
    assert send(portal, address, 0, b"x", **{"Upload-Checksum": "crc32 AAAA"}).status_code == 400
    assert read_offset(portal, address) == 0


def test_a_stranger_finds_no_upload(portal: Portal, make_person: Callable[..., Person]) -> None:
    address = open_upload(portal)
    other = {"Authorization": f"Bearer {make_person('archive').token}"}
    for method in ("HEAD", "PATCH", "DELETE"):
        headers: dict[str, Any] = BYTES | {"Upload-Offset": "0"} | other
        assert portal.http.request(method, address, headers=headers, content=b"x").status_code == 404


def test_the_server_says_what_it_can_do(portal: Portal) -> None:
    answer = httpx.options(f"{portal.url}/api/v1/uploads")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert {"creation", "checksum", "expiration", "termination"} <= set(answer.headers["Tus-Extension"].split(","))
    assert int(answer.headers["Tus-Max-Size"]) == 4096 * MIB
