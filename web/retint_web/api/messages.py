"""What the API takes and gives, field by field. The OpenAPI document is made from these."""

from datetime import datetime
from typing import Annotated, Any, Generic, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from retint import trials
from retint.lifecycle import Outcome, Stage, State
from retint.recipes import Recipe

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in lower-case hex.")]
Code = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")]
Address = Annotated[
    str, Field(min_length=1, max_length=4096, description="Where a photo is on the web: http or https, public.")
]
FileName = Annotated[str, Field(min_length=1, max_length=1024, description="The file's name, with its folders.")]

T = TypeVar("T")


class Taken(BaseModel):
    """What a client sends; a field that nobody knows is an error, not a surprise."""

    model_config = ConfigDict(extra="forbid")


class Given(BaseModel):
    """What the server answers."""

    model_config = ConfigDict(frozen=True)


class PageQuery(BaseModel):
    """Where a page of a list begins, and how long it is."""

    after: UUID | None = Field(None, description="The previous page's `next`.")
    limit: int = Field(100, ge=1, le=500)


class JobsQuery(PageQuery):
    """Which of a batch's jobs."""

    state: State | None = Field(None, description="Only jobs in this state.")


class UploadQuery(BaseModel):
    """What is uploaded."""

    name: FileName
    sha256: Sha256 | None = Field(None, description="What the bytes must hash to; checked when they have arrived.")


class PhotoQuery(BaseModel):
    """What is sent."""

    sha256: Sha256 | None = Field(None, description="What the bytes must hash to; checked when they have arrived.")


class FileQuery(BaseModel):
    """How a file is sent."""

    download: bool = Field(False, description="As something to save, not to show.")


class Hashes(Taken):
    """Files that a client has."""

    sha256: list[Sha256] = Field(max_length=5000)


class NewBatch(Taken):
    """A batch to be opened."""

    name: str = Field(min_length=1, max_length=200)
    recipe: Recipe = Field(Recipe.model_validate({}), description="What is to be done; without it the default recipe.")
    priority: int = Field(0, ge=0, le=9, description="0 for bulk to 9 for at once.")


