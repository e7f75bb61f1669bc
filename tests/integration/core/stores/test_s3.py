"""What only the S3 store can show: signed addresses, credentials, a server that dies."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.core.stores.blobs import KEY, LARGE, read
from tests.servers import Server

from retint.errors import StoreUnavailable
from retint.settings import Settings
from retint.stores import BlobStore, connect
from retint.stores.s3 import S3Store


def test_a_signed_address_downloads_under_any_name_until_it_expires(s3_settings: dict[str, Any]) -> None:
    store = connect(Settings(**s3_settings, s3_public_endpoint=s3_settings["s3_endpoint"]))
    store.prepare()
    store.put(KEY, b"scan")
    hostile = 'Großmutter 1912"; filename=x.exe\r\n\u202egpj.tif'
    url = store.url(KEY, expires_s=5, file_name=hostile, content_type="image/tiff")
    assert url
    answer = httpx.get(url)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"scan", "image/tiff")
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment; filename*=UTF-8''Gro%C3%9Fmutter%201912%22%3B%20filename%3Dx.exe%0D%0A")
    assert httpx.get(url.replace("original", "originaL")).status_code == 403
    deadline = time.monotonic() + 30
    while (status := httpx.get(url).status_code) == 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert status == 403


def test_a_wrong_secret_is_unavailable(s3: S3Store, s3_settings: dict[str, Any]) -> None:
    store = connect(Settings(**{**s3_settings, "s3_secret": "wrong"}))
    with pytest.raises(StoreUnavailable, match="refused: SignatureDoesNotMatch"):
        store.put(KEY, b"")
    with pytest.raises(StoreUnavailable):
        store.size(KEY)
    with pytest.raises(StoreUnavailable):
        store.check()


def test_a_store_that_died_is_unavailable_within_seconds_and_comes_back_with_its_blobs(
    s3: S3Store, s3_server: Server, tmp_path: Path
) -> None:
    s3.put(KEY, LARGE)
    s3_server.kill()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="did not answer"):
        s3.put("a/b", tmp_path / __file__)
    with pytest.raises(StoreUnavailable, match="did not answer"):
        s3.size(KEY)
    with pytest.raises(StoreUnavailable, match="did not answer"):
        s3.fetch(KEY, tmp_path / "fetched")
    assert time.monotonic() - began < 60
    s3_server.start()
    assert read_at_last(s3) == LARGE


def read_at_last(store: BlobStore) -> bytes:
    """Read what a server that has just come back says it has, as soon as it has found it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(StoreUnavailable):
            return read(store)
        time.sleep(0.1)
    return read(store)


def test_a_store_that_dies_while_it_is_read_is_unavailable(s3: S3Store, s3_server: Server) -> None:
    s3.put(KEY, LARGE)
    with s3.open(KEY) as blob:
        assert blob.read(10) == LARGE[:10]
        s3_server.kill()
        with pytest.raises(StoreUnavailable):
            blob.read()
    s3_server.start()
