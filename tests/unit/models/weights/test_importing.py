"""Weights are kept only if they fit; a download goes on where it broke off, and nothing else is believed."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.named_weights import tensors_for
from torch import Tensor, nn

from retint_models.networks import registry
from retint_models.networks.deoldify import CONFIGS, DeoldifyGenerator
from retint_models.networks.registry import NETWORKS
from retint_models.networks.yuv_gan import YuvGenerator
from retint_models.weights import cards, importing


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Weights of `yuv-gan`, the smallest that is imported."""
    with torch.device("meta"):
        return tensors_for(YuvGenerator())


@pytest.fixture(scope="module")
def published(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as its authors publish it."""
    path = tmp_path_factory.mktemp("published") / "G.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "imported"


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_an_import_keeps_every_number_and_says_where_it_came_from(
    published: Path, tensors: dict[str, Tensor], folder: Path
) -> None:
    steps: list[tuple[str, int, int]] = []
    taken = importing.import_weights(published, "yuv-gan", NETWORKS, folder, lambda *step: steps.append(step))
    card = registry.card("yuv-gan", folder)
    assert taken.card == card
    assert taken.is_official is None, "nobody has published its SHA-256"
    assert card.is_here
    assert left(folder) == ["yuv-gan.safetensors", "yuv-gan.toml"]
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in folder.iterdir()), "others may serve them"
    kept = load_file(card.path)
    assert kept.keys() == tensors.keys()
    assert all(torch.equal(kept[key], tensors[key]) and kept[key].dtype == tensors[key].dtype for key in kept)
    record = cards.read_record("yuv-gan", folder)
    assert record["sha256"] == hashlib.sha256(card.path.read_bytes()).hexdigest()
    assert record["source_name"] == "G.pth"
    assert record["source_sha256"] == hashlib.sha256(published.read_bytes()).hexdigest()
    assert steps[-1] == ("Checking G.pth", published.stat().st_size, published.stat().st_size)
    assert registry.load_colorizer("yuv-gan", imported=folder)([], {}) == []


def test_an_import_gives_the_same_file_whatever_the_format(
    published: Path, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "G.safetensors")
    torch.save({"model": tensors, "opt": {}}, tmp_path / "G.pth")
    hashes = {
        importing.import_weights(path, "yuv-gan", NETWORKS, tmp_path / "imported").card.sha256
        for path in (published, tmp_path / "G.safetensors", tmp_path / "G.pth")
    }
    assert len(hashes) == 1


def test_what_does_not_fit_is_refused_and_what_was_there_stays(
    published: Path, tensors: dict[str, Tensor], folder: Path, tmp_path: Path
) -> None:
    before = importing.import_weights(published, "yuv-gan", NETWORKS, folder).card
    first = next(iter(tensors))
    spoiled = {
        "damaged: .*holds NaN": tensors | {first: torch.full_like(tensors[first], float("nan"))},
        "is missing": {key: value for key, value in tensors.items() if key != first},
        "more is unknown": tensors | {"more": torch.zeros(1)},
        r"is torch\.int64, not torch\.float32": tensors | {first: tensors[first].long()},
        r"is \[1\], not": tensors | {first: torch.zeros(1)},
    }
    for says, state in spoiled.items():
        torch.save(state, tmp_path / "spoiled.pth")
        with pytest.raises(ValueError, match=rf"spoiled\.pth: .*{says}"):
            importing.import_weights(tmp_path / "spoiled.pth", "yuv-gan", NETWORKS, folder)
    (tmp_path / "cut.pth").write_bytes(published.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"cut\.pth is cut off"):
        importing.import_weights(tmp_path / "cut.pth", "yuv-gan", NETWORKS, folder)
    assert registry.card("yuv-gan", folder) == before
    before.verify()


def test_weights_of_another_network_are_recognised(published: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"G\.pth: these are the weights of yuv-gan$"):
        importing.import_weights(published, "artistic", NETWORKS, folder)
    with torch.device("meta"):
        stable = DeoldifyGenerator(CONFIGS["stable"]).state_dict()
    wide = {key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for key, tensor in stable.items()}
    torch.save(wide, tmp_path / "wide.pth")
    with pytest.raises(ValueError, match=r"wide\.pth: these are the weights of stable or video$"):
        importing.import_weights(tmp_path / "wide.pth", "lab-resnet18", NETWORKS, folder)


def test_what_comes_along_and_what_is_unknown_cannot_be_imported(published: Path, folder: Path) -> None:
    for name in ("compact", "sepia"):
        with pytest.raises(ValueError, match=f"can be imported for artistic, .*, not for '{name}'"):
            importing.import_weights(published, name, NETWORKS, folder)
    assert left(folder) == []


def test_tensors_that_share_memory_are_kept_apart(folder: Path, tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    shared = importing._with_own_memory({"a": net.weight.data, "b": net.weight.data, "c": net.weight.data.T})
    save_file(shared, tmp_path / "apart.safetensors")
    assert torch.equal(load_file(tmp_path / "apart.safetensors")["c"], net.weight.data.T)


def test_a_damaged_or_lonely_file_is_told_at_once(published: Path, folder: Path) -> None:
    card = importing.import_weights(published, "yuv-gan", NETWORKS, folder).card
    data = bytearray(card.path.read_bytes())
    data[-1] ^= 1
    card.path.write_bytes(data)
    with pytest.raises(ValueError, match=r"is not the file .*retint weights fetch yuv-gan"):
        registry.load_colorizer("yuv-gan", imported=folder)
    (folder / "yuv-gan.toml").write_text("sha256 = ")
    card = registry.card("yuv-gan", folder)
    assert not card.is_here
    assert card.is_expected
    with pytest.raises(ValueError, match=r"has no readable record of its import, yuv-gan\.toml"):
        card.verify()
    card.path.unlink()
    with pytest.raises(FileNotFoundError, match=r"weights of yuv-gan are missing.*retint weights fetch yuv-gan"):
        registry.load_colorizer("yuv-gan", imported=folder)


class Server(ThreadingHTTPServer):
    """Serves one file, in ranges; hangs up after so many bytes, so many times."""

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
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/G.pth"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        if self.path.startswith("/missing"):
            self.send_error(404)
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
        self.send_header("ETag", self.server.version)
        self.end_headers()
        if self.server.hang_ups > 0 and len(piece) > self.server.hang_up_after:
            self.server.hang_ups -= 1
            piece = piece[: self.server.hang_up_after]
        self.wfile.write(piece)
        self.close_connection = True

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
    taken = importing.fetch_weights(
        "yuv-gan", NETWORKS, folder, lambda *step: steps.append(step), address=server.address
    )
    taken.card.verify()
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
    importing.fetch_weights("yuv-gan", NETWORKS, folder, address=server.address).card.verify()
    starts = [int(wanted[6:-1]) for _, wanted in server.asked if wanted]
    assert len(starts) == 4
    assert starts == sorted(starts), "what was there was kept"


def test_after_too_many_breaks_the_same_call_goes_on_later(server: Server, folder: Path) -> None:
    server.hang_up_after = 1000
    with pytest.raises(ConnectionError, match=r"gave \d,000 bytes and no more; they are kept"):
        importing.fetch_weights("yuv-gan", NETWORKS, folder, address=server.address)
    (part,) = left(folder)
    before = (folder / part).stat().st_size
    assert before >= 1000
    server.hang_ups, asked = 0, len(server.asked)
    importing.fetch_weights("yuv-gan", NETWORKS, folder, address=server.address).card.verify()
    assert [wanted for _, wanted in server.asked[asked:]] == [None, f"bytes={before}-"]
    assert left(folder) == ["yuv-gan.safetensors", "yuv-gan.toml"]


def test_what_changed_meanwhile_or_cannot_go_on_begins_anew(server: Server, folder: Path) -> None:
    server.hang_up_after = 1000
    with pytest.raises(ConnectionError):
        importing.fetch_weights("yuv-gan", NETWORKS, folder, address=server.address)
    server.version, server.ranges, server.hang_ups = '"2"', False, 2
    importing.fetch_weights("yuv-gan", NETWORKS, folder, address=server.address).card.verify()
    assert left(folder) == ["yuv-gan.safetensors", "yuv-gan.toml"]


def test_another_checksum_is_refused_and_nothing_is_kept(server: Server, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"has another checksum than it should: SHA-256 [0-9a-f]{64}, expected 00"):
        importing.fetch_weights("yuv-gan", NETWORKS, folder, address=server.address, sha256="0" * 64)
    with pytest.raises(ValueError, match=r"another checksum .* expected 3f750246"):
        importing.fetch_weights("artistic", NETWORKS, folder, address=server.address)
    assert left(folder) == []
    right = hashlib.sha256(server.content).hexdigest()
    assert importing.fetch_weights("yuv-gan", NETWORKS, folder, address=server.address, sha256=right).card.is_here


def test_what_is_no_download_is_told_in_a_sentence(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"/missing answers 404 Not Found"):
        importing.fetch_weights("yuv-gan", NETWORKS, folder, address=server.address.replace("/G.pth", "/missing"))
    with pytest.raises(ValueError, match="begins with http:// or https://, not 'file:///etc/passwd'"):
        importing.fetch_weights("yuv-gan", NETWORKS, folder, address="file:///etc/passwd")
    with pytest.raises(ValueError, match=r"nobody publishes the weights of defade-deoldify\. They can only be had as"):
        importing.fetch_weights("defade-deoldify", NETWORKS, folder)
    server.content_type = "text/html; charset=utf-8"
    with pytest.raises(ValueError, match="gives a web page, not a file"):
        importing.fetch_weights("yuv-gan", NETWORKS, folder, address=server.address)
    server.content_type = "application/octet-stream"
    monkeypatch.setattr(importing, "LIMIT", 1000)
    with pytest.raises(ValueError, match=r"would give [\d,]+ bytes; at most 1,000 are expected"):
        importing.fetch_weights("yuv-gan", NETWORKS, folder, address=server.address)
    assert left(folder) == []


def test_a_server_that_is_away_is_worth_another_try(server: Server, folder: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1 does not answer"):
        importing.fetch_weights("yuv-gan", NETWORKS, folder, address=server.address)


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("https://www.dropbox.com/s/abc/G.pth?dl=0", "https://www.dropbox.com/s/abc/G.pth?dl=1"),
        ("https://www.dropbox.com/s/abc/G.pth", "https://www.dropbox.com/s/abc/G.pth?dl=1"),
        ("https://dropbox.com/scl/fi/a/G.pth?rlkey=b&dl=0", "https://dropbox.com/scl/fi/a/G.pth?dl=1&rlkey=b"),
        ("https://notdropbox.com/G.pth?dl=0", "https://notdropbox.com/G.pth?dl=0"),
    ],
)
def test_a_link_to_a_page_about_a_file_becomes_one_to_the_file(address: str, file: str) -> None:
    assert importing.to_direct_address(address) == file
