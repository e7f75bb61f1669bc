"""Children that open foreign files: what they return, how they die, and that they are replaced."""

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
from tests import corpus

from retint.errors import InvalidPhoto, OutOfMemory, WorkerLost
from retint.recipes import parse
from retint.settings import Settings
from retint_workers.imaging.ingest import ingest
from retint_workers.sandbox import guarded

SETTINGS = Settings()


def no_beat() -> None:
    return None


# --- what the children are asked to do --------------------------------------------------------------------------------


def pid_of(_: Path) -> int:
    return os.getpid()


def sleep_for(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def die_by(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def take(mib: int) -> int:
    return int(np.ones(mib << 20, np.uint8).sum())


def map_private(mib: int) -> int:
    return len(mmap.mmap(-1, mib << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def refuse(_: int) -> None:
    raise InvalidPhoto("The picture is of a cat.", code="cat")


def divide(number: int) -> float:
    return number / 0


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


# --- tests ------------------------------------------------------------------------------------------------------------


def test_one_child_serves_many_files(tmp_path: Path) -> None:
    pids = {guarded(pid_of, SETTINGS, no_beat, tmp_path) for _ in range(20)}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_a_refusal_crosses_the_border_whole_and_costs_no_child(tmp_path: Path) -> None:
    before = guarded(pid_of, SETTINGS, no_beat, tmp_path)
    with pytest.raises(InvalidPhoto) as refusal:
        guarded(refuse, SETTINGS, no_beat, 1)
    assert (refusal.value.code, refusal.value.message) == ("cat", "The picture is of a cat.")
    assert guarded(pid_of, SETTINGS, no_beat, tmp_path) == before


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as bug:
        guarded(divide, SETTINGS, no_beat, 1)
    assert "return number / 0" in "".join(bug.value.__notes__)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGSEGV, WorkerLost), (signal.SIGKILL, OutOfMemory)])
def test_a_child_that_dies_is_replaced(number: int, error: type[Exception], tmp_path: Path) -> None:
    before = guarded(pid_of, SETTINGS, no_beat, tmp_path)
    with pytest.raises(error):
        guarded(die_by, SETTINGS, no_beat, number)
    assert guarded(pid_of, SETTINGS, no_beat, tmp_path) != before


def test_a_child_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    before = guarded(pid_of, SETTINGS, no_beat, tmp_path)
    started = time.monotonic()
    with pytest.raises(WorkerLost, match="1 seconds"):
        guarded(sleep_for, Settings(child_timeout_s=1), no_beat, 60.0)
    assert time.monotonic() - started < 10
    assert not is_alive(before)


def test_the_caller_beats_while_it_waits_and_what_it_raises_ends_the_child(tmp_path: Path) -> None:
    child = guarded(pid_of, SETTINGS, no_beat, tmp_path)
    beats = []

    def beat() -> None:
        beats.append(time.monotonic())
        if len(beats) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded(sleep_for, SETTINGS, beat, 60.0)
    assert len(beats) == 2
    assert not is_alive(child)


@pytest.mark.parametrize("greedy", [take, map_private])
def test_a_child_gets_no_more_memory_than_the_settings_say(greedy: object, tmp_path: Path) -> None:
    with pytest.raises((OutOfMemory, OSError)):
        guarded(greedy, Settings(child_memory_mib=512), no_beat, 900)  # type: ignore[arg-type]
    assert guarded(take, Settings(child_memory_mib=2048), no_beat, 900) == 900 << 20


def test_a_picture_larger_than_the_memory_allowed_is_a_want_of_memory(tmp_path: Path) -> None:
    path = tmp_path / "interlaced.png"
    corpus.vips("png", interlace=True)(path, np.zeros((12_000, 12_000, 3), np.uint8))
    with pytest.raises(OutOfMemory):
        ingest(path, parse({}), Settings(child_memory_mib=400))


def test_children_die_with_the_worker_even_in_the_middle_of_a_photo(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "from pathlib import Path\n"
        "from retint.settings import Settings\n"
        "from retint_workers.sandbox import guarded\n"
        "from tests.integration.workers.test_sandbox import no_beat, pid_of, sleep_for\n"
        "if __name__ == '__main__':\n"
        "    print(guarded(pid_of, Settings(), no_beat, Path()), flush=True)\n"
        "    guarded(sleep_for, Settings(), no_beat, 300.0)\n"
    )
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    ) as worker:
        assert worker.stdout
        child = int(worker.stdout.readline())
        assert is_alive(child)
        worker.kill()
    deadline = time.monotonic() + 60  # the machine may be busy
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)


def test_files_of_a_hostile_deposit_do_not_slow_the_others_down(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jpg", tmp_path / "bad.jpg"
    good.write_bytes(corpus.encoded("JPEG"))
    bad.write_bytes(corpus.encoded("JPEG")[:2000])
    ingest(good, parse({}), SETTINGS)
    started = time.process_time(), time.monotonic()
    for _ in range(100):
        ingest(good, parse({}), SETTINGS)
        with pytest.raises(InvalidPhoto):
            ingest(bad, parse({}), SETTINGS)
    assert time.monotonic() - started[1] < 30
