"""Beats: how work shows that it makes progress, and how a beat goes on while the thread that gives it has to wait.

A worker's beat extends leases and writes to the database, so only the thread that runs the stage beats. What blocks for
long (bytes on their way, weights that are loaded, a process that starts) runs as `Background` in a thread that never
beats, with a limit: the thread that waits for it beats no longer than that.
"""

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from pathlib import Path
from threading import Thread
from typing import Generic, TypeVar

from retint.errors import RetintError

T = TypeVar("T")

Beat = Callable[[], bool]
"""Called often by work that makes progress, in the thread that runs the stage; a call too many costs nothing. Returns
whether there is time to start another photo. What it raises ends the work."""

HANG_S = 180.0
"""A worker without a heartbeat for longer hangs: nothing that it waits for without a beat takes so long."""
WAIT_S = 0.5
"""Time between two beats of a thread that waits."""


def beat_for_nobody() -> bool:
    """Beat where no lease depends on it; there is always time."""
    return True


class Background(Generic[T]):
    """Work that runs in a thread of its own. Whoever waits for it beats meanwhile.

    Args:
        work: is passed a function to call as it makes progress; work that does not call it has the limit for all of it.
        limit_s: how long the work may make no progress.
        stalled: raised where it takes longer; then the thread is left to itself, and its result is not used.
    """

    def __init__(self, work: Callable[[Callable[[], None]], T], limit_s: float, stalled: RetintError) -> None:
        self._work = work
        self._limit_s = limit_s
        self._stalled = stalled
        self._outcome: Future[T] = Future()
        self._note_progress()
        # A daemon: a thread that hangs must not keep the process from ending.
        Thread(target=copy_context().run, args=(self._run,), name="retint-background", daemon=True).start()

    @property
    def is_done(self) -> bool:
        """Whether `wait` returns or raises at once."""
        return self._outcome.done()

    def wait(self, beat: Beat) -> T:
        """Wait for the work and beat meanwhile; return its result or raise its error.

        Raises:
            RetintError: `stalled`, where the work makes no progress.
        """
        while not wait([self._outcome], WAIT_S).done:
            beat()
            if time.monotonic() - self._progressed_at > self._limit_s:
                raise self._stalled
        return self._outcome.result()

    def _note_progress(self) -> None:
        self._progressed_at = time.monotonic()

    def _run(self) -> None:
        try:
            self._outcome.set_result(self._work(self._note_progress))
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            self._outcome.set_exception(error)


# --- for those who watch a process from outside -----------------------------------------------------------------------


def write_beat(path: Path) -> None:
    """Record at a file that this process makes progress now.

    The file's time of modification is set to the system's monotonic clock, which all processes share and nobody sets.
    That needs no room on the disk.
    """
    now_ns = time.monotonic_ns()
    try:
        os.utime(path, ns=(now_ns, now_ns))
    except FileNotFoundError:
        path.touch()
        os.utime(path, ns=(now_ns, now_ns))


def read_silence_s(path: Path) -> float:
    """Return how many seconds ago a beat was last recorded; infinite where none was since the system started."""
    try:
        silence_s = (time.monotonic_ns() - path.stat().st_mtime_ns) / 1e9
    except OSError:
        return math.inf
    return silence_s if silence_s >= 0 else math.inf
