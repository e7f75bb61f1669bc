"""The tables. Only migrations change the schema; `lifecycle` says which moves a job may make."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Double,
    FetchedValue,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from retint.columns import fingerprint, new_id, now, partial
from retint.lifecycle import IN_FLIGHT_PHASE, Outcome, Stage, State, Verdict
from retint.people_tables import BrowserSession as BrowserSession
from retint.people_tables import Token as Token
from retint.people_tables import User as User
from retint.schema import Table as Table
from retint.stores import keys


class Tenant(Table):
    """An institution. Everything below belongs to exactly one."""

    __tablename__ = "tenants"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    weight: Mapped[int] = mapped_column(default=1, doc="Share of the workers under load, against other tenants.")
    created_at: Mapped[datetime] = mapped_column(default=now())
    disabled_at: Mapped[datetime | None] = mapped_column(doc="Since then nobody signs in, and its work is paused.")


class Batch(Table):
    """What one deposit brought: a name, a recipe, a priority, its photos."""

    __tablename__ = "batches"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(String(200))
    recipe_hash: Mapped[str] = mapped_column(String(64))
    recipe: Mapped[dict[str, Any]] = mapped_column(doc="The recipe whose hash it is: recipes.Recipe as JSON.")
    priority: Mapped[int] = mapped_column(default=0, doc="0 bulk to 9 at once; a browser's deposit has 5.")
    idempotency_key: Mapped[str | None] = mapped_column(String(100))
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=now())
    paused_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    trial: Mapped[uuid.UUID | None] = mapped_column(doc="The trial that it is a try of; NULL for most batches.")
    proof_of: Mapped[uuid.UUID | None] = mapped_column(doc="The batch that it is a proof of; NULL for most batches.")
    told_at: Mapped[datetime | None] = mapped_column(doc="When its end was told; NULL while it runs (see `endings`).")
    told_failures: Mapped[int] = mapped_column(default=0, server_default=text("0"), doc="Failures that were told.")
    failures_told_at: Mapped[datetime | None]
    __table_args__ = (
        Index(None, "tenant_id", "created_at"),
        UniqueConstraint("tenant_id", "idempotency_key"),
        partial("ix_batches_trial", "tenant_id", "trial", where="trial IS NOT NULL"),
        partial("ix_batches_proof_of", "proof_of", where="proof_of IS NOT NULL"),
        partial("ix_batches_untold", "id", where="told_at IS NULL"),
    )

    @property
    def is_deposit(self) -> bool:
        """Whether people see it as a batch: it is no try of a trial, and no proof."""
        return self.trial is None and self.proof_of is None


class Photo(Table):
    """One original file, identified by its bytes: deposited twice, it is stored once. Immutable."""

    __tablename__ = "photos"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger, doc="Bytes.")
    created_at: Mapped[datetime] = mapped_column(default=now())
    __table_args__ = (UniqueConstraint("tenant_id", "sha256"),)

    @property
    def original_key(self) -> str:
        """Key of the original in the store."""
        return keys.original(self.tenant_id, self.id)


class Upload(Table):
    """An original that arrives in several requests. Its id becomes the photo's, unless the bytes are known already."""

    __tablename__ = "uploads"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    created_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    batch_id: Mapped[uuid.UUID | None] = mapped_column(doc="The batch that it is deposited in; NULL for none.")
    name: Mapped[str | None] = mapped_column(String(1024), doc="The file's name there.")
    sha256: Mapped[str | None] = mapped_column(String(64), doc="What its bytes must have.")
    size: Mapped[int] = mapped_column(BigInteger, doc="Bytes that it will have.")
    offset: Mapped[int] = mapped_column(BigInteger, default=0, doc="Bytes that are kept; `size` once it is a photo.")
    partial: Mapped[dict[str, Any]] = mapped_column(default=dict, doc="stores.Partial as JSON.")
    writer: Mapped[uuid.UUID | None] = mapped_column(doc="The newest request that sends bytes: the fencing token.")
    photo_id: Mapped[uuid.UUID | None] = mapped_column(doc="The photo that it became.")
    job_id: Mapped[uuid.UUID | None] = mapped_column(doc="The job that it became.")
    created_at: Mapped[datetime] = mapped_column(default=now())
    expires_at: Mapped[datetime] = mapped_column(index=True, doc="Given up then; every byte that arrives postpones it.")


