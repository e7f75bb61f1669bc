"""What the API answers, field by field. The OpenAPI document is made from these."""

from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from retint.lifecycle import Outcome, Stage, State, Verdict
from retint.recipes import Recipe

T = TypeVar("T")


class Answer(BaseModel):
    """A JSON answer, or a part of one."""

    model_config = ConfigDict(frozen=True)

    identifies: ClassVar[str | None] = None
    """The parameter of paths that its `id` is; operations that need one can follow (see `document`)."""


class Page(Answer, Generic[T]):
    """A page of a list."""

    items: list[T]
    next: str | None = Field(description="Send it as `after` to get the next page; null on the last page.")


class QuotaNumbers(Answer):
    """A quota, and how far a request is beyond it."""

    name: str = Field(description="`bytes` (of originals), `photos_in_flight` or `priority`.")
    limit: int
    used: int = Field(description="Kept and reserved bytes, or photos in flight; 0 for a priority.")
    needs: int = Field(description="What the request would add, or the priority that it asks for.")
    left_out: int = Field(description="Files of the request that were left out.")
    ask: list[str] = Field(description="Email addresses of operators, who can raise the quota.")


class Problem(Answer):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One sentence for people.")
    code: str = Field(description="Stable name of the error, for programs.")
    request_id: str = Field(description="Names the request in the portal's log; also in the header X-Request-ID.")
    quota: QuotaNumbers | None = Field(None, description="With the code `quota_exceeded`.")


class NotYet(Answer):
    """The answer is not there yet: ask again after the seconds in the header Retry-After."""

    detail: str = Field(description="One sentence for people.")


class KnownHashes(Answer):
    """Files that the server has."""

    known: list[str] = Field(description="Those of the hashes asked for whose files need not be sent again.")


class StoredPhoto(Answer):
    """A photo that the server has."""

    id: UUID
    sha256: str
    size: int = Field(description="Bytes.")


class Counts(Answer):
    """How many jobs of a batch are in each state."""

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
    verdicts: dict[Verdict, int] = Field(description="Of the restored jobs, by what was said last of their results.")


class Batch(Answer):
    """A batch."""

    identifies = "batch_id"

    id: UUID
    name: str
    url: str = Field(description="The batch's page in the portal.")
    recipe: Recipe
    recipe_hash: str
    priority: int
    created_at: datetime
    paused: bool
    cancelled: bool
    counts: Counts


class BatchWithProgress(Batch):
    """A batch, its speed and its estimated end."""

    rate_per_minute: float = Field(description="Jobs that ended per minute, recently.")
    eta_s: float | None = Field(description="Estimated seconds until the last job ends; null if unknown.")


class JobSummary(Answer):
    """A job in a list."""

    identifies = "job_id"

    id: UUID
    name: str
    stage: Stage
    state: State
    reason_code: str | None
    reason: str | None = Field(description="Why it was refused or quarantined, in one sentence.")
    url: str = Field(description="The photo's page in the portal.")


class DepositedJob(Answer):
    """The job of a file that was just deposited."""

    identifies = "job_id"

    id: UUID
    photo_id: UUID
    sha256: str
    name: str
    state: State
    stage: Stage
    url: str


class CatalogueRecord(Answer):
    """What the catalogue says of a photo."""

    title: str | None
    identifier: str | None
    rights: str | None
    do_not_colorize: bool
    columns: list[tuple[str, str]] = Field(description="Every column and its value, word for word.")


class Attempt(Answer):
    """One attempt at one stage."""

    number: int
    stage: Stage
    outcome: Outcome
    error: str | None = Field(description="What went wrong, in a sentence; for administrators with the traceback.")
    worker_id: UUID | None
    started_at: datetime | None
    ended_at: datetime
    timings: dict[str, float] = Field(description="Seconds by step.")
    source: UUID | None = Field(description="The job whose attempt it took over; null for work of its own.")


class Job(JobSummary):
    """A job with its attempts, files and facts."""

    batch_id: UUID
    photo_id: UUID
    sha256: str
    size: int = Field(description="Bytes of the original.")
    seconds: float = Field(description="Total time of its attempts.")
    recipe: Recipe
    replaces: UUID | None = Field(description="The job of the same file whose place this one took.")
    replaced_by: UUID | None = Field(description="The job that took this one's place.")
    verdict: Verdict = Field(description="What was said last of its result.")
    risk: float | None = Field(description="0 to 1: the riskiest results are worth a look first.")
    created_at: datetime
    ended_at: datetime | None
    attempts: list[Attempt]
    files: dict[str, str] = Field(description="Web address by file name: `original` and what the stages wrote.")
    confidence: str | None = Field(
        description="Web address of a picture of where the network guessed; null where it does not say."
    )
    facts: dict[str, dict[str, Any]] = Field(description="What each finished stage found, by the stage's name.")
    notes: list[str] = Field(description="A sentence for each thing that is not as in the original, or passed over.")
    taken_over_from: UUID | None = Field(description="The job that made the result; null where this one did.")
    catalogue: CatalogueRecord | None = Field(description="What the catalogue says of it; null where it says nothing.")
    withheld: bool = Field(description="Whether its colored result is not given out, as the catalogue says.")


