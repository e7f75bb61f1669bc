"""The command `retint portal`: a gunicorn process, used over real sockets."""

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from tests.integration.web.conftest import JPEG, Person
from tests.integration.web.portals import Portal, run_portal
from tests.servers import find_free_ports

from retint.services import Services
from retint.settings import Settings

EMBEDDED = pytest.mark.parametrize("backends", ["embedded"], indirect=True)
MIB = 1 << 20
METRICS = "a token of the tests only"


@pytest.fixture
def portal(settings: Settings, member: Person, tmp_path: Path) -> Iterator[Portal]:
    changes = {"upload_limit_mib": 160, "metrics_token": SecretStr(METRICS)}
    with run_portal(settings.model_copy(update=changes), member.token, tmp_path) as running:
        yield running


def test_large_files_go_through_without_filling_the_memory(
    portal: Portal, member: Person, restore: Callable[..., None], tmp_path: Path
) -> None:
    batch_id, block = portal.open_batch(), bytes(range(256)) * (MIB // 256)
    before, most, ended = portal.memory_bytes(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.02):
            most = max(most, portal.memory_bytes())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        sent = [portal.put(batch_id, f"{n}.tif", (block for _ in range(128))).json() for n in range(2)]
        assert sent[0]["sha256"] == hashlib.sha256(block * 128).hexdigest()
        restore(*(job["id"] for job in sent), result=block * 64)
        received = 0
        with portal.http.stream("GET", f"/api/v1/batches/{batch_id}/results.zip") as answer:
            for chunk in answer.iter_raw():
                received += len(chunk)
        assert received > 2 * 64 * MIB
    finally:
        ended.set()
        watching.join()
    assert most - before < 64 * MIB, f"{(most - before) / MIB:.0f} MiB more"


@EMBEDDED
def test_what_is_too_large_hears_so(portal: Portal) -> None:
    batch_id = portal.open_batch()
    for body in (bytes(161 * MIB), (bytes(MIB) for _ in range(161))):
        answer = portal.put(batch_id, "a.tif", body)
        assert answer.status_code == 413
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "larger than" in answer.json()["detail"]
    with httpx.Client(base_url=portal.url, headers=portal.http.headers) as fresh:
        assert fresh.get(f"/api/v1/batches/{batch_id}").json()["counts"]["total"] == 0


@EMBEDDED
def test_a_refused_upload_is_answered_on_a_connection_that_lives_on(portal: Portal) -> None:
    nobody = "00000000-0000-0000-0000-000000000000"
    for body in (bytes(20 * MIB), (bytes(MIB) for _ in range(20))):
        assert portal.put(nobody, "a.tif", body).status_code == 404
        assert portal.http.get("/api/v1/batches").status_code == 200


def test_the_same_bytes_at_the_same_time_are_one_photo(portal: Portal, services: Services) -> None:
    batch_id = portal.open_batch()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: portal.put(batch_id, f"{n % 4}.jpg", JPEG), range(16)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["photo_id"] for answer in answers}) == 1
    assert len({answer.json()["id"] for answer in answers}) == 4
    assert portal.http.get(f"/api/v1/batches/{batch_id}").json()["counts"]["total"] == 4
    assert len(list(services.store.list("tenants/"))) == 1