# Conditions of partial indexes. A query names the very same one: SQLite finds the index by its text, and PostgreSQL's
# plan of a prepared statement, which is made without the values, finds none by a parameter.
IS_READY = "phase LIKE 'ready%'"
IS_IN_FLIGHT = f"phase = '{IN_FLIGHT_PHASE}'"
IS_FAILED = f"phase IN ('{State.QUARANTINED}', '{State.REFUSED}')"
IS_MADE = "made_with IS NOT NULL"
IS_NEWEST = "replaced_by IS NULL"
IS_RESULT = f"{IS_NEWEST} AND phase = '{State.RESTORED}'"
IS_UNFINISHED_FILM = "frames IS NOT NULL AND ended_at IS NULL"
IS_FOLDED = "xid = 0"
IS_NEW = "xid > 0"


def _fingerprint(context: Any) -> bytes:
    """Return the default of `Job.fingerprint`."""
    values = context.get_current_parameters()
    return fingerprint(values["name"], values.get("replaces"))


class StoredRecipe(Table):
    """A recipe that jobs name by its hash. Immutable."""

    __tablename__ = "recipes"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    recipe: Mapped[dict[str, Any]] = mapped_column(doc="recipes.Recipe as JSON.")


class Job(Table):
    """One photo through one recipe: the batch's, or its own. Carries the cursor: stage and state.

    Every deposited file is one job, also when its bytes were deposited before: a batch's report lists its jobs.
    Only `retint.jobs` moves the cursor. No index knows a column that changes while the job is in flight (see `phase`).
    """

    __tablename__ = "jobs"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    batch_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("batches.id"))
    photo_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("photos.id"))
    name: Mapped[str] = mapped_column(String(1024), doc="The file's name as deposited, with its folders; only shown.")
    recipe_hash: Mapped[str | None] = mapped_column(String(64), doc="Its own recipe; NULL for the batch's.")
    replaces: Mapped[uuid.UUID | None] = mapped_column(doc="The job of the same batch whose place it takes.")
    replaced_by: Mapped[uuid.UUID | None] = mapped_column(
        doc="The job that took its place: it is not counted any more."
    )
    record_id: Mapped[uuid.UUID | None] = mapped_column(doc="What the catalogue knows of it.")
    withheld: Mapped[bool] = mapped_column(default=False, server_default=false(), doc="Its colors are not given out.")
    fingerprint: Mapped[bytes | None] = mapped_column(
        LargeBinary(32), default=_fingerprint, doc="SHA-256 of its name and of the id of what it replaces."
    )
    stage: Mapped[Stage] = mapped_column(default=Stage.INGEST)
    state: Mapped[State] = mapped_column(default=State.READY)
    phase: Mapped[str | None] = mapped_column(
        String(16), FetchedValue(for_update=True), FetchedValue(), doc="See `lifecycle.phases_of`; the database's."
    )
    attempt: Mapped[int] = mapped_column(Integer, default=0, doc="Number of the newest attempt: the fencing token.")
    faults: Mapped[int] = mapped_column("tries", default=0, doc="Attempts of this stage that ended in faults.")
    not_before: Mapped[datetime] = mapped_column(default=now(), doc="Ready jobs wait until then; also their order.")
    deadline: Mapped[datetime | None] = mapped_column(doc="Queued: sent again after it. Running: its lease.")
    worker_id: Mapped[uuid.UUID | None] = mapped_column(doc="Who claimed the newest attempt.")
    started_at: Mapped[datetime | None] = mapped_column(doc="When the newest attempt was claimed.")
    reason_code: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(Text, doc="Why refused or quarantined, or the newest fault.")
    verdict: Mapped[Verdict] = mapped_column(
        default=Verdict.UNJUDGED, server_default=Verdict.UNJUDGED, doc="What was said last of its result."
    )
    risk: Mapped[float | None] = mapped_column(Double, doc="Look at it first: 0 to 1, see `imaging.risk`.")
    frames: Mapped[int | None] = mapped_column(BigInteger, doc="Of a film, once they are counted; NULL for a photo.")
    created_at: Mapped[datetime] = mapped_column(default=now())
    ended_at: Mapped[datetime | None]
    made_with: Mapped[str | None] = mapped_column(
        String(64), doc="recipes.hash_making of a result that it made itself; NULL for one that it took over."
    )
    __table_args__ = (
        # A deposit is idempotent: the same file under the same name in a batch is the same job. A hash of the name:
        # PostgreSQL refuses index entries beyond 2,704 bytes.
        Index("uq_jobs_photo_id_batch_id_fingerprint", "photo_id", "batch_id", "fingerprint", unique=True),
        Index(None, "batch_id", "id"),
        # Pages of a batch in the order of deposit, all of it or one phase, and a batch's jobs that are to be moved.
        partial("ix_jobs_newest", "batch_id", "phase", "id", where=IS_NEWEST),
        # The light table: results by verdict, the riskiest last.
        partial("ix_jobs_results", "batch_id", "verdict", "risk", "id", where=IS_RESULT),
        # What the dispatcher queues next.
        partial("ix_jobs_ready", "batch_id", "phase", "not_before", where=IS_READY),
        # Films that are not ended, whose work is counted by their length.
        partial("ix_jobs_films", "id", where=IS_UNFINISHED_FILM),
        # What is queued and running: small whatever the size of the table, so deadlines need no index of their own.
        partial("ix_jobs_in_flight", "id", where=IS_IN_FLIGHT),
        # The rate of a batch: its newest ended jobs.
        partial("ix_jobs_ended", "batch_id", "ended_at", where="ended_at IS NOT NULL"),
        # Failures, for administrators.
        partial(
            "ix_jobs_failures",
            "tenant_id",
            "phase",
            "reason_code",
            "id",
            where=IS_FAILED,
        ),
        # Jobs of a record of the catalogue.
        partial("ix_jobs_record_id", "record_id", where="record_id IS NOT NULL"),
        # At most one job replaces another.
        partial("uq_jobs_replaces", "replaces", where="replaces IS NOT NULL", unique=True),
        # Results that others may take over.
        partial("ix_jobs_made_with", "tenant_id", "photo_id", "made_with", where=IS_MADE),
    )


