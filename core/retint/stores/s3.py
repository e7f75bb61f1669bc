"""Blobs as objects of one bucket. The only file that knows boto3."""

import io
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import quote

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from retint.errors import NotFound, StoreUnavailable
from retint.filetypes import OCTETS
from retint.settings import Settings
from retint.stores import CHUNK, NOTHING, Blob, BlobReader, Partial, Progress, ignore_progress, prove_writable
from retint.stores.keys import rests, validate_key

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef


MISSING = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})
"""Error codes that mean a missing key or a missing bucket."""
GONE = frozenset({"NoSuchUpload", "InvalidPart"})
"""Error codes that mean that parts were given up, or that another writer of the same blob has written over one."""


class S3Store:
    """Keeps blobs as objects of one bucket, at Amazon or at another service with the S3 API."""

    TRANSFER = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20, max_concurrency=4)
    DELETE_LIMIT = 1000
    """Keys that one request may delete."""

    def __init__(self, bucket: str, settings: Settings) -> None:
        self.bucket = bucket
        self._settings = settings

    def prepare(self) -> None:
        """Create the bucket if it is missing."""
        with self._translate_errors():
            try:
                self._client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if _error_code(error) not in MISSING:
                    raise
                self._client.create_bucket(Bucket=self.bucket)

    def put(
        self,
        key: str,
        source: Path | bytes | BinaryIO,
        content_type: str = OCTETS,
        progress: Progress = ignore_progress,
    ) -> None:
        """Upload in one request; from 8 MiB on in parts, which become visible together."""
        validate_key(key)
        with _watch(progress) as moved, self._translate_errors():
            options: Any = {"ExtraArgs": {"ContentType": content_type}, "Config": self.TRANSFER, "Callback": moved}
            if isinstance(source, bytes):
                body = _WatchedBytes(source, moved)
                self._client.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type)
            elif isinstance(source, Path):
                self._client.upload_file(str(source), self.bucket, key, **options)
            else:
                # s3transfer closes what it reads, but the stream belongs to the caller.
                reader = io.BufferedReader(BlobReader(source.read), CHUNK)
                self._client.upload_fileobj(reader, self.bucket, key, **options)

    def write(self, key: str, content_type: str = OCTETS, so_far: Partial = NOTHING) -> "S3Writer":
        """Upload in parts as the bytes come; at most one part waits, in a file without a name."""
        part_size = max(S3Writer.PART, (self._settings.upload_limit_mib << 20) // S3Writer.MOST_PARTS)
        self._settings.spool.mkdir(parents=True, exist_ok=True)
        return S3Writer(self, validate_key(key), content_type, part_size, self._settings.spool, so_far)

    @contextmanager
    def open(
        self, key: str, start: int = 0, stop: int | None = None, progress: Progress = ignore_progress
    ) -> Iterator[BinaryIO]:
        """Stream the body of one ranged request."""
        body = self._request(validate_key(key), start, stop)

        def read(size: int) -> bytes:
            with self._translate_errors():
                data: bytes = body.read(size)
                return data

        with closing(body):
            yield io.BufferedReader(BlobReader(read, progress=progress), CHUNK)

    def _request(self, key: str, start: int, stop: int | None) -> Any:
        """Request a range; an empty one is answered here, since S3 has no empty ranges."""
        if stop is not None and stop <= start:
            self.size(key)
            return io.BytesIO()
        with self._translate_errors(key):
            if start == 0 and stop is None:
                return self._client.get_object(Bucket=self.bucket, Key=key)["Body"]
            span = f"bytes={start}-{'' if stop is None else stop - 1}"
            try:
                return self._client.get_object(Bucket=self.bucket, Key=key, Range=span)["Body"]
            except ClientError as error:
                if _error_code(error) != "InvalidRange":
                    raise
                return io.BytesIO()

    def fetch(self, key: str, path: Path, progress: Progress = ignore_progress) -> None:
        """Download; large blobs in parallel parts."""
        with _watch(progress) as moved, self._translate_errors(key):
            self._client.download_file(self.bucket, validate_key(key), str(path), Config=self.TRANSFER, Callback=moved)

    def size(self, key: str) -> int:
        """Return the size from a HEAD request."""
        with self._translate_errors(key):
            return self._client.head_object(Bucket=self.bucket, Key=validate_key(key))["ContentLength"]

    def delete(self, keys: Iterable[str]) -> None:
        """Delete up to a thousand objects a request."""
        rest = iter(keys)
        while batch := [validate_key(key) for key in islice(rest, self.DELETE_LIMIT)]:
            with self._translate_errors():
                answer = self._client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
                )
            if failed := answer.get("Errors"):
                raise StoreUnavailable(f"The store did not delete {len(failed)} of {len(batch)} blobs.")

    def list(self, prefix: str, after: str | None = None) -> Iterator[Blob]:
        """List the objects, page by page."""
        with self._translate_errors():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix, StartAfter=after or ""):
                for found in page.get("Contents", ()):
                    yield Blob(found["Key"], found["Size"], found["LastModified"])

    def url(self, key: str, *, expires_s: int, file_name: str, content_type: str) -> str | None:
        """Sign a download from the address that browsers reach; always as an attachment, whatever the content type."""
        if self._settings.s3_public_endpoint is None:
            return None
        return self._public_client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket,
                "Key": validate_key(key),
                "ResponseContentType": content_type,
                # RFC 6266 and RFC 8187: any name, without a character that could end the header.
                "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(file_name, safe='')}",
            },
            ExpiresIn=expires_s,
        )

    def check(self) -> None:
        """Write, read and delete a small blob."""
        prove_writable(self)

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
    def _translate_errors(self, key: str | None = None, *, unfinished: str | None = None) -> Iterator[None]:
        """Translate errors of the service.

        NotFound is raised only where `key` names what was to be read, or `unfinished` what is written in parts.
        """
        try:
            yield
        except ClientError as error:
            if unfinished is not None and _error_code(error) in GONE:
                raise NotFound(f"The store has no unfinished {unfinished}.") from error
            if key is not None and _error_code(error) in MISSING and self._has_bucket():
                raise NotFound(f"The store has no {key}.") from error
            raise StoreUnavailable(f"The store refused: {_error_code(error)}.") from error
        except (BotoCoreError, Boto3Error) as error:
            raise StoreUnavailable(f"The store did not answer ({type(error).__name__}).") from error

    def _has_bucket(self) -> bool:
        """Whether the bucket exists: S3 answers HEAD with the same 404 for a missing key and a missing bucket."""
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except (ClientError, BotoCoreError):
            return False
        return True


