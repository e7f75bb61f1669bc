"""A process of an installation under fault, and its supervisor."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

RESTART_S = 0.5
"""Pause before a process that ended is started again, as a supervisor does."""
PARTS = ("core", "models", "workers", "web", "migrations")


def make_path(version: Path) -> str:
    """Return the PYTHONPATH of a version of Retint, whose parts lie in a folder."""
    return os.pathsep.join(str(version / part) for part in PARTS)


@dataclass
class Process:
    """One process; whatever ended it, it is started again.

    Attributes:
        module: what Python runs, and its first arguments.
        command: the rest of its arguments.
        environment: its environment.
        log: where its output goes.
        switches: folder of the switches that break its machine (see `entry_point.py`).
        restarts: how often it was started again.
    """

    module: Sequence[str]
    command: Sequence[str]
    environment: dict[str, str]
    log: Path
    switches: Path
    restarts: int = 0
    _popen: "subprocess.Popen[bytes] | None" = None
    _ended_at: float | None = None

    def start(self, *options: str) -> None:
        """Start it, with options for this time only."""
        # It dies with the test run, however that ends.
        entry = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", *self.module]
        with self.log.open("ab") as sink:
            self._popen = subprocess.Popen(
                [*entry, *options, *self.command], env=self.environment, stdout=sink, stderr=sink
            )
        self._ended_at = None

    @property
    def has_ended(self) -> bool:
        """Whether it does not run."""
        return self._popen is None or self._popen.poll() is not None

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped (SIGSTOP)."""
        return self._popen is not None and psutil.Process(self._popen.pid).status() == psutil.STATUS_STOPPED

    def keep_running(self) -> None:
        """Start it again if it has ended."""
        if self.has_ended:
            self._ended_at = self._ended_at or time.monotonic()
            if time.monotonic() - self._ended_at > RESTART_S:
                self.start()
                self.restarts += 1

    def go_on(self) -> None:
        """Let it go on after it was stopped."""
        if self._popen:
            self._popen.send_signal(signal.SIGCONT)

    def drain(self) -> None:
        """Ask it to finish what it does and to end, and wait until it has."""
        if self._popen:
            self._popen.terminate()
            self._popen.wait(timeout=60)

    def kill(self) -> None:
        """Kill it and all that it started."""
        if self._popen and self._popen.poll() is None:
            victim = psutil.Process(self._popen.pid)
            for process in [*victim.children(recursive=True), victim]:
                process.kill()
            self._popen.wait()
