"""Pages of trials: one photo restored by several networks, side by side, to choose one for a deposit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response as AnyResponse

from retint import photos, recipes, trials
from retint.errors import InvalidRequest, Refused
from retint.lifecycle import Stage, State
from retint.pages import list_photographs
from retint.photos import Stream
from retint.recipes import Recipe
from retint.tables import Photo
from retint.trials import Trial, Try
from retint_web import remote_photos, services
from retint_web.pages import parameters, recipe_form
from retint_web.security import accepts_uploads

blueprint = Blueprint("trials", __name__)

EARLIER: Final = 8
"""How many earlier trials the form shows."""
TALL, WIDE = 0.9, 1.2
"""Ratios of width to height: below the first, frames are tall; above the second, wide."""


@dataclass(frozen=True)
class TryCard:
    """One try on a trial's page."""

    tried: Try
    title: str
    settings: str

    @property
    def picture(self) -> str | None:
        """Name of the file that shows the result; None before it is restored."""
        name = "thumb" if self.is_film else "preview"
        return name if self.tried.state is State.RESTORED and name in self.tried.files else None

    @property
    def is_film(self) -> bool:
        """Whether it is a film."""
        return bool(self.tried.facts.get(Stage.INGEST, {}).get("film"))


@dataclass(frozen=True)
class Original:
    """The photo as it was deposited."""

    picture: str | None
    """Address of its picture; None before ingest."""
    shape: str
    """Shape of all frames on the page: `tall`, `square` or `wide`."""


@blueprint.get("/trials/new")
def new() -> ResponseReturnValue:
    """Show the form that chooses a photo and networks."""
    with services().read() as session:
        earlier = trials.list_page(session, g.identity.tenant_id, limit=EARLIER)
    return render_template(
        "trials/new.html",
        **recipe_form.template_values(),
        leading=[
            recipe_form.network_title(recipe.colorizer)
            for recipe in trials.suggest_leading(imported=services().settings.weights)
        ],
        earlier=earlier,
        limit_mib=services().settings.upload_limit_mib,
    )


@blueprint.post("/trials")
@accepts_uploads
def begin() -> ResponseReturnValue:
    """Try one photo: an uploaded file, one from a web address, or one that was deposited before."""
    settings = services().settings
    try:
        photo, name, base = _find_photo()
        if "leading" in request.form:
            chosen = trials.suggest_leading(base, settings.weights)
        else:
            chosen = trials.suggest_recipes(request.form.getlist("network"), base, imported=settings.weights)
        with services().begin() as session:
            trial_id = trials.open(
                session,
                g.identity.tenant_id,
                photo,
                name,
                chosen,
                created_by=g.identity.user_id,
                imported=settings.weights,
            )
    except Refused as error:
        if "job" in request.form:
            raise
        flash(error.message)
        return redirect(url_for("trials.new"), code=303)
    return redirect(url_for("trials.show", trial_id=trial_id), code=303)


def _find_photo() -> tuple[Photo, str, Recipe]:
    """Return the photo that the form chooses, its name, and a recipe that says what of it is restored."""
    tenant_id = g.identity.tenant_id
    file, address = request.files.get("photo"), request.form.get("address", "").strip()
    if "job" in request.form:
        with services().read() as session:
            shown = photos.load_details(session, tenant_id, parameters.parse_id(request.form["job"]))
        base = Recipe(region=shown.recipe.region, invert=shown.recipe.invert)
        return shown.photo, shown.job.name, base
    base = recipes.parse(recipe_form.parse_region(request.form))
    if file and file.filename:
        return photos.store_original(services(), tenant_id, Stream(file.stream)), file.filename, base
    if address:
        fetched = remote_photos.fetch(address)
        return photos.store_original(services(), tenant_id, fetched), fetched.name, base
    raise InvalidRequest("Choose a photo to try.")


@blueprint.get("/trials/<uuid:trial_id>")
def show(trial_id: UUID) -> ResponseReturnValue:
    """Show a photo and its tries side by side."""
    return render_template("trials/show.html", **_page_values(trial_id), **recipe_form.template_values())


@blueprint.get("/trials/<uuid:trial_id>/live")
def live(trial_id: UUID) -> ResponseReturnValue:
    """Return the fragment that a trial's page polls.

    Query:
        open: ids of the jobs on the page that had not ended, separated by commas.
    """
    values = _page_values(trial_id)
    open_ids = set(request.args.get("open", "").split(","))
    cards = [card for card in values["cards"] if str(card.tried.job_id) in open_ids]  # type: ignore[attr-defined]
    fragment = render_template("trials/_refresh.html", **values | {"cards": cards})
    return Response(fragment, headers={"HX-Refresh": "true"} if values["refused"] else {})


@blueprint.post("/trials/<uuid:trial_id>/tries")
def add(trial_id: UUID) -> ResponseReturnValue:
    """Try one more recipe."""
    with services().begin() as session:
        job_id = trials.add_try(
            session,
            g.identity.tenant_id,
            trial_id,
            recipe_form.parse(request.form),
            created_by=g.identity.user_id,
            imported=services().settings.weights,
        )
    return redirect(url_for("trials.show", trial_id=trial_id, _anchor=f"job-{job_id}"), code=303)


@blueprint.post("/trials/<uuid:trial_id>/cancel")
def cancel(trial_id: UUID) -> ResponseReturnValue:
    """Cancel the tries that have not ended."""
    with services().begin() as session:
        trials.cancel(session, g.identity.tenant_id, trial_id)
    return _redirect_to_trial(trial_id)


def _redirect_to_trial(trial_id: UUID) -> AnyResponse:
    return redirect(url_for("trials.show", trial_id=trial_id), code=303)


def _page_values(trial_id: UUID) -> dict[str, object]:
    """Collect the template values of a trial's page."""
    with services().read() as session:
        trial = trials.load(session, g.identity.tenant_id, trial_id)
    return {
        "trial": trial,
        "cards": [make_card(each) for each in trial.tries],
        "original": find_original(trial.tries),
        "refused": _common_refusal(trial),
        "is_live": not trial.is_over,
        "ended": sum(each.state.is_final for each in trial.tries),
        "restored": sum(each.state is State.RESTORED for each in trial.tries),
        "most": trials.TRY_LIMIT,
    }


def make_card(tried: Try) -> TryCard:
    """Make the card of a try, of a trial or of a proof."""
    title = recipe_form.network_title(tried.recipe.colorizer)
    return TryCard(tried, title, recipe_form.describe_settings(tried.recipe))


def find_original(tries: Sequence[Try]) -> Original:
    """Find the best picture so far of the original of some tries."""
    for is_ended in (True, False):
        for each in tries:
            facts = each.facts.get(Stage.INGEST, {})
            name = "before" if is_ended else list_photographs(facts)[0].proxy_name
            is_picture = name in each.files and not (name == "before" and facts.get("film"))
            if is_picture:
                ratio = facts.get("width", 4) / facts.get("height", 3)
                shape = "tall" if ratio < TALL else "wide" if ratio > WIDE else "square"
                return Original(url_for("downloads.file", job_id=each.job_id, name=name), shape)
    return Original(None, "wide")


def _common_refusal(trial: Trial) -> str | None:
    """Return the reason if all tries were refused for the same one: then the photo itself cannot be restored."""
    reasons = {each.reason for each in trial.tries if each.state is State.REFUSED}
    all_are = all(each.state is State.REFUSED for each in trial.tries)
    return reasons.pop() if all_are and len(reasons) == 1 else None
