"""Blobs as files of one folder."""

import errno
import fcntl
import io
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from heapq import nsmallest
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from retint.errors import NotFound, StoreUnavailable
from retint.filetypes import OCTETS
from retint.stores import CHUNK, NOTHING, Blob, BlobReader, Partial, Progress, ignore_progress, prove_writable
from retint.stores.keys import PART, validate_key

ROOM_BYTES = 64 << 20
"""Space that a sound store's disk has left; a twentieth of a smaller one."""
SYNC_BYTES = 64 << 20
"""Bytes between two syncs of a large file."""

LISTED = 100_000
"""Most entries of one folder that a listing holds in memory."""


class DirectoryStore:
    """Keeps blobs as files of one folder. Unfinished writes lie in its subfolder `.incoming`.

    Without that subfolder the folder is no store: its disk is not mounted, or nobody has prepared it. Then nothing is
    written into it, and no blob is said to be missing.
    """

    UNFINISHED_S = 86_400
    """Age from which a file in `.incoming` counts as left behind by a crash."""
    KEPT_S = 30 * 86_400
    """The same for what a writer kept."""
    RENAME_LIMIT = 100
    """How often a rename is repeated while deletes remove the folder under it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming = folder / ".incoming"

    def prepare(self) -> None:
        """Create the folder, and delete what crashes left in `.incoming`."""
        with self._translate_errors():
            self._incoming.mkdir(parents=True, exist_ok=True)
            for part in self._incoming.iterdir():
                age_s = time.time() - part.stat().st_mtime
                if age_s > (self.KEPT_S if part.name.startswith(DirectoryWriter.KEPT) else self.UNFINISHED_S):
                    part.unlink(missing_ok=True)

    def put(
        self,
        key: str,
        source: Path | bytes | BinaryIO,
        content_type: str = OCTETS,
        progress: Progress = ignore_progress,
    ) -> None:
        """Write to `.incoming`, sync, rename: a reader sees the whole blob or none, also after a power loss."""
        path, part = self.folder / validate_key(key), self._incoming / str(uuid4())
        with _open_source(source) as stream:
            try:
                self._write(part, stream, progress)
                with self._translate_errors():
                    self._move_into_place(part, path)
            finally:
                with self._translate_errors():
                    part.unlink(missing_ok=True)

    def _write(self, part: Path, stream: BinaryIO, progress: Progress) -> None:
        """Write a stream to a new file, and sync it to disk; errors of the stream itself are not the store's."""
        with self._translate_errors():
            file = part.open("wb", buffering=0)
        with file:
            unsynced = 0
            while piece := stream.read(CHUNK):
                with self._translate_errors():
                    _write_all(file, piece)
                    unsynced += len(piece)
                    if unsynced >= SYNC_BYTES:  # the last sync of a large file would be silent for too long
                        os.fsync(file.fileno())
                        unsynced = 0
                progress()
            with self._translate_errors():
                os.fsync(file.fileno())

    def write(self, key: str, content_type: str = OCTETS, so_far: Partial = NOTHING) -> "DirectoryWriter":
        """Write to a file of `.incoming` as the bytes come."""
        path = self.folder / validate_key(key)
        with self._translate_errors(so_far.token or None):
            return DirectoryWriter(self, self._incoming / (so_far.token or str(uuid4())), path, so_far)

    def _move_into_place(self, part: Path, path: Path) -> None:
        for _ in range(self.RENAME_LIMIT):
            part.stat()  # fails where the disk is not mounted any more: then no folder is made in its place
            # A concurrent delete may remove the folder while it is still empty.
            with suppress(FileNotFoundError):
                _make_folder(path.parent, self.folder)
                part.replace(path)
                break
        else:
            raise StoreUnavailable("The store's folder is deleted again and again while a file is written into it.")
        with suppress(FileNotFoundError):
            _sync_folder(path.parent)

    @contextmanager
    def open(
        self, key: str, start: int = 0, stop: int | None = None, progress: Progress = ignore_progress
    ) -> Iterator[BinaryIO]:
        """Stream from the file."""
        with self._translate_errors(key):
            file = (self.folder / validate_key(key)).open("rb", buffering=0)

        def read(size: int) -> bytes:
            with self._translate_errors():
                return file.read(size)

        with file:
            file.seek(start)
            left = None if stop is None else max(0, stop - start)
            yield io.BufferedReader(BlobReader(read, left, progress), CHUNK)

    def fetch(self, key: str, path: Path, progress: Progress = ignore_progress) -> None:
        """Copy the file."""
        with self.open(key, progress=progress) as stream, path.open("wb") as file:
            while piece := stream.read(CHUNK):
                file.write(piece)

    def size(self, key: str) -> int:
        """Return the file's size."""
        path = self.folder / validate_key(key)
        with self._translate_errors(key):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "only a prefix")
            return path.stat().st_size

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the files, and the folders that become empty."""
        for key in keys:
            path = self.folder / validate_key(key)
            with self._translate_errors(), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                path.unlink()
            with suppress(OSError):  # not empty
                for folder in path.relative_to(self.folder).parents[:-1]:
                    (self.folder / folder).rmdir()

    def list(self, prefix: str, after: str | None = None) -> Iterator[Blob]:
        """Walk the folders under the prefix."""
        folder, slash, beginning = prefix.rpartition("/")
        if folder:
            validate_key(folder)
        path, behind = folder + slash, after or ""
        if behind.startswith(path):
            behind = behind.removeprefix(path)
        elif behind > path:
            return
        else:
            behind = ""
        with self._translate_errors():
            yield from _walk(self.folder / folder, path, beginning, behind)

    def url(self, key: str, *, expires_s: int, file_name: str, content_type: str) -> None:
        """Return None: only the portal can serve a directory."""

    def check(self) -> None:
        """Write, read and delete a small blob, and see whether there is room for more."""
        prove_writable(self)
        with self._translate_errors():
            disk = shutil.disk_usage(self.folder)
        if disk.free < min(ROOM_BYTES, disk.total // 20):
            raise StoreUnavailable(f"The store's disk has {disk.free >> 20} MiB left.", code="store_full")

    @contextmanager
    def _translate_errors(self, key: str | None = None) -> Iterator[None]:
        """Translate errors of the file system. NotFound is raised only where `key` names what was to be read."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreUnavailable("The store's disk is full.", code="store_full") from error
            if not os.path.isdir(self._incoming):  # noqa: PTH112  answers without an error where it may not look
                raise StoreUnavailable(f"There is no store in {self.folder}: is its disk mounted?") from error
            if key is not None and error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR):
                raise NotFound(f"The store has no {key}.") from error
            raise StoreUnavailable(f"The store's folder cannot be used: {error.strerror}.") from error


