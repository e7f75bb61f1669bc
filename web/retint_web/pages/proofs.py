"""Pages of proofs: photographs of a paused batch through a few recipes, side by side; the rest follows the best."""

from dataclasses import dataclass
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from retint import proofs
from retint.errors import IllegalMove, InvalidRequest
from retint.proofs import Column, Proof
from retint.recipes import Recipe
from retint.trials import Try
from retint_web import services
from retint_web.pages import recipe_form, words
from retint_web.pages.trials import Original, TryCard, find_original, make_card

blueprint = Blueprint("proofs", __name__)


@dataclass(frozen=True)
class Head:
    """What stands over a column: a recipe, and what the whole batch takes with it."""

    column: Column
    title: str
    settings: str
    is_released: bool
    """Whether the batch goes on with it."""


@dataclass(frozen=True)
class PhotoRow:
    """One photograph, before and through each recipe."""

    name: str
    original: Original
    cards: list[TryCard]

    @property
    def key(self) -> str:
        """What tells it from other rows."""
        return str(self.cards[0].tried.photo_id)


@blueprint.get("/batches/<uuid:batch_id>/proof")
def show(batch_id: UUID) -> ResponseReturnValue:
    """Show the proof of a batch; where there is none, the form that opens it."""
    proof = _load(batch_id)
    if proof.columns:
        return render_template("proofs/show.html", **_page_values(proof))
    if not proof.can_begin:
        return redirect(url_for("batches.show", batch_id=batch_id), code=303)
    recipe = Recipe.model_validate(proof.batch.recipe)
    suggested = proofs.suggest_recipes(recipe, services().settings.weights)
    return render_template(
        "proofs/new.html",
        proof=proof,
        most=proofs.MOST_RECIPES,
        suggested={each.colorizer for each in suggested},
        **recipe_form.template_values(recipe),
    )


@blueprint.post("/batches/<uuid:batch_id>/proof")
def begin(batch_id: UUID) -> ResponseReturnValue:
    """Open the proof of a batch with the colorizers that the form names; all else is as in the batch's recipe."""
    recipe = Recipe.model_validate(_load(batch_id).batch.recipe)
    try:
        with services().begin() as session:
            proofs.open(
                session,
                g.identity.tenant_id,
                batch_id,
                [proofs.vary(recipe, name) for name in request.form.getlist("network")],
                created_by=g.identity.user_id,
                imported=services().settings.weights,
            )
    except (IllegalMove, InvalidRequest) as error:
        flash(error.message)
    return _redirect(batch_id)


@blueprint.get("/batches/<uuid:batch_id>/proof/live")
def live(batch_id: UUID) -> ResponseReturnValue:
    """Return the fragment that the page polls.

    Query:
        open: ids of the jobs on the page that had not ended, separated by commas.
    """
    values = _page_values(_load(batch_id))
    open_ids = set(request.args.get("open", "").split(","))
    rows: list[PhotoRow] = values["rows"]  # type: ignore[assignment]
    changing = [row for row in rows if any(str(card.tried.job_id) in open_ids for card in row.cards)]
    return render_template("proofs/_refresh.html", **values | {"rows": changing})


@blueprint.post("/batches/<uuid:batch_id>/proof/release")
def release(batch_id: UUID) -> ResponseReturnValue:
    """Restore the whole batch with one of the recipes."""
    try:
        with services().begin() as session:
            proofs.release(session, g.identity.tenant_id, batch_id, request.form.get("recipe", ""))
    except IllegalMove as error:
        flash(error.message)
        return _redirect(batch_id)
    flash("The whole batch is restored with this recipe. What the proof has made is not made again.")
    return redirect(url_for("batches.show", batch_id=batch_id), code=303)


@blueprint.post("/batches/<uuid:batch_id>/proof/discard")
def discard(batch_id: UUID) -> ResponseReturnValue:
    """Discard the proof; another one can be opened."""
    with services().begin() as session:
        proofs.discard(session, g.identity.tenant_id, batch_id)
    return _redirect(batch_id)


def _redirect(batch_id: UUID) -> ResponseReturnValue:
    return redirect(url_for("proofs.show", batch_id=batch_id), code=303)


def _load(batch_id: UUID) -> Proof:
    with services().read() as session:
        return proofs.load(session, g.identity.tenant_id, batch_id)


def _page_values(proof: Proof) -> dict[str, object]:
    """Collect the template values of a proof's page."""
    tries = [each for column in proof.columns for each in column.tries]
    is_released = not proof.can_begin and proof.batch.paused_at is None
    return {
        "proof": proof,
        "rows": [_make_row(row) for row in proof.rows],
        "heads": [
            Head(
                column,
                recipe_form.network_title(column.recipe.colorizer),
                recipe_form.describe_settings(column.recipe),
                is_released and proof.batch.recipe_hash == column.recipe.hash,
            )
            for column in proof.columns
        ],
        "ended": sum(each.state.is_final for each in tries),
        "restored": sum(column.restored for column in proof.columns),
        "total": len(tries),
        "status": words.describe_proof(proof),
        "is_live": not proof.is_over,
        "most": len(tries),
    }


def _make_row(tries: list[Try]) -> PhotoRow:
    return PhotoRow(tries[0].name, find_original(tries), [make_card(each) for each in tries])
