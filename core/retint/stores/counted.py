"""A store that counts the bytes which a process moves, and what the store did not answer."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from retint.errors import StoreUnavailable
from retint.filetypes import OCTETS
from retint.metrics import STORE_BYTES, STORE_ERRORS, Counters
from retint.stores import (
    CHUNK,
    NOTHING,
    Blob,
    BlobReader,
    BlobStore,
    BlobWriter,
    Partial,
    Progress,
    ignore_progress,
)


class CountedStore:
    """Hands everything on to another store, and counts."""

    def __init__(self, store: BlobStore, counters: Counters) -> None:
        self._store = store
        self._counters = counters

    def prepare(self) -> None:
        """Prepare the store."""
        with self.count_errors():
            self._store.prepare()

    def put(
        self,
        key: str,
        source: Path | bytes | BinaryIO,
        content_type: str = OCTETS,
        progress: Progress = ignore_progress,
    ) -> None:
        """Write a blob; its bytes count when all of them are there."""
        with self.count_errors():
            if isinstance(source, bytes | Path):
                self._store.put(key, source, content_type, progress)
                self.count_bytes("written", len(source) if isinstance(source, bytes) else source.stat().st_size)
            else:
                self._store.put(key, self._count_stream(source, "written"), content_type, progress)

    def write(self, key: str, content_type: str = OCTETS, so_far: Partial = NOTHING) -> BlobWriter:
        """Begin a blob, or go on with one; its bytes count as they come."""
        with self.count_errors():
            return _CountedWriter(self._store.write(key, content_type, so_far), self)

    @contextmanager
    def open(
        self, key: str, start: int = 0, stop: int | None = None, progress: Progress = ignore_progress
    ) -> Iterator[BinaryIO]:
        """Stream bytes; they count as they come."""
        with self.count_errors(), self._store.open(key, start, stop, progress) as stream:
            yield self._count_stream(stream, "read")

    def fetch(self, key: str, path: Path, progress: Progress = ignore_progress) -> None:
        """Download a blob; its bytes count when all of them are there."""
        with self.count_errors():
            self._store.fetch(key, path, progress)
        self.count_bytes("read", path.stat().st_size)

    def size(self, key: str) -> int:
        """Return a blob's size in bytes."""
        with self.count_errors():
            return self._store.size(key)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs."""
        with self.count_errors():
            self._store.delete(keys)

    def list(self, prefix: str, after: str | None = None) -> Iterator[Blob]:
        """List blobs."""
        with self.count_errors():
            yield from self._store.list(prefix, after)

    def url(self, key: str, *, expires_s: int, file_name: str, content_type: str) -> str | None:
        """Sign an address; who downloads from there is not counted."""
        return self._store.url(key, expires_s=expires_s, file_name=file_name, content_type=content_type)

    def check(self) -> None:
        """Prove that the store can be written and read."""
        with self.count_errors():
            self._store.check()

    @contextmanager
    def count_errors(self) -> Iterator[None]:
        """Count it where the store does not answer."""
        try:
            yield
        except StoreUnavailable:
            self._counters.count(STORE_ERRORS)
            raise

    def count_bytes(self, direction: str, n: int) -> None:
        """Count bytes that were `read` or `written`."""
        self._counters.count(STORE_BYTES, direction, n=n)

    def _count_stream(self, stream: BinaryIO, direction: str) -> BinaryIO:
        def read(size: int) -> bytes:
            data = stream.read(size)
            self.count_bytes(direction, len(data))
            return data

        return io.BufferedReader(BlobReader(read), CHUNK)


class _CountedWriter:
    def __init__(self, writer: BlobWriter, store: CountedStore) -> None:
        self._writer = writer
        self._store = store

    def write(self, data: bytes) -> None:
        with self._store.count_errors():
            self._writer.write(data)
        self._store.count_bytes("written", len(data))

    def keep(self, *, rest: bool = True) -> Partial:
        with self._store.count_errors():
            return self._writer.keep(rest=rest)

    def commit(self) -> None:
        with self._store.count_errors():
            self._writer.commit()

    def discard(self) -> None:
        with self._store.count_errors():
            self._writer.discard()

    def close(self) -> None:
        self._writer.close()