class DirectoryWriter:
    """A blob that is being written as a file of `.incoming`."""

    SYNC_BYTES = 64 << 20
    """Bytes after which those before are synced: else the last ones would wait for gigabytes."""
    KEPT = "kept-"
    """How the names of files begin that another writer may go on with."""

    def __init__(self, store: DirectoryStore, part: Path, path: Path, so_far: Partial) -> None:
        self._store, self._part, self._path = store, part, path
        self._file = part.open("r+b" if so_far.token else "xb", buffering=0)
        try:
            self._take_over(so_far.size)
        except BaseException:
            self._file.close()
            raise
        self._size = self._file.seek(so_far.size)
        self._unsynced = 0

    def _take_over(self, size: int) -> None:
        """Lock the file, with so many bytes in it; leave it to another writer that still has it, and copy these."""
        if os.fstat(self._file.fileno()).st_size < size:
            raise FileNotFoundError(errno.ENOENT, "the file is shorter than what was kept")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with self._file as theirs:
                self._part = self._part.with_name(f"{self.KEPT}{uuid4()}")
                self._file = self._part.open("xb", buffering=0)
                fcntl.flock(self._file, fcntl.LOCK_EX)
                while self._file.tell() < size and (copied := theirs.read(min(CHUNK, size - self._file.tell()))):
                    _write_all(self._file, copied)
        self._file.truncate(size)

    def write(self, data: bytes) -> None:
        """Add bytes to the file."""
        with self._store._translate_errors():
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
            self._size += len(data)
            self._unsynced += len(data)
            if self._unsynced >= self.SYNC_BYTES:
                self._sync()

    def keep(self, *, rest: bool = True) -> Partial:
        """Sync the file, and give it a name that says that it is kept."""
        with self._store._translate_errors():
            if not self._part.name.startswith(self.KEPT):
                self._part = self._part.rename(self._part.with_name(self.KEPT + self._part.name))
                _sync_folder(self._part.parent)
            self._sync()
        return Partial(self._size, self._part.name)

    def _sync(self) -> None:
        os.fdatasync(self._file.fileno())
        self._unsynced = 0

    def commit(self) -> None:
        """Sync the file, and rename it."""
        with self._store._translate_errors():
            os.fsync(self._file.fileno())
            self._file.close()
            self._store._move_into_place(self._part, self._path)

    def discard(self) -> None:
        """Delete the file; one that cannot be deleted now is cleared later (see `DirectoryStore.prepare`)."""
        if not self._file.closed:
            with suppress(StoreUnavailable), self._store._translate_errors():
                self._file.close()
                self._part.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; one that was not kept is deleted."""
        if self._part.name.startswith(self.KEPT):
            self._file.close()
        self.discard()


@contextmanager
def _open_source(source: Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    """Open what is to be stored; a stream stays open, since the caller opened it."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    elif isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        yield source


