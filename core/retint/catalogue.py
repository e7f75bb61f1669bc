"""What a museum's catalogue knows of a batch's photos: imported as a whole, and told in both directions.

An import replaces the records of its batch in one transaction. Photos that have no file yet wait for it: `records`
gives a file its record when it is added. What is not to be colorized is obeyed: a photo that has no colors yet goes on
without its colorizer; colors that were made are withheld.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import and_, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from retint import audit, catalogue_files, words
from retint.catalogue_files import CatalogueFile, Row
from retint.catalogue_tables import CatalogueRecord
from retint.columns import new_id
from retint.database import NO_SYNC
from retint.jobs import attempts, changes
from retint.lifecycle import FINAL, Stage, State
from retint.records import Catalogue, Choice, Known, choose, keep_colors, key_of, keys_of, make_gray, read_recipe
from retint.tables import Batch, Job
from retint.tenancy import get_owned

if TYPE_CHECKING:
    from retint.services import Services

T = TypeVar("T")

CHUNK: Final = 1000
"""Rows that one statement writes."""
EXAMPLES: Final = 10
"""Most examples that are told of each kind; the full list is a CSV."""


@dataclass(frozen=True)
class Told:
    """A record or a file that has no counterpart, or more than one."""

    problem: str
    """`no file`, `no record` or `ambiguous`."""
    row: int | None
    file: str | None
    identifier: str | None

    @property
    def sentence(self) -> str:
        """It in words."""
        if self.row is None:
            return self.file or ""
        named = " · ".join(filter(None, (self.file, self.identifier)))
        return f"{named} (row {self.row})"


@dataclass(frozen=True)
class Matching:
    """Which records of a catalogue belong to which files of a batch."""

    rows: Mapping[UUID, Row]
    choices: Mapping[str, Choice]
    contested: Collection[UUID]

    @cached_property
    def no_file(self) -> list[Told]:
        """Records that no file has, nor could have."""
        used = {choice.record for choice in self.choices.values()}
        used |= {each for choice in self.choices.values() for each in choice.candidates}
        return [_tell("no file", row) for record, row in self.rows.items() if record not in used]

    @cached_property
    def no_record(self) -> list[Told]:
        """Files of which the catalogue says nothing."""
        return [
            Told("no record", None, name, None)
            for name, choice in self.choices.items()
            if choice.record is None and not choice.candidates
        ]

    @cached_property
    def ambiguous(self) -> list[Told]:
        """Files that could have several records, or whose record several files could have."""
        return [
            Told("ambiguous", self.rows[record].number, name, self.rows[record].identifier)
            for name, choice in self.choices.items()
            for record in choice.candidates
        ]

    @property
    def matched(self) -> int:
        """How many files have a record."""
        return sum(choice.record is not None for choice in self.choices.values())

    @property
    def forbidden(self) -> int:
        """How many files are not to be colorized."""
        return sum(choice.do_not_colorize for choice in self.choices.values())

    @property
    def told(self) -> Iterator[Told]:
        """All that has no counterpart, or more than one."""
        yield from self.ambiguous
        yield from self.no_file
        yield from self.no_record


@dataclass(frozen=True)
class Import:
    """What an import does, or would do."""

    matching: Matching
    file: CatalogueFile
    replaced: int
    """Records that were there before."""
    kept_gray: int
    """Photos without colors that go on without a colorizer."""
    withheld: int
    """Photos whose colors are given out no more."""


def import_file(services: "Services", tenant_id: UUID, batch_id: UUID, data: bytes, *, dry_run: bool = False) -> Import:
    """Import a batch's catalogue in place of the one that it has; all of it, or nothing.

    Args:
        services: of this process.
        tenant_id: the tenant.
        batch_id: the batch, which may have all of its files, some, or none yet.
        data: a CSV; see `catalogue_files.read`.
        dry_run: only say what would become of it.

    Raises:
        NotFound: no such batch.
        CatalogueRefused: the catalogue cannot be read; all that is wrong with it is told.
        IllegalMove: the batch was cancelled.
    """
    with services.read() as session:
        changes.refuse_cancelled(get_owned(session, Batch, tenant_id, batch_id).cancelled_at)
    file = catalogue_files.read(data)
    if dry_run:
        with services.read() as session:
            return _Importing(session, get_owned(session, Batch, tenant_id, batch_id), file).outcome
    with services.begin() as session:
        batch = get_owned(session, Batch, tenant_id, batch_id)
        session.refresh(batch, with_for_update=True)  # files that are added wait until their records are there
        changes.refuse_cancelled(batch.cancelled_at)
        importing = _Importing(session, batch, file)
        importing.carry_out()
        audit.record(session, "catalogue_imported", batch_id, tenant_id=tenant_id, after={"records": len(file.rows)})
        return importing.outcome


def compare(file: CatalogueFile, names: Collection[str]) -> Matching:
    """Compare a catalogue with the names of files that are to be deposited."""
    return _match({new_id(): row for row in file.rows}, names)


def match(session: Session, tenant_id: UUID, batch_id: UUID) -> Matching:
    """Compare a batch's files with the catalogue that it has.

    Raises:
        NotFound: no such batch.
    """
    get_owned(session, Batch, tenant_id, batch_id)
    found = session.scalars(
        select(CatalogueRecord).where(CatalogueRecord.batch_id == batch_id).order_by(CatalogueRecord.row)
    ).all()
    rows = {
        each.id: Row(each.row, each.path, each.identifier, each.title, each.rights, each.do_not_colorize, each.columns)
        for each in found
    }
    names = session.scalars(select(Job.name).where(Job.batch_id == batch_id).order_by(Job.id))
    return _match(rows, dict.fromkeys(names).keys())


def count(session: Session, tenant_id: UUID, batch_id: UUID) -> tuple[int, int]:
    """Count the records of a batch's catalogue, and the photos that have one.

    Raises:
        NotFound: no such batch.
    """
    get_owned(session, Batch, tenant_id, batch_id)
    records = select(func.count()).where(CatalogueRecord.batch_id == batch_id)
    photos = select(func.count()).where(Job.batch_id == batch_id, Job.record_id.is_not(None))
    return session.scalar(records) or 0, session.scalar(photos) or 0


def find(session: Session, tenant_id: UUID, record_id: UUID | None) -> CatalogueRecord | None:
    """Fetch a record; None where a photo has none."""
    if record_id is None:
        return None
    mine = (CatalogueRecord.tenant_id == tenant_id, CatalogueRecord.id == record_id)
    return session.scalar(select(CatalogueRecord).where(*mine))


def list_columns(session: Session, tenant_id: UUID, batch_id: UUID) -> list[str]:
    """List the columns of a batch's catalogue, in their order; all of its records have the same."""
    mine = (CatalogueRecord.tenant_id == tenant_id, CatalogueRecord.batch_id == batch_id)
    columns = session.scalar(select(CatalogueRecord.columns).where(*mine).limit(1))
    return [name for name, _ in columns or ()]