class Result(Answer):
    """A result, and what was said last of it."""

    identifies = "job_id"

    id: UUID = Field(description="Of its job.")
    name: str
    url: str = Field(description="The photo's page in the portal.")
    sha256: str = Field(description="Of the result.")
    verdict: Verdict
    risk: float | None = Field(description="0 to 1: the riskiest are worth a look first. Null where nothing is known.")
    remark: str | None = Field(description="A sentence about the result that people must read, such as no color.")
    note: str | None
    judged_by: str | None = Field(description="The reviewer's email address.")
    judged_at: datetime | None


class Replacing(Answer):
    """A job that takes another one's place."""

    identifies = "job_id"

    id: UUID
    name: str
    replaces: UUID
    url: str = Field(description="The photo's page in the portal.")


class FoundPhoto(JobSummary):
    """A photo that was found."""

    batch_id: UUID
    batch: str = Field(description="The batch's name.")
    title: str | None = Field(description="From the catalogue, as the identifier and the rights.")
    identifier: str | None
    rights: str | None


class CatalogueProblem(Answer):
    """A file or a record without a counterpart, or with more than one."""

    problem: str = Field(description="`no file`, `no record` or `ambiguous`.")
    row: int | None = Field(description="Row of the catalogue; the header is row 1.")
    file: str | None
    identifier: str | None


class CatalogueImport(Answer):
    """What the import of a catalogue did, or would do."""

    dry_run: bool
    records: int
    replaced: int = Field(description="Records of the batch that these replace.")
    matched: int = Field(description="Files of the batch that have a record.")
    no_file: int = Field(description="Records without a file, which may still be deposited.")
    no_record: int = Field(description="Files without a record.")
    ambiguous: int = Field(description="Files that may have several records, or whose record several files may have.")
    not_colorized: int = Field(description="Files that the catalogue forbids to colorize.")
    kept_gray: int = Field(description="Photos that have no colors yet and now get none.")
    withheld: int = Field(description="Colored results that are given out no more; gray ones take their places.")
    remarks: list[str] = Field(description="A sentence for each thing that a person should look at.")
    examples: list[CatalogueProblem] = Field(description="The first of each kind of problem.")


class Try(JobSummary):
    """One recipe of a trial, and how far its picture is."""

    recipe: Recipe
    seconds: float = Field(description="Total time of its attempts.")
    files: dict[str, str] = Field(description="Web address by file name: what the stages wrote.")
    remark: str | None = Field(description="A sentence about the result that people must read, such as no color.")


class Trial(Answer):
    """One photo, restored with several recipes."""

    identifies = "trial_id"

    id: UUID
    name: str
    url: str = Field(description="The trial's page in the portal.")
    sha256: str
    created_at: datetime
    is_over: bool = Field(description="Whether no try waits or runs any more.")
    tries: list[Try]


class ProofColumn(Answer):
    """One recipe of a proof, and what the whole batch will take with it, as measured on the proof."""

    recipe: Recipe
    recipe_hash: str = Field(description="What `release` names.")
    tries: list[Try] = Field(description="One a photo; the same photos in the same order for each recipe.")
    photo_s: dict[str, float] | None = Field(
        description="Seconds that one worker has for a photo, by fleet; null until enough photos are measured."
    )
    total_s: dict[str, float] | None = Field(description="The same for all photos of the batch.")
    wall_s: float | None = Field(
        description="Seconds until all are restored with the workers that run now; null where that is not known."
    )


class Proof(Answer):
    """Some photos of a batch, restored with a few recipes before all of it is."""

    batch_id: UUID
    url: str = Field(description="The proof's page in the portal.")
    photos: int = Field(description="Photos of the whole batch.")
    is_over: bool = Field(description="Whether nothing of it waits or runs any more.")
    can_begin: bool = Field(description="Whether a proof can be opened or released: paused, and nothing has begun.")
    columns: list[ProofColumn] = Field(description="None where the batch has no proof.")


class TrialSummary(Answer):
    """A trial in a list."""

    identifies = "trial_id"

    id: UUID
    name: str
    url: str
    created_at: datetime
    tries: int


class LeftOut(Answer):
    """Why files were left out."""

    detail: str = Field(description="One sentence for people.")
    quota: QuotaNumbers


class AddedFiles(Answer):
    """What became of files that were named by their hashes."""

    jobs: list[UUID | None] = Field(
        description="The job of each file, in the order of the request; null where the server has no such bytes,"
        " or the file is left out."
    )
    left_out: LeftOut | None = Field(None, description="Why the server left out some files whose bytes it has.")


class Upload(Answer):
    """A resumable upload."""

    identifies = "upload_id"

    id: UUID
    batch_id: UUID | None = Field(description="The batch that it is deposited in.")
    name: str | None = Field(description="The file's name in the batch that was named.")
    size: int = Field(description="Bytes of the whole file.")
    offset: int = Field(description="How many bytes are kept; all of them once it is a photo.")
    photo_id: UUID | None = Field(description="The photo that it became.")
    job_id: UUID | None = Field(description="The job that it became, if a batch was named.")
    expires_at: datetime


class Uploads(Answer):
    """Resumable uploads."""

    items: list[Upload]


class RunAgain(Answer):
    """How many jobs of a batch new ones took the place of."""

    replaced: int
    complete: bool = Field(description="False while more follow, some thousand in a second.")
