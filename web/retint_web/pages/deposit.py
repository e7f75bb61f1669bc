"""The deposit page: choose photos and a recipe. JavaScript sends one request a file; without it, all go in one form."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from retint import batches, folders, photos
from retint.errors import Refused
from retint.jobs import changes
from retint.photos import PhotoDetails, Source, Stream
from retint.tables import Batch
from retint_web import remote_photos, services
from retint_web.pages import parameters, recipe_form, words
from retint_web.security import accepts_uploads, moves_bytes
from retint_web.uploads import RequestBody

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
    """
    today = datetime.now(UTC)
    like = _find_like()
    return render_template(
        "deposit.html",
        name=f"Deposit of {today.day} {today:%B %Y}",
        like=like,
        limit_mib=services().settings.upload_limit_mib,
        left_out=folders.LEFT_OUT,
        **recipe_form.template_values(like.recipe if like else recipe_form.DEFAULT),
    )


@blueprint.post("/deposit/batches")
def open_batch() -> ResponseReturnValue:
    """Open a batch for files that JavaScript sends one by one."""
    batch = _open_batch()
    return {
        "page": url_for("batches.show", batch_id=batch.id),
        "files": url_for("deposit.put", batch_id=batch.id),
        "addresses": url_for("deposit.fetch", batch_id=batch.id),
    }, 201


@blueprint.put("/deposit/batches/<uuid:batch_id>/files")
@accepts_uploads
def put(batch_id: UUID) -> ResponseReturnValue:
    """Deposit one file, which is the request's body."""
    job = photos.deposit(services(), g.identity.tenant_id, batch_id, request.args.get("name", ""), RequestBody())
    return {"id": str(job.id)}, 201


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
    batch = _open_batch()
    for name, source in sources:
        try:
            photos.deposit(services(), g.identity.tenant_id, batch.id, name, source)
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
            priority=PRIORITY,
            paused="prove" in request.form,
            created_by=g.identity.user_id,
            imported=services().settings.weights,
        )
        if "include" in request.form:
            shown = photos.load_details(session, g.identity.tenant_id, parameters.parse_id(request.form["include"]))
            changes.add_job(session, batch, shown.photo, shown.job.name)
        return batch


def _find_like() -> PhotoDetails | None:
    """Find the job whose recipe fills in the form."""
    if not request.args.get("like"):
        return None
    with services().read() as session:
        return photos.load_details(session, g.identity.tenant_id, parameters.parse_id(request.args["like"]))
