"""Where bytes live: an S3 bucket, or a directory. Two implementations, one contract, one conformance test."""

import errno
import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import quote
from uuid import uuid4

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from retint.errors import NotFound, StoreUnavailable
from retint.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OCTETS = "application/octet-stream"
CHUNK = 1 << 20
"""Bytes that are copied at a time."""


@dataclass(frozen=True)
class Blob:
    """What a listing says of one blob."""

    key: str
    size: int
    modified_at: datetime


class BlobStore(Protocol):
    """Keeps immutable blobs under keys such as `tenants/…/original`.

    Every method raises StoreUnavailable when the store does not answer, and NotFound for a key that is not there.
    A key with `..`, an empty or an odd part is a ValueError: keys are made by us, never by people.
    """

    def prepare(self) -> None:
        """Make the bucket or the folder where it is missing (when Retint is set up, not in service)."""
        ...

    def put(self, key: str, source: Path | bytes | BinaryIO, content_type: str = OCTETS) -> None:
        """Write a blob, all of it or nothing; what is large goes in parts. Writing the same key again is harmless."""
        ...

    def open(self, key: str, start: int = 0, stop: int | None = None) -> AbstractContextManager[BinaryIO]:
        """Stream the bytes from `start` up to, not including, `stop`; past the end there are none."""
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
        """List the blobs whose keys begin with a prefix, in the order of their keys."""
        ...

    def url(self, key: str, *, expires_s: int, file_name: str, content_type: str) -> str | None:
        """Sign an address from which a browser can download until it expires; None where only the portal can serve."""
        ...

    def check(self) -> None:
        """Prove that the store can be written and read (for readiness and `retint doctor`)."""
        ...


def connect(settings: Settings) -> BlobStore:
    """Pick the store that the settings name; nothing is contacted yet.

    Raises:
        ValueError: the address is neither `s3://bucket` nor `file:///folder`.
    """
    kind, _, rest = settings.store.partition("://")
    if kind == "file" and rest.startswith("/"):
        return DirectoryStore(Path(rest))
    if kind == "s3" and re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", rest):
        return S3Store(rest, settings)
    raise ValueError(f"RETINT_STORE_URL is neither s3://bucket nor file:///folder: {settings.store}")


PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
"""One part of a key: no `..`, nothing hidden, nothing that needs quoting in a path, an address or a header."""


def checked(key: str) -> str:
    """Let a key through that is safe as a path and as an address.

    Raises:
        ValueError: the key has an empty, hidden or odd part, or is longer than S3 allows.
    """
    if len(key) > 1024 or not all(PART.fullmatch(part) for part in key.split("/")):
        raise ValueError(f"not a key: {key!r}")
    return key


class _Stream(io.RawIOBase):
    """A part of a blob, read through a function that returns at most so many bytes, and none at the end."""

    def __init__(self, read: Callable[[int], bytes], left: int | None = None) -> None:
        self._read = read
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer) if self._left is None else min(len(buffer), self._left)
        data = self._read(wanted) if wanted else b""
        buffer[: len(data)] = data
        if self._left is not None:
            self._left -= len(data)
        return len(data)


def _prove(store: BlobStore) -> None:
    key, written = f"checks/{uuid4()}", b"retint"
    store.put(key, written)
    try:
        with store.open(key) as blob:
            if blob.read() != written:
                raise StoreUnavailable("The store does not give back what was written to it.")
    finally:
        store.delete([key])


