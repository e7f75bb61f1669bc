"""The tables. Only migrations change the schema; `lifecycle` says which moves a job may make."""

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from retint.lifecycle import Outcome, Stage, State
from retint.stores import keys


class Moment(TypeDecorator[datetime]):
    """A point in time, always aware and in UTC; SQLite has no such type of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: D102
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: D102
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class now(GenericFunction[datetime]):  # noqa: N801  named as the SQL function that it is
    """The database's clock, `now()`, or some seconds after it, `now(60.0)`. Leases depend on no other clock.

    On PostgreSQL it is the statement's time: stable within it, so that an index can be searched with it.
    """

    type = Moment()
    inherit_cache = True
    name = "retint_now"


@compiles(now, "postgresql")
def _compile_postgresql(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(statement_timestamp() + make_interval(secs => {seconds}))" if seconds else "statement_timestamp()"


@compiles(now, "sqlite")
def _compile_sqlite(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    shift = f", ({seconds}) || ' seconds'" if seconds else ""
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now'{shift}) || '000')"


def new_id() -> uuid.UUID:
    """Return a new row's id: time-ordered (UUID version 7, RFC 9562), so that an index grows at its end."""
    milliseconds = int(datetime.now(UTC).timestamp() * 1000)
    random = uuid.uuid4().int & ((1 << 74) - 1)
    return uuid.UUID(
        int=(milliseconds << 80) | (7 << 76) | ((random >> 62) << 64) | (2 << 62) | (random & ((1 << 62) - 1))
    )


def _text_enum(kind: type[Any]) -> Enum:
    """Make the type of a StrEnum that is stored as text: a new value then needs no migration."""
    return Enum(kind, native_enum=False, length=16, values_callable=lambda e: [member.value for member in e])


