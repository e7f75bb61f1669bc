"""Import published weights: download, check against the network, store as safetensors with a record."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from urllib.parse import urlsplit, urlunsplit

import httpx
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from retint_models.weights import cards, checkpoints
from retint_models.weights.cards import IMPORTED, Card, ReportProgress, ignore_progress

LIMIT = 4 << 30
"""Most bytes that are downloaded when the size of the file is not known."""

TIMEOUT_S = 30.0
RETRIES = 5
"""How often a broken download is resumed before it is given up."""

Makers = Mapping[str, Callable[[str, Mapping[str, Tensor]], nn.Module]]
"""Name of a network to the function that fills it with tensors and refuses those that do not fit."""


@dataclass(frozen=True)
class ImportedWeights:
    """Result of an import: the card, and whether the file is the official one (None where that is not known)."""

    card: Card
    is_official: bool | None


def import_weights(
    file: Path,
    name: str,
    makers: Makers,
    folder: Path = IMPORTED,
    report_progress: ReportProgress = ignore_progress,
    *,
    source: str = "",
    expected: str = "",
) -> ImportedWeights:
    """Import a network's weights; nothing is stored unless they fit.

    Args:
        file: A PyTorch file, old or new, or safetensors.
        name: The network whose weights they are.
        makers: Of all networks, to check whether the weights fit.
        folder: Where imported weights are stored; older ones of the same network are replaced.
        report_progress: Called with what is done, how many bytes, and of how many.
        source: Where the file came from, for the record; its name by default.
        expected: SHA-256 that the file must have; any if empty.

    Raises:
        FileNotFoundError: no such file.
        OSError: it cannot be read, or the folder not be written to.
        ValueError: no such network, or these are not its weights; says whose they are if that is known.
    """
    card = _importable(name, makers, folder)
    sha256 = cards.hash_file(file, report_progress)
    if expected and sha256 != expected:
        raise ValueError(f"{file.name} has another checksum than it should: SHA-256 {sha256}, expected {expected}")
    for other in cards.read_cards(folder).values():
        if other.name != name and other.official and other.official.sha256 == sha256:
            raise ValueError(f"{file.name} is the official file of {other.name}, not of {name}")
    tensors = checkpoints.read(file)
    try:
        makers[name](name, tensors)
    except ValueError as error:
        raise ValueError(f"{file.name}: {_find_owners(tensors, makers) or error}") from error
    _store(tensors, card, folder, {"name": source or file.name, "sha256": sha256, "bytes": file.stat().st_size})
    official = card.official.sha256 if card.official else ""
    return ImportedWeights(cards.read_cards(folder)[name], sha256 == official if official else None)


def _importable(name: str, makers: Makers, folder: Path) -> Card:
    """Return the card of a network whose weights can be imported.

    Raises:
        ValueError: no such network, or its weights are part of the package.
    """
    importable = {
        other: card for other, card in cards.read_cards(folder).items() if other in makers and not card.is_shipped
    }
    if name not in importable:
        raise ValueError(f"weights can be imported for {', '.join(importable)}, not for {name!r}")
    return importable[name]


def _find_owners(tensors: Mapping[str, Tensor], makers: Makers) -> str:
    """Return a sentence that says whose weights these are; empty if they fit no network."""
    fitting = []
    for name, make in makers.items():
        try:
            make(name, tensors)
        except ValueError:
            continue
        fitting.append(name)
    return f"these are the weights of {' or '.join(fitting)}" if fitting else ""


def _store(tensors: Mapping[str, Tensor], card: Card, folder: Path, source: Mapping[str, str | int]) -> None:
    """Write weights and record. While they are replaced there is neither, so readers find no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    record = cards.record_path(card.name, folder)
    with TemporaryDirectory(prefix=".importing-", dir=folder) as scratch:
        kept, noted = Path(scratch) / card.file, Path(scratch) / record.name
        try:
            save_file(_with_own_memory(tensors), kept)
        except SafetensorError as error:
            raise OSError(f"the weights of {card.name} cannot be written to {folder}: {error}") from error
        facts = {
            "sha256": cards.hash_file(kept),
            "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **{f"source_{key}": value for key, value in source.items()},
        }
        noted.write_text("".join(f"{key} = {_to_toml(value)}\n" for key, value in facts.items()))
        for path in (kept, noted):
            path.chmod(0o644)  # another user may serve the files
            with path.open("rb") as written:
                os.fsync(written)
        record.unlink(missing_ok=True)
        kept.replace(card.path)
        noted.replace(record)


