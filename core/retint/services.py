"""The settings, the database and the store of one process. The one place that picks implementations."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Self

import structlog
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from retint import database, stores, totals
from retint.database import DatabaseUnavailable
from retint.metrics import DATABASE_ERRORS, Counters
from retint.settings import Settings

REPORT_S = 5.0
"""Time between two reports of a process that is no worker."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Services:
    """What a process works with; made once by an entry point and passed on."""

    settings: Settings
    engine: Engine
    store: stores.BlobStore
    counters: Counters = field(default_factory=Counters, repr=False, compare=False)

    @classmethod
    def connect(cls, settings: Settings, connections: int = 4) -> Self:
        """Make what the settings name, without contacting it, for a process with so many connections to PostgreSQL."""
        return cls(settings, database.connect(settings.database, connections), stores.connect(settings))

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
        if counts := self.counters.snapshot():
            with self.begin() as session:
                totals.add(session, counts)
            self.counters.subtract(counts)

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
