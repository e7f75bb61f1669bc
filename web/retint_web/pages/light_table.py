"""The light table: a batch's results are looked at and judged one after the other, the riskiest first.

Everything is a form. A script makes it fast: it keeps the next pictures ready, and sends what a key or a button says
while the next one is shown. What it sends to has addresses of its own, which answer with a fragment.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypedDict
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from retint import recipes, verdicts
from retint.chains import get_recipe
from retint.errors import IllegalMove, InvalidRequest, NotFound
from retint.jobs import tallies
from retint.lifecycle import Verdict
from retint.pages import PREVIEW_SIDE
from retint.recipes import Recipe
from retint.roles import Role
from retint.tables import Batch, Job
from retint.tenancy import get_owned
from retint_web import services
from retint_web.pages import parameters, recipe_form, words
from retint_web.security import only

blueprint = Blueprint("light_table", __name__)

FRAMES: Final = 24
"""Results that are loaded at a time."""
STRENGTHS: Final = {"0": "No fading repair", "0.5": "Half the fading repair", "1": "All of the fading repair"}
SHOWN: Final = (Verdict.UNJUDGED, Verdict.APPROVED, Verdict.REJECTED)
"""What the page filters by. A result that is made anew is listed again when it is there."""


Act = Callable[[Session, Job], str]
"""What a form asks of a job's result; returns what to say of it."""


class Seen(TypedDict):
    """What a form says besides: what the reviewer looked at, the note, and who it is."""

    seen_sha256: str
    seen_verdict: Verdict
    note: str | None
    by: UUID | None


@dataclass(frozen=True)
class Change:
    """One thing that rework changes in the recipe."""

    value: str
    title: str


@blueprint.get("/batches/<uuid:batch_id>/light-table")
@only(Role.REVIEWER)
def show(batch_id: UUID) -> ResponseReturnValue:
    """Show the first result that nobody has judged, or the one that the address names, and those after it.

    Query:
        verdict: only results with this verdict; by default those that nobody has judged.
        at: the job whose result is shown.
        last: the job that was judged last, which can be taken back.
    """
    verdict, at, last = _verdict_argument(), request.args.get("at"), request.args.get("last")
    tenant_id = g.identity.tenant_id
    with services().read() as session:
        batch = get_owned(session, Batch, tenant_id, batch_id)
        first = parameters.parse_id(at) if at else None
        frames = verdicts.load(session, tenant_id, [first] if first else [])
        frames += verdicts.list_page(session, tenant_id, batch_id, verdict, after=first, limit=FRAMES)
        if not frames:  # those that were passed over
            frames = verdicts.list_page(session, tenant_id, batch_id, verdict, limit=FRAMES)
        judged = verdicts.load(session, tenant_id, [parameters.parse_id(last)] if last else [])
        values = _bar_values(session, batch)
    return render_template(
        "light_table/show.html",
        **values,
        verdict=verdict,
        frames=frames,
        judged=judged[0] if judged else None,
        changes=_list_changes(),
        note_length=verdicts.NOTE_LENGTH,
        preview_side=PREVIEW_SIDE,
    )


@blueprint.get("/batches/<uuid:batch_id>/light-table/more")
@only(Role.REVIEWER)
def more(batch_id: UUID) -> ResponseReturnValue:
    """Return the fragment with the results after one; the first ones if none is named."""
    after = parameters.parse_id(request.args["after"]) if request.args.get("after") else None
    with services().read() as session:
        found = verdicts.list_page(
            session, g.identity.tenant_id, batch_id, _verdict_argument(), after=after, limit=FRAMES
        )
    return render_template("light_table/_frames.html", frames=found, preview_side=PREVIEW_SIDE)


@blueprint.get("/jobs/<uuid:job_id>/frame")
@only(Role.REVIEWER)
def frame(job_id: UUID) -> ResponseReturnValue:
    """Return the fragment with one result, as it is judged by now.

    Raises:
        NotFound: the job has no result, or there is no such job.
    """
    with services().read() as session:
        found = verdicts.load(session, g.identity.tenant_id, [job_id])
    if not found:
        raise NotFound("There is no such result.")
    return render_template("light_table/_frames.html", frames=found, preview_side=PREVIEW_SIDE)


@blueprint.post("/jobs/<uuid:job_id>/verdict")
@only(Role.REVIEWER)
def judge(job_id: UUID) -> ResponseReturnValue:
    """Judge a result; show the next one. A conflict is told, and what is there now is shown."""
    return _answer_form(job_id, _judge)