class DirectoryStore:
    """Keeps blobs as files of one folder. What is being written lies apart, in `.incoming`."""

    UNFINISHED_S = 86_400
    """Age from which a file in `.incoming` is what a crash left behind."""
    PUBLISH_TRIES = 100

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming = folder / ".incoming"

    def prepare(self) -> None:
        """Make the folder, and clear what crashes left behind."""
        with self._translated():
            self._incoming.mkdir(parents=True, exist_ok=True)
            for part in self._incoming.iterdir():
                if part.stat().st_mtime < time.time() - self.UNFINISHED_S:
                    part.unlink(missing_ok=True)

    def put(self, key: str, source: Path | bytes | BinaryIO, content_type: str = OCTETS) -> None:
        """Write apart, sync, rename: a reader sees the whole blob or none, after a power loss too."""
        path, part = self.folder / checked(key), self._incoming / str(uuid4())
        with _readable(source) as stream, self._translated():
            self._incoming.mkdir(parents=True, exist_ok=True)
            try:
                _write(part, stream)
                self._publish(part, path)
            finally:
                part.unlink(missing_ok=True)

    def _publish(self, part: Path, path: Path) -> None:
        for _ in range(self.PUBLISH_TRIES):
            # A delete may take the folder away again, empty until now, before the blob is in it.
            with suppress(FileNotFoundError):
                _make_folder(path.parent)
                part.replace(path)
                break
        else:
            raise StoreUnavailable("The store's folder is emptied faster than it is filled.")
        with suppress(FileNotFoundError):
            _sync(path.parent)

    @contextmanager
    def open(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[BinaryIO]:
        """Stream from the file."""
        with self._translated(key):
            file = (self.folder / checked(key)).open("rb", buffering=0)

        def read(size: int) -> bytes:
            with self._translated():
                return file.read(size)

        with file:
            file.seek(start)
            yield io.BufferedReader(_Stream(read, None if stop is None else max(0, stop - start)), CHUNK)

    def fetch(self, key: str, path: Path) -> None:
        """Copy the file."""
        with self.open(key) as stream, self._translated():
            _write(path, stream)

    def size(self, key: str) -> int:
        """Ask the file system."""
        path = self.folder / checked(key)
        with self._translated(key):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "only a prefix")
            return path.stat().st_size

    def delete(self, keys: Iterable[str]) -> None:
        """Unlink the files, and the folders that this leaves empty."""
        for key in keys:
            path = self.folder / checked(key)
            with self._translated(), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                path.unlink()
            with suppress(OSError):  # not empty
                for folder in path.relative_to(self.folder).parents[:-1]:
                    (self.folder / folder).rmdir()

    def list(self, prefix: str) -> Iterator[Blob]:
        """Walk the folders below the prefix."""
        folder, _, beginning = prefix.rpartition("/")
        if folder:
            checked(folder)
        with self._translated():
            yield from _walk(self.folder / folder, f"{folder}/" if folder else "", beginning)

    def url(self, key: str, *, expires_s: int, file_name: str, content_type: str) -> None:
        """Nobody but the portal can serve a directory."""

    def check(self) -> None:
        """Write, read and delete a small blob."""
        _prove(self)

    @contextmanager
    def _translated(self, key: str | None = None) -> Iterator[None]:
        """Say in our words what the file system says; only where a key is to be read can it be that one is missing."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreUnavailable("The store's disk is full.", code="store_full") from error
            missing = error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR)
            if missing and key is not None and self.folder.is_dir():
                raise NotFound(f"The store has no {key}.") from error
            raise StoreUnavailable(f"The store's folder cannot be used: {error.strerror}.") from error


@contextmanager
def _readable(source: Path | bytes | BinaryIO) -> Iterator[BinaryIO]:
    """Open what is to be stored; a stream that somebody else opened stays open."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield file
    elif isinstance(source, bytes):
        yield io.BytesIO(source)
    else:
        yield source