class S3Writer:
    """A blob that is being uploaded in parts; a small one goes in a single request."""

    PART = 8 << 20
    MOST_PARTS = 9_000
    """A little less than the 10,000 that S3 allows."""

    def __init__(
        self, store: S3Store, key: str, content_type: str, part_size: int, spool: Path, so_far: Partial
    ) -> None:
        self._store, self._client, self._bucket = store, store._client, store.bucket
        self._key, self._content_type, self._part_size = key, content_type, part_size
        self._upload_id: str | None = so_far.token or None
        self._sent: list[CompletedPartTypeDef] = [
            {"PartNumber": number, "ETag": tag} for number, tag in enumerate(so_far.parts, 1)
        ]
        self._in_parts = so_far.size - so_far.rest
        self._rests = [so_far.size] if so_far.size else []
        self._part = tempfile.TemporaryFile(dir=spool)  # noqa: SIM115  `close` closes it
        if so_far.rest:
            with ExitStack() as undo:
                undo.callback(self._part.close)
                with store.open(self._rest_key(so_far.size)) as kept:
                    shutil.copyfileobj(kept, self._part)
                undo.pop_all()

    def write(self, data: bytes) -> None:
        """Add bytes to the part that waits, and send it once it is whole: some services want parts of one size."""
        left = memoryview(data)
        while left:
            room = self._part_size - self._part.tell()
            self._part.write(left[:room])
            left = left[room:]
            if self._part.tell() >= self._part_size:
                self._send_part()

    def keep(self, *, rest: bool = True) -> Partial:
        """Keep the parts that were sent, and the rest as an object of its own: no part but the last may be small.

        The rest that was kept before stays until the next one is: whoever writes down what this returns may fail to.
        """
        waits = self._part.tell() if rest else 0
        size = self._in_parts + waits
        if waits and size not in self._rests:
            self._part.seek(0)
            self._store.put(self._rest_key(size), cast(BinaryIO, self._part))
            self._part.seek(0, io.SEEK_END)
            self._store.delete(self._rest_key(older) for older in self._rests[:-1])
            self._rests = [*self._rests[-1:], size]
        parts = tuple(part["ETag"] for part in self._sent)
        return Partial(size, self._upload_id or "", parts, waits)

    def _rest_key(self, size: int) -> str:
        return f"{rests(self._key)}{size}"

    def commit(self) -> None:
        """Send the last part, and make all of them one object."""
        if self._upload_id is not None and self._part.tell():
            self._send_part()
        with self._part, self._store._translate_errors(unfinished=self._key):
            if self._upload_id is None:
                self._part.seek(0)
                self._client.put_object(
                    Bucket=self._bucket, Key=self._key, Body=self._part, ContentType=self._content_type
                )
            else:
                self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=self._key,
                    UploadId=self._upload_id,
                    MultipartUpload={"Parts": self._sent},
                )
        self._upload_id = None
        self._delete_rests()

    def discard(self) -> None:
        """Delete the parts; those that cannot be deleted now are left to the bucket's life-cycle rule."""
        self._part.close()
        if self._upload_id is not None:
            with suppress(StoreUnavailable, NotFound), self._store._translate_errors(unfinished=self._key):
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._upload_id)
        self._upload_id = None
        self._delete_rests()

    def close(self) -> None:
        """Free the file of the part that waits, and let go of what is kept."""
        self._part.close()
        self._upload_id, self._rests = None, []

    def _delete_rests(self) -> None:
        """Delete all rests that this writer and those before it kept; what cannot be deleted is left to the sweep."""
        if self._rests:
            with suppress(StoreUnavailable):
                self._store.delete([blob.key for blob in self._store.list(rests(self._key))])
        self._rests = []

    def _send_part(self) -> None:
        with self._store._translate_errors(unfinished=self._key):
            if self._upload_id is None:
                begun = self._client.create_multipart_upload(
                    Bucket=self._bucket, Key=self._key, ContentType=self._content_type
                )
                self._upload_id = begun["UploadId"]
            number = len(self._sent) + 1
            self._part.seek(0)
            answer = self._client.upload_part(
                Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, PartNumber=number, Body=self._part
            )
        self._sent.append({"PartNumber": number, "ETag": answer["ETag"]})
        self._in_parts += self._part.seek(0, io.SEEK_END)
        self._part.seek(0)
        self._part.truncate()


class _WatchedBytes(io.BytesIO):
    """Bytes to upload, with a function that is called as they are read."""

    def __init__(self, data: bytes, moved: Callable[[int], None]) -> None:
        super().__init__(data)
        self._moved = moved

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._moved(len(data))
        return data


@contextmanager
def _watch(progress: Progress) -> Iterator[Callable[[int], None]]:
    """Provide a callback for boto3 that reports progress; what that raises is raised at the end of the block.

    Without this, botocore would wrap it, and try the request again.
    """
    raised: list[Exception] = []

    def moved(_: int) -> None:
        if raised:
            raise raised[0]
        try:
            progress()
        except Exception as error:
            raised.append(error)
            raise

    try:
        yield moved
    finally:
        if raised:
            raise raised[0] from None


def _error_code(error: ClientError) -> str:
    """Return the service's code of an error, such as `NoSuchKey`."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))
