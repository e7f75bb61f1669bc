"""The page of a photo: before and after, its processing steps, and its files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from retint import catalogue, photos, recipes, trials, withholding
from retint.errors import NotFound
from retint.jobs import attempts, changes
from retint.kinds import BLANK, COLOR, DOCUMENT, NEUTRAL, TONED
from retint.lifecycle import ACTIVE, STAGES, Outcome, Stage, State
from retint.pages import INFRARED, MASK, PHOTOGRAPH, THUMBNAIL, Page, list_photographs
from retint.photos import PhotoDetails
from retint.region import WHOLE, Region
from retint.roles import OPERATOR
from retint.tables import Attempt
from retint_web import services
from retint_web.files import confidence
from retint_web.pages import recipe_form, words
from retint_web.security import moves_bytes, only

blueprint = Blueprint("photos", __name__)

FILES: Final = {
    "result": "Result",
    "original": "Original",
    "provenance": "Provenance record",
    "color": "Color layer",
    "density": "Density layer",
}
"""Titles of the files that can be downloaded, in the order of the page."""
PAGE_FILES: Final = {"color", "density"}
"""Those of which each page of a photo has its own."""
ROLES: Final = {PHOTOGRAPH: "photograph", THUMBNAIL: "thumbnail", MASK: "mask", INFRARED: "infrared picture"}

KINDS: Final = {
    NEUTRAL: "black and white",
    TONED: "toned, treated as black and white",
    COLOR: "in color",
    BLANK: "blank",
    DOCUMENT: "a document or a drawing",
}
CONFIDENCES: Final = ((0.9, "surely"), (0.75, "very likely"), (0.0, "probably"))
"""Words for how sure the finder of pictures is, from which confidence on."""

STATE_SENTENCES: Final = {
    State.READY: "Waiting for its turn.",
    State.QUEUED: "Sent to the workers.",
    State.RUNNING: "A worker is processing it.",
}


@dataclass(frozen=True)
class Step:
    """One stage on a photo's page."""

    stage: Stage
    state: str
    """`done`, the job's state if this is its current stage, or empty if it has not been reached."""
    attempts: list[Attempt]

    @property
    def own(self) -> list[Attempt]:
        """Its attempts without what was taken over."""
        return [attempt for attempt in self.attempts if attempt.source is None]

    @property
    def is_taken_over(self) -> bool:
        """Whether another job has done it."""
        return len(self.own) < len(self.attempts)

    @property
    def seconds(self) -> float:
        """Total time of its attempts."""
        return sum((a.ended_at - a.started_at).total_seconds() for a in self.attempts if a.started_at)

    @property
    def faults(self) -> list[str]:
        """What went wrong in the attempts that were retried: in a sentence, for operators with the traceback."""
        failed = [a for a in self.attempts if a.outcome in (Outcome.FAULT, Outcome.EXPIRED)]
        return [attempts.describe(a.error, in_full=g.identity.is_operator) or a.outcome for a in failed]


@blueprint.get("/jobs/<uuid:job_id>")
def show(job_id: UUID) -> ResponseReturnValue:
    """Show a photo before and after: one of its pages, where it has several."""
    with services().read() as session:
        shown = photos.load_details(session, g.identity.tenant_id, job_id)
        record = catalogue.find(session, g.identity.tenant_id, shown.job.record_id)
    pages = list_photographs(shown.facts.get(Stage.INGEST, {}))
    page, recipe = _choose_page(pages), shown.recipe
    region = page.region if recipe.changes(page.facts.get("kind", "")) else WHOLE
    names = {page.spell(name) if name in PAGE_FILES else name: title for name, title in FILES.items()}
    return render_template(
        "photos/show.html",
        **_progress_values(shown, page),
        pages=pages,
        recipe=recipe,
        outline=[] if region.is_whole else region.rectangles,
        outline_label="Where the pictures are" if len(region.rectangles) > 1 else "Where the picture is",
        bounds=region.bounds,
        tells_guesses=not _is_colorless(shown, page) and confidence.is_told(shown, page),
        rectangles=recipe_form.format_rectangles(region),
        facts=dict(_original_facts(shown, page, region)),
        story=list(_describe_restoration(shown, page, forbids_colors=record is not None and record.do_not_colorize)),
        remark=shown.remark,
        record=record,
        withheld=withholding.SENTENCE if shown.job.withheld else None,
        files={name: title for name, title in names.items() if name in shown.files},
    )


