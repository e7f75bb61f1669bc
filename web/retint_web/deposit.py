"""Deposit: choose photographs and a recipe; by script file after file, without script as one form."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from retint import batches, photos, recipes
from retint.errors import InvalidRequest, Refused
from retint.recipes import Recipe
from retint.tables import Batch
from retint_web import services
from retint_web.security import login_required, takes_files

blueprint = Blueprint("deposit", __name__)

PRIORITY: Final = 5
"""Before what comes in bulk: a person is waiting."""

USUAL: Final = recipes.parse({})

TITLES: Final = {
    "compact": ("Balanced", "Plausible, restrained color. The usual choice."),
    "compact-vivid": ("Vivid", "More color, and more risk of a wrong one."),
    "keep": ("No color", "Leave the colors as they are."),
}
"""What people read instead of a network's name and its card."""


@dataclass(frozen=True)
class Choice:
    """One colorizer that can be chosen."""

    name: str
    title: str
    words: str


@blueprint.get("/deposit")
@login_required
def new() -> ResponseReturnValue:
    """Show the form."""
    today = datetime.now(UTC)
    return render_template(
        "deposit.html",
        name=f"Deposit of {today.day} {today:%B %Y}",
        choices=[
            _choice(name, network.title)
            for name, network in recipes.networks("colorizer", services().settings.weights).items()
        ],
        usual=USUAL.colorizer,
        limit_mib=services().settings.upload_limit_mib,
    )


@blueprint.post("/deposit/batches")
@login_required
def open_batch() -> ResponseReturnValue:
    """Open a batch for the files that the script will send one by one."""
    try:
        batch = _open()
    except Refused as error:
        return {"detail": error.message}, error.status
    return {
        "page": url_for("batches.show", batch_id=batch.id),
        "files": url_for("deposit.put", batch_id=batch.id),
    }, 201


@blueprint.put("/deposit/batches/<uuid:batch_id>/files")
@takes_files
@login_required
def put(batch_id: UUID) -> ResponseReturnValue:
    """Take one file as the request's body."""
    try:
        name = request.args.get("name", "")
        job = photos.deposit(services(), g.identity.tenant_id, batch_id, name, request.stream)
    except Refused as error:
        return {"detail": error.message}, error.status
    return {"id": str(job.id)}, 201


@blueprint.post("/deposit")
@takes_files
@login_required
def send() -> ResponseReturnValue:
    """Take files from the plain form. What is refused is said; the others are in."""
    sent = [file for file in request.files.getlist("files") if file.filename]
    if not sent:
        flash("Choose at least one photo.")
        return redirect(url_for("deposit.new"), code=303)
    batch = _open()
    for file in sent:
        try:
            photos.deposit(services(), g.identity.tenant_id, batch.id, file.filename or "photo", file.stream)
        except Refused as error:
            flash(f"{file.filename}: {error.message}")
    return redirect(url_for("batches.show", batch_id=batch.id), code=303)


def _open() -> Batch:
    """Open a batch as the form says."""
    with services().begin() as session:
        return batches.open(
            session,
            g.identity.tenant_id,
            request.form.get("name", ""),
            _recipe(),
            priority=PRIORITY,
            created_by=g.identity.user_id,
            imported=services().settings.weights,
        )


def _recipe() -> Recipe:
    """Read the form's recipe.

    Raises:
        InvalidRequest: a field does not fit.
    """
    form = request.form
    try:
        strength = float(form.get("strength", "1"))
    except ValueError as error:
        raise InvalidRequest("The strength is a number from 0 to 1.", code="invalid_recipe") from error
    return recipes.parse(
        {
            "colorizer": form.get("colorizer", USUAL.colorizer),
            "defader": USUAL.defader if strength > 0 else "keep",
            "strength": strength if strength > 0 else 1.0,
            "insist": "insist" in form,
        }
    )


def _choice(name: str, card: str) -> Choice:
    title, words = TITLES.get(name, (name, card))
    return Choice(name, title, words)
