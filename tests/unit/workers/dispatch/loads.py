"""Loads for tests of the dispatcher."""

import uuid
from datetime import UTC, datetime, timedelta

from retint import recipes
from retint.jobs.tallies import Load
from retint.lifecycle import Stage, State

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_load(
    tenant_id: uuid.UUID | None = None,
    *,
    weight: int = 1,
    priority: int = 0,
    age_s: int = 0,
    stage: Stage = Stage.INGEST,
    colorizer: str = "compact",
) -> Load:
    """Make a load of a thousand ready jobs; of a new tenant if none is given."""
    return Load(
        tenant_id=tenant_id or uuid.uuid4(),
        weight=weight,
        batch_id=uuid.uuid4(),
        priority=priority,
        recipe=recipes.parse({"colorizer": colorizer}),
        created_at=START - timedelta(seconds=age_s),
        paused=False,
        stage=stage,
        state=State.READY,
        n=1000,
    )