class NewJob(Taken):
    """A file whose bytes the server has, or fetches."""

    sha256: Sha256 | None = Field(None, description="Of bytes that the server has; or `url`.")
    url: Address | None = None
    name: FileName | None = Field(None, description="Needed with `sha256`; with `url` it is the server's by default.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.sha256 is None) == (self.url is None) or (self.sha256 and self.name is None):
            raise ValueError("send sha256 and name, or url")
        return self


class NewTrial(Taken):
    """A photo to be tried with several recipes."""

    sha256: Sha256 | None = Field(None, description="Of bytes that the server has; or `url`.")
    url: Address | None = None
    name: FileName | None = Field(None, description="What it is called; with `url` it is the server's by default.")
    recipes: list[Recipe] = Field(
        default_factory=list,
        max_length=trials.MOST,
        description="What is tried; without any: every network that is here, at up to three settings.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.sha256 is None) == (self.url is None):
            raise ValueError("send sha256 or url")
        return self


class NewTry(Taken):
    """One recipe more for a trial."""

    recipe: Recipe


class FleetSize(Taken):
    """How many workers an administrator wants."""

    wanted: int = Field(ge=0, le=256)


class FailureFilter(Taken):
    """Which quarantined jobs to try again; all of them where nothing is named."""

    reason_code: Code | None = None
    batch_id: UUID | None = None


class Known(Given):
    """Files that the server has."""

    known: list[str] = Field(description="SHA-256 of those asked for that need not be sent again.")


class Counts(Given):
    """How many jobs stand where."""

    total: int
    ready: int
    queued: int
    running: int
    restored: int
    refused: int
    quarantined: int
    cancelled: int
    ended: int = Field(description="Restored, refused or cancelled.")
    stages: dict[Stage, dict[State, int]]


class Batch(Given):
    """A batch."""

    id: UUID
    name: str
    url: str = Field(description="The batch's page for people.")
    recipe: Recipe
    recipe_hash: str
    priority: int
    created_at: datetime
    paused: bool
    cancelled: bool
    counts: Counts


class WatchedBatch(Batch):
    """A batch and how it goes."""

    rate_per_minute: float = Field(description="Jobs that ended per minute, of late.")
    eta_s: float | None = Field(description="Seconds until the last job ends; null where nobody can tell.")


class ListedJob(Given):
    """A job in a list."""

    id: UUID
    name: str
    stage: Stage
    state: State
    reason_code: str | None
    reason: str | None = Field(description="Why it was refused or quarantined, in a sentence.")
    url: str = Field(description="The photo's page for people.")


class KeptPhoto(Given):
    """A photo that the server has."""

    id: UUID
    sha256: str
    size: int = Field(description="Bytes.")


class DepositedJob(Given):
    """The job of a file that was just deposited."""

    id: UUID
    photo_id: UUID
    sha256: str
    name: str
    state: State
    stage: Stage
    url: str


class Attempt(Given):
    """One try at one stage."""

    number: int
    stage: Stage
    outcome: Outcome
    error: str | None = Field(description="For administrators only.")
    worker_id: UUID | None
    started_at: datetime | None
    ended_at: datetime
    timings: dict[str, float] = Field(description="Seconds by step.")


class Job(ListedJob):
    """A job with everything that is known of it."""

    batch_id: UUID
    photo_id: UUID
    sha256: str
    size: int = Field(description="Bytes of the original.")
    seconds: float = Field(description="Time that attempts worked on it.")
    created_at: datetime
    ended_at: datetime | None
    attempts: list[Attempt]
    files: dict[str, str] = Field(description="Name to address: `original`, and what the stages wrote.")
    facts: dict[str, dict[str, Any]] = Field(description="What each done stage found, by its name.")


class Try(ListedJob):
    """One recipe of a trial, and how far its picture is."""

    recipe: Recipe
    seconds: float = Field(description="Time that attempts worked on it.")
    files: dict[str, str] = Field(description="Name to address: what the stages wrote.")
    remark: str | None = Field(description="What must be said of the result, such as that it has no color.")


class Trial(Given):
    """One photo through several recipes."""

    id: UUID
    name: str
    url: str = Field(description="The trial's page for people.")
    sha256: str
    created_at: datetime
    is_over: bool = Field(description="Whether nothing more comes by itself.")
    tries: list[Try]


class ListedTrial(Given):
    """A trial in a list."""

    id: UUID
    name: str
    url: str
    created_at: datetime
    tries: int


class Setting(Given):
    """A number that a recipe may set for a network."""

    default: float
    least: float
    most: float
    step: float = Field(description="1 where only whole numbers are allowed.")
    title: str


class Network(Given):
    """What is known of a network."""

    name: str
    kind: str = Field(description="`colorizer` or `defader`.")
    title: str
    url: str = Field(description="The network's page for people.")
    is_here: bool = Field(description="Whether a recipe may name it: whether its weights are here.")
    good_at: str
    weaknesses: list[str]
    parameters: int = Field(description="How many; 0 where nobody has counted.")
    size: int = Field(description="Bytes of the weights; 0 where they are not here.")
    sha256: str = Field(description="Of the weights; empty where they are not here.")
    license: str
    source: str
    data: list[str] = Field(description="What it was trained on.")
    settings: dict[str, Setting]
    scores: dict[str, Any] = Field(description="As measured on our own photographs; empty where they were not.")
    preprocessing: dict[str, Any] = Field(description="What it sees of a photo.")
    official: dict[str, Any] = Field(description="The file that its authors published; empty for our own.")


class Networks(Given):
    """All networks."""

    items: list[Network]


class Worker(Given):
    """A process that runs stages."""

    id: UUID
    fleet: str
    host: str
    pid: int
    device: str
    version: str
    activity: str = Field(description="What it does now; empty when idle.")
    started_at: datetime
    heartbeat_at: datetime


class Workers(Given):
    """The workers that live."""

    items: list[Worker]


class Queue(Given):
    """What waits and runs at one stage."""

    stage: Stage
    fleet: str
    ready: int
    queued: int
    running: int
    oldest_s: float = Field(description="How long the oldest has waited, in seconds.")


class Queues(Given):
    """All stages."""

    items: list[Queue]


class Fleet(Given):
    """The workers of one queue."""

    name: str
    wanted: int
    live: int


class FailureGroup(Given):
    """Jobs that failed for one reason."""

    reason_code: str
    reason: str = Field(description="One of their sentences.")
    state: State
    count: int
    batches: int


class Failures(Given):
    """All reasons."""

    items: list[FailureGroup]


class Retried(Given):
    """How many jobs get another try."""

    retried: int


class Page(Given, Generic[T]):
    """A part of a list."""

    items: list[T]
    next: str | None = Field(description="What to send as `after` for the next page; null at the end.")


class Problem(Given):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One sentence for people.")
    code: str = Field(description="Stable, for programs.")
