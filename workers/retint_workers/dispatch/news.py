"""What the leading dispatcher does for notifications: it notices the ends of batches, and starts their delivery."""

import time
from collections.abc import Collection
from uuid import UUID

import structlog

from retint import notifications
from retint.jobs.tallies import Load
from retint.notifications import endings, outbox
from retint.services import Services
from retint_workers.dispatch.children import Child

LOOK_S = 2.0
"""Time between two looks at batches that may have ended, and at the outbox."""

log = structlog.get_logger()


class News:
    """Notices ends, and keeps the delivery process running while there is something to deliver."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._child = Child(services, "retint_workers.dispatch.delivery")
        self._active: set[UUID] = set()
        self._look_at = self._deliver_at = 0.0

    def look(self, loads: Collection[Load]) -> None:
        """Do what is due; to be called before jobs of these loads are moved.

        Raises:
            Transient: the database did not answer; the next call does it.
        """
        active = {load.batch_id for load in loads}
        if new := active - self._active:
            with self._services.begin() as session:
                endings.reopen(session, new)
        self._active = active
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_S
        with self._services.read() as session:
            news = endings.find_news(session, active)
        for each in news:
            with self._services.begin() as session:
                told = endings.tell(session, self._services.settings, each)
            if told and each.has_ended and each.is_told:
                log.info("batch_ended", tenant_id=str(each.batch.tenant_id), batch_id=str(each.batch.id))

    def keep_delivering(self) -> None:
        """Start the delivery process if there is something to deliver.

        Raises:
            Transient: the database did not answer.
        """
        if time.monotonic() < self._deliver_at or self._child.is_running:
            return
        self._deliver_at = time.monotonic() + LOOK_S
        with self._services.read() as session:
            has_due = outbox.has_due(session, with_mail=notifications.can_mail(self._services.settings))
        if has_due:
            self._child.start()

    def end(self) -> None:
        """End the delivery, because this dispatcher ends or does not lead any more."""
        self._active = set()
        self._child.end()
