"""An outbox, on each database or on SQLite, whose delivery does not wait long."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.outboxes import Outbox, open_outbox

from retint_workers.dispatch import delivery as delivery_module


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_module, "POLL_S", 0.05)


@pytest.fixture
def each_outbox(database_url: str, tmp_path: Path) -> Iterator[Outbox]:
    yield from open_outbox(database_url, tmp_path)


@pytest.fixture
def outbox(sqlite_url: str, tmp_path: Path) -> Iterator[Outbox]:
    yield from open_outbox(sqlite_url, tmp_path)
