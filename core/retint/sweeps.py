"""The sweep: deletes orphans, files in the store that an attempt wrote and no row names.

Processes that die before their commit leave them behind. An older copy of the database knows fewer files, so what may
be deleted does not depend on how new the database is: only files of a job that the database knows, at a stage that
this job has passed or that it ended at, and that no done attempt names. Jobs never go back and attempts are only
added, so no later state of the database names such a file. Everything else is kept and counted (`Kept`): originals
without a row, and files of jobs that the database does not know, are signs of a wrong or an older database.

The zoom of a result, which is made when somebody asks for it, stands in no row: its key follows from the result's. So
it is kept as long as a row names the result, and may be lost without harm (see `zooms`). The rest of an original that
is not whole is kept as long as its upload is there. Uploads to which nothing is added any more are given up first.

A round goes through the whole store in the order of the keys, window by window. Its row keeps the cursor, so an
interrupted round goes on where it was. Where many files would go, the sweep stops and waits for an operator.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from sqlalchemy import and_, or_, select, union_all
from sqlalchemy.orm import Session, load_only

from retint import fleets, store_identity, uploads
from retint.columns import new_id, now
from retint.errors import IllegalMove, Transient
from retint.lifecycle import STAGES, Outcome
from retint.store_tables import Sweep
from retint.stores import keys
from retint.stores.keys import ParsedKey
from retint.tables import Attempt, Job, Photo, Upload

if TYPE_CHECKING:
    from retint.services import Services

MIN_AGE: Final = timedelta(days=1)
"""Younger files are kept: their row may still be committed."""
ROUND_S: Final = 86_400.0
"""Time between the starts of two rounds of the automatic sweep: what it looks for is older than a day."""
WINDOW: Final = 5000
"""Files that are looked at before any of them is deleted: those of some hundred jobs."""
MANY_JOBS: Final = 20
"""The sweep never stops for fewer jobs of a window, so that a small archive is swept, too."""
MANY_SHARE: Final = 0.05
"""Share of a window's jobs that may lose files. Deaths of workers cost less; a fault of Retint's costs every job.