class Attempt(Table):
    """One attempt at one stage of one job, written when it has ended. Append-only.

    `files` names what the attempt put into the store, or took over from `source`; a file that no attempt names is an
    orphan.
    """

    __tablename__ = "attempts"
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    stage: Mapped[Stage]
    worker_id: Mapped[uuid.UUID | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime] = mapped_column(default=now())
    outcome: Mapped[Outcome]
    error: Mapped[str | None] = mapped_column(Text)
    files: Mapped[dict[str, Any]] = mapped_column(default=dict, doc="What it wrote: name to key in the store.")
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict, doc="What it found: sizes, kind, checks, checksums.")
    timings: Mapped[dict[str, Any]] = mapped_column(default=dict, doc="Seconds by step.")
    source: Mapped[uuid.UUID | None] = mapped_column(doc="The job that made what it took over; else NULL.")

    @property
    def seconds(self) -> float:
        """How long it took; 0 where its start is unknown."""
        return (self.ended_at - self.started_at).total_seconds() if self.started_at else 0.0

    __table_args__ = (
        # Nothing is done twice: one done attempt per job and stage.
        partial("uq_attempts_done", "job_id", "stage", where="outcome = 'done'", unique=True),
        partial("ix_attempts_source", "source", where="source IS NOT NULL"),
    )


