"""What must hold after every fault. Each function lists, in sentences, where one promise is broken."""

import fcntl
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import func, select
from tests.faults.entry_point import plain_file

from retint.errors import NotFound
from retint.jobs import tallies
from retint.lifecycle import STAGES, Outcome, State
from retint.services import Services
from retint.stores import keys
from retint.tables import Attempt, Batch, Job, Photo
from retint_workers import scratch


@dataclass(frozen=True)
class Input:
    """A file as a person has it."""

    batch_id: UUID
    name: str
    sha256: str


def list_inputs_without_one_outcome(services: Services, inputs: Sequence[Input], allowed: Iterable[State]) -> list[str]:
    """Every input is one job, which has ended as it may; there is no other job."""
    states = {str(state) for state in allowed}
    with services.read() as session:
        rows = session.execute(
            select(Job.batch_id, Job.name, Photo.sha256, Job.state).join(Photo, Photo.id == Job.photo_id)
        ).all()
    found: dict[Input, list[str]] = {one: [] for one in inputs}
    for batch_id, name, sha256, state in rows:
        found.setdefault(Input(batch_id, name, sha256), []).append(str(state))
    broken = [
        f"{one.name}: {ends or 'no job'}" for one, ends in found.items() if len(ends) != 1 or ends[0] not in states
    ]
    return broken + [f"{one.name} was never deposited so" for one in found.keys() - set(inputs)]


def list_results_not_made_once(services: Services) -> list[str]:
    """A restored job has one done attempt at each stage; no file is named by two attempts, but by those that took it
    over from the one that made it.
    """
    with services.read() as session:
        restored = session.execute(select(Job.id, Job.name).where(Job.state == State.RESTORED)).all()
        done = session.execute(
            select(Attempt.job_id, Attempt.stage, Attempt.files, Attempt.source).where(Attempt.outcome == Outcome.DONE)
        ).all()
    made = Counter((row.job_id, row.stage) for row in done)
    named = Counter(key for row in done if row.source is None for key in row.files.values())
    makers = {(row.job_id, row.stage): row.files for row in done if row.source is None}
    wrong = [
        f"{row.job_id} names other files of {row.stage} than {row.source}, which made them"
        for row in done
        if row.source is not None and makers.get((row.source, row.stage)) != row.files
    ]
    broken = [
        f"{name}: {made[job_id, stage]} × {stage}"
        for job_id, name in restored
        for stage in STAGES
        if made[job_id, stage] != 1
    ]
    twice = [f"{job_id}: {times} × {stage}" for (job_id, stage), times in made.items() if times > 1]
    return broken + twice + wrong + [f"{key} is named {times} times" for key, times in named.items() if times > 1]


def list_files_lost(services: Services) -> list[str]:
    """What a row names is in the store: the original of every photo, the files of every done attempt."""
    return sorted(list_named(services) - _list_stored(services))


def list_orphans(services: Services, *, may_have_strays: bool = False) -> list[str]:
    """What is in the store, a row names; files of photos that the database does not know may be excepted."""
    unnamed = _list_stored(services) - list_named(services)
    return sorted(unnamed - set(list_strays(services)) if may_have_strays else unnamed)


def list_strays(services: Services) -> list[str]:
    """List the files of photos that the database does not know; the sweep never deletes them."""
    with services.read() as session:
        photos = set(session.scalars(select(Photo.id)))
    return [key for key in _list_stored(services) if (parsed := keys.parse(key)) and parsed.photo_id not in photos]


def _list_stored(services: Services) -> set[str]:
    return {blob.key for blob in services.store.list(keys.ROOT)}


def list_named(services: Services) -> set[str]:
    """List the files that rows name."""
    with services.read() as session:
        originals = {photo.original_key for photo in session.scalars(select(Photo))}
        written = session.scalars(select(Attempt.files).where(Attempt.outcome == Outcome.DONE))
        return originals | {key for files in written for key in files.values()}


def list_leftovers(folder: Path) -> list[str]:
    """No process that has died left a scratch folder among the temporary files: the next one has deleted it."""
    return [path.name for path in folder.glob(f"{scratch.PREFIX}*") if _is_abandoned(path)]


def _is_abandoned(folder: Path) -> bool:
    """Whether no process holds a scratch folder's lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, scratch.LOCK)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def list_changed_originals(services: Services, inputs: Sequence[Input]) -> list[str]:
    """Every original in the store has the bytes that were deposited."""
    with services.read() as session:
        stored = {photo.sha256: photo.original_key for photo in session.scalars(select(Photo))}
    originals = {one: _read(services, stored[one.sha256]) for one in inputs if one.sha256 in stored}
    return [one.name for one, content in originals.items() if hashlib.sha256(content).hexdigest() != one.sha256]


def list_wrong_counts(services: Services) -> list[str]:
    """What pages count is what the rows say."""
    broken = []
    with services.read() as session:
        batches = {batch.id: batch.name for batch in session.scalars(select(Batch))}
        counted = tallies.count_jobs(session, batches)
        rows = session.execute(
            select(Job.batch_id, Job.stage, Job.state, func.count())
            .where(Job.replaced_by.is_(None))
            .group_by(Job.batch_id, Job.stage, Job.state)
        ).all()
    for batch_id, name in batches.items():
        by_rows = {(stage, state): n for of, stage, state, n in rows if of == batch_id}
        by_tallies = {where: n for where, n in counted[batch_id].by.items() if n}
        if by_rows != by_tallies:
            broken.append(f"{name}: {by_tallies} counted, {by_rows} in rows")
    return broken


def list_wrong_results(services: Services) -> list[str]:
    """Every file of a plain stage is what that stage makes of its job's original."""
    with services.read() as session:
        done = session.execute(
            select(Attempt.stage, Attempt.files, Photo.sha256)
            .join(Job, Job.id == Attempt.job_id)
            .join(Photo, Photo.id == Job.photo_id)
            .where(Attempt.outcome == Outcome.DONE)
        ).all()
    made = {key: plain_file(stage, sha256) for stage, files, sha256 in done for key in files.values()}
    return [key for key, content in made.items() if _read(services, key) != content]


def _read(services: Services, key: str) -> bytes:
    """Return a file of the store; nothing where it is lost."""
    try:
        with services.store.open(key) as source:
            return source.read()
    except NotFound:
        return b""
