"""A worker's heartbeat in the database: it registers, beats from its working loop, and learns when to end."""

import faulthandler
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import structlog
from celery.worker import state

from retint import __version__, fleets, telemetry
from retint.errors import Transient
from retint.services import Services
from retint_workers import beats

BEAT_S = 2.0
"""Shortest time between two heartbeats."""
RETRY_S = 1.0
"""Pause before the database is asked again."""

log = structlog.get_logger()


def is_told_to_end() -> bool:
    """Whether this process was told to end (SIGTERM), or ends by itself after its bundle."""
    return state.should_stop is not None


class Heartbeat:
    """The heartbeat of this process, a worker of one fleet.

    Args:
        services: what the process works with.
        fleet: the queue that it serves.
        device: shown to administrators.
        file: also tells of each heartbeat (`beats.write_beat`), for those who watch the process on its machine.
        ends_when_hung: whether the process ends, with the stack of every thread in its log, when there was no heartbeat
            for `beats.HANG_S`. So a hang needs nobody who watches; only a process that is stopped does.

    Attributes:
        worker_id: the worker's row; None before it is registered.
        may_continue: whether the worker may take another bundle. If not, it ends, and the supervisor starts another.
        must_end: whether not even the bundle in hand can be finished: this process has lost its device.
        trouble: why the worker claims nothing, a sentence; None while it is sound.
        messages_received: number of bundles received from the broker.
    """

    def __init__(
        self, services: Services, fleet: str, device: str, file: Path | None = None, *, ends_when_hung: bool = False
    ) -> None:
        self.services = services
        self.fleet = fleet
        self.device = device
        self.worker_id: UUID | None = None
        self.file = file
        self.ends_when_hung = ends_when_hung
        self.may_continue = True
        self.must_end = False
        self.trouble: str | None = None
        self.messages_received = 0
        self._activity = ""
        self._last_activity = ""
        self._last_beat_at = 0.0

    def register(self) -> None:
        """Register this process as a worker; waits for the database without a time limit."""
        host = self.services.settings.pod_name or socket.gethostname()
        while self.worker_id is None:
            self.beat()
            try:
                with self.services.begin() as session:
                    self.worker_id = fleets.register_worker(
                        session, self.fleet, host, os.getpid(), self.device, __version__
                    )
            except Transient as error:
                log.warning("worker_not_registered", reason=error.message)
                time.sleep(RETRY_S)
        telemetry.name_process(worker_id=str(self.worker_id))
        log.info("worker_registered", fleet=self.fleet, device=self.device)

    @contextmanager
    def busy_with(self, activity: str) -> Iterator[None]:
        """Report an activity with the next heartbeat, as long as the block runs."""
        self._activity = self._last_activity = activity
        try:
            yield
        finally:
            self._activity = ""

    def beat(self) -> None:
        """Report that this process lives and what it does; does nothing within `BEAT_S` of the last heartbeat."""
        at = time.monotonic()
        if at - self._last_beat_at < BEAT_S:
            return
        self._last_beat_at = at
        if self.ends_when_hung:
            faulthandler.dump_traceback_later(beats.HANG_S, exit=True)
        if self.file:
            with suppress(OSError):  # a broken disk is found by the machine's test
                beats.write_beat(self.file)
        if self.worker_id is None:
            return
        # An activity that started and ended between two heartbeats counts too: only who took nothing is idle.
        activity, self._last_activity = self._activity or self._last_activity, ""
        try:
            with self.services.begin() as session:
                counts = self.services.counters.snapshot()
                may_continue = fleets.record_heartbeat(session, self.worker_id, activity, counts, self.trouble)
            self.may_continue = may_continue and not self.must_end
        except Transient as error:
            log.warning("heartbeat_missed", reason=error.message)

    def report_trouble(self, trouble: str | None) -> None:
        """Report at once why the worker claims nothing, or that it does again."""
        if trouble != self.trouble:
            log.warning("worker_in_trouble", reason=trouble) if trouble else log.info("worker_is_sound_again")
            self.trouble = trouble
            self._last_beat_at = 0.0
        self.beat()

    def end(self) -> None:
        """Mark the worker as ended; without a database the row times out."""
        faulthandler.cancel_dump_traceback_later()
        if self.worker_id is None:
            return
        try:
            with self.services.begin() as session:
                fleets.record_heartbeat(session, self.worker_id, "", self.services.counters.snapshot())
                fleets.end_worker(session, self.worker_id)
        except Transient as error:
            log.warning("worker_end_not_recorded", reason=error.message)
