"""Beats go on while a thread waits, and no longer than what it waits for makes progress."""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, current_thread

import pytest

from retint.errors import LeaseLost, WorkerLost
from retint_workers import beats
from retint_workers.beats import Background

STALLED = WorkerLost("It takes too long.")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "WAIT_S", 0.02)


def test_whoever_waits_beats_from_its_own_thread_until_the_work_is_done() -> None:
    threads, may_end = [], Event()

    def beat() -> bool:
        threads.append(current_thread())
        if len(threads) == 5:
            may_end.set()
        return True

    def work(_: Callable[[], None]) -> str:
        assert may_end.wait(20)
        return current_thread().name

    assert Background(work, 20, STALLED).wait(beat) == "retint-background"
    assert set(threads) == {current_thread()}


def test_what_work_raises_is_raised_where_it_is_waited_for() -> None:
    def work(_: Callable[[], None]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Background(work, 20, STALLED).wait(beats.beat_for_nobody)


def test_work_without_progress_ends_at_its_limit_and_its_thread_does_not_beat_on() -> None:
    may_end, count = Event(), 0

    def beat() -> bool:
        nonlocal count
        count += 1
        return True

    with pytest.raises(WorkerLost) as stalled:
        Background(lambda _: may_end.wait(60), 0.3, STALLED).wait(beat)
    assert stalled.value is STALLED
    seen = count
    time.sleep(0.2)
    assert count == seen
    may_end.set()


def test_work_that_makes_progress_may_take_longer_than_the_limit() -> None:
    def work(note_progress: Callable[[], None]) -> str:
        for _ in range(12):
            time.sleep(0.05)
            note_progress()
        return "done"

    assert Background(work, 0.3, STALLED).wait(beats.beat_for_nobody) == "done"


def test_what_a_beat_raises_ends_the_wait_at_once() -> None:
    may_end = Event()

    def beat() -> bool:
        raise LeaseLost("Somebody cancelled the photo.")

    started = time.monotonic()
    with pytest.raises(LeaseLost):
        Background(lambda _: may_end.wait(60), 60, STALLED).wait(beat)
    assert time.monotonic() - started < 5
    may_end.set()


def test_a_file_tells_how_long_a_process_has_been_silent(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    assert beats.read_silence_s(path) == math.inf
    beats.write_beat(path)
    assert 0 <= beats.read_silence_s(path) < 5
    before = time.monotonic_ns() - 100 * 10**9
    os.utime(path, ns=(before, before))
    assert 100 <= beats.read_silence_s(path) < 105
    path.write_text("a file from before the system started, or of another program")
    assert beats.read_silence_s(path) == math.inf
