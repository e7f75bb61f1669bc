"""Clients that stall, drip or are nobody, against the command `retint portal`."""

import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from tests.integration.web.conftest import Person
from tests.integration.web.portals import Portal, run_portal
from tests.timing import AT_ONCE_S

from retint.services import Services
from retint.settings import Settings
from retint_web.places import UPLOADS_PER_USER

MIB = 1 << 20
NOBODY = "00000000-0000-0000-0000-000000000000"
IMPATIENT = """
from retint_web.server import bridge, worker
bridge.WINDOW_S = worker.STALL_S = 1
"""


@pytest.fixture
def portal(settings: Settings, member: Person, tmp_path: Path) -> Iterator[Portal]:
    with run_portal(settings, member.token, tmp_path) as running:
        yield running


def upload(batch_id: str, length: int = 50 * MIB) -> str:
    return f"PUT /api/v1/batches/{batch_id}/files?name=a.tif HTTP/1.1\r\nContent-Length: {length}"


def files_in(settings: Settings) -> list[str]:
    """The files that an upload leaves in the data folder, on the way or for good."""
    folders = ("spool", "uploads", "store")
    found = [path for folder in folders for path in (settings.data / folder).rglob("*") if path.is_file()]
    return sorted(path.name for path in found if path.name not in ("lock", "store.json"))


