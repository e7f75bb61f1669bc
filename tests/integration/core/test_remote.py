"""Photos from the web: servers of our own on real sockets, reached by a policy that only tests have."""

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.timing import AT_ONCE_S

from retint import remote
from retint.remote import AccessPolicy, NotFetched

PHOTO = bytes(range(256)) * 40
HOST = "photos.example"
# A key made for this file and for nothing else, and its certificate for photos.example, signed by itself.
IDENTITY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgKBokhYA5DUoHnBQq
faur+I/1sf0Ii3Q2Dm38YdSZjWChRANCAASr0JNiksRvCeTtZobaYKbUwnryd+6K
EetqmUQ2beHrCY/T6XlyxSXmjzzB0X6PNqx/QfutTuCKVZvbFNklhLzb
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBcDCCARagAwIBAgIBATAKBggqhkjOPQQDAjAZMRcwFQYDVQQDDA5waG90b3Mu
ZXhhbXBsZTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowGTEXMBUG
A1UEAwwOcGhvdG9zLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASr
0JNiksRvCeTtZobaYKbUwnryd+6KEetqmUQ2beHrCY/T6XlyxSXmjzzB0X6PNqx/
QfutTuCKVZvbFNklhLzbo00wSzAZBgNVHREEEjAQgg5waG90b3MuZXhhbXBsZTAP
BgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBS4FRPeMkMWtj4ybMDqtAr19M9cXDAK
BggqhkjOPQQDAgNIADBFAiBtYsfCSExHBy5YM2FYBmXLuaaVnOiW4OZ5wS6s+dzo
QAIhAO79HmRyIUASkMu7bm7pCq+5KuGAJWoRRuY1hj5I7mvN
-----END CERTIFICATE-----
"""


class Museum(BaseHTTPRequestHandler):
    """A server of photographs, and of everything that can be wrong with one."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.headers["Host"])
        with suppress(OSError):  # who fetches goes away early
            getattr(self, "_" + self.path[1:].split("?")[0].split("/")[0].replace("-", "_"))()

    def _photo(self) -> None:
        self._answer(200, PHOTO)

    def _named(self) -> None:
        self._answer(200, PHOTO, ("Content-Disposition", "attachment; filename*=UTF-8''..%2F..%2FCaf%C3%A9%201911.tif"))

    def _in(self) -> None:
        name = self.path.partition("?")[2]
        self._answer(200, PHOTO, ("Content-Disposition", f"attachment; filename*={name}"))

    def _gone(self) -> None:
        self._answer(410, b"")

    def _empty(self) -> None:
        self._answer(200, b"")

    def _packed(self) -> None:
        self._answer(200, PHOTO, ("Content-Encoding", "gzip"))

    def _moved(self) -> None:
        self._answer(302, b"", ("Location", "/photo/moved.jpg"))

    def _around(self) -> None:
        self._answer(307, b"", ("Location", "/around"))

    def _to(self) -> None:
        self._answer(301, b"", ("Location", self.path.partition("?")[2]))

    def _broken(self) -> None:
        self._answer(200, PHOTO, ("Content-Length", str(len(PHOTO) + 1)))

    def _untold(self) -> None:
        self._answer(200, PHOTO * 200, ("Content-Length", ""))

    def _slow(self) -> None:
        self._answer(200, b"", ("Content-Length", str(8 * remote.STRETCH)))
        for _ in range(8):
            self.wfile.write(bytes(remote.STRETCH))
            time.sleep(0.1)

    def _drip(self) -> None:
        self._answer(200, b"", ("Content-Length", "1000"))
        self._slowly(b"x" * 1000)

    def _drip_head(self) -> None:
        self._slowly(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100)

    def _nonsense(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")

    def _slowly(self, data: bytes) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.05)

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Ends at once: what drips is not waited for."""

    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """A client that does not trust the certificate hangs up."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[str]]]:
    """A museum's port, and the names under which it has been asked."""
    seen: list[str] = []
    with Server(("127.0.0.1", 0), type("Here", (Museum,), {"seen": seen})) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1], seen
        server.shutdown()


@pytest.fixture(scope="module")
def museum() -> Iterator[int]:
    """The port of a museum without TLS."""
    with serving() as (port, _):
        yield port


def policy_for(port: int, *answers: str, trust: ssl.SSLContext | bool = True) -> AccessPolicy:
    """A policy by which the host name resolves to these addresses, and only they may be asked, at this port."""
    there = answers or ("127.0.0.1",)

    def resolve(host: str, port: int) -> list[str]:
        return list(there) if host == HOST else remote.resolve(host, port)

    return AccessPolicy(resolve, lambda address, asked: address in there and asked == port, trust)


