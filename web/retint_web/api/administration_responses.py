"""What the API answers to those who rule the house: workers, queues, fleets, failures."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from retint.demand import Rule
from retint.lifecycle import Mode, Stage, State
from retint.settings import Driver
from retint_web.api.responses import Answer


class Worker(Answer):
    """A process that runs stages."""

    id: UUID
    fleet: str
    host: str
    pid: int
    device: str
    version: str
    activity: str = Field(description="What it does now; empty if idle.")
    trouble: str | None = Field(description="Why it claims nothing, a sentence; null for a sound worker.")
    trouble_since: datetime | None
    started_at: datetime
    heartbeat_at: datetime


class Workers(Answer):
    """The running workers."""

    items: list[Worker]


class Queue(Answer):
    """The jobs that wait or run at one stage."""

    stage: Stage
    fleet: str
    ready: int
    queued: int
    running: int
    oldest_s: float = Field(description="How long the oldest job has waited, in seconds.")


class Queues(Answer):
    """The queues of all stages."""

    items: list[Queue]


class Fleet(Answer):
    """The workers of one queue."""

    name: str
    mode: Mode
    wanted: int = Field(description="Workers that it should have now.")
    live: int
    least: int
    most: int
    wait_s: float
    cap: int = Field(description="Most that this installation can have.")
    driver: Driver = Field(description="Who starts and stops its workers.")


class Demand(Answer):
    """How many workers a fleet should have now, and why."""

    name: str
    wanted: int = Field(description="What an autoscaler scales to.")
    why: str
    rule: Rule = Field(description="What decided it.")
    live: int
    work_s: float = Field(description="A worker's time for all that waits and runs; paused batches left out.")
    wait_s: float = Field(description="How long work may wait: so much of the work is one worker's share.")
    waiting: int = Field(description="Jobs that are ready or queued.")
    running: int
    coming: int = Field(description="Jobs at stages of the other fleet that come here later.")
    least: int
    most: int
    assessed_at: datetime | None
    short_since: datetime | None = Field(description="Since when fewer workers live than wanted; null if enough do.")
    is_unmet: bool = Field(description="Whether that is longer than starting takes: no machine can be had.")


class FailureGroup(Answer):
    """Jobs that failed for one reason."""

    reason_code: str
    reason: str = Field(description="The sentence of one of these jobs.")
    state: State
    count: int
    batches: int


class Failures(Answer):
    """Failed jobs by reason."""

    items: list[FailureGroup]


class RetriedJobs(Answer):
    """How many jobs are retried."""

    retried: int
    complete: bool = Field(description="False while more follow, some thousand in a second.")


class Limits(Answer):
    """What an institution may use; null where nothing limits it."""

    most_bytes: int | None = Field(description="Originals that are kept and open uploads, in bytes.")
    most_in_flight: int | None = Field(description="Photos that wait or run.")
    highest_priority: int | None = Field(description="That its people may ask for.")
    per_minute: int | None = Field(description="API requests in a minute; null for the usual number.")
    per_second: int | None = Field(description="API requests in a second; null for the usual number.")


class Institution(Answer):
    """An institution, its use and its limits."""

    identifies = "tenant_id"

    id: UUID
    name: str
    weight: int = Field(description="Its share of the workers while others have photos waiting.")
    created_at: datetime
    disabled: bool
    people: int = Field(description="Who may sign in.")
    photos: int = Field(description="Originals that are kept.")
    kept_bytes: int
    reserved_bytes: int = Field(description="Bytes that open uploads have announced.")
    in_flight: int = Field(description="Photos that wait or run.")
    oldest_s: float = Field(description="How long the oldest waiting photo has waited, in seconds.")
    limits: Limits


class NewInstitution(Institution):
    """An institution that was added."""

    sign_in: str = Field(description="The first administrator's one-time link, valid for a day; not shown again.")


class Institutions(Answer):
    """All institutions."""

    items: list[Institution]


class Usage(Answer):
    """What an institution uses of its quotas."""

    photos: int = Field(description="Originals that are kept.")
    kept_bytes: int
    reserved_bytes: int = Field(description="Bytes that open uploads have announced.")
    in_flight: int = Field(description="Photos that wait or run.")
    limits: Limits
    warnings: list[str] = Field(description="A sentence for each quota of which most is used.")


class Sweep(Answer):
    """The sweep of the store, which deletes what nothing names."""

    started_at: datetime | None = Field(description="When the present round began; null before the first.")
    looked_at: int = Field(description="Files of this round.")
    deleted: int = Field(description="Orphans deleted in this round.")
    kept: dict[str, int] = Field(description="Files of this round that stay, by why.")
    stopped_code: str | None = Field(description="`too_many` or `wrong_store`; null while it goes on.")
    stopped: str | None = Field(description="Why it stopped and waits for an operator, in a sentence.")