@blueprint.post("/jobs/<uuid:job_id>/verdict/bar")
@only(Role.REVIEWER)
def judge_here(job_id: UUID) -> ResponseReturnValue:
    """Judge a result; return the fragment of the page's bar."""
    return _answer_script(job_id, _judge)


@blueprint.post("/jobs/<uuid:job_id>/rework")
@only(Role.REVIEWER)
def rework(job_id: UUID) -> ResponseReturnValue:
    """Let a result be made anew; show the next one."""
    return _answer_form(job_id, _rework)


@blueprint.post("/jobs/<uuid:job_id>/rework/bar")
@only(Role.REVIEWER)
def rework_here(job_id: UUID) -> ResponseReturnValue:
    """Let a result be made anew; return the fragment of the page's bar."""
    return _answer_script(job_id, _rework)


def _answer_form(job_id: UUID, act: Act) -> ResponseReturnValue:
    verdict = _verdict_argument()
    try:
        with services().begin() as session:
            job = get_owned(session, Job, g.identity.tenant_id, job_id)
            batch_id = job.batch_id
            said = act(session, job)
    except IllegalMove as error:
        flash(error.message)
        return redirect(url_for("light_table.show", batch_id=batch_id, verdict=verdict, at=job_id), code=303)
    flash(f"{said} {words.file_name(job.name)}")
    return redirect(url_for("light_table.show", batch_id=batch_id, verdict=verdict, last=job_id), code=303)


def _answer_script(job_id: UUID, act: Act) -> ResponseReturnValue:
    with services().begin() as session:
        job = get_owned(session, Job, g.identity.tenant_id, job_id)
        act(session, job)
    with services().read() as session:
        batch = get_owned(session, Batch, g.identity.tenant_id, job.batch_id)
        return render_template("light_table/_bar.html", **_bar_values(session, batch), verdict=_verdict_argument())


def _judge(session: Session, job: Job) -> str:
    verdict = _parse_verdict(request.form.get("verdict", ""))
    verdicts.judge(session, job.tenant_id, job.id, verdict, **_seen())
    return "Taken back:" if verdict is Verdict.UNJUDGED else f"{verdict.capitalize()}:"


def _rework(session: Session, job: Job) -> str:
    recipe = _parse_change(get_recipe(session, job), request.form.get("change", ""))
    recipes.check(recipe, services().settings.weights)
    verdicts.rework(session, job.tenant_id, job.id, recipe, **_seen())
    return "It is made anew, and comes back here:"


def _seen() -> Seen:
    return {
        "seen_sha256": request.form.get("seen_sha256", ""),
        "seen_verdict": _parse_verdict(request.form.get("seen_verdict", "")),
        "note": request.form.get("note"),
        "by": g.identity.user_id,
    }


def _list_changes() -> list[Change]:
    colorizers = recipes.usable_networks("colorizer", services().settings.weights)
    networks = [
        Change(f"colorizer={name}", "No color" if name == "keep" else recipe_form.network_title(name))
        for name in colorizers
    ]
    return networks + [Change(f"strength={strength}", title) for strength, title in STRENGTHS.items()]


def _parse_change(recipe: Recipe, change: str) -> Recipe:
    """Return a recipe with one thing changed.

    Raises:
        InvalidRequest: there is no such change.
    """
    what, _, value = change.partition("=")
    values = recipe.model_dump()
    if what == "colorizer":
        return recipes.parse({**values, "colorizer": value, "colorizer_settings": {}})
    if what == "strength" and value in STRENGTHS:
        defader = recipe.defader if recipe.defader != "keep" else recipe_form.DEFAULT.defader
        is_off = float(value) == 0
        return recipes.parse(
            {**values, "defader": "keep" if is_off else defader, "strength": 1.0 if is_off else float(value)}
        )
    raise InvalidRequest("Choose what the rework changes.")


def _bar_values(session: Session, batch: Batch) -> dict[str, object]:
    counts = tallies.count_jobs(session, [batch.id])[batch.id]
    return {
        "batch": batch,
        "counts": counts,
        "by_verdict": {verdict: counts.verdicts.get(verdict, 0) for verdict in SHOWN},
        "judged_count": counts.restored - counts.verdicts.get(Verdict.UNJUDGED, 0),
    }


def _verdict_argument() -> Verdict:
    return _parse_verdict(request.args.get("verdict") or Verdict.UNJUDGED)


def _parse_verdict(text: str) -> Verdict:
    try:
        return Verdict(text)
    except ValueError as error:
        raise InvalidRequest("There is no such verdict.") from error
