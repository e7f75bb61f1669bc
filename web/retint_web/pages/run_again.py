"""Running photos of a batch again: which ones, and with which recipe."""

from typing import Final
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from retint import recipes
from retint.errors import InvalidRequest
from retint.jobs import long_moves, tallies
from retint.jobs.long_moves import Selection
from retint.jobs.tallies import Counts
from retint.lifecycle import State, Verdict
from retint.recipes import Recipe
from retint.tables import Batch
from retint.tenancy import get_owned
from retint_web import services
from retint_web.pages import recipe_form, words

blueprint = Blueprint("run_again", __name__)

CHOICES: Final = {
    "refused": ("Those that were refused", Selection(State.REFUSED)),
    "quarantined": ("Those in quarantine", Selection(State.QUARANTINED)),
    "rejected": ("Those whose results were rejected", Selection(verdict=Verdict.REJECTED)),
    "unjudged": ("Those whose results nobody has judged", Selection(verdict=Verdict.UNJUDGED)),
    "restored": ("All that were restored", Selection(State.RESTORED)),
    "all": ("All that have ended", Selection()),
}
"""What the form offers: the words, and which jobs are meant."""


@blueprint.get("/batches/<uuid:batch_id>/again")
def ask(batch_id: UUID) -> ResponseReturnValue:
    """Show the form that chooses photos and a recipe."""
    with services().read() as session:
        batch = get_owned(session, Batch, g.identity.tenant_id, batch_id)
        counts = tallies.count_jobs(session, [batch_id])[batch_id]
    choices = [(name, title, n) for name, (title, chosen) in CHOICES.items() if (n := _count(counts, chosen))]
    return render_template(
        "batches/again.html",
        batch=batch,
        choices=choices,
        chosen=request.args.get("which", choices[0][0] if choices else ""),
        **recipe_form.template_values(Recipe.model_validate(batch.recipe)),
    )


@blueprint.post("/batches/<uuid:batch_id>/again")
def start(batch_id: UUID) -> ResponseReturnValue:
    """Run the chosen photos again. Their results so far stay."""
    with services().read() as session:
        get_owned(session, Batch, g.identity.tenant_id, batch_id)
    if request.form.get("which") not in CHOICES:
        raise InvalidRequest("Choose which photos are run again.")
    chosen = CHOICES[request.form["which"]][1]
    chosen = Selection(chosen.state, chosen.verdict, request.form.get("reason_code") or None)
    recipe = None if request.form.get("recipe") == "same" else recipe_form.parse(request.form)
    if recipe is not None:
        recipes.check(recipe, services().settings.weights)
    with services().begin() as session:
        move_id = long_moves.run_again(session, g.identity.tenant_id, batch_id, chosen, recipe)
    flash(words.describe_run_again(*long_moves.carry_out_all(services(), [move_id])))
    return redirect(url_for("batches.show", batch_id=batch_id), code=303)


def _count(counts: Counts, chosen: Selection) -> int:
    if chosen.verdict is not None:
        return counts.verdicts.get(chosen.verdict, 0)
    return counts.of(*([chosen.state] if chosen.state else [State.RESTORED, State.REFUSED, State.QUARANTINED]))
