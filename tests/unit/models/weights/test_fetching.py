"""A download goes on where it broke off; whatever a server answers, only what fits is kept, and the rest is told."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch import Tensor

from retint_models.networks.registry import NETWORKS
from retint_models.weights import cards, fetching
from retint_models.weights.cards import Card
from retint_models.weights.fetching import fetch_weights, find_source
from retint_models.weights.importing import Terms
from retint_models.weights.publications import PublishedFile


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


class Server(ThreadingHTTPServer):
    """Serves one file, in ranges; hangs up after so many bytes, so many times.

    It also answers as the hub does, which knows the repository `authors/gan` with its revision 1: with the header
    X-Error-Code, and with redirects to addresses that are good for one request.
    """

    content = b""
    version = '"1"'
    hang_up_after = 1 << 40
    hang_ups = 1 << 40
    ranges = True
    longest = 1 << 40
    busy = 0
    content_type = "application/octet-stream"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may go."""

    @property
    def hub(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def address(self) -> str:
        return f"{self.hub}/G.pth"


STATUSES = {"/missing": 404, "/private": 401, "/forbidden": 403, "/busy": 503, "/too-often": 429}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        if (status := STATUSES.get(self.path)) is not None:
            self.send_error(status)
            return
        if "/resolve/" in self.path:
            self.answer_as_hub()
            return
        whole, start = self.server.content, 0
        if wanted and self.server.busy > 0:
            self.server.busy -= 1
            self.send_error(503)
            return
        if wanted and self.server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
            self.send_response(206)
            self.send_header(
                "Content-Range", f"bytes {start}-{min(len(whole), start + self.server.longest) - 1}/{len(whole)}"
            )
        else:
            self.send_response(200)
        self.send_header("Content-Type", self.server.content_type)
        piece = whole[start:][: self.server.longest if wanted and self.server.ranges else None]
        self.send_header("Content-Length", str(len(piece)))
        passing = self.path.startswith("/storage")
        self.send_header("ETag", f'"{self.path}"' if passing else self.server.version)
        self.end_headers()
        if self.server.hang_ups > 0 and len(piece) > self.server.hang_up_after:
            self.server.hang_ups -= 1
            piece = piece[: self.server.hang_up_after]
        self.wfile.write(piece)
        self.close_connection = True

    def answer_as_hub(self) -> None:
        repository, _, rest = self.path.removeprefix("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        code = "" if file == "G.pth" else "EntryNotFound"
        if revision != "1":
            code = "RevisionNotFound"
        if repository != "authors/gan":
            code = "GatedRepo" if repository == "authors/gated" else "RepoNotFound"
        self.send_response(302 if not code else 401 if "Repo" in code else 404)
        if code:
            self.send_header("X-Error-Code", code)
        else:
            self.send_header("Location", f"/storage/G.pth?signature={len(self.server.asked)}")
            self.send_header("X-Linked-ETag", self.server.version)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(published: Path) -> Iterator[Server]:
    server = Server()
    server.content = published.read_bytes()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_that_breaks_off_goes_on_where_it_was(server: Server, folder: Path) -> None:
    server.hang_up_after, server.hang_ups = len(server.content) // 4, 4
    steps: list[tuple[str, int, int]] = []
    card = fetch_weights("yuv-gan", NETWORKS, folder, lambda *step: steps.append(step), origin=server.address)
    card.verify()
    assert left(folder) == ["yuv-gan.safetensors", "yuv-gan.toml"]
    assert cards.read_record("yuv-gan", folder)["source_name"] == server.address
    starts = [int(wanted[6:-1]) for _, wanted in server.asked if wanted]
    assert len(starts) >= 2
    assert starts == sorted(set(starts)), "every time farther"
    loaded = [done for what, done, total in steps if what == "Downloading" and total == len(server.content)]
    assert loaded == sorted(loaded)
    assert loaded[-1] == len(server.content)


def test_a_server_that_is_busy_or_gives_less_than_was_asked_for_is_asked_again(server: Server, folder: Path) -> None:
    server.hang_up_after, server.hang_ups = len(server.content) // 2, 2
    server.busy, server.longest = 2, len(server.content) // 3
    fetch_weights("yuv-gan", NETWORKS, folder, origin=server.address).verify()
    starts = [int(wanted[6:-1]) for _, wanted in server.asked if wanted]
    assert len(starts) == 4
    assert starts == sorted(starts), "what was there was kept"


def test_after_too_many_breaks_the_same_call_goes_on_later(server: Server, folder: Path) -> None:
    server.hang_up_after = 1000
    with pytest.raises(ConnectionError, match=r"gave \d,000 bytes and no more; they are kept"):
        fetch_weights("yuv-gan", NETWORKS, folder, origin=server.address)
    (part,) = left(folder)
    before = (folder / part / "G.pth").stat().st_size
    assert before >= 1000
    server.hang_ups, asked = 0, len(server.asked)
    fetch_weights("yuv-gan", NETWORKS, folder, origin=server.address).verify()
    assert [wanted for _, wanted in server.asked[asked:]] == [None, f"bytes={before}-"]
    assert left(folder) == ["yuv-gan.safetensors", "yuv-gan.toml"]


def test_what_changed_meanwhile_or_cannot_go_on_begins_anew(server: Server, folder: Path) -> None:
    server.hang_up_after = 1000
    with pytest.raises(ConnectionError):
        fetch_weights("yuv-gan", NETWORKS, folder, origin=server.address)
    server.version, server.ranges, server.hang_ups = '"2"', False, 2
    fetch_weights("yuv-gan", NETWORKS, folder, origin=server.address).verify()
    assert left(folder) == ["yuv-gan.safetensors", "yuv-gan.toml"]


def test_another_checksum_is_refused_and_nothing_is_kept(server: Server, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"G\.pth has another checksum than it should: SHA-256 \w{64}, expected 00"):
        fetch_weights("yuv-gan", NETWORKS, folder, origin=server.address, terms=Terms(sha256="0" * 64))
    with pytest.raises(ValueError, match=r"G\.pth: these are the weights of yuv-gan$"):
        fetch_weights("artistic", NETWORKS, folder, origin=server.address)
    assert left(folder) == []
    right = hashlib.sha256(server.content).hexdigest()
    assert fetch_weights("yuv-gan", NETWORKS, folder, origin=server.address, terms=Terms(sha256=right)).is_here


CARD = """
[yuv-gan]
kind = "colorizer"
title = "for tests"
license = "none"
[[yuv-gan.official]]
file = "G.pth"
repository = "authors/gan"
revision = "1"
bytes = {size}
sha256 = "{sha256}"
"""


@pytest.fixture
def on_hub(server: Server, write_cards: Callable[[str], None]) -> Server:
    """The server as a hub that has the official file."""
    write_cards(CARD.format(size=len(server.content), sha256=hashlib.sha256(server.content).hexdigest()))
    return server


def test_official_weights_come_from_the_hub_and_through_its_redirects_a_download_goes_on(
    on_hub: Server, folder: Path
) -> None:
    on_hub.hang_up_after = 1000
    with pytest.raises(ConnectionError, match="they are kept, and the same command goes on"):
        fetch_weights("yuv-gan", NETWORKS, folder, hub=on_hub.hub)
    (part,) = left(folder)
    before, on_hub.hang_ups, asked = (folder / part / "G.pth").stat().st_size, 0, len(on_hub.asked)
    card = fetch_weights("yuv-gan", NETWORKS, folder, hub=f"{on_hub.hub}/")
    card.verify()
    assert card.origin == "Official: authors/gan@1/G.pth."
    assert card.imported["source_name"] == f"{on_hub.hub}/authors/gan/resolve/1/G.pth"
    stored = [wanted for path, wanted in on_hub.asked[asked:] if path.startswith("/storage")]
    assert stored == [None, f"bytes={before}-"]
    assert left(folder) == ["yuv-gan.safetensors", "yuv-gan.toml"]


PAGE = r"http://127\.0\.0\.1:\d+/authors"


@pytest.mark.parametrize(
    ("origin", "says"),
    [
        ("authors/gan@2", f"authors/gan has no revision 2; {PAGE}/gan lists those that there are"),
        (
            "authors/gan@1/D.pth",
            rf"authors/gan has no file D\.pth at revision 1; {PAGE}/gan lists those .*",
        ),
        ("authors/gated@1", rf"authors/gated is gated: agree to its terms on {PAGE}/gated, download G\.pth there, .*"),
        ("authors/nothing@1", f"there is no repository authors/nothing, or it is not public: {PAGE}/nothing"),
    ],
)
def test_what_the_hub_refuses_is_told_in_a_sentence_of_its_own(
    on_hub: Server, folder: Path, origin: str, says: str
) -> None:
    with pytest.raises(ValueError, match=f"^{says}$"):
        fetch_weights("yuv-gan", NETWORKS, folder, origin=origin, hub=on_hub.hub)
    assert left(folder) == []


def test_a_file_that_fits_but_is_not_official_is_fetched_only_by_its_hash(
    on_hub: Server, tensors: dict[str, Tensor], folder: Path, tmp_path: Path
) -> None:
    torch.save({"params": tensors}, tmp_path / "mine.pth")
    with pytest.raises(ValueError, match=r"mine\.pth fits yuv-gan, but is none of its official files"):
        fetch_weights("yuv-gan", NETWORKS, folder, origin=str(tmp_path / "mine.pth"))
    on_hub.content = on_hub.content[: len(on_hub.content) // 2]
    with pytest.raises(ValueError, match=r"^G\.pth is cut off"):
        fetch_weights("yuv-gan", NETWORKS, folder, origin=on_hub.address)
    assert left(folder) == []
    terms = Terms(sha256=cards.hash_file(tmp_path / "mine.pth"))
    card = fetch_weights("yuv-gan", NETWORKS, folder, origin=str(tmp_path / "mine.pth"), terms=terms)
    assert card.origin.startswith("Not official")
    assert card.imported["source_name"] == "mine.pth"


def test_the_record_keeps_no_password(server: Server, folder: Path) -> None:
    address = server.address.replace("//", "//curator:secret@")
    card = fetch_weights("yuv-gan", NETWORKS, folder, origin=address)
    assert card.imported["source_name"] == server.address
    assert "secret" not in cards.record_path("yuv-gan", folder).read_text()


def test_a_source_is_an_address_a_file_or_a_revision_of_a_repository(published: Path) -> None:
    def find(origin: str, *official: PublishedFile) -> PublishedFile | Path:
        return find_source(origin, Card("gan", "colorizer", "", "", "", official=list(official)))

    on_hub = PublishedFile("G.bin", repository="a/gan", revision="main")
    elsewhere = PublishedFile("G.pth", address="https://a.example/G.pth")
    assert find("", elsewhere, on_hub) == elsewhere
    assert find(str(published)) == published
    address = "https://a.example/b/G%20one.pth?x=1"
    assert find(address) == PublishedFile("G one.pth", address=address)
    assert find("https://a.example/..") == PublishedFile("weights", address="https://a.example/..")
    assert find("a/gan@main/G.bin") == on_hub
    assert find("a/gan@main", elsewhere, replace(on_hub, file="D.bin", repository="b/gan"), on_hub) == on_hub
    assert find("museum/copy@1", on_hub) == PublishedFile("G.bin", repository="museum/copy", revision="1")
    assert on_hub.to_url("https://mirror.example/") == "https://mirror.example/a/gan/resolve/main/G.bin"
    for wrong in ("nothing.pth", "a/gan", "gan@main", "a/gan@"):
        with pytest.raises(ValueError, match=r"is no file here, no address .* and no repository with revision"):
            find(wrong)
    with pytest.raises(ValueError, match="the card of gan names no file on the hub: give a/gan@main/FILE"):
        find("a/gan@main", elsewhere)


def test_what_is_no_download_is_told_in_a_sentence(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, says in {
        "missing": "404 Not Found$",
        "private": "401 Unauthorized: download the file by hand",
        "forbidden": "403 Forbidden: download the file by hand, and import it with `retint weights import`$",
    }.items():
        with pytest.raises(ValueError, match=f"/{path} answers {says}"):
            fetch_weights("yuv-gan", NETWORKS, folder, origin=f"{server.hub}/{path}")
    for path in ("busy", "too-often"):
        with pytest.raises(ConnectionError, match=f"/{path} answers .*: try again later"):
            fetch_weights("yuv-gan", NETWORKS, folder, origin=f"{server.hub}/{path}")
    for wrong in ("file:///etc/passwd", "http:///G.pth", "https://a.example:port/G.pth"):
        with pytest.raises(ValueError, match=r"begins with http:// or https://, not|is no address"):
            fetch_weights("yuv-gan", NETWORKS, folder, origin=wrong)
    with pytest.raises(ValueError, match=r"begins with http:// or https://, not 'mirror\.example/a/b/"):
        fetch_weights("yuv-gan", NETWORKS, folder, origin="a/b@1/G.pth", hub="mirror.example")
    with pytest.raises(ValueError, match=r"nobody publishes the weights of defade-deoldify\. They can only be had as"):
        fetch_weights("defade-deoldify", NETWORKS, folder)
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(ValueError, match="gives a web page, not a file"):
        fetch_weights("yuv-gan", NETWORKS, folder, origin=server.address)
    server.content_type = "application/octet-stream"
    monkeypatch.setattr(fetching, "LIMIT", 1000)
    with pytest.raises(ValueError, match=r"would give [\d,]+ bytes; at most 1,000 are expected"):
        fetch_weights("yuv-gan", NETWORKS, folder, origin=server.address)
    assert left(folder) == []


def test_a_server_that_is_away_is_worth_another_try(server: Server, folder: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1 does not answer"):
        fetch_weights("yuv-gan", NETWORKS, folder, origin=server.address)


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("https://www.dropbox.com/s/abc/G.pth?dl=0", "https://www.dropbox.com/s/abc/G.pth?dl=1"),
        ("https://www.dropbox.com/s/abc/G.pth", "https://www.dropbox.com/s/abc/G.pth?dl=1"),
        ("https://dropbox.com/scl/fi/a/G.pth?rlkey=b&dl=0", "https://dropbox.com/scl/fi/a/G.pth?dl=1&rlkey=b"),
        ("https://notdropbox.com/G.pth?dl=0", "https://notdropbox.com/G.pth?dl=0"),
        ("https://huggingface.co/a/b/blob/main/G.pth", "https://huggingface.co/a/b/resolve/main/G.pth"),
    ],
)
def test_a_link_to_a_page_about_a_file_becomes_one_to_the_file(address: str, file: str) -> None:
    assert fetching.to_direct_address(address) == file