def _send_raw(portal: Portal, request: bytes) -> bytes:
    """Send bytes, close the sending side, and return the answer."""
    with socket.create_connection(("127.0.0.1", portal.port), timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass
        return answer


@EMBEDDED
def test_an_upload_that_breaks_off_leaves_nothing(portal: Portal, member: Person, services: Services) -> None:
    batch_id = portal.open_batch()
    start = (
        f"PUT /api/v1/batches/{batch_id}/files?name=a.jpg HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {member.token}\r\n"
    ).encode()
    broken = (
        start + b"Content-Length: 1000\r\n\r\n" + b"x" * 500,
        start + b"Transfer-Encoding: chunked\r\n\r\n1f4\r\n" + b"x" * 500 + b"\r\n",
        start + b"Transfer-Encoding: chunked\r\n\r\nff\r\nx",
        start + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    )
    for request in broken:
        assert b" 201 " not in _send_raw(portal, request)
    assert portal.http.get(f"/api/v1/batches/{batch_id}").json()["counts"]["total"] == 0
    assert not list(services.store.list("tenants/"))
    assert portal.put(batch_id, "a.jpg", JPEG).status_code == 201


GARBAGE = (
    b"nonsense\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
)


@EMBEDDED
def test_garbage_on_the_wire_is_refused_and_harmless(portal: Portal) -> None:
    for request in GARBAGE:
        answer = _send_raw(portal, request)
        assert not answer or answer.startswith(b"HTTP/1.1 4"), answer[:200]
        assert httpx.get(f"{portal.url}/healthz").is_success


@EMBEDDED
@pytest.mark.parametrize("body", [b"", iter(())], ids=["length", "chunked"])
def test_an_empty_file_is_refused(portal: Portal, services: Services, body: Any) -> None:
    answer = portal.put(portal.open_batch(), "a.jpg", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "empty")
    assert not list(services.store.list("tenants/"))


@EMBEDDED
def test_a_request_that_waits_twice_reads_its_body_again(portal: Portal) -> None:
    """Once for the body, once for the photo that the body names."""
    batch_id = portal.open_batch()
    for address, code in (("http://10.0.0.1/a.jpg", "not_public"), ("ftp://a.example/a.jpg", "no_address")):
        answer = portal.http.post(f"/api/v1/batches/{batch_id}/jobs", json={"url": address})
        assert (answer.status_code, answer.json()["code"]) == (422, code)


@EMBEDDED
def test_a_long_name_fits_into_an_address(portal: Portal) -> None:
    name = "写" * 800 + ".jpg"
    assert portal.put(portal.open_batch(), name, JPEG).json()["name"] == name


@EMBEDDED
def test_operators_see_whether_it_is_ready(portal: Portal, settings: Settings, member: Person, tmp_path: Path) -> None:
    ready = httpx.get(f"{portal.url}/readyz")
    assert (ready.status_code, ready.json()) == (
        200,
        {"status": "ok", "database": "ok", "store": "ok", "broker": "ok"},
    )
    for headers in ({}, portal.http.headers, {"Authorization": "Bearer x"}):
        refused = httpx.get(f"{portal.url}/metrics", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    metrics = httpx.get(f"{portal.url}/metrics", headers={"Authorization": f"Bearer {METRICS}"})
    assert metrics.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'retint_workers_wanted{fleet="gpu"} 1.0' in metrics.text
    [nobody] = find_free_ports(1)
    lonely = settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{nobody}/0"})
    with run_portal(lonely, member.token, tmp_path) as without_broker:
        metrics = without_broker.http.get("/metrics")
        assert (metrics.status_code, "RETINT_METRICS_TOKEN" in metrics.json()["detail"]) == (404, True)
        answer = without_broker.http.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["database"] == answer.json()["store"] == "ok"
        assert "broker did not answer" in answer.json()["broker"]
        assert without_broker.put(without_broker.open_batch(), "a.jpg", JPEG).status_code == 201, "a deposit needs none"


@EMBEDDED
def test_what_runs_is_finished_before_it_ends(portal: Portal, member: Person) -> None:
    """After SIGTERM during an upload, the upload is answered, then the portal ends."""
    batch_id, started = portal.open_batch(), threading.Event()

    def upload_slowly() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * MIB
            started.set()
            time.sleep(0.1)

    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(portal.put, batch_id, "a.tif", upload_slowly())
        assert started.wait(10)
        portal.process.terminate()
        assert upload.result(timeout=60).status_code == 201
    assert portal.process.wait(timeout=40) == 0
