"""Where bytes live: an S3 bucket, or a directory. Both keep one contract, and pass the same tests."""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from retint.errors import StoreUnavailable
from retint.filetypes import OCTETS
from retint.settings import Settings
from retint.stores.keys import check_file

CHUNK: Final = 1 << 20
"""Bytes that are copied at a time."""
PIECE: Final = 1 << 17
"""Most bytes that are read from a store between two reports of progress."""

Progress = Callable[[], object]
"""Called in any thread each time bytes have moved. What it raises ends the transfer, and comes out of it unchanged."""


def ignore_progress() -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Partial:
    """What a store keeps of a blob that is not whole. With it another process goes on where one has ended.

    Attributes:
        size: Bytes that are kept.
        token: What the store calls it; empty while it has nothing of it.
        parts: What the service calls each part that it has.
        rest: Bytes behind the last part, which are kept apart.
    """

    size: int = 0
    token: str = ""
    parts: tuple[str, ...] = ()
    rest: int = 0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Partial":
        """Read what `asdict` made."""
        return cls(**{**values, "parts": tuple(values.get("parts", ()))})


NOTHING: Final = Partial()


class BlobWriter(Protocol):
    """A blob whose bytes come little by little. Nobody sees it before `commit`."""

    def write(self, data: bytes) -> None:
        """Add bytes."""
        ...

    def keep(self, *, rest: bool = True) -> Partial:
        """Keep the bytes so far for a writer that goes on with them; this one may be written on, too.

        Args:
            rest: Without it only what costs nothing is kept: the bytes behind the last whole part are not.
        """
        ...

    def commit(self) -> None:
        """Make the blob visible, whole; when this returns it is kept, also after a power loss."""
        ...

    def discard(self) -> None:
        """Give the bytes up, and free what holds them, also what was kept before.

        Raises nothing, also after `commit` and `close`, where it has no effect.
        """
        ...

    def close(self) -> None:
        """Free what holds the bytes here, but nothing that is kept."""
        ...


@dataclass(frozen=True)
class Blob:
    """One blob in a listing."""

    key: str
    size: int
    modified_at: datetime


class BlobStore(Protocol):
    """Keeps immutable blobs under keys such as `tenants/…/original`; only the store's identity is ever written over.

    Every method raises StoreUnavailable when the store does not answer, and NotFound for a key that is not there. What
    is wrong with the caller's own file or stream stays an OSError: it is not the store's fault.
    A key with `..`, an empty or an odd part raises ValueError: code makes keys, never a person (see `stores.keys`).
    """

    def prepare(self) -> None:
        """Create the bucket or the folder if it is missing. Called when Retint is set up, not in service."""
        ...

    def put(
        self,
        key: str,
        source: Path | bytes | BinaryIO,
        content_type: str = OCTETS,
        progress: Progress = ignore_progress,
    ) -> None:
        """Write a blob, whole or not at all; large ones go in parts. Writing the same key again is harmless."""
        ...

    def write(self, key: str, content_type: str = OCTETS, so_far: Partial = NOTHING) -> BlobWriter:
        """Begin a blob that is written as its bytes come, with no more than a part of it in memory or on this disk.

        Args:
            key: the blob's.
            content_type: of the blob.
            so_far: what an earlier writer of the same key kept: this one goes on behind it. NotFound is raised, here or
                by the writer, where the store does not have it any more.
        """
        ...

    def open(
        self, key: str, start: int = 0, stop: int | None = None, progress: Progress = ignore_progress
    ) -> AbstractContextManager[BinaryIO]:
        """Stream the bytes from `start` up to, not including, `stop`; nothing past the end."""
        ...

    def fetch(self, key: str, path: Path, progress: Progress = ignore_progress) -> None:
        """Download a blob into a file."""
        ...

    def size(self, key: str) -> int:
        """Return a blob's size in bytes."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs; a key that is not there is no error."""
        ...

    def list(self, prefix: str, after: str | None = None) -> Iterator[Blob]:
        """List the blobs whose keys begin with a prefix, in the order of their keys.

        Args:
            prefix: what the keys begin with; any text.
            after: key of a blob, which may have been deleted since; the listing goes on behind it.
        """
        ...

    def url(self, key: str, *, expires_s: int, file_name: str, content_type: str) -> str | None:
        """Sign an address from which a browser can download until it expires; None where only the portal can serve."""
        ...

    def check(self) -> None:
        """Prove that the store can be written and read (for readiness and `retint doctor`)."""
        ...


def connect(settings: Settings) -> BlobStore:
    """Make the store that the settings name, without contacting it.

    Raises:
        ValueError: the address is neither `s3://bucket` nor `file:///folder`.
    """
    kind, _, rest = settings.store.partition("://")
    if kind == "file" and rest.startswith("/"):
        from retint.stores.directory import DirectoryStore

        return DirectoryStore(Path(rest))
    if kind == "s3" and re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", rest):
        from retint.stores.s3 import S3Store  # boto3 takes long to import; who keeps files in a folder is spared it

        return S3Store(rest, settings)
    raise ValueError(f"RETINT_STORE_URL is neither s3://bucket nor file:///folder: {settings.store}")


class BlobReader(io.RawIOBase):
    """A raw stream over a function that returns at most the bytes asked for, and none at the end.

    Args:
        read: returns up to so many bytes.
        left: the most that the stream gives in total; None for no limit.
        progress: called after each read.
    """

    def __init__(
        self, read: Callable[[int], bytes], left: int | None = None, progress: Progress = ignore_progress
    ) -> None:
        self._read = read
        self._left = left
        self._progress = progress

    def readable(self) -> bool:  # noqa: D102
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: D102
        wanted = min(len(buffer), PIECE if self._left is None else min(self._left, PIECE))
        data = self._read(wanted) if wanted else b""
        buffer[: len(data)] = data
        if self._left is not None:
            self._left -= len(data)
        self._progress()
        return len(data)


def prove_writable(store: BlobStore) -> None:
    """Write a small blob, read it and delete it.

    Raises:
        StoreUnavailable: the store does not answer, or returns other bytes.
    """
    key, written = check_file(), b"retint"
    store.put(key, written)
    try:
        with store.open(key) as blob:
            if blob.read() != written:
                raise StoreUnavailable("The store returned other bytes than were written to it.")
    finally:
        store.delete([key])
