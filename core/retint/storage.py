"""Where bytes live: an S3 bucket, or a directory. Two implementations, one contract, one conformance test."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from retint.settings import Settings


@dataclass(frozen=True)
class Blob:
    """What a listing says of one blob."""

    key: str
    size: int
    modified_at: datetime


class BlobStore(Protocol):
    """Keeps immutable blobs under keys such as `tenants/…/original`.

    Every method raises StoreUnavailable when the store does not answer, and NotFound for a key that is not there.
    """

    def put(self, key: str, source: Path | bytes | BinaryIO, content_type: str = "application/octet-stream") -> None:
        """Write a blob, all of it or nothing; what is large goes in parts. Writing the same key again is harmless."""
        ...

    def open(self, key: str, start: int = 0, stop: int | None = None) -> AbstractContextManager[BinaryIO]:
        """Stream the bytes from `start` up to, not including, `stop`."""
        ...

    def fetch(self, key: str, path: Path) -> None:
        """Download a blob into a file."""
        ...

    def size(self, key: str) -> int:
        """Tell a blob's size in bytes."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs; what is not there is no error."""
        ...

    def list(self, prefix: str) -> Iterator[Blob]:
        """List the blobs under a prefix, in the order of their keys."""
        ...

    def url(self, key: str, *, expires_s: int, file_name: str, content_type: str) -> str | None:
        """Sign an address from which a browser can download until it expires; None where only the portal can serve."""
        ...

    def check(self) -> None:
        """Prove that the store can be written and read (for readiness and `retint doctor`)."""
        ...


def connect(settings: Settings) -> BlobStore:
    """Pick the store that the settings name."""
    raise NotImplementedError