def fetch(port: int, path: str, folder: Path, limit: int = 1 << 20, timeout_s: float = 10) -> tuple[str, bytes]:
    to = folder / "fetched"
    name = remote.fetch(f"http://{HOST}:{port}/{path}", to, limit, timeout_s, policy_for(port))
    return name, to.read_bytes()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("photo/Lake%20Como.jpg?size=full", "Lake Como.jpg"),
        ("photo", "photo"),
        ("named/1.jpg", "Café 1911.tif"),
        ("in?idna''x", "in"),
        ("in?punycode''%FF%FF", "in"),
        ("in?rot13''x.jpg", "x.jpg"),
        ("in?nonsense''x.jpg", "x.jpg"),
        ("in?utf-8''%ED%A0%80.jpg", "�" * 3 + ".jpg"),
        ("moved", "moved.jpg"),
        ("to?/moved", "moved.jpg"),
    ],
)
def test_a_photo_comes_with_its_name(museum: int, path: str, name: str, tmp_path: Path) -> None:
    assert fetch(museum, path, tmp_path) == (name, PHOTO)


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("gone", "no_photo", "photos.example has no photo at this address: it answered 410 Gone."),
        ("empty", "no_photo", "empty"),
        ("packed", "no_photo", "compressed"),
        ("around", "not_fetched", "more than 5 times"),
        ("broken", "not_fetched", "Nothing came from photos.example"),
        ("nonsense", "not_fetched", "Nothing came from photos.example"),
        ("untold", "too_large", "larger than 1 MiB"),
        ("to?ftp://elsewhere.example/x", "no_address", "begins with https"),
        ("to?http://me:secret@photos.example/photo", "no_address", "password"),
    ],
)
def test_what_does_not_come_is_said_in_a_sentence_and_leaves_nothing(
    museum: int, path: str, code: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(NotFetched, match=words) as found:
        fetch(museum, path, tmp_path)
    assert found.value.code == code
    assert found.value.message.endswith(".")
    assert list(tmp_path.iterdir()) == []


def test_what_is_announced_as_too_large_is_not_taken(museum: int, tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match="larger"):
        fetch(museum, "photo", tmp_path, limit=len(PHOTO) - 1)
    assert fetch(museum, "photo", tmp_path, limit=len(PHOTO))[1] == PHOTO


@pytest.mark.parametrize("path", ["drip", "drip-head"])
def test_a_server_that_drips_is_left_when_the_time_is_over(museum: int, path: str, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(NotFetched, match=r"longer than 0\.5 seconds"):
        fetch(museum, path, tmp_path, timeout_s=0.5)
    assert time.monotonic() - started < AT_ONCE_S


def test_a_large_file_may_take_longer_as_long_as_it_comes(museum: int, tmp_path: Path) -> None:
    assert fetch(museum, "slow", tmp_path, limit=8 * remote.STRETCH, timeout_s=0.4)[1] == bytes(8 * remote.STRETCH)


def test_a_resolver_that_does_not_answer_is_left_when_the_time_is_over(tmp_path: Path) -> None:
    def sleepy(host: str, port: int) -> list[str]:
        time.sleep(2 * AT_ONCE_S)
        return []

    started = time.monotonic()
    with pytest.raises(NotFetched, match="longer than"):
        remote.fetch("https://photos.example", tmp_path / "x", 1, 0.2, AccessPolicy(sleepy))
    assert time.monotonic() - started < AT_ONCE_S


# --- only public servers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "192.0.2.1",
        "192.0.0.8",
        "192.88.99.1",
        "168.63.129.16",
        "::1",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "100::1",
        "3fff::1",
        "5f00::1",
    ],
)
def test_an_address_that_is_not_public_is_not_allowed(address: str) -> None:
    assert not remote.is_public(address, 443)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_a_public_address_is_allowed_at_the_ports_of_the_web(address: str) -> None:
    assert [port for port in (22, 25, 80, 443, 6379, 8080) if remote.is_public(address, port)] == [80, 443]


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://2130706433/", "http://0x7f.1/", "http://[::1]/", "http://[::ffff:7f00:1]/",
     "http://localhost/", "https://169.254.169.254/latest/meta-data", "http://8.8.8.8:22/", "http://127.1:{port}/photo"],
)  # fmt: skip
def test_this_machine_and_its_neighbours_are_not_asked(museum: int, url: str, tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match="only public servers") as found:
        remote.fetch(url.format(port=museum), tmp_path / "x", 1 << 20)
    assert found.value.code == "not_public"


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://a.example/x", "photos.example/x", "https://", "", "gopher://a", "http://\0",
     "https://me@a.example/x", "https://me:secret@a.example/x", "http://a.example:x/"],
)  # fmt: skip
def test_only_addresses_on_the_web_are_taken(url: str, tmp_path: Path) -> None:
    with pytest.raises(NotFetched) as found:
        remote.fetch(url, tmp_path / "x", 1 << 20)
    assert found.value.code == "no_address"


