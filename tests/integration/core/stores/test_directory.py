"""What only the directory store can show: disks, crashes, folders."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.core.stores.blobs import KEY, LARGE, read

from retint.errors import StoreUnavailable
from retint.stores import directory
from retint.stores.directory import DirectoryStore


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount the small disk that this test fills")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_folder_whose_disk_is_not_mounted_is_no_store(tmp_path: Path) -> None:
    mount, disk = tmp_path / "store", tmp_path / "disk"
    store = DirectoryStore(mount)
    store.prepare()
    store.put(KEY, b"original")
    mount.rename(disk)
    mount.mkdir()
    for act in (
        lambda: read(store),
        lambda: store.size(KEY),
        lambda: store.fetch(KEY, tmp_path / "fetched"),
        lambda: store.put(KEY, b"elsewhere"),
        lambda: store.write(KEY),
        store.check,
    ):
        with pytest.raises(StoreUnavailable, match="is its disk mounted"):
            act()
    assert list(mount.iterdir()) == [], "nothing is written beside the store"
    mount.rmdir()
    disk.rename(mount)
    assert read(store) == b"original"


@pytest.mark.parametrize("has_mount_point", [True, False], ids=["empty mount point", "nothing"])
def test_a_disk_that_goes_while_a_blob_is_written_leaves_nothing_in_its_place(
    tmp_path: Path, has_mount_point: bool
) -> None:
    mount, disk = tmp_path / "store", tmp_path / "disk"
    store = DirectoryStore(mount)

    def lose_the_disk() -> None:
        mount.rename(disk)
        if has_mount_point:
            mount.mkdir()

    def find_it_again() -> None:
        assert not has_mount_point or list(mount.iterdir()) == []
        assert has_mount_point or not mount.exists()
        shutil.rmtree(mount, ignore_errors=True)
        disk.rename(mount)

    store.prepare()
    with pytest.raises(StoreUnavailable, match="is its disk mounted"):
        store.put(KEY, b"elsewhere", progress=lose_the_disk)
    find_it_again()
    writer = store.write(KEY)
    writer.write(b"elsewhere")
    lose_the_disk()
    with pytest.raises(StoreUnavailable, match="is its disk mounted"):
        writer.commit()
    find_it_again()


def test_a_full_disk_is_said_and_leaves_no_half_blob(small_disk: Path) -> None:
    store = DirectoryStore(small_disk / "store")
    store.prepare()
    with pytest.raises(StoreUnavailable, match=r"disk is full") as full:
        store.put(KEY, LARGE)
    assert full.value.code == "store_full"
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    store.put(KEY, b"small enough")
    assert read(store) == b"small enough"


def test_a_writer_killed_half_way_leaves_no_blob_and_its_rest_is_cleared_after_a_day(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.prepare()
    code = f"""
import pathlib, sys
from retint.stores.directory import DirectoryStore
DirectoryStore(pathlib.Path({str(tmp_path / "store")!r})).put({KEY!r}, sys.stdin.buffer)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as writer:
        assert writer.stdin
        writer.stdin.write(bytes(4 << 20))
        writer.stdin.flush()
        writer.kill()
    assert list(store.list("")) == []
    [rest] = (tmp_path / "store/.incoming").iterdir()
    store.prepare()
    assert rest.exists(), "another process may be writing it"
    two_days_ago = time.time() - 2 * 86_400
    os.utime(rest, (two_days_ago, two_days_ago))
    store.prepare()
    assert not rest.exists()


def test_a_directory_that_may_not_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file stands where the folder should be")
    with pytest.raises(StoreUnavailable, match="There is no store in"):
        DirectoryStore(tmp_path / "store").put(KEY, b"")


def test_a_listing_of_large_folders_is_sorted_and_goes_on_behind_any_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "LISTED", 2)
    store = DirectoryStore(tmp_path / "store")
    store.prepare()
    keys = sorted(["a/b", "a-b", "a/b-c/d", "a/b0/e", "a/bb/c", "a/c", "a0/b", "b", "a/b.x/y", "a/bb/d", "a/bb/e"])
    for key in keys:
        store.put(key, b"")
    for after in ["", *keys, "a/", "a/b", "a/b/zz", "a/bb", "a/bb/", "a/bb/cc", "A", "a/zzz", "zzz"]:
        for prefix in ("", "a/", "a/b", "a/bb/", "b", "a/nothing/"):
            expected = [key for key in keys if key.startswith(prefix) and key > after]
            assert [blob.key for blob in store.list(prefix, after)] == expected, (prefix, after)
