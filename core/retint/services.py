"""The settings, the database and the store of one process. The one place that picks implementations."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from retint import database, stores
from retint.settings import Settings


@dataclass(frozen=True)
class Services:
    """What a process works with; made once by an entry point and passed on."""

    settings: Settings
    engine: Engine
    store: stores.BlobStore

    @classmethod
    def connect(cls, settings: Settings, connections: int = 4) -> Self:
        """Make what the settings name, without contacting it, for a process with so many connections to PostgreSQL."""
        return cls(settings, database.connect(settings.database, connections), stores.connect(settings))

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Open one transaction (see `database.begin`)."""
        with database.begin(self.engine) as session:
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction that only reads (see `database.read`)."""
        with database.read(self.engine) as session:
            yield session