def _tell(problem: str, row: Row) -> Told:
    return Told(problem, row.number, row.path, row.identifier)


def _match(rows: Mapping[UUID, Row], names: Collection[str]) -> Matching:
    known = Catalogue.of(_known(record_id, row) for record_id, row in rows.items())
    choices, contested = choose(known, names)
    return Matching(rows, choices, contested)


def _known(record_id: UUID, row: Row) -> Known:
    path, base = None, None
    if row.path is not None:
        keys = keys_of(row.path)
        path, base = keys.path, keys.base
    identifier = None if row.identifier is None else key_of(row.identifier.casefold())
    return Known(record_id, path, base, identifier, row.do_not_colorize)


class _Importing:
    """One import, within its transaction."""

    def __init__(self, session: Session, batch: Batch, file: CatalogueFile) -> None:
        self._session, self._batch = session, batch
        self._colorizes: dict[str | None, bool] = {}
        record = CatalogueRecord
        columns = (record.id, record.path_key, record.identifier_key, record.do_not_colorize)
        former = session.execute(select(*columns).where(record.batch_id == batch.id)).all()
        self._former = {row.id: row.do_not_colorize for row in former}
        # The record of the same photo stays the same, so that its job need not be changed.
        stays = {row.path_key or row.identifier_key: row.id for row in former}
        known = [_known(new_id(), row) for row in file.rows]
        self._known = [replace(each, id=stays.pop(each.path_key or each.identifier_key, each.id)) for each in known]
        jobs = select(
            Job.id, Job.name, Job.record_id, Job.recipe_hash, Job.stage, Job.state, Job.withheld, Job.replaced_by
        )
        self._jobs: Sequence[Any] = session.execute(jobs.where(Job.batch_id == batch.id).order_by(Job.id)).all()
        choices, contested = choose(Catalogue.of(self._known), dict.fromkeys(job.name for job in self._jobs).keys())
        rows = {each.id: row for each, row in zip(self._known, file.rows, strict=True)}
        self._matching = Matching(rows, choices, contested)
        forbidden = [job for job in self._jobs if choices[job.name].do_not_colorize and self._is_colorized(job)]
        self._late = [job for job in forbidden if _has_no_colors_yet(job)]
        self._colored = self._find_colored([job for job in forbidden if not _has_no_colors_yet(job)])
        self.outcome = Import(self._matching, file, len(former), len(self._late), len(self._colored))

    def carry_out(self) -> None:
        """Replace the records, give each job its own, and obey what is not to be colorized."""
        self._write_records()
        self._link()
        self._drop_colorizer()
        self._withhold()
        self._allow()

    def _write_records(self) -> None:
        mine = delete(CatalogueRecord).where(CatalogueRecord.batch_id == self._batch.id)
        self._session.execute(mine, execution_options=NO_SYNC)
        rows = (
            {
                "id": known.id,
                "tenant_id": self._batch.tenant_id,
                "batch_id": self._batch.id,
                "row": row.number,
                "path": row.path,
                "identifier": row.identifier,
                "title": row.title,
                "rights": row.rights,
                "do_not_colorize": row.do_not_colorize,
                "columns": row.columns,
                "path_key": known.path_key,
                "base_key": known.base_key,
                "identifier_key": known.identifier_key,
                "contested": known.id in self._matching.contested,
            }
            for known, row in zip(self._known, self._matching.rows.values(), strict=True)
        )
        while chunk := list(islice(rows, CHUNK)):
            self._session.execute(insert(CatalogueRecord), chunk)

    def _link(self) -> None:
        """Give each job its record, and write by which words it is found."""
        records = {job.id: self._matching.choices[job.name].record for job in self._jobs}
        changed = [(job.id, records[job.id]) for job in self._jobs if job.record_id != records[job.id]]
        for chunk in _cut(changed):
            self._session.execute(update(Job), [{"id": job_id, "record_id": record} for job_id, record in chunk])
        found = [job for job in self._jobs if job.replaced_by is None and (job.record_id or records[job.id])]
        for part in _cut(found if self._batch.is_deposit else []):
            words.write(self._session, [self._make_entry(job, records[job.id]) for job in part])

    def _make_entry(self, job: Any, record_id: UUID | None) -> words.Entry:
        row = self._matching.rows.get(record_id) if record_id else None
        texts = (row.title, row.identifier, row.rights) if row else ()
        return words.Entry(job.id, self._batch.tenant_id, self._batch.id, job.name, texts)

    def _drop_colorizer(self) -> None:
        """Let photos without colors go on without a colorizer; those that got colors meanwhile are withheld."""
        for chunk in _cut(self._late):
            for own in {job.recipe_hash for job in chunk}:
                ids = {job.id for job in chunk if job.recipe_hash == own}
                goes_on = and_(Job.id.in_(ids), Job.recipe_hash.is_not_distinct_from(own), _HAS_NO_COLORS_YET)
                gray = update(Job).where(goes_on).values(recipe_hash=make_gray(self._session, self._batch, own))
                done = set(self._session.scalars(gray.returning(Job.id), execution_options=NO_SYNC))
                self._colored += [job for job in chunk if job.id in ids - done]

    def _withhold(self) -> None:
        """Give colors out no more, and let photos without colors take their places."""
        for chunk in _cut(self._colored):
            ids = [job.id for job in chunk]
            self._session.execute(update(Job).where(Job.id.in_(ids)).values(withheld=True), execution_options=NO_SYNC)
            changes.cancel(self._session, Job.id.in_(ids))
            for own in {job.recipe_hash for job in chunk if job.replaced_by is None}:
                recipe = keep_colors(read_recipe(self._session, self._batch, own))
                replaced = [job.id for job in chunk if job.replaced_by is None and job.recipe_hash == own]
                changes.replace_jobs(self._session, self._batch.id, replaced, recipe)

    def _allow(self) -> None:
        """Give out again, and colorize, what the catalogue before forbade and this one does not."""
        allowed = [job for job in self._jobs if not self._matching.choices[job.name].do_not_colorize]
        for chunk in _cut([job.id for job in allowed if job.withheld]):
            shown = update(Job).where(Job.id.in_(chunk)).values(withheld=False)
            self._session.execute(shown, execution_options=NO_SYNC)
        gray = make_gray(self._session, self._batch, None)
        was_forbidden = [job.id for job in allowed if self._former.get(job.record_id) and job.recipe_hash == gray]
        for chunk in _cut(was_forbidden if gray else []):
            waits = and_(Job.id.in_(chunk), Job.stage == Stage.INGEST, Job.state.in_((State.READY, State.QUEUED)))
            again = update(Job).where(waits, Job.recipe_hash == gray).values(recipe_hash=None)
            self._session.execute(again, execution_options=NO_SYNC)

    def _is_colorized(self, job: Any) -> bool:
        """Whether a job's recipe has a colorizer."""
        if job.recipe_hash not in self._colorizes:
            recipe = read_recipe(self._session, self._batch, job.recipe_hash)
            self._colorizes[job.recipe_hash] = keep_colors(recipe) is not None
        return self._colorizes[job.recipe_hash]

    def _find_colored(self, jobs: Sequence[Any]) -> list[Any]:
        """List those of some jobs whose networks have made colors, or make them now, and which are given out yet."""
        colored = []
        for chunk in _cut([job for job in jobs if not job.withheld and job.state is not State.REFUSED]):
            files, _, _ = attempts.read_done(self._session, [job.id for job in chunk])
            for job in chunk:
                names = files.get(job.id, {})
                is_at_it = job.stage is Stage.COLORIZE and job.state is State.RUNNING
                if is_at_it or any(name.partition("-")[0] == "color" for name in names):
                    colored.append(job)
        return colored


_HAS_NO_COLORS_YET: Final = and_(
    Job.state.not_in(FINAL),
    or_(Job.stage == Stage.INGEST, and_(Job.stage == Stage.COLORIZE, Job.state != State.RUNNING)),
)


def _has_no_colors_yet(job: Any) -> bool:
    """Whether a job's next step can still do without a colorizer; the same as `_HAS_NO_COLORS_YET`."""
    is_before = job.stage is Stage.INGEST or (job.stage is Stage.COLORIZE and job.state is not State.RUNNING)
    return job.state not in FINAL and is_before


def _cut(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
