"""The automatic sweep, as a process of its own that the leading dispatcher starts: the store may be slow or away.

It lets the mark of the store's identity grow, sweeps if a round is due (see `retint.sweeps`), and ends. It rests most
of the time, so that it takes little from the service, and ends with its dispatcher.
"""

import os
import sys
import time
from collections.abc import Callable
from uuid import UUID

import structlog
from sqlalchemy import select

from retint import store_identity, sweeps
from retint.errors import IllegalMove, Transient
from retint.services import Services
from retint.store_identity import WrongStore
from retint.tables import Photo
from retint_workers.dispatch.children import Child, connect_child

FIRST_S = 60.0
"""Time from taking the lead to the first look whether there is something to do."""
LOOK_S = 600.0
"""Time between two looks: so long a deposit may be missing from the mark."""
REST = 4.0
"""Rest after each window, as a multiple of the time that it took."""
LONGEST_REST_S = 60.0

log = structlog.get_logger()


class SweepProcess:
    """The process of the automatic sweep, as its dispatcher sees it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._child = Child(services, __name__)
        self._look_at = time.monotonic() + FIRST_S
        self._newest: UUID | None = None

    def keep_running(self) -> None:
        """Start the process if there is something to do: a round is due, or photos were deposited."""
        at = time.monotonic()
        if at < self._look_at or self._child.is_running:
            return
        self._look_at = at + LOOK_S
        with self._services.read() as session:
            newest = session.scalar(select(Photo.id).order_by(Photo.id.desc()).limit(1))
            is_due = sweeps.is_due(session)
        if is_due or newest != self._newest:
            self._newest = newest
            self._child.start()

    def end(self) -> None:
        """End the process, because this dispatcher ends or does not lead any more."""
        self._look_at = time.monotonic() + FIRST_S
        self._child.end()


def run(services: Services, may_continue: Callable[[], bool]) -> None:
    """Let the mark grow, and sweep if a round is due, until it is over or `may_continue()` says no."""
    try:
        with services.read() as session:
            is_due = sweeps.is_due(session)
        if not is_due:
            store_identity.grow(services)
            return
        began_at = time.monotonic()
        for _ in sweeps.sweep(services, go_on=True):
            time.sleep(min(REST * (time.monotonic() - began_at), LONGEST_REST_S))
            if not may_continue():
                return
            began_at = time.monotonic()
    except WrongStore as error:
        log.error("sweep_refused", reason=error.message)
        sweeps.record_stop(services, error)
    except (IllegalMove, Transient) as error:
        log.warning("sweep_put_off", reason=error.message)


def main(dispatcher_pid: int) -> None:
    """Run as a child of a dispatcher."""
    run(connect_child("sweep"), lambda: os.getppid() == dispatcher_pid)


if __name__ == "__main__":
    main(int(sys.argv[1]))
