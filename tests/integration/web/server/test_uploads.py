"""An upload on its way through the portal into the store."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.integration.web.conftest import Person
from tests.integration.web.portals import Portal, run_portal
from tests.timing import AT_ONCE_S

from retint import stores
from retint.services import Services
from retint.settings import Settings
from retint.stores.s3 import S3Store

MIB = 1 << 20
SLOW_STORE = """
import time
from retint.stores import directory
commit = directory.DirectoryWriter.commit
def slow(writer):
    time.sleep(2)
    commit(writer)
directory.DirectoryWriter.commit = slow
"""


@pytest.fixture
def portal(settings: Settings, member: Person, tmp_path: Path) -> Iterator[Portal]:
    with run_portal(settings, member.token, tmp_path) as running:
        yield running


def bytes_on_their_way(settings: Settings) -> int:
    """How many bytes of blobs that nobody sees yet the store has."""
    store = stores.connect(settings)
    if not isinstance(store, S3Store):
        return sum(path.stat().st_size for path in (settings.data / "store/.incoming").iterdir())
    found = 0
    for each in store._client.list_multipart_uploads(Bucket=store.bucket).get("Uploads", []):
        with suppress(store._client.exceptions.NoSuchUpload):  # it has ended meanwhile
            parts = store._client.list_parts(Bucket=store.bucket, Key=each["Key"], UploadId=each["UploadId"])
            found += sum(part["Size"] for part in parts.get("Parts", []))
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_store_has_a_file_when_its_last_byte_comes(
    portal: Portal, member: Person, services: Services, settings: Settings
) -> None:
    """So the answer needs no longer for gigabytes than for megabytes."""
    batch_id = portal.open_batch()
    head = f"PUT /api/v1/batches/{batch_id}/files?name=a.tif HTTP/1.1\r\nContent-Length: {20 * MIB}"
    with portal.connect(head, token=member.token) as connection:
        connection.sendall(bytes(20 * MIB - 1))
        wait_for(lambda: bytes_on_their_way(settings) >= 16 * MIB)
        assert list(services.store.list("tenants/")) == []
        connection.sendall(b"x")
        assert connection.recv(65536).startswith(b"HTTP/1.1 201 ")
    [blob] = services.store.list("tenants/")
    assert blob.size == 20 * MIB
    assert bytes_on_their_way(settings) == 0


def test_an_upload_that_breaks_off_leaves_nothing_in_the_store(
    portal: Portal, member: Person, services: Services, settings: Settings
) -> None:
    head = f"PUT /api/v1/batches/{portal.open_batch()}/files?name=a.tif HTTP/1.1\r\nContent-Length: {30 * MIB}"
    with portal.connect(head, token=member.token) as connection:
        connection.sendall(bytes(20 * MIB))
        wait_for(lambda: bytes_on_their_way(settings) >= 16 * MIB)
    wait_for(lambda: bytes_on_their_way(settings) == 0)
    assert list(services.store.list("tenants/")) == []


@pytest.mark.parametrize("backends", ["embedded"], indirect=True)
def test_pages_are_quick_while_the_store_is_slow(settings: Settings, member: Person, tmp_path: Path) -> None:
    """More files are being kept at once than there are threads for them."""
    with run_portal(settings, member.token, tmp_path, SLOW_STORE) as portal:
        batch_id = portal.open_batch()
        heads = f"PUT /api/v1/batches/{batch_id}/files?name=a{{}}.tif HTTP/1.1\r\nContent-Length: 1"
        senders = [portal.connect(heads.format(n), bytes([n]), member.token) for n in range(24)]
        time.sleep(0.5)
        for _ in range(4):
            started = time.monotonic()
            assert portal.http.get(f"/api/v1/batches/{batch_id}").status_code == 200
            assert portal.http.get("/healthz").status_code == 200
            assert time.monotonic() - started < AT_ONCE_S
        for sender in senders:
            with sender:
                assert sender.recv(65536).startswith(b"HTTP/1.1 201 ")
