"""The processes of one machine: started, kept running, drained. On a cluster Kubernetes does this instead."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from retint import fleets
from retint.lifecycle import FLEETS
from retint.services import Services
from retint.settings import Settings

log = structlog.get_logger()

PATIENCE_S = 60
"""How long a process that was told to end may take before it is killed; its jobs' leases run out by then."""
HANGING_S = 180
"""A worker that was silent for longer stands still: no network takes that long for one bundle."""
STEADY_S = 20
"""A process that ran this long and died is started again at once; one that dies sooner waits longer each time."""


@dataclass
class Child:
    """A process that is started, and started again when it dies."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_file: Path
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    stopped_at: float | None = None

    def keep_running(self) -> None:
        """Start it if it does not run; after quick deaths only after a while."""
        if self.process and self.process.poll() is None:
            return
        now = time.monotonic()
        if self.process:
            self.failures = 0 if now - self.started_at > STEADY_S else self.failures
            log.warning("process_ended", name=self.name, status=self.process.returncode, log=str(self.log_file))
            self.process = None
            self.failures += 1
            self.started_at = now
        if self.failures and now - self.started_at < min(0.25 * 2**self.failures, 30):
            return
        self.start()

    def start(self) -> None:
        """Start the process, its output into the log file."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as sink:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,  # the terminal's Ctrl-C is the supervisor's to pass on, in its order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self.started_at = time.monotonic()

    def stop(self) -> None:
        """Tell it to finish what it does and end."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
        self.stopped_at = time.monotonic()

    def has_ended(self) -> bool:
        """Whether it is gone; it is killed when it takes too long to end."""
        if not self.process or self.process.poll() is not None:
            return True
        if self.stopped_at and time.monotonic() - self.stopped_at > PATIENCE_S:
            self.process.kill()
        return False


def _die_with_parent() -> None:
    """Ask Linux to end this process when its supervisor dies (prctl PR_SET_PDEATHSIG): nothing runs on unseen."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@dataclass
class LocalFleets:
    """The workers of this machine, as many as the administrator wants."""

    settings: Settings
    logs: Path
    running: dict[str, list[Child]] = field(default_factory=lambda: {name: [] for name in FLEETS})
    draining: list[Child] = field(default_factory=list)
    numbers: int = 0

    def follow(self, services: Services) -> None:
        """Make what runs what is wanted: start, drain, start again what died or hangs."""
        with services.begin() as session:
            wanted = fleets.wanted(session)
            hanging = fleets.hanging(session, socket.gethostname(), max(HANGING_S, 2 * self.settings.lease_s))
        for name, workers in self.running.items():
            while len(workers) < wanted[name]:
                workers.append(self._worker(name))
            while len(workers) > wanted[name]:
                self._drain(workers.pop())
            for worker in workers:
                if worker.process and worker.process.pid in hanging:
                    log.error("worker_hangs", name=worker.name)
                    worker.process.kill()
                worker.keep_running()
        self.draining = [worker for worker in self.draining if not worker.has_ended()]

    def stop(self) -> list[Child]:
        """Drain them all; they may take `PATIENCE_S` to end."""
        for workers in self.running.values():
            while workers:
                self._drain(workers.pop())
        return self.draining

    def _worker(self, fleet: str) -> Child:
        self.numbers += 1
        name = f"{fleet}-{self.numbers}"
        command = [sys.executable, "-m", "retint", "worker", "--fleet", fleet]
        # Several workers share the cores, and threads that wait for each other on a busy core are slower than one.
        threads = str(max(1, (os.cpu_count() or 2) // 2))
        environment = self.settings.environment(OMP_NUM_THREADS=threads, VIPS_CONCURRENCY=threads)
        return Child(name, command, environment, self.logs / f"worker-{name}.log")

    def _drain(self, worker: Child) -> None:
        log.info("worker_drains", name=worker.name)
        worker.stop()
        self.draining.append(worker)