def _choose_page(pages: list[Page]) -> Page:
    """Return the page that the address asks for, by default the first one.

    Raises:
        NotFound: there is no such page.
    """
    asked = request.args.get("page")
    for page in pages:
        if asked in (None, str(page.number)):
            return page
    raise NotFound("The photo has no such page.")


@blueprint.get("/jobs/<uuid:job_id>/guesses")
@moves_bytes
def guesses(job_id: UUID) -> ResponseReturnValue:
    """Return the fragment that explains the veil over a photo's page: where the network guesses, and how much."""
    found = confidence.find(job_id, request.args.get("page", type=int))
    return render_template("photos/_guesses.html", guessed=found.guessed)


@blueprint.get("/jobs/<uuid:job_id>/live")
def live(job_id: UUID) -> ResponseReturnValue:
    """Return the fragment that an unfinished photo's page polls; make the page reload when the photo has ended."""
    with services().read() as session:
        shown = photos.load_details(session, g.identity.tenant_id, job_id)
    values = _progress_values(shown, list_photographs(shown.facts.get(Stage.INGEST, {}))[0])
    fragment = render_template("photos/_progress.html", **values)
    must_reload = shown.job.state not in ACTIVE or (values["has_picture"] and "picture" not in request.args)
    return Response(fragment, headers={"HX-Refresh": "true"} if must_reload else {})


def _progress_values(shown: PhotoDetails, page: Page) -> dict[str, object]:
    """Collect the template values that show how far a photo is."""
    size = _size(page)
    return {
        "page": page,
        "shown": shown,
        "job": shown.job,
        "size": size,
        "proxy_size": _proxy_size(page, size),
        "has_picture": size is not None and page.proxy_name in shown.files,
        "is_film": bool(shown.facts.get(Stage.INGEST, {}).get("film")),
        "is_restored": shown.job.state is State.RESTORED
        and {page.spell("preview"), page.spell("before")} <= shown.files.keys(),
        "steps": _steps(shown),
        "state_sentence": STATE_SENTENCES.get(shown.job.state),
    }


@blueprint.post("/jobs/<uuid:job_id>/retry")
@only(OPERATOR)
def retry(job_id: UUID) -> ResponseReturnValue:
    """Give a quarantined photo another three attempts."""
    with services().begin() as session:
        photos.load_details(session, g.identity.tenant_id, job_id)
        retried = changes.retry_job(session, g.identity.tenant_id, job_id)
    flash("The photo will be retried." if retried else "There is nothing to retry.")
    return redirect(url_for("photos.show", job_id=job_id), code=303)


@blueprint.post("/jobs/<uuid:job_id>/again")
def restore_again(job_id: UUID) -> ResponseReturnValue:
    """Restore another part of a scan: as one more try of the job's trial, or of a new one."""
    identity = g.identity
    with services().begin() as session:
        shown = photos.load_details(session, identity.tenant_id, job_id)
        recipe = recipes.parse({**shown.recipe.model_dump(), **recipe_form.parse_region(request.form)})
        by = {"created_by": identity.user_id, "imported": services().settings.weights}
        trial_id = shown.batch.trial
        if trial_id is None:
            name = shown.job.name
            trial_id = trials.open(session, identity.tenant_id, shown.photo, name, [recipe], **by)
        else:
            trials.add_try(session, identity.tenant_id, trial_id, recipe, **by)
    return redirect(url_for("trials.show", trial_id=trial_id), code=303)


def _steps(shown: PhotoDetails) -> list[Step]:
    """List the stages of a job with their states and attempts."""
    job = shown.job
    steps = []
    for stage in STAGES:
        own = [attempt for attempt in shown.attempts if attempt.stage is stage]
        is_done = any(attempt.outcome is Outcome.DONE for attempt in own)
        state = job.state if stage is job.stage else ""
        steps.append(Step(stage, "done" if is_done else state, own))
    return steps


def _size(page: Page) -> tuple[int, int] | None:
    """Return the upright picture's width and height in pixels; None before ingest."""
    facts = page.facts
    return (facts["width"], facts["height"]) if {"width", "height"} <= facts.keys() else None


def _proxy_size(page: Page, size: tuple[int, int] | None) -> tuple[float, float] | None:
    """Return width and height of what the proxy shows, in pixels of the photo: what lies in the region's bounds."""
    if size is None:
        return None
    bounds = page.region.bounds
    return size[0] * bounds.width, size[1] * bounds.height


