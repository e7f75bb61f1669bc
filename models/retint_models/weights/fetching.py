"""Fetch published weights, from the hub, an address or a file, and import them. A broken download is resumed."""

import fcntl
import hashlib
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from retint_models.weights.cards import IMPORTED, Card, ReportProgress, ignore_progress
from retint_models.weights.importing import DEFAULT_TERMS, Makers, Terms, find_importable, import_weights
from retint_models.weights.publications import HUB, PublishedFile

LIMIT = 4 << 30
"""Most bytes that are downloaded when the size of the file is not known."""

TIMEOUT_S = 30.0
RETRIES = 5
"""How often a broken download is resumed before it is given up."""

ON_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[^/\s]+)(?:/(?P<file>\S+))?")
"""A repository on the hub and a revision of it, as the hub's own `hf://` paths have them; perhaps a file in it."""

REFUSALS = {
    "RevisionNotFound": "{repository} has no revision {revision}; {page} lists those that there are",
    "EntryNotFound": "{repository} has no file {file} at revision {revision}; {page} lists those that there are",
    "GatedRepo": "{repository} is gated: agree to its terms on {page}, download {file} there, and import it with"
    " `retint weights import`",
    "RepoNotFound": "there is no repository {repository}, or it is not public: {page}",
}
"""What the hub's header X-Error-Code means, as its own client reads it."""


