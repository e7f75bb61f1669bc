"""The deposit page: choose photos, and a recipe or a batch that they are added to.

JavaScript sends the files one by one, by the protocol tus (`api/sending.py`); without it, all go in one form.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from retint import batches, folders, institutions, photos, quotas
from retint.errors import NotFound, Refused
from retint.jobs import changes
from retint.photos import PhotoDetails, Source, Stream
from retint.quotas import QuotaExceeded
from retint.tables import Batch
from retint.tenancy import get_owned
from retint_web import remote_photos, services
from retint_web.pages import parameters, recipe_form, words
from retint_web.security import accepts_uploads, moves_bytes

blueprint = Blueprint("deposit", __name__)

MOST_SHOWN: Final = 5
"""Most refused files that are named; the others are counted."""
SENTENCE: Final = 300
"""Most characters that are shown of one."""
PRIORITY: Final = 5
"""Higher than bulk deposits by the API, because a person is waiting."""


@blueprint.get("/deposit")
def new() -> ResponseReturnValue:
    """Show the form.

    Query:
        like: id of a job whose recipe is filled in. If it is a trial's, depositing its photo as well is offered.
        batch: id of a batch that the photos are added to; it has a recipe.
    """
    today = datetime.now(UTC)
    batch = _find_batch(request.args)
    like = None if batch else _find_like()
    with services().read() as session:
        warnings = institutions.get(session, g.identity.tenant_id).warnings
    return render_template(
        "deposit.html",
        name=f"Deposit of {today.day} {today:%B %Y}",
        like=like,
        batch=batch,
        addresses=_addresses(batch.id) if batch else None,
        limit_mib=services().settings.upload_limit_mib,
        left_out=folders.LEFT_OUT,
        warnings=warnings,
        **recipe_form.template_values(like.recipe if like else recipe_form.DEFAULT),
    )


@blueprint.post("/deposit/batches")
def open_batch() -> ResponseReturnValue:
    """Open a batch for files that JavaScript sends one by one."""
    return _addresses(_open_batch().id), 201


@blueprint.post("/deposit/batches/<uuid:batch_id>/addresses")
@moves_bytes
def fetch(batch_id: UUID) -> ResponseReturnValue:
    """Deposit one photo from a web address."""
    job = remote_photos.deposit(batch_id, request.form.get("address", ""))
    return {"id": str(job.id)}, 201


@blueprint.post("/deposit")
@accepts_uploads
def send() -> ResponseReturnValue:
    """Deposit the files of the form that is sent without JavaScript; say which files were refused."""
    files = [file for file in request.files.getlist("files") if file.filename]
    address = request.form.get("address", "").strip()
    if not files and not address and "include" not in request.form:
        flash("Choose at least one photo.")
        return redirect(url_for("deposit.new", like=request.form.get("like")), code=303)
    sources: list[tuple[str, Source]] = [(file.filename or "photo", Stream(file.stream)) for file in files]
    refused = []
    try:
        if address:
            photo = remote_photos.fetch(address)
            sources.append((photo.name, photo))
    except Refused as error:
        refused.append(f"{address}: {error.message}")
    batch = _find_batch(request.form) or _open_batch()
    for place, (name, source) in enumerate(sources):
        try:
            photos.deposit(services(), g.identity.tenant_id, batch.id, name, source)
        except QuotaExceeded as error:
            left = words.pluralize(len(sources) - place, "file is", "files are")
            flash(f"{error.message} {left} left out; those before stay.")
            break
        except Refused as error:
            refused.append(f"{name}: {error.message}")
    _flash_refused(refused)
    return redirect(url_for("batches.show", batch_id=batch.id), code=303)


def _flash_refused(sentences: list[str]) -> None:
    """Show the first few: a session is a cookie, and browsers drop one of more than 4 kB."""
    for sentence in sentences[:MOST_SHOWN]:
        flash(sentence[:SENTENCE])
    if len(sentences) > MOST_SHOWN:
        flash(f"{words.pluralize(len(sentences) - MOST_SHOWN, 'more file')} could not be taken.")


def _open_batch() -> Batch:
    """Open the batch that the form describes, and add the trial's photo if that was chosen."""
    with services().begin() as session:
        batch = batches.open(
            session,
            g.identity.tenant_id,
            request.form.get("name", ""),
            recipe_form.parse(request.form),
            priority=quotas.cap_priority(session, g.identity.tenant_id, PRIORITY),
            paused="prove" in request.form,
            created_by=g.identity.user_id,
            imported=services().settings.weights,
        )
        if "include" in request.form:
            shown = photos.load_details(session, g.identity.tenant_id, parameters.parse_id(request.form["include"]))
            changes.add_job(session, batch, shown.photo, shown.job.name)
        return batch


def _addresses(batch_id: UUID) -> dict[str, str]:
    """Return the batch's id, and the addresses by which JavaScript fills it and shows what became of it."""
    return {
        "id": str(batch_id),
        "page": url_for("batches.show", batch_id=batch_id),
        "receipt": url_for("downloads.receipt", batch_id=batch_id),
        "known": url_for("sending.add_known_files", batch_id=batch_id),
        "uploads": url_for("sending.open_upload"),
        "addresses": url_for("deposit.fetch", batch_id=batch_id),
    }


def _find_batch(values: Mapping[str, str]) -> Batch | None:
    """Find the batch that photos are added to.

    Raises:
        NotFound: there is no such batch, or it is a trial's, which has one photo.
        IllegalMove: the batch was cancelled.
    """
    if not values.get("batch"):
        return None
    with services().read() as session:
        batch = get_owned(session, Batch, g.identity.tenant_id, parameters.parse_id(values["batch"]))
        if batch.trial:
            raise NotFound("A trial has one photo. Deposit others in a batch.")
        changes.refuse_cancelled(batch.cancelled_at)
        return batch


def _find_like() -> PhotoDetails | None:
    """Find the job whose recipe fills in the form."""
    if not request.args.get("like"):
        return None
    with services().read() as session:
        return photos.load_details(session, g.identity.tenant_id, parameters.parse_id(request.args["like"]))