def _original_facts(shown: PhotoDetails, page: Page, region: Region) -> Iterator[tuple[str, str]]:
    """Yield label and text of each fact about the original, and the page of it that is shown."""
    facts = dict(page.facts)
    if listed := shown.facts.get(Stage.INGEST, {}).get("pages"):
        yield "Pages", _count_pages([entry["role"] for entry in listed])
    if size := _size(page):
        width, height = size
        megapixels = width * height / 1e6
        yield "Size", f"{width:,} × {height:,} pixels" + (f", {megapixels:,.1f} megapixels" if megapixels >= 1 else "")
        format_ = str(facts.get("format", "")).upper()
        kind = format_ if facts.get("film") else f"{format_}, {facts.get('bits', 8)} bits"
        yield "Format", f"{kind}, {words.format_size(shown.photo.size)}"
    else:
        yield "File", words.format_size(shown.photo.size)
    if facts.get("film"):
        yield from _film_facts(facts)
    if facts.get("dpi"):
        dpi = facts["dpi"][0] if isinstance(facts["dpi"], list | tuple) else facts["dpi"]
        yield "Resolution", f"{dpi:.0f} dpi"
    if facts.get("profile"):
        yield "Color profile", str(facts["profile"])
    if facts.get("kind"):
        inverted = ", inverted" if facts.get("inverted") else ""
        yield "Original is", KINDS.get(facts["kind"], str(facts["kind"])) + inverted
    if not region.is_whole:
        yield "Restored part", _describe_region(region)
    yield "Deposited", words.format_time(shown.job.created_at)
    if shown.job.ended_at and shown.job.state is State.RESTORED:
        work = "taken over" if shown.taken_over_from else f"{words.format_duration(shown.seconds)} of work"
        yield "Restored", f"{words.format_time(shown.job.ended_at)}, {work}"
    yield "SHA-256", shown.photo.sha256


def _describe_region(region: Region) -> str:
    """Say how much of a page is restored, and why this part of it."""
    share = f"{sum(rectangle.area for rectangle in region.rectangles):.0%} of the page"
    if region.found == "stated":
        return f"{share}, as the recipe states"
    adverb = next(word for least, word in CONFIDENCES if region.confidence >= least)
    count = len(region.rectangles)
    return f"{share}, where {adverb} the picture is" if count == 1 else f"{share}, where {adverb} {count} pictures are"


def _count_pages(roles: list[str]) -> str:
    """Say how many pages of which kind a photo has."""
    return ", ".join(words.pluralize(roles.count(role), name) for role, name in ROLES.items() if role in roles)


def _film_facts(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield label and text of each fact about a film."""
    if facts.get("duration_s"):
        frames = f", {words.pluralize(facts['frames'], 'frame')}" if facts.get("frames") else ""
        rate = f" at {float(facts['rate']):g} a second" if frames and facts.get("rate") else ""
        yield "Length", f"{words.format_duration(facts['duration_s'])}{frames}{rate}"
    yield "Sound", "yes, kept unchanged" if facts.get("audio") else "none"


def _is_colorless(shown: PhotoDetails, page: Page) -> bool:
    """Whether a network found no color for a page; the remark says so."""
    without_color = shown.facts.get(Stage.RENDER, {}).get("colorless_pages", [page.number])
    return shown.remark is not None and page.number in without_color


def _describe_restoration(shown: PhotoDetails, page: Page, *, forbids_colors: bool) -> Iterator[str]:
    """Yield sentences that say what was done to a page and how far it can be trusted."""
    if shown.job.state is not State.RESTORED or shown.job.withheld:
        return
    recipe = shown.recipe
    is_colorless = _is_colorless(shown, page)
    if page.spell("color") in shown.files and not is_colorless:
        says = page.facts.get("film") or confidence.is_told(shown, page)
        yield (
            f"The colors are conjecture. The network {recipe.colorizer} chose them from the black-and-white picture; "
            f"it cannot know the true colors{'' if says else ', and does not say where it guesses'}."
        )
    elif forbids_colors:
        yield "No color was added, as the catalogue says."
    elif not is_colorless:
        yield "No color was added; the original's own colors were kept."
    if page.spell("density") in shown.files:
        strength = "" if recipe.strength == 1 else f" at {recipe.strength:.0%} of its strength"
        yield f"The network {recipe.defader} repaired fading{strength}: contrast and the balance of grays."
    yield from shown.notes
    differs = any(note not in page.facts.get("picture_notes", ()) for note in shown.notes)
    exception = ", except as said above" if differs else ""
    yield (
        f"The result has the original's size, bit depth and metadata{exception}, and records how it was made. "
        "The original is unchanged."
    )
