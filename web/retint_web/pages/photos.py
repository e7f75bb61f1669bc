"""The page of a photo: before and after, its processing steps, and its files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from retint import accounts, photos
from retint.errors import NotFound
from retint.jobs import attempts, changes
from retint.lifecycle import ACTIVE, STAGES, Outcome, Stage, State
from retint.pages import INFRARED, MASK, PHOTOGRAPH, THUMBNAIL, Page, list_photographs
from retint.photos import PhotoDetails
from retint.recipes import Recipe
from retint.tables import Attempt
from retint_web import services
from retint_web.pages import words
from retint_web.security import Role, only

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

KINDS: Final = {"neutral": "black and white", "toned": "toned, treated as black and white", "color": "in color"}

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
    def seconds(self) -> float:
        """Total time of its attempts."""
        return sum((a.ended_at - a.started_at).total_seconds() for a in self.attempts if a.started_at)

    @property
    def faults(self) -> list[str]:
        """What went wrong in the attempts that were retried: in a sentence, for those who rule with the traceback."""
        in_full = g.identity.is_admin or g.identity.is_operator
        failed = [a for a in self.attempts if a.outcome in (Outcome.FAULT, Outcome.EXPIRED)]
        return [attempts.describe(a.error, in_full=in_full) or a.outcome for a in failed]


@blueprint.get("/jobs/<uuid:job_id>")
def show(job_id: UUID) -> ResponseReturnValue:
    """Show a photo before and after: one of its pages, where it has several."""
    with services().read() as session:
        shown = photos.load_details(session, g.identity.tenant_id, job_id)
    pages = list_photographs(shown.facts.get(Stage.INGEST, {}))
    page = _choose_page(pages)
    names = {page.spell(name) if name in PAGE_FILES else name: title for name, title in FILES.items()}
    return render_template(
        "photos/show.html",
        **_progress_values(shown, page),
        pages=pages,
        facts=dict(_original_facts(shown, page)),
        story=list(_describe_restoration(shown, page)),
        remark=shown.remark,
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
        "has_picture": size is not None and "proxy" in shown.files,
        "is_film": bool(shown.facts.get(Stage.INGEST, {}).get("film")),
        "is_restored": shown.job.state is State.RESTORED
        and {page.spell("preview"), page.spell("before")} <= shown.files.keys(),
        "steps": _steps(shown),
        "state_sentence": STATE_SENTENCES.get(shown.job.state),
    }


@blueprint.post("/jobs/<uuid:job_id>/retry")
@only(Role.ADMIN)
def retry(job_id: UUID) -> ResponseReturnValue:
    """Give a quarantined photo another three attempts."""
    with services().begin() as session:
        photos.load_details(session, g.identity.tenant_id, job_id)
        retried = changes.retry_job(session, g.identity.tenant_id, job_id)
        accounts.record_action(session, "job_retried", str(job_id), g.identity)
    flash("The photo will be retried." if retried else "There is nothing to retry.")
    return redirect(url_for("photos.show", job_id=job_id), code=303)


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


def _original_facts(shown: PhotoDetails, page: Page) -> Iterator[tuple[str, str]]:
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
        yield "Original is", KINDS.get(facts["kind"], str(facts["kind"]))
    yield "Deposited", words.format_time(shown.job.created_at)
    if shown.job.ended_at and shown.job.state is State.RESTORED:
        yield "Restored", f"{words.format_time(shown.job.ended_at)}, {words.format_duration(shown.seconds)} of work"
    yield "SHA-256", shown.photo.sha256


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


def _describe_restoration(shown: PhotoDetails, page: Page) -> Iterator[str]:
    """Yield sentences that say what was done to a page and how far it can be trusted."""
    if shown.job.state is not State.RESTORED:
        return
    recipe = Recipe.model_validate(shown.batch.recipe)
    # If a network found no color, the page says so in the remark above.
    without_color = shown.facts.get(Stage.RENDER, {}).get("colorless_pages", [page.number])
    is_colorless = shown.remark is not None and page.number in without_color
    if page.spell("color") in shown.files and not is_colorless:
        yield (
            f"The colors are conjecture. The network {recipe.colorizer} chose them from the black-and-white picture; "
            "it cannot know the true colors."
        )
    elif not is_colorless:
        yield "No color was added; the original's own colors were kept."
    if page.spell("density") in shown.files:
        strength = "" if recipe.strength == 1 else f" at {recipe.strength:.0%} of its strength"
        yield f"The network {recipe.defader} repaired fading{strength}: contrast and the balance of grays."
    yield from shown.notes
    exception = ", except as said above" if shown.notes else ""
    yield (
        f"The result has the original's size, bit depth and metadata{exception}, and records how it was made. "
        "The original is unchanged."
    )
