"""The processes of one machine: started, restarted when they die, drained. On a cluster Kubernetes does this."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import structlog

from retint import fleets
from retint.lifecycle import FLEETS
from retint.services import Services
from retint.settings import Settings
from retint_workers import beats

log = structlog.get_logger()

STOP_TIMEOUT_S = 60
"""How long a process may take to end before it is killed; the leases of its jobs have expired by then."""
STABLE_S = 20
"""A process that ran this long is restarted at once when it dies; sooner deaths lengthen the pause each time."""
LONGEST_PAUSE_S = 30
LOG_BYTES = 10 << 20
"""A log file that is larger is renamed, and a new one begun."""
LOGS_KEPT = 5
"""Renamed log files of a process that are kept: `.1` is the newest."""


@dataclass
class SupervisedProcess:
    """A process that is started, and restarted when it dies."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_file: Path
    heartbeat: Path | None = None
    """The file of its heartbeats (`beats.write_beat`), if it writes one."""
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    crashes: int = 0
    """Deaths since it last ran for `STABLE_S`."""
    stopped_at: float | None = None

    def keep_running(self) -> None:
        """Start the process if it does not run; after quick deaths only after a pause (exponential backoff)."""
        _rotate(self.log_file)
        if self.process and self.process.poll() is None:
            return
        now = time.monotonic()
        if self.process:
            self.crashes = 0 if now - self.started_at > STABLE_S else self.crashes
            log.warning("process_ended", name=self.name, status=self.process.returncode, log=str(self.log_file))
            self.process = None
            self.crashes += 1
            self.started_at = now
        if self.crashes and now - self.started_at < min(0.25 * 2**self.crashes, LONGEST_PAUSE_S):
            return
        self.start()

    def start(self) -> None:
        """Start the process; its output is appended to the log file, which it follows when it is renamed."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as sink:
            self.process = subprocess.Popen(
                self.command,
                env={**self.environment, "RETINT_LOG_FILE": str(self.log_file)},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,  # the supervisor passes the terminal's Ctrl-C on, in its own order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self.started_at = time.monotonic()

    def is_hanging(self) -> bool:
        """Whether it runs, and has written no heartbeat for too long."""
        if self.heartbeat is None or not self.process or self.process.poll() is not None:
            return False
        # The file may be from the process before it.
        return min(beats.read_silence_s(self.heartbeat), time.monotonic() - self.started_at) > beats.HANG_S

    def stop(self) -> None:
        """Ask the process to finish its work and end (SIGTERM)."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
        self.stopped_at = time.monotonic()

    def has_ended(self) -> bool:
        """Whether the process has ended; one that takes longer than `STOP_TIMEOUT_S` to stop is killed."""
        if not self.process or self.process.poll() is not None:
            return True
        if self.stopped_at and time.monotonic() - self.stopped_at > STOP_TIMEOUT_S:
            self.process.kill()
        return False


def _rotate(log_file: Path) -> None:
    """Rename a log file that has grown too large. Whoever writes to it goes on there until it begins the new one."""
    if not log_file.exists() or log_file.stat().st_size < LOG_BYTES:
        return
    files = [log_file, *(log_file.with_name(f"{log_file.name}.{number}") for number in range(1, LOGS_KEPT + 1))]
    for older, newer in zip(reversed(files[1:]), reversed(files[:-1]), strict=True):
        if newer.exists():
            newer.replace(older)


def _die_with_parent() -> None:
    """Make Linux end this process when its supervisor dies (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@dataclass
class LocalFleets:
    """The workers of this machine, as many as the administrator wants."""

    settings: Settings
    logs: Path
    running: dict[str, list[SupervisedProcess]] = field(default_factory=lambda: {name: [] for name in FLEETS})
    draining: list[SupervisedProcess] = field(default_factory=list)

    def supervise(self, services: Services) -> None:
        """Start workers that are wanted, drain those that are not, restart those that died, kill those that hang.

        Raises:
            Transient: the database did not answer.
        """
        with services.begin() as session:
            wanted = fleets.get_wanted(session)
        for name, workers in self.running.items():
            while len(workers) < wanted[name]:
                workers.append(self._make_worker(name))
            while len(workers) > wanted[name]:
                self._drain(workers.pop())
            for worker in workers:
                if worker.process and worker.is_hanging():
                    log.error("worker_hangs", name=worker.name)
                    worker.process.kill()
                worker.keep_running()
        self.draining = [worker for worker in self.draining if not worker.has_ended()]

    def stop(self) -> list[SupervisedProcess]:
        """Drain all workers, and return them; they may take `STOP_TIMEOUT_S` to end."""
        for workers in self.running.values():
            while workers:
                self._drain(workers.pop())
        return self.draining

    def _make_worker(self, fleet: str) -> SupervisedProcess:
        taken = {worker.name for worker in (*self.running[fleet], *self.draining)}
        # The lowest free number, so that scaling up and down leaves no ever new log files.
        name = next(name for name in (f"{fleet}-{number}" for number in count(1)) if name not in taken)
        heartbeat = self.logs / f"worker-{name}.heartbeat"
        command = [sys.executable, "-m", "retint", "worker", "--fleet", fleet, "--heartbeat", str(heartbeat)]
        # Workers share the cores: threads that wait for each other on a busy core are slower than one thread.
        threads = str(max(1, (os.cpu_count() or 2) // 2))
        environment = self.settings.environment(OMP_NUM_THREADS=threads, VIPS_CONCURRENCY=threads)
        return SupervisedProcess(name, command, environment, self.logs / f"worker-{name}.log", heartbeat)

    def _drain(self, worker: SupervisedProcess) -> None:
        log.info("worker_drains", name=worker.name)
        worker.stop()
        self.draining.append(worker)