class Judgement(Table):
    """What a person said of a result, and when. Append-only; the newest of a job is its `verdict`."""

    __tablename__ = "verdicts"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    job_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    result_sha256: Mapped[str] = mapped_column(String(64), doc="Of the result that was looked at.")
    verdict: Mapped[Verdict]
    note: Mapped[str | None] = mapped_column(Text)
    by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    at: Mapped[datetime] = mapped_column(default=now())
    __table_args__ = (Index(None, "job_id", "id"),)


class Tally(Table):
    """A summand of a batch's count by stage and state; the count is the sum of `n`. Written by triggers on `jobs`."""

    __tablename__ = "tallies"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    batch_id: Mapped[uuid.UUID]
    stage: Mapped[Stage]
    state: Mapped[State]
    reason_code: Mapped[str] = mapped_column(
        String(64),
        server_default=text("''"),
        doc="Why jobs were refused or quarantined; the verdict on results.",
    )
    xid: Mapped[int] = mapped_column(
        BigInteger, server_default=FetchedValue(), doc="The transaction that wrote it; 0: it is a sum of earlier ones."
    )
    n: Mapped[int]
    __table_args__ = (
        partial("uq_tallies_folded", "batch_id", "stage", "state", "reason_code", where=IS_FOLDED, unique=True),
        partial("ix_tallies_state", "state", where=IS_FOLDED),
        partial("ix_tallies_xid", "xid", where=IS_NEW),
        partial("ix_tallies_batch_id_xid", "batch_id", "xid", where=IS_NEW),
    )


class Worker(Table):
    """A process that runs stages, as of its last heartbeat."""

    __tablename__ = "workers"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    fleet: Mapped[str] = mapped_column(String(16), doc="The queue that it serves: `cpu` or `gpu`.")
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    device: Mapped[str] = mapped_column(String(100), doc="Such as `cpu (2 threads)` or the GPU's name.")
    version: Mapped[str] = mapped_column(String(40))
    activity: Mapped[str] = mapped_column(String(200), default="", doc="What it does now; empty when idle.")
    started_at: Mapped[datetime] = mapped_column(default=now())
    heartbeat_at: Mapped[datetime] = mapped_column(default=now())
    idle_since: Mapped[datetime | None] = mapped_column(default=now())
    restart_at: Mapped[datetime | None] = mapped_column(doc="Set by the dispatcher when it consumes nothing.")
    trouble: Mapped[str | None] = mapped_column(Text, doc="Why it claims nothing: a sentence; NULL for a sound one.")
    trouble_since: Mapped[datetime | None]
    counters: Mapped[dict[str, Any] | None] = mapped_column(
        deferred=True, doc="What it has counted and is not in the totals yet (see `totals`)."
    )
    ended_at: Mapped[datetime | None]
    # Heartbeats change no index.
    __table_args__ = (partial("ix_workers_live", "id", where="ended_at IS NULL"),)


class Leader(Table):
    """The lease on a role that only one process may have."""

    __tablename__ = "leaders"
    role: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(100))
    until: Mapped[datetime]


class Total(Table):
    """A number over the whole history: a count of all processes (see `totals`), or how far tallies are folded."""

    __tablename__ = "totals"
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    n: Mapped[float] = mapped_column(Double)


class LongMove(Table):
    """What a person asked of many jobs: carried out in chunks."""

    __tablename__ = "long_moves"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("tenants.id"), doc="NULL: of all tenants.")
    kind: Mapped[str] = mapped_column(String(16), doc="`cancel`, `retry` or `again`.")
    batch_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("batches.id"))
    reason_code: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[State | None]
    verdict: Mapped[Verdict | None]
    recipe_hash: Mapped[str | None] = mapped_column(String(64))
    moved: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=now())
    ended_at: Mapped[datetime | None]
    __table_args__ = (partial("ix_long_moves_open", "id", where="ended_at IS NULL"),)
