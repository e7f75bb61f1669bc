"""Sends a large file by the protocol tus 1.0.0: what breaks off goes on, also in another run."""

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from retint.command.client import BACKOFF_S, CHUNK, Client, FileChanged, PortalUnavailable, QuotaReached
from retint.digests import hash_file
from retint.errors import Refused, RetintError

ADDRESS: Final = "/api/v1/uploads"
TUS: Final = {"Tus-Resumable": "1.0.0"}


def send(
    client: Client, batch_id: str, name: str, path: Path, sha256: str, on_progress: Callable[[int], None]
) -> dict[str, Any]:
    """Deposit a file in a batch; an upload of it that broke off goes on.

    Args:
        client: of the portal.
        batch_id: the batch.
        name: the file's name there.
        path: the file.
        sha256: of its bytes.
        on_progress: called with the number of bytes that the portal has.

    Returns:
        The upload, with the id of its job.

    Raises:
        FileChanged: the file's bytes are others by now.
        OSError: the file cannot be read.
        PortalUnavailable, WrongToken, Refused: see `Client`.
    """
    size = path.stat().st_size
    address = client.retry(lambda: _find(client, batch_id, name, size, sha256)) or client.retry(
        lambda: _open(client, batch_id, name, size, sha256)
    )

    def read_offset() -> int:
        return client.retry(lambda: _read_offset(client, address))

    offset, waits = read_offset(), iter(BACKOFF_S)
    while offset < size:
        on_progress(offset)
        trouble = _try_to_send(client, address, path, offset, sha256, on_progress)
        before, offset = offset, read_offset()
        if offset > before:
            waits = iter(BACKOFF_S)
        elif (wait := next(waits, None)) is None:
            raise trouble
        else:
            time.sleep(wait)
    on_progress(size)
    return client.get(address)


def _try_to_send(
    client: Client, address: str, path: Path, offset: int, sha256: str, on_progress: Callable[[int], None]
) -> RetintError:
    """Send what is left of a file; return what went wrong, should the portal have no more of it than before.

    Raises:
        FileChanged: the file's bytes are others by now.
        Refused: the portal refuses it.
    """
    try:
        _send_rest(client, address, path, offset, on_progress)
    except PortalUnavailable as error:
        return error
    except QuotaReached:
        raise
    except Refused as error:
        if error.code == "offset_differs":
            return PortalUnavailable(error.message)
        if hash_file(path) != sha256:
            raise FileChanged from error
        raise
    return FileChanged()


def _find(client: Client, batch_id: str, name: str, size: int, sha256: str) -> str | None:
    """Return the address of an upload of the file that broke off; None where there is none."""
    for upload in client.call("GET", ADDRESS, params={"sha256": sha256})["items"]:
        if (upload["batch_id"], upload["name"], upload["size"]) == (batch_id, name, size):
            return f"{ADDRESS}/{upload['id']}"
    return None


def _open(client: Client, batch_id: str, name: str, size: int, sha256: str) -> str:
    values = {"filename": name, "batch": batch_id, "sha256": sha256}
    metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())
    answer = client.request(
        "POST", ADDRESS, headers=TUS | {"Upload-Length": str(size), "Upload-Metadata": metadata}, status=201
    )
    return urlsplit(answer.headers["Location"]).path


def _read_offset(client: Client, address: str) -> int:
    return int(client.request("HEAD", address, headers=TUS, status=200).headers["Upload-Offset"])


def _send_rest(client: Client, address: str, path: Path, offset: int, on_progress: Callable[[int], None]) -> None:
    def read() -> Iterator[bytes]:
        with path.open("rb") as source:
            source.seek(offset)
            while chunk := source.read(CHUNK):
                yield chunk
                on_progress(source.tell())

    headers = TUS | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
    client.request("PATCH", address, headers=headers, content=read(), status=204, storing=path.stat().st_size)
