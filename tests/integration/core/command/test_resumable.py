"""Large files of `retint push`: what breaks off goes on, in the same run and in the next one."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.platforms import PlatformUnderTest
from tests.proxies import Proxy

from retint.command import push as pushing
from retint.command import resumable
from retint.command.client import Client, FileChanged
from retint.digests import hash_file

Push = Callable[..., dict[str, Any]]
MIB = 1 << 20


@pytest.fixture(autouse=True)
def large_files_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "LARGE", 4 * MIB)


def make_file(folder: Path, size: int, name: str = "large.tif") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(os.urandom(size))
    return folder / name


def read_job(platform: PlatformUnderTest, batch: str) -> dict[str, Any]:
    with platform.client() as client:
        [job] = client.jobs(batch.rsplit("/", 1)[1])
        return client.job(job["id"])


def test_a_file_whose_connection_breaks_five_times_arrives_whole(
    platform: PlatformUnderTest, push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_file(tmp_path / "slide", 48 * MIB)
    starts: list[int] = []
    send_rest = resumable._send_rest

    def note(client: Client, address: str, path: Path, offset: int, on_progress: Callable[[int], None]) -> None:
        starts.append(offset)
        breaks = threading.Timer(1.0, proxy.switch_to, [port])
        if len(starts) <= 5:
            breaks.start()
        try:
            send_rest(client, address, path, offset, on_progress)
        finally:
            breaks.cancel()

    monkeypatch.setattr(resumable, "_send_rest", note)
    port = urlsplit(platform.url).port or 80
    with Proxy(port) as proxy, proxy.slow(0.01):
        pushed = push(file.parent, "--server", f"http://127.0.0.1:{proxy.port}")
    assert (pushed["sent"], pushed["refused"], pushed["not_sent"]) == (1, {}, {})
    assert len(starts) >= 6
    assert starts == sorted(starts), "each goes on behind what is kept of the one before"
    assert len(set(starts)) >= 4
    assert read_job(platform, pushed["batch"])["sha256"] == hash_file(file)


def test_the_next_run_goes_on_where_the_last_one_ended(
    platform: PlatformUnderTest, push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_file(tmp_path / "plate", 12 * MIB)

    class Stopped(BaseException):
        pass

    def stop(client: Client, address: str, path: Path, offset: int, on_progress: Callable[[int], None]) -> None:
        headers = resumable.TUS | {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        client.request("PATCH", address, headers=headers, content=path.read_bytes()[: 9 * MIB], status=204)
        raise Stopped

    send_rest = resumable._send_rest
    monkeypatch.setattr(resumable, "_send_rest", stop)
    with pytest.raises(Stopped):
        push(file.parent)
    starts: list[int] = []

    def note(client: Client, address: str, path: Path, offset: int, on_progress: Callable[[int], None]) -> None:
        starts.append(offset)
        send_rest(client, address, path, offset, on_progress)

    monkeypatch.setattr(resumable, "_send_rest", note)
    pushed = push(file.parent)
    assert (starts, pushed["sent"]) == ([9 * MIB], 1)
    assert read_job(platform, pushed["batch"])["sha256"] == hash_file(file)


@pytest.mark.parametrize("change", ["grows", "shrinks", "differs"])
def test_a_file_that_changes_while_it_is_sent_is_refused(
    platform: PlatformUnderTest, push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(resumable, "BACKOFF_S", (0.01,))
    file = make_file(tmp_path / change, 6 * MIB)
    digest = hash_file(file)
    if change == "differs":
        file.write_bytes(os.urandom(6 * MIB))
    with platform.client() as client:
        batch = client.open_batch(change, key=change)["id"]
        if change != "differs":
            find_size = resumable._open

            def open_and_change(client: Client, batch_id: str, name: str, size: int, sha256: str) -> str:
                address = find_size(client, batch_id, name, size, sha256)
                file.write_bytes(file.read_bytes() + b"more" if change == "grows" else file.read_bytes()[: 5 * MIB])
                return address

            monkeypatch.setattr(resumable, "_open", open_and_change)
        with pytest.raises(FileChanged):
            resumable.send(client, batch, file.name, file, digest, lambda _: None)
        assert list(client.jobs(batch)) == []