Jobs count and not files: a film that was given up leaves a thousand files.
"""
ROLE: Final = "sweep"
LEASE_S: Final = 300.0
"""How long others wait for a sweep whose process was killed; a window takes seconds."""
GROW_S: Final = 600.0
"""Time between two comparisons of database and store in a long round, in which the mark grows."""
TOO_MANY: Final = "too_many"
"""Code of a sweep that stopped because many files would go."""

log = structlog.get_logger()


class Kept(StrEnum):
    """Why a file is kept."""

    NAMED = "named"
    YOUNG = "young"
    UNFINISHED = "unfinished"
    UNKNOWN_ORIGINAL = "original_without_row"
    UNKNOWN_JOB = "job_without_row"
    OTHER = "other_form"

    @property
    def words(self) -> str:
        """What it says to people."""
        return _WORDS[self]


_WORDS: Final = {
    Kept.NAMED: "named by the database",
    Kept.YOUNG: "not a day old",
    Kept.UNFINISHED: "of jobs that may go on with them",
    Kept.UNKNOWN_ORIGINAL: "originals without a row in the database, never deleted",
    Kept.UNKNOWN_JOB: "of jobs that the database does not know, never deleted",
    Kept.OTHER: "under keys that Retint does not write",
}


@dataclass
class Findings:
    """What a sweep has found so far.

    Attributes:
        looked_at: files.
        orphans: files that go, with those of the window at which it stopped.
        orphan_bytes: their size.
        deleted: files.
        kept: files that stay.
        examples: a key of each kind that was kept.
        cursor: the last key.
        stopped: why it stopped, or would have; a sentence.
    """

    looked_at: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    deleted: int = 0
    kept: Counter[Kept] = field(default_factory=Counter)
    examples: dict[Kept, str] = field(default_factory=dict)
    cursor: str | None = None
    stopped: str | None = None


def is_due(session: Session) -> bool:
    """Whether the automatic sweep has something to do: a round that is not over, or the next one."""
    is_over = and_(Sweep.cursor.is_(None), Sweep.started_at > now(-ROUND_S), Sweep.stopped_code.is_(None))
    return session.scalar(select(Sweep.id).where(or_(Sweep.stopped_code == TOO_MANY, is_over))) is None


def preview(services: "Services", min_age: timedelta = MIN_AGE) -> Iterator[Findings]:
    """Go through the whole store and say what a sweep would find, after each window. Changes nothing.

    Raises:
        Transient: the store or the database did not answer.
    """
    findings = Findings()
    for _ in _look(services, findings, min_age):
        yield findings


def sweep(
    services: "Services", *, go_on: bool = False, accept_many: bool = False, min_age: timedelta = MIN_AGE
) -> Generator[Findings, None, None]:
    """Delete the orphans of the whole store, window by window; yield what was found so far after each.

    It ends early where many files would go: then `stopped` is set, here and in the row.

    Args:
        services: of this process.
        go_on: with the round that was interrupted, if there is one, instead of with a new one.
        accept_many: do not stop again, however many go; only for a sweep that has stopped.
        min_age: younger files are kept.

    Raises:
        WrongStore: database and store do not belong together, or the database is older.
        IllegalMove: another process sweeps, or the sweep has stopped and waits for an operator.
        Transient: the store or the database did not answer.
    """
    store_identity.grow(services)
    compared_at = time.monotonic()
    with _lead(services) as renew:
        findings = _begin(services, go_on=go_on, accept_many=accept_many)
        while uploads.expire(services):
            renew()
        for orphans in _look(services, findings, min_age):
            renew()
            if time.monotonic() - compared_at > GROW_S:
                store_identity.grow(services)
                compared_at = time.monotonic()
            if findings.stopped and not accept_many:
                _record(services, stopped=findings.stopped, stopped_code=TOO_MANY)
                log.warning("sweep_stopped", reason=findings.stopped)
                yield findings
                return
            findings.stopped = None
            services.store.delete(orphans)
            findings.deleted += len(orphans)
            _record(services, cursor=findings.cursor, **_as_row(findings))
            yield findings
        _record(services, cursor=None, **_as_row(findings))
        log.info("sweep_ended", **_as_row(findings))


def record_stop(services: "Services", error: store_identity.WrongStore) -> None:
    """Write into the row that the sweep waits until database and store fit."""
    _record(services, stopped=error.message, stopped_code=error.code)


def _begin(services: "Services", *, go_on: bool, accept_many: bool) -> Findings:
    """Begin a round, or go on with one.

    Raises:
        IllegalMove: the sweep waits for an operator; or it does not, and many are to be accepted.
    """
    with services.begin() as session:
        row = _get_row(session)
        has_stopped = row.stopped_code == TOO_MANY
        if has_stopped and not accept_many:
            raise IllegalMove(row.stopped or "", code=TOO_MANY)
        if accept_many and not has_stopped:
            raise IllegalMove("The sweep has not stopped where much would go.", code="not_stopped")
        row.stopped = row.stopped_code = None
        if not go_on or row.cursor is None:
            row.cursor, row.started_at, row.looked_at, row.deleted, row.kept = None, now(), 0, 0, {}
        kept = Counter({Kept(name): files for name, files in (row.kept or {}).items()})
        return Findings(looked_at=row.looked_at, orphans=row.deleted, deleted=row.deleted, kept=kept, cursor=row.cursor)


def _as_row(findings: Findings) -> dict[str, Any]:
    return {
        "looked_at": findings.looked_at,
        "deleted": findings.deleted,
        "kept": {str(reason): files for reason, files in findings.kept.items()},
    }


def _record(services: "Services", **values: Any) -> None:
    with services.begin() as session:
        row = _get_row(session)
        for name, value in values.items():
            setattr(row, name, value)


def _get_row(session: Session) -> Sweep:
    """Return the row of the sweep; there is one, from the first sweep on."""
    if row := session.get(Sweep, 1):
        return row
    session.add(row := Sweep(id=1, looked_at=0, deleted=0))
    return row


@contextmanager
def _lead(services: "Services") -> Iterator[Callable[[], None]]:
    """Hold the role that only one process has; yields a function that renews the lease.

    Raises:
        IllegalMove: another process has it.
    """
    holder = f"{socket.gethostname()}-{os.getpid()}-{new_id().hex[-8:]}"

    def renew() -> None:
        with services.begin() as session:
            if not fleets.acquire_lead(session, ROLE, holder, LEASE_S):
                raise IllegalMove("Another process sweeps the store: wait until it has ended.", code="sweep_runs")

    renew()
    try:
        yield renew
    finally:
        with suppress(Transient), services.begin() as session:
            fleets.release_lead(session, ROLE, holder)


def _look(services: "Services", findings: Findings, min_age: timedelta) -> Iterator[list[str]]:
    """Go through the store from the cursor on; yield the orphans of each window, and add to the findings."""
    blobs = services.store.list(keys.ROOT, findings.cursor)
    while window := list(islice(blobs, WINDOW)):
        begin, until = findings.cursor, datetime.now(UTC) - min_age
        parsed = {blob.key: keys.parse(blob.key) for blob in window}
        with services.read() as session:
            rows = _Rows.of(session, [key for key in parsed.values() if key])
        orphans = []
        for blob in window:
            owner = parsed[blob.key]
            if reason := rows.why_kept(blob.key, owner, is_young=blob.modified_at > until):
                findings.kept[reason] += 1
                findings.examples.setdefault(reason, blob.key)
            else:
                orphans.append(blob)
            if owner:  # others' keys may hold what no column takes
                findings.cursor = blob.key
        findings.looked_at += len(window)
        findings.orphans += len(orphans)
        findings.orphan_bytes += sum(blob.size for blob in orphans)
        losing = {owner.job_id for blob in orphans if (owner := parsed[blob.key])}
        if MANY_JOBS < len(losing) > MANY_SHARE * len(rows.jobs):
            findings.stopped = findings.stopped or (
                f"Files of {len(losing)} of {len(rows.jobs)} jobs would be deleted behind {begin or keys.ROOT}, more "
                f"than {MANY_SHARE:.0%}: look at them with `retint admin sweep --dry-run`; if they are to go, go on "
                f"with `retint admin sweep --continue`."
            )
        yield [blob.key for blob in orphans]


@dataclass(frozen=True)
class _Rows:
    """What the database knows of the files of one window."""

    photos: set[UUID]
    """Photos whose originals are among the files."""
    uploads: set[UUID]
    """Uploads whose rests are among the files."""
    jobs: dict[UUID, Job]
    named: set[str]
    """Keys that done attempts name: of these jobs, and of jobs that took over what these have made."""
    results: set[str]
    """Folders of the results among them."""

    @classmethod
    def of(cls, session: Session, parsed: Collection[ParsedKey]) -> "_Rows":
        """Read the rows."""
        job_ids = {key.job_id for key in parsed if key.job_id}
        photo_ids = {key.photo_id for key in parsed if not key.job_id}
        upload_ids = {key.photo_id for key in parsed if key.is_rest}
        columns = load_only(Job.photo_id, Job.stage, Job.state)
        jobs = session.scalars(select(Job).where(Job.id.in_(job_ids)).options(columns))
        done = select(Attempt.files).where(Attempt.outcome == Outcome.DONE)
        own = done.where(Attempt.job_id.in_(job_ids))
        taken_over = done.where(Attempt.source.is_not(None), Attempt.source.in_(job_ids))
        files = list(session.scalars(union_all(own, taken_over)))
        return cls(
            photos=set(session.scalars(select(Photo.id).where(Photo.id.in_(photo_ids)))),
            uploads=set(session.scalars(select(Upload.id).where(Upload.id.in_(upload_ids)))),
            jobs={job.id: job for job in jobs},
            named={key for named in files for key in named.values()},
            results={keys.folder(named["result"]) for named in files if "result" in named},
        )

    def why_kept(self, key: str, owner: ParsedKey | None, *, is_young: bool) -> Kept | None:
        """Say why a file is kept; None for an orphan."""
        if owner is None:
            return Kept.OTHER
        if owner.is_rest:
            is_wanted = owner.photo_id in self.uploads
            return Kept.NAMED if is_wanted else Kept.YOUNG if is_young else None
        if key in self.named or (owner.job_id is None and owner.photo_id in self.photos):
            return Kept.NAMED
        if keys.is_zoom(key) and keys.folder(key) in self.results:
            return Kept.NAMED
        if is_young:
            return Kept.YOUNG
        if owner.job_id is None or owner.stage is None:
            return Kept.UNKNOWN_ORIGINAL
        job = self.jobs.get(owner.job_id)
        if job is None or job.photo_id != owner.photo_id:
            return Kept.UNKNOWN_JOB
        has_passed = job.state.is_final or STAGES.index(owner.stage) < STAGES.index(job.stage)
        return None if has_passed else Kept.UNFINISHED