def wait_for(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    return answer


def test_stalled_clients_cost_nobody_anything(
    portal: Portal, make_person: Callable[..., Person], member: Person, restore: Callable[..., None]
) -> None:
    """64 uploads that stall, 64 of nobody, 32 downloads and 32 connections that ask nothing."""
    batch_id = portal.open_batch()
    job_id = portal.put(batch_id, "large.tif", bytes(24 * MIB)).json()["id"]
    people = [member, *(make_person(email=f"{n}@museum.example") for n in range(2))]
    with ExitStack() as stack, httpx.Client(base_url=portal.url, headers=portal.http.headers) as http:
        for n in range(64):
            stack.enter_context(portal.connect(upload(batch_id), b"x" * 1000, people[n % 3].token))
            stack.enter_context(portal.connect(upload(batch_id), b"x" * 1000))
            if n % 2:
                download = f"GET /api/v1/jobs/{job_id}/files/original HTTP/1.1"
                stack.enter_context(portal.connect(download, token=member.token))
                stack.enter_context(socket.create_connection(("127.0.0.1", portal.port)))
        for _ in range(5):
            for path in ("/healthz", f"/api/v1/batches/{batch_id}"):
                started = time.monotonic()
                assert http.get(path, timeout=10).status_code == 200
                assert time.monotonic() - started < AT_ONCE_S, path
        page = httpx.Client(base_url=portal.url, cookies={"retint": cookie_of(member)}, headers={"Accept": "text/html"})
        started = time.monotonic()
        assert stack.enter_context(page).get(f"/batches/{batch_id}").status_code == 200
        assert time.monotonic() - started < AT_ONCE_S
        assert portal.put(batch_id, "small.jpg", b"others go on").status_code == 201


def cookie_of(person: Person) -> str:
    found = person.browser().get_cookie("retint")
    assert found
    return found.value


def take_every_place(stack: ExitStack, portal: Portal, settings: Settings, batch_id: str, member: Person) -> None:
    """Begin as many uploads as one user may have, until the stack is closed."""
    for _ in range(UPLOADS_PER_USER):
        stack.enter_context(portal.connect(upload(batch_id), b"x", member.token))
    wait_for(lambda: len(files_in(settings)) == UPLOADS_PER_USER)


@pytest.mark.parametrize("backends", ["embedded"], indirect=True)
class TestOnePortal:
    @pytest.mark.parametrize(
        "request_line",
        [f"PUT /api/v1/batches/{NOBODY}/files?name=a", "POST /api/v1/uploads", "POST /deposit/uploads"],
    )
    @pytest.mark.parametrize("length", ["Content-Length: 52428800", "Transfer-Encoding: chunked"])
    def test_nobody_is_refused_before_the_body_is_read(
        self, portal: Portal, settings: Settings, request_line: str, length: str
    ) -> None:
        started = time.monotonic()
        with portal.connect(f"{request_line} HTTP/1.1\r\n{length}") as connection:
            answer = connection.recv(65536)
            assert time.monotonic() - started < AT_ONCE_S
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert b"content-type: application/problem+json" in answer
            assert b"connection: close" in answer
            read_all(connection)
        assert time.monotonic() - started < 15, "the connection is closed"
        assert files_in(settings) == []

    @pytest.mark.parametrize("path", ["/deposit", "/trials", "/sign-in"])
    def test_a_form_of_nobody_is_not_spooled(self, portal: Portal, settings: Settings, path: str) -> None:
        kind = "Content-Type: multipart/form-data; boundary=x"
        head = f"POST {path} HTTP/1.1\r\nAccept: text/html\r\n{kind}\r\nContent-Length: {50 * MIB}"
        with portal.connect(head) as connection:
            assert connection.recv(12) in (b"HTTP/1.1 303", b"HTTP/1.1 413")
        assert files_in(settings) == []

    def test_what_cannot_be_taken_is_refused_before_it_is_read(
        self, portal: Portal, settings: Settings, member: Person
    ) -> None:
        cancelled = portal.open_batch()
        portal.http.post(f"/api/v1/batches/{cancelled}/cancel")
        heads = {
            upload(portal.open_batch(), (settings.upload_limit_mib << 20) + 1): b"413",
            upload(NOBODY): b"404",
            upload(cancelled): b"409",
            f"POST /api/v1/batches HTTP/1.1\r\nContent-Length: {2 * MIB}": b"413",
        }
        for head, status in heads.items():
            with portal.connect(head, token=member.token) as connection:
                assert connection.recv(65536)[9:12] == status, head

    def test_one_user_does_not_take_every_place(
        self, portal: Portal, settings: Settings, member: Person, make_person: Callable[..., Person]
    ) -> None:
        batch_id = portal.open_batch()
        with ExitStack() as stack:
            take_every_place(stack, portal, settings, batch_id, member)
            answer = portal.put(batch_id, "one more.jpg", b"x")
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_uploads")
            assert answer.headers["Retry-After"]
            other = make_person("archive")
            theirs = {"Authorization": f"Bearer {other.token}"}
            batch = portal.http.post("/api/v1/batches", json={"name": "x"}, headers=theirs).json()["id"]
            put = portal.http.put(f"/api/v1/batches/{batch}/files?name=a", content=b"x", headers=theirs)
            assert put.status_code == 201
        wait_for(lambda: portal.put(batch_id, "one more.jpg", b"x").status_code == 201)

    def test_all_users_together_do_not_fill_the_disk(
        self, settings: Settings, member: Person, make_person: Callable[..., Person], tmp_path: Path
    ) -> None:
        small = settings.model_copy(update={"incoming_limit_mib": 100})
        with run_portal(small, member.token, tmp_path) as portal:
            batch_id = portal.open_batch()
            with portal.connect(upload(batch_id, 200 * MIB), b"x", make_person("archive").token):
                pass
            with portal.connect(upload(batch_id, 90 * MIB), b"x", member.token):
                wait_for(lambda: len(files_in(settings)) == 1)
                with portal.connect(upload(batch_id, 11 * MIB), b"x", member.token) as refused:
                    answer = refused.recv(65536)
                    assert answer.startswith(b"HTTP/1.1 503 ")
                    assert b"no_room" in answer
                    assert b"retry-after: " in answer
                assert portal.put(batch_id, "small.jpg", b"x").status_code == 201
            wait_for(lambda: portal.put(batch_id, "large.tif", bytes(11 * MIB)).status_code == 201)

    def test_a_client_that_sends_next_to_nothing_is_left(
        self, settings: Settings, member: Person, tmp_path: Path
    ) -> None:
        with run_portal(settings, member.token, tmp_path, IMPATIENT) as portal:
            batch_id = portal.open_batch()
            with portal.connect(upload(batch_id), b"x" * MIB, member.token) as connection:
                wait_for(lambda: len(files_in(settings)) == 2)
                connection.settimeout(0.1)
                answer, started = b"", time.monotonic()
                while not answer and time.monotonic() - started < 10:
                    connection.sendall(b"x")
                    try:
                        answer = connection.recv(65536)
                    except TimeoutError:
                        continue
                assert answer.startswith(b"HTTP/1.1 408 ")
                assert b'"code": "request_timeout"' in answer
            wait_for(lambda: files_in(settings) == [])

    def test_a_slow_client_that_goes_on_is_not_left(self, settings: Settings, member: Person, tmp_path: Path) -> None:
        with run_portal(settings, member.token, tmp_path, IMPATIENT) as portal:
            batch_id = portal.open_batch()
            with portal.connect(upload(batch_id, 20 << 15), token=member.token) as connection:
                for _ in range(20):
                    connection.sendall(bytes(1 << 15))
                    time.sleep(0.2)
                assert connection.recv(65536).startswith(b"HTTP/1.1 201 ")

    def test_a_download_that_stalls_is_ended(self, settings: Settings, member: Person, tmp_path: Path) -> None:
        with run_portal(settings, member.token, tmp_path, IMPATIENT) as portal:
            job_id = portal.put(portal.open_batch(), "large.tif", bytes(24 * MIB)).json()["id"]
            download = f"GET /api/v1/jobs/{job_id}/files/original HTTP/1.1"
            with portal.connect(download, token=member.token) as connection:
                assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
                wait_for(lambda: open_originals(portal) == 0)
                with pytest.raises(ConnectionResetError):
                    read_all(connection)

    def test_a_connection_that_was_cut_is_watched_no_more(
        self, settings: Settings, member: Person, tmp_path: Path
    ) -> None:
        with run_portal(settings, member.token, tmp_path, IMPATIENT) as portal:
            batch_id = portal.open_batch()
            for method in (f"PUT /api/v1/batches/{batch_id}/files?name=a", "POST /api/v1/uploads"):
                with portal.connect(f"{method} HTTP/1.1\r\nContent-Length: 50000000", b"x" * MIB, member.token):
                    time.sleep(0.3)
            time.sleep(2)  # twice as long as the portal waits before it ends what stalls
            assert is_live(portal)
        assert "Bad file descriptor" not in (tmp_path / "portal.log").read_text()

    def test_connections_that_ask_nothing_are_closed_and_counted(
        self, settings: Settings, member: Person, tmp_path: Path
    ) -> None:
        patch = "from retint_web import commands; commands.HEAD_S, commands.MOST_CONNECTIONS = 1, 8"
        with run_portal(settings, member.token, tmp_path, patch) as portal, ExitStack() as stack:
            for beginning in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n"):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", portal.port), timeout=10))
                connection.sendall(beginning)
                assert connection.recv(1) == b""
            many = [stack.enter_context(socket.create_connection(("127.0.0.1", portal.port))) for _ in range(64)]
            wait_for(lambda: is_live(portal))
            for connection in many:
                connection.settimeout(10)
                with suppress(ConnectionResetError):
                    assert connection.recv(1) == b""

    def test_a_database_that_waits_holds_up_what_needs_it_and_no_more(
        self, portal: Portal, settings: Settings, services: Services
    ) -> None:
        """Another process holds SQLite's write lock, and some forms wait for it."""
        with closing(sqlite3.connect(services.engine.url.database or "", isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            body = b'{"name": "x"}'
            head = f"POST /api/v1/batches HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            with ExitStack() as stack:
                token = portal.http.headers["Authorization"].removeprefix("Bearer ")
                forms = [stack.enter_context(portal.connect(head, body, token)) for _ in range(6)]
                time.sleep(0.3)
                for path in ("/healthz", "/api/v1/batches"):
                    started = time.monotonic()
                    assert portal.http.get(path).status_code == 200
                    assert time.monotonic() - started < AT_ONCE_S
                writer.execute("ROLLBACK")
                assert {form.recv(65536)[9:12] for form in forms} == {b"201"}

    def test_a_process_that_dies_frees_the_places_of_its_uploads(
        self, portal: Portal, settings: Settings, member: Person
    ) -> None:
        batch_id = portal.open_batch()
        with ExitStack() as stack:
            take_every_place(stack, portal, settings, batch_id, member)
            for process in psutil.Process(portal.process.pid).children():
                process.kill()
            wait_for(lambda: is_taken(portal, batch_id))

    def test_it_ends_at_once_with_connections_that_ask_nothing(self, portal: Portal) -> None:
        with httpx.Client(base_url=portal.url) as http, socket.create_connection(("127.0.0.1", portal.port)):
            http.get("/healthz")
            started = time.monotonic()
            portal.process.terminate()
            assert portal.process.wait(timeout=40) == 0
            assert time.monotonic() - started < 12, "less than such a connection may stay open"


def is_live(portal: Portal) -> bool:
    try:
        return httpx.get(f"{portal.url}/healthz").is_success
    except httpx.TransportError:
        return False


def is_taken(portal: Portal, batch_id: str) -> bool:
    with httpx.Client(base_url=portal.url, headers=portal.http.headers) as fresh:
        try:
            return fresh.put(f"/api/v1/batches/{batch_id}/files?name=a.jpg", content=b"x").status_code == 201
        except httpx.TransportError:
            return False


def open_originals(portal: Portal) -> int:
    """How many originals the portal's processes hold open."""
    held = 0
    for process in psutil.Process(portal.process.pid).children():
        held += sum(os.path.basename(file.path) == "original" for file in process.open_files())  # noqa: PTH119
    return held
