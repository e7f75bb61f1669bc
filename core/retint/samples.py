"""Which photographs of a batch are looked at before all of it is restored: a few that differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from retint.errors import IllegalMove
from retint.filetypes import SUFFIXES_OF_FILMS
from retint.lifecycle import READY_PHASES, Outcome, Stage
from retint.tables import Attempt, Batch, Job, Photo

SAMPLE: Final = 24
"""Photographs of a sample: as many as a person looks through with care."""
CANDIDATES: Final = 10 * SAMPLE
"""Photographs that those are chosen from, spread evenly over the batch."""


def choose(session: Session, batch: Batch, most: int = SAMPLE) -> list[tuple[UUID, str]]:
    """Choose photographs of a batch that differ, each with its name: spread over the order of deposit, and of each part
    the one that is least like those before it by folder, type, bytes, and what an earlier ingest has found of it.

    Films are left out, since they take as long as a thousand photographs; and what has a recipe of its own.

    Raises:
        IllegalMove: there is nothing to choose from.
    """
    candidates = _list_candidates(session, batch)
    if not candidates:
        message = "There is nothing to prove: the batch has no photos yet, or films alone."
        raise IllegalMove(message, code="nothing_to_prove")
    found = _list_found(session, batch.tenant_id, [each.photo_id for each in candidates])
    features = {each.photo_id: _describe(each, found.get(each.photo_id, {})) for each in candidates}
    parts = min(most, len(candidates))
    chosen: list[Row[Any]] = []
    for part in range(parts):
        near = candidates[part * len(candidates) // parts : (part + 1) * len(candidates) // parts]
        chosen.append(
            max(near, key=lambda each: min((_differ(features, each, other) for other in chosen), default=0.0))
        )
    return [(each.photo_id, each.name) for each in chosen]


def _list_candidates(session: Session, batch: Batch) -> list[Row[Any]]:
    """List photographs of a batch that may be chosen, `CANDIDATES` at most, spread evenly; each photograph once."""
    waiting = (Job.batch_id == batch.id, Job.phase == READY_PHASES[Stage.INGEST], Job.recipe_hash.is_(None))
    total = session.scalar(select(func.count()).select_from(Job).where(*waiting)) or 0
    numbered = select(Job.id, func.row_number().over(order_by=Job.id).label("n")).where(*waiting).subquery("numbered")
    step = max(total, CANDIDATES)
    query: Select[*tuple[Any, ...]] = (
        select(Job.photo_id, Job.name, Photo.size)
        .join(numbered, numbered.c.id == Job.id)
        .join(Photo, Photo.id == Job.photo_id)
        .where((numbered.c.n * CANDIDATES) % step < CANDIDATES)
        .order_by(Job.id)
    )
    photographs: dict[UUID, Row[Any]] = {}
    for row in session.execute(query):
        if PurePosixPath(row.name).suffix.lower() not in SUFFIXES_OF_FILMS:
            photographs.setdefault(row.photo_id, row)
    return list(photographs.values())


def _list_found(session: Session, tenant_id: UUID, photo_ids: Sequence[UUID]) -> dict[UUID, Mapping[str, Any]]:
    """List what ingest has found of photos that were restored before, or proved."""
    found = (
        select(Job.photo_id, Attempt.facts)
        .join(Attempt, Attempt.job_id == Job.id)
        .where(
            Job.tenant_id == tenant_id,
            Job.photo_id.in_(photo_ids),
            Attempt.stage == Stage.INGEST,
            Attempt.outcome == Outcome.DONE,
        )
    )
    return {row.photo_id: row.facts for row in session.execute(found)}


@dataclass(frozen=True)
class _Features:
    """What tells photographs apart; each difference counts up to 1."""

    words: tuple[object, ...]
    log2_bytes: float


def _describe(row: Row[Any], facts: Mapping[str, Any]) -> _Features:
    path = PurePosixPath(row.name)
    width, height = facts.get("width", 0), facts.get("height", 0)
    words = (path.parent, path.suffix.lower(), facts.get("kind"), facts.get("bits"), width > height)
    return _Features(words, math.log2(row.size + 1))


def _differ(features: Mapping[UUID, _Features], one: Row[Any], other: Row[Any]) -> float:
    """Return how much two photographs differ."""
    mine, others = features[one.photo_id], features[other.photo_id]
    unlike = sum(a != b for a, b in zip(mine.words, others.words, strict=True))
    return unlike + min(1.0, abs(mine.log2_bytes - others.log2_bytes) / 3)
