"""What the API reads: queries and JSON bodies, field by field. The OpenAPI document is made from these."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from retint import institutions, proofs, quotas, trials, verdicts
from retint.lifecycle import MOST_WORKERS, State, Verdict
from retint.recipes import Recipe
from retint.roles import MOST_TOKEN_DAYS, TOKEN_DAYS, Role, Scope
from retint.search import Sort

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in lower-case hex.")]
ReasonCode = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")]
WebAddress = Annotated[
    str, Field(min_length=1, max_length=4096, description="The photo's public web address: http or https.")
]
FileName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        pattern=r"\S",
        description="The file's name, with its folders.",
        examples=["box-7/a.jpg"],
    ),
]


Ended = Literal["restored", "refused", "quarantined", "cancelled"]
"""How a job may have ended. JSON has no members of `State`, so these are their values."""


class Query(BaseModel):
    """Parameters of an address. Unknown ones are refused: a misspelled filter would answer with everything."""

    model_config = ConfigDict(extra="forbid")


class PageQuery(Query):
    """Where a page of a list begins, and how many items it has."""

    after: UUID | None = Field(None, description="The previous page's `next`.")
    limit: int = Field(100, ge=1, le=500)


class JobsQuery(PageQuery):
    """A page of a batch's jobs, of all or of one state."""

    state: State | None = Field(None, description="Only jobs in this state.")


class ResultsQuery(PageQuery):
    """A page of a batch's results with one verdict."""

    verdict: Verdict = Verdict.UNJUDGED


class SearchQuery(PageQuery):
    """Which photos are wanted, in which order."""

    q: str = Field(
        "",
        max_length=500,
        description="Beginnings of words in the name, title, identifier or rights; all must be there.",
    )
    batch: UUID | None = Field(None, description="Only photos of this batch.")
    state: State | None = Field(None, description="Only photos in this state.")
    reason_code: ReasonCode | None = Field(None, description="Only photos that failed for this reason.")
    sort: Sort = Field(Sort.NEWEST, description="In the order of deposit, newest first, or by name.")


class CatalogueQuery(Query):
    """How a catalogue is imported."""

    dry_run: bool = Field(False, description="Say what would become of it, and import nothing.")


class PhotoQuery(Query):
    """Optional checksum of an uploaded photo."""

    sha256: Sha256 | None = Field(None, description="Expected hash of the bytes; checked when all have arrived.")


class UploadQuery(PhotoQuery):
    """Name and optional checksum of an uploaded file."""

    name: FileName


class HashQuery(Query):
    """Which bytes are meant."""

    sha256: Sha256


class FileQuery(Query):
    """How a file is sent."""

    download: bool = Field(False, description="Send it as a download instead of showing it in the browser.")


class PhotoPageQuery(Query):
    """Which page of a photo is meant."""

    page: int | None = Field(None, ge=1, description="Number of the page, of a photo of several; by default the first.")


class Body(BaseModel):
    """A JSON body. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Hashes(Body):
    """Hashes of files that a client has."""

    sha256: list[Sha256] = Field(max_length=5000)


class NewBatch(Body):
    """A batch to be opened."""

    name: str = Field(min_length=1, max_length=200, pattern=r"\S", examples=["Box 7"])
    recipe: Recipe = Field(
        Recipe.model_validate({}), description="How the photos are restored; the default recipe if missing."
    )
    priority: int = Field(0, ge=0, le=9, description="From 0, bulk, to 9, urgent.")
    paused: bool = Field(False, description="Whether it waits until it is resumed, or released after a proof.")


class NewJob(Body):
    """A photo to be restored: one that the server has, or one that it fetches."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["sha256", "name"]}, {"required": ["url"]}]})

    sha256: Sha256 | None = Field(None, description="Hash of a photo that the server has. Send this or `url`.")
    url: WebAddress | None = None
    name: FileName | None = Field(
        None, description="Required with `sha256`; with `url` the default is the web server's name for the file."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.sha256 is None) == (self.url is None) or (self.sha256 and self.name is None):
            raise ValueError("send sha256 and name, or url")
        return self


class KnownFile(Body):
    """A file of a batch, by the hash of its bytes."""

    name: FileName
    sha256: Sha256


class KnownFiles(Body):
    """Files whose bytes the server may have."""

    files: list[KnownFile] = Field(max_length=1000)


class Seen(Body):
    """What a reviewer looked at: where it is something else by now, nothing is written."""

    seen_sha256: Sha256
    seen_verdict: Verdict = Field(Verdict.UNJUDGED, description="The verdict that was shown.")
    note: str | None = Field(None, max_length=verdicts.NOTE_LENGTH)


class NewVerdict(Seen):
    """What a reviewer says of a result."""

    verdict: Literal[Verdict.APPROVED, Verdict.REJECTED, Verdict.UNJUDGED] = Field(
        description="`approved`, `rejected`, or `unjudged` to take the last one back. For rework see `rework`."
    )


