"""Scratch folders: what a dead process left is cleared, what a living one uses is not."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from retint_workers import scratch

CODE = (
    "import sys, time\nfrom pathlib import Path\nfrom retint_workers import scratch\n"
    "with scratch.open_folder(Path(sys.argv[1])) as folder:\n"
    "    (folder / 'deep').mkdir()\n    (folder / 'deep' / 'original').write_bytes(b'x')\n"
    "    print(folder, flush=True)\n    time.sleep(300)\n"
)


def start_process(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that works in a scratch folder."""
    process = subprocess.Popen([sys.executable, "-c", CODE, parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_a_killed_process_leaves_a_folder_that_the_next_one_clears(tmp_path: Path) -> None:
    process, folder = start_process(tmp_path)
    with process:
        assert (folder / "deep" / "original").exists()
        assert scratch.clear_leftovers(tmp_path) == 0, "its process lives"
        process.kill()
    assert (folder / "deep" / "original").exists()
    assert scratch.clear_leftovers(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_empty_and_gone_in_the_end_whatever_happens(tmp_path: Path) -> None:
    def fail() -> None:
        with scratch.open_folder(tmp_path) as folder:
            assert list(folder.iterdir()) == []
            assert scratch.clear_leftovers(tmp_path) == 0, "it is in use by this process"
            (folder / "file").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_is_cleared(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    parent = tmp_path / "parent"
    parent.mkdir()
    (parent / "another").mkdir()
    (parent / f".{scratch.PREFIX}file").touch()
    (parent / f".{scratch.PREFIX}link").symlink_to(elsewhere)
    assert scratch.clear_leftovers(parent) == 0
    assert len(list(parent.iterdir())) == 3
    assert elsewhere.is_dir()


def test_folders_are_made_and_cleared_at_the_same_time(tmp_path: Path) -> None:
    def work(number: int) -> None:
        for _ in range(50):
            with scratch.open_folder(tmp_path) as folder:
                (folder / str(number)).touch()
                assert os.listdir(folder) == [str(number)]  # noqa: PTH208

    def clear(_: int) -> None:
        for _ in range(200):
            scratch.clear_leftovers(tmp_path)

    with ThreadPoolExecutor(6) as threads:
        done = [*threads.map(work, range(4)), *threads.map(clear, range(2))]
    assert len(done) == 6
    assert list(tmp_path.iterdir()) == []