def _with_own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory, because safetensors requires memory of their own."""
    seen: set[int] = set()
    apart = {}
    for key, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[key] = tensor.clone().contiguous() if place in seen else tensor.contiguous()
        seen.add(place)
    return apart


def _to_toml(value: str | int) -> str:
    """Write a value as TOML; characters that a file name should not have become question marks."""
    if isinstance(value, int):
        return str(value)
    clean = "".join(letter if letter.isprintable() and letter not in '"\\' else "?" for letter in value)
    return f'"{clean}"'


def fetch_weights(
    name: str,
    makers: Makers,
    folder: Path = IMPORTED,
    report_progress: ReportProgress = ignore_progress,
    *,
    address: str = "",
    sha256: str = "",
) -> ImportedWeights:
    """Download a network's weights and import them. A broken download is resumed, also by a later call.

    Args:
        name: The network.
        makers: Of all networks, to check whether the weights fit.
        folder: Where imported weights are stored.
        report_progress: Called with what is done, how many bytes, and of how many.
        address: URL of the file, http or https; the official one by default.
        sha256: SHA-256 that the file must have; the official one by default, where that is known.

    Raises:
        ConnectionError: the server does not answer or broke off too often; the bytes so far are kept.
        ValueError: no address is known, or there is another file than expected.
        OSError: the folder cannot be written to.
    """
    card = _importable(name, makers, folder)
    official = card.official
    address = address or (official.address if official else "")
    if not address:
        raise ValueError(f"nobody publishes the weights of {name}. {card.remedy}")
    address = to_direct_address(address)
    known = official if official and not sha256 else None
    folder.mkdir(parents=True, exist_ok=True)
    with httpx.Client(follow_redirects=True, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"}) as client:
        part = _download(client, address, name, folder, report_progress, (known.bytes if known else 0) or LIMIT)
    try:
        expected = sha256 or (known.sha256 if known else "")
        return import_weights(part, name, makers, folder, report_progress, source=address, expected=expected)
    finally:  # a complete download is either imported or useless
        for left in folder.glob(f"{name}.*.part"):
            left.unlink()


def to_direct_address(address: str) -> str:
    """Return the URL of the file itself where a link leads to a page about it, as Dropbox's do.

    Raises:
        ValueError: not http or https.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"an address begins with http:// or https://, not {address!r}")
    if parts.hostname == "dropbox.com" or parts.hostname.endswith(".dropbox.com"):
        query = "&".join(["dl=1", *(part for part in parts.query.split("&") if part and not part.startswith("dl="))])
        parts = parts._replace(query=query)
    return urlunsplit(parts)


def _download(
    client: httpx.Client, address: str, name: str, folder: Path, report_progress: ReportProgress, limit: int
) -> Path:
    """Download into the folder; resume an earlier, broken download."""
    host = urlsplit(address).hostname
    try:
        with client.stream("GET", address) as response:
            total, mark = _read_offer(response, limit)
    except httpx.TransportError as error:
        raise ConnectionError(f"{host} does not answer: {error}") from error
    part = folder / f"{name}.{mark}.part"
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(f"another `retint weights fetch {name}` is already writing {part}") from error
        for left in reversed(range(RETRIES)):
            try:
                _continue_download(client, address, file, total, limit, report_progress)
                break
            except httpx.TransportError as error:
                if not left:
                    raise ConnectionError(
                        f"{host} gave {file.tell():,} bytes and no more; they are kept, and the same command goes on"
                    ) from error
    return part


def _read_offer(response: httpx.Response, limit: int) -> tuple[int, str]:
    """Return the announced size, 0 if there is none, and a hash that identifies this version of this file."""
    if response.status_code != 200:
        raise ValueError(f"{response.url} answers {response.status_code} {response.reason_phrase}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise ValueError(f"{response.url} gives a web page, not a file")
    total = int(response.headers.get("Content-Length", 0))
    if total > limit:
        raise ValueError(f"{response.url} would give {total:,} bytes; at most {limit:,} are expected")
    version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    return total, hashlib.sha256(f"{response.request.url} {version} {total}".encode()).hexdigest()[:12]


def _continue_download(
    client: httpx.Client, address: str, file: IO[bytes], total: int, limit: int, report_progress: ReportProgress
) -> None:
    """Append the missing bytes to a file."""
    if total and file.tell() == total:
        return
    headers = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
    with client.stream("GET", address, headers=headers) as response:
        goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {file.tell()}-")
        if response.status_code not in (200, 206, 416):
            raise httpx.RemoteProtocolError(f"the answer was {response.status_code} {response.reason_phrase}")
        if response.status_code != 206 or not goes_on:
            file.truncate(0)
            file.seek(0)
        if response.status_code != 200 and not goes_on:
            raise httpx.RemoteProtocolError("another part was sent than was asked for")
        for piece in response.iter_raw():  # unbuffered: buffered bytes would be lost when the connection breaks
            file.write(piece)
            if file.tell() > limit:
                raise ValueError(f"{address} gives more than the {limit:,} bytes that are expected")
            report_progress("Downloading", file.tell(), total)
    if file.tell() < total:
        raise httpx.RemoteProtocolError("the answer ended early")