def _write(path: Path, stream: BinaryIO) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(stream, file, CHUNK)
        file.flush()
        os.fsync(file.fileno())


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each one synced, so that a power loss cannot take a blob's way away."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir()
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(folder: Path, path: str, beginning: str = "") -> Iterator[Blob]:
    """List the files below a folder whose first name has a beginning. Folders come and go meanwhile."""
    try:
        entries = [entry for entry in os.scandir(folder) if PART.match(entry.name) and entry.name.startswith(beginning)]
    except FileNotFoundError:
        return
    # In the order of whole keys `a-b` stands before `a/b`, but the folder's name `a` before `a-b`.
    for entry in sorted(entries, key=lambda entry: f"{entry.name}/" if entry.is_dir() else entry.name):
        if entry.is_dir():
            yield from _walk(folder / entry.name, f"{path}{entry.name}/")
            continue
        with suppress(FileNotFoundError):
            found = entry.stat()
            yield Blob(path + entry.name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


class S3Store:
    """Keeps blobs as objects of one bucket, of Amazon's service or of another that speaks its language."""

    TRANSFER = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20, max_concurrency=4)
    DELETE_MOST = 1000
    """Keys that one request may delete."""

    def __init__(self, bucket: str, settings: Settings) -> None:
        self.bucket = bucket
        self._settings = settings

    def prepare(self) -> None:
        """Make the bucket where it is missing."""
        with self._translated():
            try:
                self._client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if _code(error) not in MISSING:
                    raise
                self._client.create_bucket(Bucket=self.bucket)

    def put(self, key: str, source: Path | bytes | BinaryIO, content_type: str = OCTETS) -> None:
        """Upload in one request, or from 8 MiB on in parts, which become visible together."""
        checked(key)
        extra = {"ContentType": content_type}
        with self._translated():
            if isinstance(source, bytes):
                self._client.put_object(Bucket=self.bucket, Key=key, Body=source, ContentType=content_type)
            elif isinstance(source, Path):
                self._client.upload_file(str(source), self.bucket, key, ExtraArgs=extra, Config=self.TRANSFER)
            else:
                # s3transfer closes what it has read, but the stream is the caller's.
                kept_open = io.BufferedReader(_Stream(source.read), CHUNK)
                self._client.upload_fileobj(kept_open, self.bucket, key, ExtraArgs=extra, Config=self.TRANSFER)

    @contextmanager
    def open(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[BinaryIO]:
        """Stream from one ranged request."""
        body = self._body(checked(key), start, stop)

        def read(size: int) -> bytes:
            with self._translated():
                data: bytes = body.read(size)
                return data

        with closing(body):
            yield io.BufferedReader(_Stream(read), CHUNK)

    def _body(self, key: str, start: int, stop: int | None) -> Any:
        """Ask for a range; one that holds nothing is no range to S3."""
        if stop is not None and stop <= start:
            self.size(key)
            return io.BytesIO()
        with self._translated(key):
            if start == 0 and stop is None:
                return self._client.get_object(Bucket=self.bucket, Key=key)["Body"]
            span = f"bytes={start}-{'' if stop is None else stop - 1}"
            try:
                return self._client.get_object(Bucket=self.bucket, Key=key, Range=span)["Body"]
            except ClientError as error:
                if _code(error) != "InvalidRange":
                    raise
                return io.BytesIO()

    def fetch(self, key: str, path: Path) -> None:
        """Download in parallel parts where it is large."""
        with self._translated(key):
            self._client.download_file(self.bucket, checked(key), str(path), Config=self.TRANSFER)

    def size(self, key: str) -> int:
        """Ask for the object's head."""
        with self._translated(key):
            return self._client.head_object(Bucket=self.bucket, Key=checked(key))["ContentLength"]

    def delete(self, keys: Iterable[str]) -> None:
        """Delete up to a thousand objects a request."""
        rest = iter(keys)
        while some := [checked(key) for key in islice(rest, self.DELETE_MOST)]:
            with self._translated():
                answer = self._client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
                )
            if failed := answer.get("Errors"):
                raise StoreUnavailable(f"The store did not delete {len(failed)} of {len(some)} blobs.")

    def list(self, prefix: str) -> Iterator[Blob]:
        """Page through the bucket."""
        with self._translated():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for found in page.get("Contents", ()):
                    yield Blob(found["Key"], found["Size"], found["LastModified"])

    def url(self, key: str, *, expires_s: int, file_name: str, content_type: str) -> str | None:
        """Sign a download from the address that browsers reach; always as an attachment, whatever the bytes say."""
        if self._settings.s3_public_endpoint is None:
            return None
        return self._public_client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket,
                "Key": checked(key),
                "ResponseContentType": content_type,
                # RFC 6266 and RFC 8187: any name, without a character that could end the header.
                "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(file_name, safe='')}",
            },
            ExpiresIn=expires_s,
        )

    def check(self) -> None:
        """Write, read and delete a small blob."""
        _prove(self)

    @cached_property
    def _client(self) -> "S3Client":
        return self._connect(self._settings.s3_endpoint)

    @cached_property
    def _public_client(self) -> "S3Client":
        return self._connect(self._settings.s3_public_endpoint)

    def _connect(self, endpoint: str | None) -> "S3Client":
        secret = self._settings.s3_secret
        return boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name=self._settings.s3_region,
            aws_access_key_id=self._settings.s3_key,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=3,
                read_timeout=30,
                retries={"mode": "standard", "max_attempts": 3},
                max_pool_connections=32,
            ),
        )

    @contextmanager
    def _translated(self, key: str | None = None) -> Iterator[None]:
        """Say in our words what the service says; only where a key is to be read can it be that one is missing."""
        try:
            yield
        except ClientError as error:
            if key is not None and _code(error) in MISSING and self._has_bucket():
                raise NotFound(f"The store has no {key}.") from error
            raise StoreUnavailable(f"The store refused: {_code(error)}.") from error
        except (BotoCoreError, Boto3Error) as error:
            raise StoreUnavailable(f"The store did not answer ({type(error).__name__}).") from error

    def _has_bucket(self) -> bool:
        """Whether it is the key that is missing: S3 answers a request for the head of either with a bare 404."""
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except (ClientError, BotoCoreError):
            return False
        return True


MISSING = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))