class Rework(Seen):
    """A result that is to be made anew."""

    recipe: Recipe | None = Field(None, description="What it goes through; the job's own recipe if missing.")


class NewTrial(Body):
    """A photo to be tried with several recipes."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["sha256"]}, {"required": ["url"]}]})

    sha256: Sha256 | None = Field(None, description="Hash of a photo that the server has. Send this or `url`.")
    url: WebAddress | None = None
    name: FileName | None = Field(
        None, description="The photo's name; with `url` the default is the web server's name for the file."
    )
    recipes: list[Recipe] = Field(
        default_factory=list,
        max_length=trials.TRY_LIMIT,
        description="Recipes to try; if empty, every installed network with up to three settings.",
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.sha256 is None) == (self.url is None):
            raise ValueError("send sha256 or url")
        return self


class NewTry(Body):
    """One more recipe for a trial."""

    recipe: Recipe


class NewProof(Body):
    """Which recipes a batch is proved with."""

    recipes: list[Recipe] = Field(
        default_factory=list,
        max_length=proofs.MOST_RECIPES,
        description="If empty, the batch's own and others that differ from it in the colorizer.",
    )


class Release(Body):
    """The recipe that was liked."""

    recipe_hash: Sha256


class FleetSize(Body):
    """How many workers a fleet has: a number, `wanted`; or as many as there is demand for, from `least` to `most`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"wanted": 2}]})

    wanted: int | None = Field(None, ge=0, le=MOST_WORKERS)
    least: int | None = Field(None, ge=0, le=MOST_WORKERS)
    most: int | None = Field(None, ge=0, le=MOST_WORKERS)
    wait_s: float | None = Field(None, ge=10, le=604_800, description="How long work may wait, in seconds.")

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        limits = (self.least, self.most)
        if self.wanted is not None and (*limits, self.wait_s) == (None, None, None):
            return self
        if self.wanted is None and None not in limits:
            return self
        raise ValueError("give either `wanted`, or `least` and `most`, and with these `wait_s` if you like")


class FaultFilter(Body):
    """Which quarantined jobs are retried; all of them if the field is not given."""

    reason_code: ReasonCode | None = None


class Rerun(Body):
    """Which photos of a batch are run again: all that have ended, except cancelled ones, if nothing is chosen."""

    state: Ended | None = Field(None, description="Only jobs in this state.")
    verdict: Verdict | None = Field(None, description="Only restored jobs with this verdict.")
    reason_code: ReasonCode | None = Field(None, description="Only jobs that failed for this reason.")
    recipe: Recipe | None = Field(None, description="What they go through; the recipe that each has if missing.")


class PeopleQuery(PageQuery):
    """A page of the institution's people."""

    email: str = Field("", max_length=254, description="Only those whose email contains this.")


class NewPerson(Body):
    """Somebody to invite."""

    email: str = Field(min_length=3, max_length=254, examples=["jo@museum.example"])
    role: Role = Role.MEMBER


class PersonChange(Body):
    """What changes of a person; what is not given stays."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"role": "reviewer"}]})

    role: Role | None = None
    disabled: bool | None = None


class NewServiceAccount(Body):
    """A token of the institution without a person."""

    name: str = Field(min_length=1, max_length=100, description="Where it is used.", examples=["scanner"])
    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope))
    days: int = Field(TOKEN_DAYS, ge=1, le=MOST_TOKEN_DAYS, description="How long it lasts.")


class FailureFilter(Body):
    """Which refused jobs are run again; all of them if no field is given."""

    reason_code: ReasonCode | None = None
    batch_id: UUID | None = None


class Limits(Body):
    """What an institution may use; null, or not given, where nothing limits it."""

    most_bytes: int | None = Field(None, ge=0, le=quotas.RANGES["most_bytes"][1])
    most_in_flight: int | None = Field(None, ge=0, le=quotas.RANGES["most_in_flight"][1])
    highest_priority: int | None = Field(None, ge=0, le=9)
    per_minute: int | None = Field(None, ge=1, le=quotas.RANGES["per_minute"][1])
    per_second: int | None = Field(None, ge=1, le=quotas.RANGES["per_second"][1])


class InstitutionSettings(Body):
    """An institution's name, weight and limits."""

    name: str = Field(min_length=1, max_length=200, examples=["City Museum"])
    weight: int = Field(1, ge=1, le=institutions.MOST_WEIGHT)
    limits: Limits = Field(default_factory=Limits)


class NewInstitution(InstitutionSettings):
    """An institution with its first administrator."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "City Archive", "email": "kim@archive.example"}]}
    )

    email: str = Field(min_length=3, max_length=254, description="Of the first administrator.")
