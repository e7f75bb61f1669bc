"""A worker as the database knows it: it registers, beats from its working loop, and hears when to end."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog

from retint import __version__, fleets
from retint.errors import Transient
from retint.services import Services

BEAT_S = 2.0
"""A worker says at most this often that it lives."""
RETRY_S = 1.0

log = structlog.get_logger()


class Presence:
    """This process, as one worker of a fleet."""

    def __init__(self, services: Services, fleet: str, device: str) -> None:
        self.services = services
        self.fleet = fleet
        self.device = device
        self.worker_id: UUID | None = None
        self.may_go_on = True
        """Whether to take another bundle; where not, whoever started this process starts another."""
        self.taken = 0
        """Messages received."""
        self._activity = ""
        self._did = ""
        self._beaten_at = 0.0

    def register(self) -> None:
        """Introduce this process; waits for the database without end."""
        while self.worker_id is None:
            try:
                with self.services.begin() as session:
                    self.worker_id = fleets.register(
                        session, self.fleet, socket.gethostname(), os.getpid(), self.device, __version__
                    )
            except Transient as error:
                log.warning("worker_not_registered", reason=error.message)
                time.sleep(RETRY_S)
        structlog.contextvars.bind_contextvars(worker_id=str(self.worker_id))
        log.info("worker_registered", fleet=self.fleet, device=self.device)

    @contextmanager
    def at_work(self, activity: str) -> Iterator[None]:
        """Be busy with something; it is told at the next beat."""
        self._activity = self._did = activity
        try:
            yield
        finally:
            self._activity = ""

    def beat(self) -> None:
        """Say that this process lives and what it does, unless it was said just now."""
        at = time.monotonic()
        if self.worker_id is None or at - self._beaten_at < BEAT_S:
            return
        self._beaten_at = at
        # What began and ended between two beats counts, too: idle is who took nothing.
        activity, self._did = self._activity or self._did, ""
        try:
            with self.services.begin() as session:
                self.may_go_on = fleets.beat(session, self.worker_id, activity)
        except Transient as error:
            log.warning("beat_missed", reason=error.message)

    def end(self) -> None:
        """Say goodbye; a database that is away will notice by itself."""
        if self.worker_id is None:
            return
        try:
            with self.services.begin() as session:
                fleets.end(session, self.worker_id)
        except Transient as error:
            log.warning("end_not_told", reason=error.message)