def _write_all(file: io.FileIO, piece: bytes) -> None:
    """Write bytes to an unbuffered file, which may take them in parts."""
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


def _make_folder(folder: Path, within: Path) -> None:
    """Create a folder and its parents, each one synced, so that a power loss does not lose the path to a blob.

    Raises:
        FileNotFoundError: the folder `within` which they should be is not there.
    """
    if folder != within and not folder.is_dir():
        _make_folder(folder.parent, within)
        with suppress(FileExistsError):
            folder.mkdir()
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(folder: Path, path: str, beginning: str = "", after: str = "") -> Iterator[Blob]:
    """List the files under a folder in the order of their keys; folders may vanish meanwhile.

    Args:
        folder: the folder.
        path: what the keys of its files begin with.
        beginning: what the first part behind `path` begins with.
        after: the listing goes on behind this, the end of a key behind `path`.
    """
    for part in _list_parts(folder, beginning, after):
        if part.endswith("/"):
            yield from _walk(
                folder / part, path + part, after=after.removeprefix(part) if after.startswith(part) else ""
            )
            continue
        with suppress(FileNotFoundError):
            found = (folder / part).stat()
            yield Blob(path + part, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _list_parts(folder: Path, beginning: str, after: str) -> Iterator[str]:
    """List what is in a folder, as parts of keys: a folder's name ends with `/`.

    Sorted as whole keys: `a-b` comes before `a/b`, although the folder's name `a` comes before `a-b`. A folder of many
    millions is read several times instead of being held in memory.
    """
    last = ""
    while True:
        try:
            with os.scandir(folder) as entries:
                named = (entry for entry in entries if PART.match(entry.name) and entry.name.startswith(beginning))
                parts = (f"{entry.name}/" if entry.is_dir() else entry.name for entry in named)
                found = nsmallest(LISTED, (part for part in parts if part > last and _is_behind(part, after)))
        except FileNotFoundError:
            return
        yield from found
        if len(found) < LISTED:
            return
        last = found[-1]


def _is_behind(part: str, after: str) -> bool:
    """Whether a file, or anything in a folder, comes after a key."""
    return part > after or (part.endswith("/") and after.startswith(part))
