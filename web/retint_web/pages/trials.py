"""Pages of trials: one photo as several networks see it, side by side; then deposit with the one that is liked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response as AnyResponse

from retint import accounts, photos, trials
from retint.errors import InvalidRequest, Refused
from retint.lifecycle import Stage, State
from retint.tables import Photo
from retint.trials import Trial, Try
from retint_web import remote_photos, services
from retint_web.pages import recipe_form, words
from retint_web.security import accepts_uploads, login_required

blueprint = Blueprint("trials", __name__)

EARLIER: Final = 8
TALL, WIDE = 0.9, 1.2
"""Width by height, where the frame is an upright or a lying one."""


@dataclass(frozen=True)
class Frame:
    """One picture of a trial, as the page hangs it."""

    tried: Try
    title: str
    words: str
    """The settings."""

    @property
    def picture(self) -> str | None:
        """The file that shows it; none before it is there."""
        wanted = "thumb" if self.is_film else "preview"
        return wanted if self.tried.state is State.RESTORED and wanted in self.tried.files else None

    @property
    def is_film(self) -> bool:
        """Whether it is a film."""
        return bool(self.tried.facts.get(Stage.INGEST, {}).get("film"))


@dataclass(frozen=True)
class Original:
    """The photo as it was deposited."""

    picture: str | None
    """Address of what shows it; none before somebody has looked."""
    shape: str
    """Of all frames: `tall`, `square` or `wide`."""


@blueprint.get("/trials/new")
@login_required
def new() -> ResponseReturnValue:
    """Show the form: which photo, and which networks."""
    with services().begin() as session:
        earlier = trials.page(session, g.identity.tenant_id, limit=EARLIER)
    return render_template(
        "trials/new.html", **recipe_form.form(), earlier=earlier, limit_mib=services().settings.upload_limit_mib
    )


@blueprint.post("/trials")
@accepts_uploads
@login_required
def begin() -> ResponseReturnValue:
    """Try one photo: one that is sent, one from an address, or one that is here already."""
    settings = services().settings
    try:
        with _photo() as (photo, name):
            wanted = trials.usual(request.form.getlist("network"), imported=settings.weights)
            with services().begin() as session:
                trial_id = trials.open(
                    session,
                    g.identity.tenant_id,
                    photo,
                    name,
                    wanted,
                    created_by=g.identity.user_id,
                    imported=settings.weights,
                )
    except Refused as error:
        if "job" in request.form:
            raise
        flash(error.message)
        return redirect(url_for("trials.new"), code=303)
    return redirect(url_for("trials.show", trial_id=trial_id), code=303)


@contextmanager
def _photo() -> Iterator[tuple[Photo, str]]:
    """Give the photo that the form names, and what it is called."""
    tenant_id = g.identity.tenant_id
    sent, address = request.files.get("photo"), request.form.get("address", "").strip()
    if "job" in request.form:
        with services().begin() as session:
            shown = photos.show(session, tenant_id, words.row_id(request.form["job"]))
        yield shown.photo, shown.job.name
    elif sent and sent.filename:
        yield photos.accept(services(), tenant_id, sent.stream), sent.filename
    elif address:
        with remote_photos.fetch(address) as (name, source):
            yield photos.accept(services(), tenant_id, source), name
    else:
        raise InvalidRequest("Choose a photo to try.")


@blueprint.get("/trials/<uuid:trial_id>")
@login_required
def show(trial_id: UUID) -> ResponseReturnValue:
    """Show a photo and what became of it, side by side."""
    return render_template("trials/show.html", **_standing(trial_id), **recipe_form.form())


@blueprint.get("/trials/<uuid:trial_id>/live")
@login_required
def live(trial_id: UUID) -> ResponseReturnValue:
    """Give the fragment that a trial's page polls.

    Query:
        open: jobs on the page that had not ended, by comma.
    """
    standing = _standing(trial_id)
    watched = set(request.args.get("open", "").split(","))
    frames = [frame for frame in standing["frames"] if str(frame.tried.job_id) in watched]  # type: ignore[attr-defined]
    fragment = render_template("trials/_refresh.html", **standing | {"frames": frames})
    return Response(fragment, headers={"HX-Refresh": "true"} if standing["refused"] else {})


@blueprint.post("/trials/<uuid:trial_id>/tries")
@login_required
def add(trial_id: UUID) -> ResponseReturnValue:
    """Try one recipe more."""
    with services().begin() as session:
        job_id = trials.add(
            session,
            g.identity.tenant_id,
            trial_id,
            recipe_form.read(request.form),
            created_by=g.identity.user_id,
            imported=services().settings.weights,
        )
    return redirect(url_for("trials.show", trial_id=trial_id, _anchor=f"job-{job_id}"), code=303)


@blueprint.post("/trials/<uuid:trial_id>/cancel")
@login_required
def cancel(trial_id: UUID) -> ResponseReturnValue:
    """Stop what has not ended."""
    with services().begin() as session:
        trials.cancel(session, g.identity.tenant_id, trial_id)
        accounts.record(session, "trial_cancelled", str(trial_id), g.identity)
    return _back(trial_id)


def _back(trial_id: UUID) -> AnyResponse:
    return redirect(url_for("trials.show", trial_id=trial_id), code=303)


def _standing(trial_id: UUID) -> dict[str, object]:
    """Gather what a trial's page shows."""
    with services().begin() as session:
        trial = trials.show(session, g.identity.tenant_id, trial_id)
    return {
        "trial": trial,
        "frames": [
            Frame(each, recipe_form.title(each.recipe.colorizer), recipe_form.said(each.recipe)) for each in trial.tries
        ],
        "original": _original(trial),
        "refused": _refused(trial),
        "is_live": not trial.is_over,
        "ended": sum(each.state.is_final for each in trial.tries),
        "restored": sum(each.state is State.RESTORED for each in trial.tries),
        "most": trials.MOST,
    }


def _original(trial: Trial) -> Original:
    """Find what shows the original best so far."""
    for name in ("before", "proxy"):
        for each in trial.tries:
            facts = each.facts.get(Stage.INGEST, {})
            is_shown = name in each.files and not (name == "before" and facts.get("film"))
            if is_shown:
                ratio = facts.get("width", 4) / facts.get("height", 3)
                shape = "tall" if ratio < TALL else "wide" if ratio > WIDE else "square"
                return Original(url_for("downloads.file", job_id=each.job_id, name=name), shape)
    return Original(None, "wide")


def _refused(trial: Trial) -> str | None:
    """Say why, where the photo itself cannot be restored, whoever tries."""
    reasons = {each.reason for each in trial.tries if each.state is State.REFUSED}
    all_are = all(each.state is State.REFUSED for each in trial.tries)
    return reasons.pop() if all_are and len(reasons) == 1 else None
