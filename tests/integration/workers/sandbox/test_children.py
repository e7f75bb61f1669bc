"""Child processes that open foreign files: what they return, how they die, and that they are replaced."""

import faulthandler
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.testing import capture_logs
from tests import photo_files

from retint.errors import InvalidPhoto, OutOfMemory, WorkerLost
from retint.recipes import parse
from retint.settings import Settings
from retint_workers import beats
from retint_workers.imaging.ingest import ingest
from retint_workers.sandbox.children import run_in_child, run_in_own_child

SETTINGS = Settings()


def ignore_beat() -> bool:
    return True


# --- functions that the children run ---------------------------------------------------------------------------------


def get_pid(_: Path) -> int:
    return os.getpid()


def sleep_seconds(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def kill_itself(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def allocate(mib: int) -> int:
    return int(np.ones(mib << 20, np.uint8).sum())


def map_memory(mib: int) -> int:
    return len(mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def refuse(_: int) -> None:
    raise InvalidPhoto("The picture is of a cat.", code="cat")


def print_much(number: int) -> int:
    for _ in range(number):
        os.write(2, b"TIFFReadDirectory: Warning, Unknown field with tag 33550.\n")
    os.write(1, b"the last word\n")
    return number


def crash(_: int) -> None:
    faulthandler._sigsegv()  # type: ignore[attr-defined]


def divide(number: int) -> float:
    return number / 0


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


# --- tests ------------------------------------------------------------------------------------------------------------


def test_one_child_serves_many_files(tmp_path: Path) -> None:
    pids = {run_in_child(get_pid, SETTINGS, ignore_beat, tmp_path) for _ in range(20)}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_a_refusal_reaches_the_parent_unchanged_and_keeps_the_child(tmp_path: Path) -> None:
    before = run_in_child(get_pid, SETTINGS, ignore_beat, tmp_path)
    with pytest.raises(InvalidPhoto) as refusal:
        run_in_child(refuse, SETTINGS, ignore_beat, 1)
    assert (refusal.value.code, refusal.value.message) == ("cat", "The picture is of a cat.")
    assert run_in_child(get_pid, SETTINGS, ignore_beat, tmp_path) == before


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as bug:
        run_in_child(divide, SETTINGS, ignore_beat, 1)
    assert "in divide" in "".join(bug.value.__notes__)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGSEGV, WorkerLost), (signal.SIGKILL, OutOfMemory)])
def test_a_child_that_dies_is_replaced(number: int, error: type[Exception], tmp_path: Path) -> None:
    before = run_in_child(get_pid, SETTINGS, ignore_beat, tmp_path)
    with pytest.raises(error):
        run_in_child(kill_itself, SETTINGS, ignore_beat, number)
    assert run_in_child(get_pid, SETTINGS, ignore_beat, tmp_path) != before


@pytest.mark.parametrize("number", [1, 20_000])
def test_what_a_library_prints_in_a_child_is_logged_as_the_job_s(number: int) -> None:
    with capture_logs(processors=[merge_contextvars]) as lines, bound_contextvars(job_id="7"):
        assert run_in_child(print_much, SETTINGS, ignore_beat, number) == number
        run_in_child(get_pid, SETTINGS, ignore_beat, Path())
    [line] = lines
    assert (line["event"], line["job_id"]) == ("child_printed", "7")
    assert line["text"].endswith("tag 33550.\nthe last word")
    assert len(line["text"]) <= 4000


def test_what_a_crash_leaves_behind_is_logged_as_the_job_s() -> None:
    with (
        capture_logs(processors=[merge_contextvars]) as lines,
        bound_contextvars(job_id="7"),
        pytest.raises(WorkerLost),
    ):
        run_in_child(crash, SETTINGS, ignore_beat, 1)
    assert [line["job_id"] for line in lines] == ["7"]
    assert "Segmentation fault" in lines[0]["text"]
    assert "in crash" in lines[0]["text"]


def test_a_child_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    before = run_in_child(get_pid, SETTINGS, ignore_beat, tmp_path)
    started = time.monotonic()
    with pytest.raises(WorkerLost, match="1 seconds"):
        run_in_child(sleep_seconds, Settings(child_timeout_s=1), ignore_beat, 60.0)
    assert time.monotonic() - started < 10
    assert not is_alive(before)


def test_the_caller_beats_while_it_waits_and_what_it_raises_ends_the_child(tmp_path: Path) -> None:
    child = run_in_child(get_pid, SETTINGS, ignore_beat, tmp_path)
    given = []

    def beat() -> bool:
        given.append(time.monotonic())
        if len(given) == 2:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        run_in_child(sleep_seconds, SETTINGS, beat, 60.0)
    assert len(given) == 2
    assert not is_alive(child)


def test_the_caller_beats_while_a_child_starts_and_what_it_raises_ends_the_wait(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(beats, "WAIT_S", 0.0001)
    started = []

    def beat() -> bool:
        started.append(time.monotonic())
        return True

    run_in_own_child(get_pid, 60, beat, tmp_path)
    assert started

    def fail() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_own_child(get_pid, 60, fail, tmp_path)


@pytest.mark.parametrize("greedy", [allocate, map_memory])
def test_a_child_gets_no_more_memory_than_the_settings_say(greedy: object, tmp_path: Path) -> None:
    with pytest.raises((OutOfMemory, OSError)):
        run_in_child(greedy, Settings(child_memory_mib=512), ignore_beat, 900)  # type: ignore[arg-type]
    assert run_in_child(allocate, Settings(child_memory_mib=2048), ignore_beat, 900) == 900 << 20


def test_a_picture_larger_than_the_memory_limit_is_refused_with_the_number(tmp_path: Path) -> None:
    path = tmp_path / "interlaced.png"
    photo_files.vips_writer("png", interlace=True)(path, np.zeros((12_000, 12_000, 3), np.uint8))
    with pytest.raises(InvalidPhoto, match=r"144 megapixels needs 412 MiB") as refusal:
        ingest(path, parse({}), Settings(child_memory_mib=400))
    assert refusal.value.code == "too_much_memory"


def test_children_die_with_the_worker_even_in_the_middle_of_a_photo(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "from pathlib import Path\n"
        "from retint.settings import Settings\n"
        "from retint_workers.sandbox.children import run_in_child\n"
        "from tests.integration.workers.sandbox.test_children import ignore_beat, get_pid, sleep_seconds\n"
        "if __name__ == '__main__':\n"
        "    print(run_in_child(get_pid, Settings(), ignore_beat, Path()), flush=True)\n"
        "    run_in_child(sleep_seconds, Settings(), ignore_beat, 300.0)\n"
    )
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as worker:
        assert worker.stdout
        child = int(worker.stdout.readline())
        assert is_alive(child)
        worker.kill()
    deadline = time.monotonic() + 60  # the machine may be busy
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)


def test_hostile_files_do_not_slow_the_others_down(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    good.write_bytes(photo_files.encode_photo("JPEG"))
    bad.write_bytes(photo_files.encode_photo("JPEG")[:2000])
    ingest(good, parse({}), SETTINGS)
    started = time.process_time(), time.monotonic()
    for _ in range(100):
        ingest(good, parse({}), SETTINGS)
        with pytest.raises(InvalidPhoto):
            ingest(bad, parse({}), SETTINGS)
    assert time.monotonic() - started[1] < 30
