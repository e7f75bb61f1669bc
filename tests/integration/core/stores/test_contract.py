"""The contract of BlobStore, kept by both implementations."""

import errno
import gc
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tests.integration.core.stores.blobs import KEY, LARGE, read

from retint.errors import NotFound, StoreUnavailable
from retint.settings import Settings
from retint.stores import BlobStore, connect
from retint.stores.directory import DirectoryStore
from retint.stores.s3 import S3Store


class Unseekable(io.RawIOBase):
    """A stream as a socket gives it: forward only, a little at a time."""

    def __init__(self, data: bytes) -> None:
        self._source = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(min(len(buffer), 70_001))
        buffer[: len(data)] = data
        return len(data)


class Breaking(io.RawIOBase):
    """A stream that ends in an error after some megabytes."""

    def __init__(self) -> None:
        self._left = 18

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._left -= 1
        if not self._left:
            raise ConnectionResetError("the client went away")
        return len(buffer)


@pytest.mark.parametrize("data", [b"", b"bytes", LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("kind", ["bytes", "path", "file", "socket"])
def test_what_was_put_is_read_back(store: BlobStore, tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / "source"
    path.write_bytes(data)
    with path.open("rb") as file:
        sources: dict[str, bytes | Path | BinaryIO] = {
            "bytes": data,
            "path": path,
            "file": file,
            "socket": io.BufferedReader(Unseekable(data)),
        }
        store.put(KEY, sources[kind], "image/tiff")
        assert not file.closed, "the stream is the caller's"
    assert read(store) == data
    assert store.size(KEY) == len(data)
    store.fetch(KEY, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == data


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (0, 1), (3, 7), (9, None), (9, 100), (5, 5), (10, None), (99, 100), (7, 3)]
)
def test_a_range_gives_what_a_slice_gives(store: BlobStore, start: int, stop: int | None) -> None:
    data = b"0123456789"
    store.put(KEY, data)
    assert read(store, start=start, stop=stop) == data[start:stop]


def test_a_range_of_a_large_blob_crosses_its_parts(store: BlobStore) -> None:
    store.put(KEY, io.BytesIO(LARGE))
    assert read(store, start=(8 << 20) - 5, stop=(8 << 20) + 5) == LARGE[(8 << 20) - 5 : (8 << 20) + 5]


def test_a_stream_is_read_in_pieces_without_holding_the_blob(store: BlobStore) -> None:
    store.put(KEY, LARGE)
    digest = hashlib.sha256()
    with store.open(KEY) as blob:
        while piece := blob.read(123_457):
            digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(LARGE).hexdigest()


def test_writing_the_same_key_again_is_harmless(store: BlobStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: store.put(KEY, LARGE[:100_000]), range(16)))
    assert read(store) == LARGE[:100_000]


def test_a_put_that_fails_half_way_leaves_nothing(store: BlobStore) -> None:
    with pytest.raises((StoreUnavailable, OSError)):
        store.put(KEY, io.BufferedReader(Breaking(), 1 << 20))
    with pytest.raises(NotFound):
        store.size(KEY)
    assert list(store.list("")) == []


class ThirdReportError(Exception):
    """What a caller raises to end a transfer."""


class Reports:
    """Counts the reports of progress; the one numbered `fatal` raises."""

    def __init__(self, fatal: int = 0) -> None:
        self.count, self._fatal = 0, fatal

    def __call__(self) -> None:
        self.count += 1
        if self.count == self._fatal:
            raise ThirdReportError


@pytest.mark.parametrize("kind", ["bytes", "path", "stream"])
def test_progress_is_reported_while_bytes_move(store: BlobStore, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "source"
    path.write_bytes(LARGE)
    sources: dict[str, bytes | Path | BinaryIO] = {"bytes": LARGE, "path": path, "stream": io.BytesIO(LARGE)}
    put, fetched, opened = Reports(), Reports(), Reports()
    store.put(KEY, sources[kind], progress=put)
    store.fetch(KEY, tmp_path / "fetched", fetched)
    with store.open(KEY, progress=opened) as blob:
        assert blob.read() == LARGE
    at_least = len(LARGE) // (2 << 20)
    assert min(put.count, fetched.count, opened.count) >= at_least


abandons_sockets = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""boto3 leaves the sockets of a transfer that a callback ended to the garbage collector, which warns of each."""


@abandons_sockets
@pytest.mark.parametrize("kind", ["bytes", "path", "stream"])
def test_what_a_report_raises_ends_the_put_and_leaves_nothing(store: BlobStore, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "source"
    path.write_bytes(LARGE)
    sources: dict[str, bytes | Path | BinaryIO] = {"bytes": LARGE, "path": path, "stream": io.BytesIO(LARGE)}
    with pytest.raises(ThirdReportError):
        store.put(KEY, sources[kind], progress=Reports(fatal=3))
    assert list(store.list("")) == []
    gc.collect()


@abandons_sockets
def test_what_a_report_raises_ends_a_download(store: BlobStore, tmp_path: Path) -> None:
    store.put(KEY, LARGE)
    with pytest.raises(ThirdReportError):
        store.fetch(KEY, tmp_path / "fetched", Reports(fatal=3))
    with pytest.raises(ThirdReportError), store.open(KEY, progress=Reports(fatal=3)) as blob:
        blob.read()
    gc.collect()


@abandons_sockets
def test_a_file_of_the_callers_that_cannot_be_used_is_not_the_stores_fault(store: BlobStore, tmp_path: Path) -> None:
    store.put(KEY, LARGE)
    with pytest.raises(FileNotFoundError):
        store.put("other", tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        store.fetch(KEY, tmp_path / "missing" / "fetched")
    with pytest.raises(OSError, match="No space left") as full:
        store.fetch(KEY, Path("/dev/full"))
    assert full.value.errno == errno.ENOSPC
    del full
    gc.collect()


@pytest.mark.parametrize("key", ["no/such/blob", "tenants/0190/photos"], ids=["missing", "only a prefix"])
def test_a_key_that_is_not_there_is_not_found(store: BlobStore, tmp_path: Path, key: str) -> None:
    store.put(KEY, b"another")
    with pytest.raises(NotFound):
        store.size(key)
    with pytest.raises(NotFound), store.open(key):
        pass
    with pytest.raises(NotFound), store.open(key, 3, 3):
        pass
    with pytest.raises(NotFound):
        store.fetch(key, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


@pytest.mark.parametrize(
    "key",
    ["../outside", "a/../b", "/etc/passwd", "a//b", "a/", "", "a/./b", ".incoming/x", "a\\b", "a\nb", "ä", "a" * 300],
)
def test_a_key_that_could_leave_the_store_is_a_bug_and_says_so(store: BlobStore, tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        store.put(key, b"")
    with pytest.raises(ValueError, match="not a key"), store.open(key):
        pass
    with pytest.raises(ValueError, match="not a key"):
        store.fetch(key, tmp_path / "fetched")
    with pytest.raises(ValueError, match="not a key"):
        store.size(key)
    with pytest.raises(ValueError, match="not a key"):
        store.delete([key])


def test_a_listing_has_all_blobs_under_a_prefix_in_order(store: BlobStore) -> None:
    keys = [f"tenants/1/jobs/{job}/render-{attempt}/result.tif" for job in range(3) for attempt in (1, 10, 2)]
    for key in [*keys, "tenants/10/other"]:
        store.put(key, key.encode())
    found = list(store.list("tenants/1/"))
    assert [blob.key for blob in found] == sorted(keys)
    assert [blob.size for blob in found] == [len(blob.key) for blob in found]
    assert all(abs(datetime.now(UTC) - blob.modified_at) < timedelta(minutes=1) for blob in found)
    assert [blob.key for blob in store.list("tenants/1/jobs/2/render-1")] == sorted(
        k for k in keys if "/2/render-1" in k
    )
    assert list(store.list("tenants/2/")) == []
    assert len(list(store.list(""))) == 10


def test_a_listing_goes_on_past_a_thousand_blobs(store: BlobStore) -> None:
    keys = [f"many/{n:04}" for n in range(1_001)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: store.put(key, b""), keys))
    assert [blob.key for blob in store.list("many/")] == keys
    store.delete(keys)
    assert list(store.list("")) == []


def test_a_listing_goes_on_behind_a_key_that_may_be_gone(store: BlobStore) -> None:
    folders = [f"tenants/{tenant}/photos/{photo}" for tenant in ("1a", "1b") for photo in ("2a", "2b")]
    names = ["jobs/3a/defade-2/layer.png", "jobs/3a/render-1/reels-4/x.mkv", "jobs/3a/render-10/result.tif", "original"]
    keys = [f"{folder}/{name}" for folder in folders for name in names]
    for key in keys:
        store.put(key, b"")
    store.delete(keys[4:6])
    kept = keys[:4] + keys[6:]
    for after in [*keys, "a/b", "zzz/b"]:
        for prefix in ("tenants/", "tenants/1b/photos/2", f"{folders[0]}/jobs/3a/render-1", ""):
            expected = [key for key in kept if key.startswith(prefix) and key > after]
            assert [blob.key for blob in store.list(prefix, after)] == expected, (prefix, after)


def test_deleting_takes_only_what_is_named_and_may_be_repeated(store: BlobStore) -> None:
    for name in ("a", "b"):
        store.put(f"folder/{name}", b"")
    store.delete(["folder/a", "folder/never", "folder/b/below", "folder", "nowhere/at/all"])
    store.delete(iter(["folder/a"]))
    assert [blob.key for blob in store.list("")] == ["folder/b"]


def test_a_put_into_a_folder_that_a_delete_empties_is_kept(store: BlobStore) -> None:
    def rewrite(name: int) -> None:
        for _ in range(30):
            store.put(f"x/y/{name}", b"kept")
            store.delete([f"x/y/{name}"])
        store.put(f"x/y/{name}", b"kept")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(rewrite, range(4)))
    assert len(list(store.list("x/"))) == 4


def test_a_healthy_store_passes_its_check_and_keeps_nothing_of_it(store: BlobStore) -> None:
    store.check()
    store.prepare()
    assert list(store.list("")) == []


def test_a_store_that_was_never_made_is_unavailable_and_not_merely_empty(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    nothing: dict[str, Any] = {}
    for values in (nothing, request.getfixturevalue("s3_settings")):
        store = connect(Settings(data=tmp_path / "nothing", **values))
        with pytest.raises(StoreUnavailable):
            store.size(KEY)
        with pytest.raises(StoreUnavailable), store.open(KEY):
            pass
        with pytest.raises(StoreUnavailable):
            store.fetch(KEY, tmp_path / "fetched")


@pytest.mark.parametrize("url", ["s3://", "s3://UPPER", "s3://a/b", "file://relative", "/plain/path", "http://x"])
def test_an_address_that_names_no_store_is_refused_with_the_setting_named(url: str) -> None:
    with pytest.raises(ValueError, match="RETINT_STORE_URL"):
        connect(Settings(store_url=url))


def test_no_address_is_signed_where_browsers_cannot_reach_the_store(s3: S3Store, tmp_path: Path) -> None:
    for store in (s3, DirectoryStore(tmp_path)):
        assert store.url(KEY, expires_s=60, file_name="a.tif", content_type="image/tiff") is None


@pytest.mark.parametrize("data", [b"", b"bytes", LARGE], ids=["empty", "small", "large"])
def test_a_blob_is_seen_whole_once_its_writer_commits(store: BlobStore, data: bytes) -> None:
    writer = store.write(KEY)
    for start in range(0, len(data), 1 << 20):
        writer.write(data[start : start + (1 << 20)])
    assert list(store.list("")) == []
    writer.commit()
    writer.discard()
    assert read(store) == data


@pytest.mark.parametrize("data", [b"bytes", LARGE], ids=["small", "large"])
def test_what_is_discarded_leaves_nothing(store: BlobStore, data: bytes, tmp_path: Path) -> None:
    writer = store.write(KEY)
    writer.write(data)
    writer.discard()
    writer.discard()
    assert list(store.list("")) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    if isinstance(store, S3Store):
        assert "Uploads" not in store._client.list_multipart_uploads(Bucket=store.bucket)
