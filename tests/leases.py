"""Leases for tests of stages, without a database."""

import uuid
from datetime import UTC, datetime
from typing import Any

from retint import recipes
from retint.jobs.leases import Lease
from retint.lifecycle import Stage


def new_lease(name: str, stage: Stage, recipe: dict[str, Any], **others: Any) -> Lease:
    """Make a lease on the first attempt at a stage of a new job."""
    facts: dict[str, Any] = {"attempt": 1, "faults": 0, "started_at": datetime.now(UTC), **others}
    facts |= {key: uuid.uuid4() for key in ("job_id", "tenant_id", "batch_id", "photo_id")}
    return Lease(name=name, stage=stage, recipe=recipes.parse(recipe), **facts)
