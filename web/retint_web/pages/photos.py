"""The page of a photo: before and after, how it came about, and its files."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from retint import accounts, photos
from retint.jobs import changes
from retint.lifecycle import ACTIVE, STAGES, Outcome, Stage, State
from retint.photos import Shown
from retint.recipes import Recipe
from retint.tables import Attempt
from retint_web import services
from retint_web.pages import words
from retint_web.security import admin_required, login_required

blueprint = Blueprint("photos", __name__)

FILES: Final = {
    "result": "Result",
    "original": "Original",
    "provenance": "Provenance record",
    "color": "Color layer",
    "density": "Density layer",
}
"""What can be downloaded, in this order, and what it is called."""

KINDS: Final = {"neutral": "black and white", "toned": "toned, treated as black and white", "color": "in color"}

STEPS: Final = {
    State.READY: "Waits for its turn.",
    State.QUEUED: "Sent to the workers.",
    State.RUNNING: "A worker is at it.",
}


@dataclass(frozen=True)
class Step:
    """One stage on a photo's page."""

    stage: Stage
    state: str
    """`done`, what the job's state is where it stands, or nothing where it has not come yet."""
    attempts: list[Attempt]

    @property
    def seconds(self) -> float:
        """Time that its attempts took."""
        return sum((a.ended_at - a.started_at).total_seconds() for a in self.attempts if a.started_at)

    @property
    def troubles(self) -> list[str]:
        """What went wrong in the attempts that were not the last word."""
        return [a.error or a.outcome for a in self.attempts if a.outcome in (Outcome.FAULT, Outcome.EXPIRED)]


@blueprint.get("/jobs/<uuid:job_id>")
@login_required
def show(job_id: UUID) -> ResponseReturnValue:
    """Show a photo before and after."""
    with services().begin() as session:
        shown = photos.show(session, g.identity.tenant_id, job_id)
    return render_template(
        "photos/show.html",
        **_standing(shown),
        facts=dict(_facts(shown)),
        story=list(_story(shown)),
        remark=shown.remark,
        files={name: word for name, word in FILES.items() if name in shown.files},
    )


@blueprint.get("/jobs/<uuid:job_id>/live")
@login_required
def live(job_id: UUID) -> ResponseReturnValue:
    """Give the fragment that an unfinished photo's page polls; tell the page to load itself anew when it has ended."""
    with services().begin() as session:
        shown = photos.show(session, g.identity.tenant_id, job_id)
    standing = _standing(shown)
    fragment = render_template("photos/_wait.html", **standing)
    is_news = shown.job.state not in ACTIVE or (standing["picture"] and "picture" not in request.args)
    return Response(fragment, headers={"HX-Refresh": "true"} if is_news else {})


def _standing(shown: Shown) -> dict[str, object]:
    """Gather what shows how far a photo is."""
    size = _size(shown)
    return {
        "shown": shown,
        "job": shown.job,
        "size": size,
        "picture": size is not None and "proxy" in shown.files,
        "is_film": bool(shown.facts.get(Stage.INGEST, {}).get("film")),
        "is_restored": shown.job.state is State.RESTORED and {"preview", "before"} <= shown.files.keys(),
        "steps": _steps(shown),
        "step": STEPS.get(shown.job.state),
    }


@blueprint.post("/jobs/<uuid:job_id>/retry")
@admin_required
def retry(job_id: UUID) -> ResponseReturnValue:
    """Give a quarantined photo another three attempts."""
    with services().begin() as session:
        photos.show(session, g.identity.tenant_id, job_id)
        retried = changes.retry_jobs(session, g.identity.tenant_id, job_id=job_id)
        accounts.record(session, "job_retried", str(job_id), g.identity)
    flash("It will be tried again." if retried else "There is nothing to try again.")
    return redirect(url_for("photos.show", job_id=job_id), code=303)


def _steps(shown: Shown) -> list[Step]:
    """Tell the stages of a job, each with its attempts and where it stands."""
    job = shown.job
    steps = []
    for stage in STAGES:
        attempts = [attempt for attempt in shown.attempts if attempt.stage is stage]
        is_done = any(attempt.outcome is Outcome.DONE for attempt in attempts)
        standing = job.state if stage is job.stage else ""
        steps.append(Step(stage, "done" if is_done else standing, attempts))
    return steps


def _size(shown: Shown) -> tuple[int, int] | None:
    """Give the picture's width and height, upright; None before anybody has looked."""
    facts = shown.facts.get(Stage.INGEST, {})
    return (facts["width"], facts["height"]) if {"width", "height"} <= facts.keys() else None


def _facts(shown: Shown) -> Iterator[tuple[str, str]]:
    """Tell what is known of the original."""
    facts: dict[str, Any] = shown.facts.get(Stage.INGEST, {})
    if size := _size(shown):
        width, height = size
        megapixels = width * height / 1e6
        yield "Size", f"{width:,} × {height:,} pixels" + (f", {megapixels:,.1f} megapixels" if megapixels >= 1 else "")
        format_ = str(facts.get("format", "")).upper()
        kind = format_ if facts.get("film") else f"{format_}, {facts.get('bits', 8)} bits"
        yield "Format", f"{kind}, {words.size(shown.photo.size)}"
    else:
        yield "File", words.size(shown.photo.size)
    if facts.get("film"):
        yield from _footage(facts)
    if facts.get("dpi"):
        dpi = facts["dpi"][0] if isinstance(facts["dpi"], list | tuple) else facts["dpi"]
        yield "Resolution", f"{dpi:.0f} dpi"
    if facts.get("profile"):
        yield "Color profile", str(facts["profile"])
    if facts.get("kind"):
        yield "Original is", KINDS.get(facts["kind"], str(facts["kind"]))
    yield "Deposited", words.moment(shown.job.created_at)
    if shown.job.ended_at and shown.job.state is State.RESTORED:
        yield "Restored", f"{words.moment(shown.job.ended_at)}, {words.duration(shown.seconds)} of work"
    yield "SHA-256", shown.photo.sha256


def _footage(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Tell what is known of a film."""
    if facts.get("duration_s"):
        frames = f", {words.count(facts['frames'], 'frame')}" if facts.get("frames") else ""
        rate = f" at {float(facts['rate']):g} a second" if frames and facts.get("rate") else ""
        yield "Length", f"{words.duration(facts['duration_s'])}{frames}{rate}"
    yield "Sound", "yes, kept as it is" if facts.get("audio") else "none"


def _story(shown: Shown) -> Iterator[str]:
    """Say in plain words what was done, and what it is worth."""
    if shown.job.state is not State.RESTORED:
        return
    recipe = Recipe.model_validate(shown.batch.recipe)
    # Where a network found no color, the page says so above.
    is_colorless = shown.remark is not None
    if "color" in shown.files and not is_colorless:
        yield (
            f"The colors are conjecture. The network {recipe.colorizer} chose them from the picture in black and "
            "white; what they really were, it cannot know."
        )
    elif not is_colorless:
        yield "No color was added: the original's own was kept."
    if "density" in shown.files:
        strength = "" if recipe.strength == 1 else f", at {recipe.strength:.0%} of its strength"
        yield f"Fading was repaired by the network {recipe.defader}{strength}: contrast, and the balance of grays."
    for facts in shown.facts.values():
        yield from facts.get("notes", ())
    yield "Size, depth and metadata are the original's. The file itself says what made it; the original is unchanged."
