"""The settings, the database and the store of one process. The one place that picks implementations."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Event, Thread
from typing import Self
from uuid import UUID

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from retint import broker, database, store_identity, stores, totals
from retint.broker import Broker
from retint.database import DatabaseUnavailable
from retint.metrics import DATABASE_ERRORS, Counters
from retint.row_security import TENANT
from retint.settings import Settings
from retint.stores.counted import CountedStore

REPORT_S = 5.0
"""Time between two reports of a process that is no worker."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Services:
    """What a process works with; made once by an entry point and passed on.

    Attributes:
        settings: as read at the start.
        engine: of the database.
        store: where bytes live.
        counters: what the process has counted, for metrics.
        verified: set as soon as database and store were found to belong together (see `store_identity.verify`).
    """

    settings: Settings
    engine: Engine
    store: stores.BlobStore
    counters: Counters = field(default_factory=Counters, repr=False, compare=False)
    verified: Event = field(default_factory=Event, repr=False, compare=False)

    @classmethod
    def connect(cls, settings: Settings, connections: int = 4) -> Self:
        """Make what the settings name, without contacting it, for a process with so many connections to PostgreSQL."""
        counters = Counters()
        store = CountedStore(stores.connect(settings), counters)
        return cls(settings, database.connect(settings.database, connections), store, counters)

    def for_tenant(self, tenant_id: UUID | None) -> Self:
        """Return services that see one institution's rows alone, or nobody's (see `row_security`)."""
        return replace(self, engine=self.engine.execution_options(**{TENANT: str(tenant_id or "")}))

    def for_house(self) -> Self:
        """Return services that see every institution's rows."""
        return replace(self, engine=self.engine.execution_options(**{TENANT: None}))

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Open one transaction (see `database.begin`)."""
        with self._count_errors(), database.begin(self.engine) as session:
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that only reads (see `database.read`)."""
        with self._count_errors(), database.read(self.engine) as session:
            yield session

    def connect_broker(self) -> Broker:
        """Make the sending side of the broker, with queues that are this installation's own.

        Raises:
            DatabaseUnavailable: the database, which knows whose they are, did not answer.
        """
        return broker.connect(self.settings.broker_url, str(store_identity.identify(self).id))

    @contextmanager
    def _count_errors(self) -> Iterator[None]:
        try:
            yield
        except DatabaseUnavailable:
            self.counters.count(DATABASE_ERRORS)
            raise

    def report_counts(self) -> None:
        """Add what this process has counted to the totals; a worker's heartbeat does that for a worker.

        Raises:
            DatabaseUnavailable: the database did not answer; the next call reports it.
        """
        counts = self.counters.take()
        try:
            with self.begin() as session:
                totals.add(session, counts)
        except DatabaseUnavailable:
            self.counters.add(counts)
            raise

    def keep_reporting(self) -> None:
        """Report what this process counts from now on, every few seconds and at its end."""

        def report() -> None:
            try:
                self.report_counts()
            except DatabaseUnavailable as error:
                log.warning("counts_wait", reason=error.message)

        def run() -> None:
            while not never.wait(REPORT_S):
                report()

        never = Event()
        Thread(target=run, name="retint-reports", daemon=True).start()
        atexit.register(report)
