"""A worker's heartbeat in the database: it registers, beats from its working loop, and learns when to end."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog

from retint import __version__, fleets, telemetry
from retint.errors import Transient
from retint.services import Services

BEAT_S = 2.0
"""Shortest time between two heartbeats."""
RETRY_S = 1.0
"""Pause before the database is asked again."""

log = structlog.get_logger()


class Heartbeat:
    """The heartbeat of this process, a worker of one fleet.

    Attributes:
        worker_id: the worker's row; None before it is registered.
        may_continue: whether the worker may take another bundle. If not, it ends, and the supervisor starts another.
        messages_received: number of bundles received from the broker.
    """

    def __init__(self, services: Services, fleet: str, device: str) -> None:
        self.services = services
        self.fleet = fleet
        self.device = device
        self.worker_id: UUID | None = None
        self.may_continue = True
        self.messages_received = 0
        self._activity = ""
        self._last_activity = ""
        self._last_beat_at = 0.0

    def register(self) -> None:
        """Register this process as a worker; waits for the database without a time limit."""
        while self.worker_id is None:
            try:
                with self.services.begin() as session:
                    self.worker_id = fleets.register_worker(
                        session, self.fleet, socket.gethostname(), os.getpid(), self.device, __version__
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
        if self.worker_id is None or at - self._last_beat_at < BEAT_S:
            return
        self._last_beat_at = at
        # An activity that started and ended between two heartbeats counts too: only who took nothing is idle.
        activity, self._last_activity = self._activity or self._last_activity, ""
        try:
            with self.services.begin() as session:
                counts = self.services.counters.snapshot()
                self.may_continue = fleets.record_heartbeat(session, self.worker_id, activity, counts)
        except Transient as error:
            log.warning("heartbeat_missed", reason=error.message)

    def end(self) -> None:
        """Mark the worker as ended; without a database the row times out."""
        if self.worker_id is None:
            return
        try:
            with self.services.begin() as session:
                fleets.record_heartbeat(session, self.worker_id, "", self.services.counters.snapshot())
                fleets.end_worker(session, self.worker_id)
        except Transient as error:
            log.warning("worker_end_not_recorded", reason=error.message)