class Table(DeclarativeBase):
    """Base of the mapped classes."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        datetime: Moment(),
        dict[str, Any]: JSON(),
        Stage: _text_enum(Stage),
        State: _text_enum(State),
        Outcome: _text_enum(Outcome),
    }


class Tenant(Table):
    """An institution. Everything below belongs to exactly one."""

    __tablename__ = "tenants"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    weight: Mapped[int] = mapped_column(default=1, doc="Share of the workers under load, against other tenants.")
    created_at: Mapped[datetime] = mapped_column(default=now())


class User(Table):
    """A person who signs in."""

    __tablename__ = "users"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    email: Mapped[str] = mapped_column(String(254), unique=True, doc="Lower case.")
    password_hash: Mapped[str | None] = mapped_column(String(200), doc="argon2; none until one was chosen.")
    is_admin: Mapped[bool] = mapped_column(default=False)
    sign_in_hash: Mapped[str | None] = mapped_column(String(64), doc="SHA-256 of the one-time link's secret.")
    sign_in_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now())
    disabled_at: Mapped[datetime | None]


class Token(Table):
    """A key for the API, of one user."""

    __tablename__ = "tokens"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"), index=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    hash: Mapped[str] = mapped_column(String(64), unique=True, doc="SHA-256 of the secret.")
    created_at: Mapped[datetime] = mapped_column(default=now())
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuditEntry(Table):
    """Who did what, when. Append-only; failed sign-ins are counted here, too."""

    __tablename__ = "audit"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("tenants.id"))
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id"))
    at: Mapped[datetime] = mapped_column(default=now())
    action: Mapped[str] = mapped_column(String(40), doc="Such as `signed_in`, `sign_in_failed`, `batch_cancelled`.")
    subject: Mapped[str] = mapped_column(
        String(254), doc="What it was done to; for sign-ins the address and the email."
    )
    __table_args__ = (Index(None, "action", "subject", "at"), Index(None, "tenant_id", "at"))


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
    __table_args__ = (
        Index(None, "tenant_id", "created_at"),
        UniqueConstraint("tenant_id", "idempotency_key"),
        Index(
            "ix_batches_trial",
            "tenant_id",
            "trial",
            postgresql_where=text("trial IS NOT NULL"),
            sqlite_where=text("trial IS NOT NULL"),
        ),
    )


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


class Job(Table):
    """One photo of a batch through the batch's recipe. Carries the cursor: stage and state.

    Every deposited file is one job, also when its bytes were deposited before: a batch's report lists its jobs.
    Only `retint.jobs` moves the cursor.
    """

    __tablename__ = "jobs"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=new_id)
    tenant_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tenants.id"))
    batch_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("batches.id"))
    photo_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("photos.id"), index=True)
    name: Mapped[str] = mapped_column(String(1024), doc="The file's name as deposited, with its folders; only shown.")
    stage: Mapped[Stage] = mapped_column(default=Stage.INGEST)
    state: Mapped[State] = mapped_column(default=State.READY)
    attempt: Mapped[int] = mapped_column(Integer, default=0, doc="Number of the newest attempt: the fencing token.")
    faults: Mapped[int] = mapped_column("tries", default=0, doc="Attempts of this stage that ended in faults.")
    not_before: Mapped[datetime] = mapped_column(default=now(), doc="Ready jobs wait until then; also their order.")
    deadline: Mapped[datetime | None] = mapped_column(doc="Queued: sent again after it. Running: its lease.")
    worker_id: Mapped[uuid.UUID | None] = mapped_column(doc="Who claimed the newest attempt.")
    started_at: Mapped[datetime | None] = mapped_column(doc="When the newest attempt was claimed.")
    reason_code: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(Text, doc="Why refused or quarantined, or the newest fault.")
    created_at: Mapped[datetime] = mapped_column(default=now())
    ended_at: Mapped[datetime | None]
    __table_args__ = (
        # An upload is idempotent: the same file under the same name in a batch is the same job.
        UniqueConstraint("batch_id", "photo_id", "name"),
        # What the dispatcher queues next, and pages of a batch by state.
        Index("ix_jobs_next", "batch_id", "state", "stage", "not_before"),
        # Pages of a batch in the order of deposit.
        Index(None, "batch_id", "id"),
        # Passed deadlines: this index stays small whatever the size of the table.
        Index(
            "ix_jobs_due",
            "deadline",
            postgresql_where=text("state IN ('queued', 'running')"),
            sqlite_where=text("state IN ('queued', 'running')"),
        ),
        # The rate of a batch: its newest ended jobs.
        Index(
            "ix_jobs_ended",
            "batch_id",
            "ended_at",
            postgresql_where=text("ended_at IS NOT NULL"),
            sqlite_where=text("ended_at IS NOT NULL"),
        ),
        # Failures, for the administrator.
        Index(
            "ix_jobs_failed",
            "tenant_id",
            "state",
            "reason_code",
            postgresql_where=text("state IN ('quarantined', 'refused')"),
            sqlite_where=text("state IN ('quarantined', 'refused')"),
        ),
    )


class Attempt(Table):
    """One attempt at one stage of one job, written when it has ended. Append-only.

    `files` names what the attempt put into the store; a file that no attempt names is an orphan.
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

    @property
    def seconds(self) -> float:
        """How long it took; 0 where its start is unknown."""
        return (self.ended_at - self.started_at).total_seconds() if self.started_at else 0.0

    __table_args__ = (
        # Nothing is done twice: one done attempt per job and stage.
        Index(
            "uq_attempts_done",
            "job_id",
            "stage",
            unique=True,
            postgresql_where=text("outcome = 'done'"),
            sqlite_where=text("outcome = 'done'"),
        ),
    )


class Tally(Table):
    """A part of a batch's count by stage and state; the count is the sum of `n`. Written by triggers on `jobs`."""

    __tablename__ = "tallies"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    batch_id: Mapped[uuid.UUID]
    stage: Mapped[Stage]
    state: Mapped[State]
    n: Mapped[int]
    __table_args__ = (Index(None, "batch_id"), Index(None, "state", "stage", "batch_id"))


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
    ended_at: Mapped[datetime | None]
    __table_args__ = (Index(None, "ended_at", "heartbeat_at"),)


class Fleet(Table):
    """How many workers of a queue the administrator wants."""

    __tablename__ = "fleets"
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    wanted: Mapped[int]


class Leader(Table):
    """The lease on a role that only one process may have."""

    __tablename__ = "leaders"
    role: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(100))
    until: Mapped[datetime]