def test_a_name_that_nobody_knows_is_said(tmp_path: Path) -> None:
    for host in ("nowhere.invalid", "a" * 70 + ".example"):
        with pytest.raises(NotFetched, match="There is no server"):
            remote.fetch(f"https://{host}/photo.jpg", tmp_path / "x", 1 << 20)


@pytest.mark.parametrize("inside", ["http://127.0.0.2:{port}/photo", "http://localhost:22/", "//10.0.0.1/photo"])
def test_a_redirection_inside_is_refused(museum: int, inside: str, tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match="only public servers"):
        fetch(museum, "to?" + inside.format(port=museum), tmp_path)


def test_one_address_inside_among_public_ones_is_enough_to_refuse(museum: int, tmp_path: Path) -> None:
    mixed = AccessPolicy(lambda *_: ["127.0.0.1", "127.0.0.2"], lambda address, _: address == "127.0.0.1")
    with pytest.raises(NotFetched, match="only public servers"):
        remote.fetch(f"http://{HOST}:{museum}/photo", tmp_path / "x", 1 << 20, policy=mixed)


def test_a_name_is_asked_once_and_the_connection_goes_where_it_pointed_then(museum: int, tmp_path: Path) -> None:
    """A name server that answers with another address the second time (DNS rebinding) is not asked a second time."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"], ["10.0.0.1"]])
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    there = AccessPolicy(rebinding, lambda address, _: address == "127.0.0.1")
    remote.fetch(f"http://{HOST}:{museum}/photo", tmp_path / "x", 1 << 20, policy=there)
    assert asked == [HOST]
    with pytest.raises(NotFetched, match="only public servers"):  # a new connection is a new question
        remote.fetch(f"http://{HOST}:{museum}/photo", tmp_path / "x", 1 << 20, policy=there)


def test_an_address_that_does_not_answer_is_not_the_end(museum: int, tmp_path: Path) -> None:
    to = tmp_path / "x"
    remote.fetch(f"http://{HOST}:{museum}/photo", to, 1 << 20, policy=policy_for(museum, "127.0.0.9", "127.0.0.1"))
    assert to.read_bytes() == PHOTO


def test_a_proxy_of_the_environment_is_not_used(museum: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch(museum, "photo", tmp_path)[1] == PHOTO


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[int, list[str], ssl.SSLContext]]:
    """A museum with TLS: its port, what it was asked for, and a context that trusts its certificate."""
    pem = tmp_path / "identity.pem"
    pem.write_text(IDENTITY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    trust = ssl.create_default_context(cafile=str(pem))
    names: list[str] = []
    context.sni_callback = lambda _socket, name, _context: names.append(str(name))
    with serving(context) as (port, seen):
        yield port, seen, trust
    assert set(names) <= {HOST, "elsewhere.example"}


def test_the_certificate_is_checked_against_the_name_and_not_the_address(
    secured: tuple[int, list[str], ssl.SSLContext], tmp_path: Path
) -> None:
    port, seen, trust = secured
    to = tmp_path / "x"
    remote.fetch(f"https://{HOST}:{port}/photo", to, 1 << 20, policy=policy_for(port, trust=trust))
    assert to.read_bytes() == PHOTO
    assert seen == [f"{HOST}:{port}"]
    stranger = AccessPolicy(lambda *_: ["127.0.0.1"], lambda *_: True, trust)
    with pytest.raises(NotFetched, match="certificate is not valid"):
        remote.fetch(f"https://elsewhere.example:{port}/photo", to, 1 << 20, policy=stranger)


def test_a_certificate_signed_by_itself_is_refused(
    secured: tuple[int, list[str], ssl.SSLContext], tmp_path: Path
) -> None:
    port, seen, _ = secured
    with pytest.raises(NotFetched, match="certificate is not valid"):
        remote.fetch(f"https://{HOST}:{port}/photo", tmp_path / "x", 1 << 20, policy=policy_for(port))
    assert seen == []