def fetch_weights(
    name: str,
    makers: Makers,
    folder: Path = IMPORTED,
    report_progress: ReportProgress = ignore_progress,
    *,
    origin: str = "",
    hub: str = HUB,
    terms: Terms = DEFAULT_TERMS,
) -> Card:
    """Download a network's weights and import them. A broken download is resumed, also by a later call.

    Args:
        name: The network.
        makers: Of all networks, to check whether the weights fit.
        folder: Where imported weights are stored.
        report_progress: Called with what is done, how many bytes, and of how many.
        origin: Where to get them: a URL (http or https), a file, or `owner/name@revision`, a repository on the hub, and
            `/file` where the card names none. The first official file that can be had by default.
        hub: Address of the hub, or of a mirror of it.
        terms: What the file must be. Where they name no SHA-256, it must be one of the official files, as far as these
            are known.

    Returns:
        The network's card, with the record of this import.

    Raises:
        ConnectionError: the server does not answer or broke off too often; the bytes so far are kept.
        ValueError: no address is known, or there is another file than expected.
        OSError: the folder cannot be written to.
    """
    card = find_importable(name, makers, folder, terms)
    terms = replace(terms, only_official=not terms.sha256)
    source = find_source(origin, card)
    if isinstance(source, Path):
        return import_weights(source, name, makers, folder, report_progress, terms=terms)
    source = replace(source, address=to_direct_address(source.to_url(hub)))
    sizes = [published.bytes for published in card.official or []]
    limit = max(sizes) if all(sizes) and sizes and not terms.sha256 else LIMIT
    folder.mkdir(parents=True, exist_ok=True)
    with httpx.Client(follow_redirects=True, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"}) as client:
        file = _download(client, source, folder / f".fetching-{name}", report_progress, limit)
    shown = _without_credentials(source.address)
    try:
        return import_weights(file, name, makers, folder, report_progress, source=shown, terms=terms)
    finally:  # a complete download is either imported or useless
        for left in folder.glob(f".fetching-{name}-*"):
            shutil.rmtree(left)


def find_source(origin: str, card: Card) -> PublishedFile | Path:
    """Return the file that `--from` names; the first official file that can be had where it names none.

    Raises:
        ValueError: it names nothing that can be fetched; says what can.
    """
    official = card.official or []
    if not origin:
        for published in official:
            if published.is_downloadable:
                return published
        raise ValueError(f"nobody publishes the weights of {card.name}. {card.remedy}")
    if "://" in origin:
        name = PurePosixPath(unquote(urlsplit(origin).path)).name.strip(".")
        return PublishedFile(name or "weights", address=origin)
    if Path(origin).is_file():
        return Path(origin)
    if not (named := ON_HUB.fullmatch(origin)):
        raise ValueError(
            f"{origin!r} is no file here, no address (https://…) and no repository with revision (OWNER/NAME@REVISION)"
        )
    on_hub = sorted(
        (published for published in official if published.repository),
        key=lambda published: published.repository != named["repository"],
    )
    file = named["file"] or next((published.file for published in on_hub), "")
    if not file:
        raise ValueError(f"the card of {card.name} names no file on the hub: give {origin}/FILE")
    return PublishedFile(file, repository=named["repository"], revision=named["revision"])


def to_direct_address(address: str) -> str:
    """Return the URL of the file itself where a link leads to a page about it, as Dropbox's and the hub's do.

    Raises:
        ValueError: no address, or not of http or https.
    """
    try:
        parts = urlsplit(str(httpx.URL(address)))
    except httpx.InvalidURL as error:
        raise ValueError(f"{address!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"an address begins with http:// or https://, not {address!r}")
    if parts.hostname == "dropbox.com" or parts.hostname.endswith(".dropbox.com"):
        query = "&".join(["dl=1", *(part for part in parts.query.split("&") if part and not part.startswith("dl="))])
        parts = parts._replace(query=query)
    if parts.hostname == urlsplit(HUB).hostname:
        parts = parts._replace(path=parts.path.replace("/blob/", "/resolve/", 1))
    return urlunsplit(parts)


def _without_credentials(url: str) -> str:
    """Return a URL without user and password: the record of an import is for everybody's eyes."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _download(
    client: httpx.Client, source: PublishedFile, folder: Path, report_progress: ReportProgress, limit: int
) -> Path:
    """Download into a folder whose name begins as the given one; resume an earlier, broken download.

    The file has the name that it was published under, which messages tell.
    """
    url, host = source.address, urlsplit(source.address).hostname
    try:
        with client.stream("GET", url) as response:
            _check_answer(response, source)
            total, version = _read_offer(response, limit)
    except httpx.RequestError as error:
        raise ConnectionError(f"{host} does not answer: {error}") from error
    mark = hashlib.sha256(f"{url} {version} {total}".encode()).hexdigest()[:12]
    path = folder.with_name(f"{folder.name}-{mark}") / PurePosixPath(source.file).name
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(f"another `retint weights fetch` is already writing {path}") from error
        for left in reversed(range(RETRIES)):
            try:
                _continue_download(client, url, file, total, limit, report_progress)
                break
            except httpx.RequestError as error:
                if not left:
                    raise ConnectionError(
                        f"{host} gave {file.tell():,} bytes and no more; they are kept, and the same command goes on"
                    ) from error
    return path


def _check_answer(response: httpx.Response, source: PublishedFile) -> None:
    """Say in a sentence why a server gives no file.

    Raises:
        ConnectionError: it is busy or broken.
        ValueError: it has no such file, or not for everybody.
    """
    status = response.status_code
    if status == 200:
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise ValueError(f"{response.url} gives a web page, not a file")
        return
    answer = f"{response.url} answers {status} {response.reason_phrase}"
    if status == 429 or status >= 500:
        raise ConnectionError(f"{answer}: try again later")
    # To those whom it does not know the hub answers 401, whether a repository is private or does not exist.
    code = response.headers.get("X-Error-Code") or ("RepoNotFound" if status == 401 else "")
    if source.repository and code in REFUSALS:
        page = source.address.partition("/resolve/")[0]
        raise ValueError(REFUSALS[code].format(page=page, **asdict(source)))
    by_hand = ": download the file by hand, and import it with `retint weights import`" if status in (401, 403) else ""
    raise ValueError(f"{answer}{by_hand}")


def _read_offer(response: httpx.Response, limit: int) -> tuple[int, str]:
    """Return the announced size, 0 if there is none, and what identifies this version of the file.

    The hub redirects to servers whose addresses change with every request, and tells the file's hash before that.

    Raises:
        ValueError: it is too large.
    """
    total = int(response.headers.get("Content-Length", 0))
    if total > limit:
        raise ValueError(f"{response.url} would give {total:,} bytes; at most {limit:,} are expected")
    linked = (answer.headers.get("X-Linked-ETag") for answer in response.history)
    version = next(filter(None, linked), "") or response.headers.get("ETag") or response.headers.get("Last-Modified")
    return total, version or ""


def _continue_download(
    client: httpx.Client, url: str, file: IO[bytes], total: int, limit: int, report_progress: ReportProgress
) -> None:
    """Append the missing bytes to a file."""
    if total and file.tell() == total:
        return
    headers = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
    with client.stream("GET", url, headers=headers) as response:
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
                file.truncate(0)
                raise ValueError(f"{url} gives more than the {limit:,} bytes that are expected")
            report_progress("Downloading", file.tell(), total)
    if file.tell() < total:
        raise httpx.RemoteProtocolError("the answer ended early")
