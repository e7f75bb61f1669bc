"""The page of a batch's catalogue: what would become of a CSV, and its import."""

import hashlib
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from retint import catalogue
from retint.catalogue import EXAMPLES, Import
from retint.catalogue_files import CatalogueRefused
from retint.tables import Batch
from retint.tenancy import get_owned
from retint_web import services
from retint_web.files import catalogues
from retint_web.pages import words
from retint_web.security import accepts_uploads

blueprint = Blueprint("catalogue", __name__)


@blueprint.get("/batches/<uuid:batch_id>/catalogue")
def show(batch_id: UUID) -> ResponseReturnValue:
    """Show what a batch's catalogue is, and the form to send one."""
    return _page(batch_id)


@blueprint.post("/batches/<uuid:batch_id>/catalogue/check")
@accepts_uploads
def check(batch_id: UUID) -> ResponseReturnValue:
    """Say what would become of a catalogue; nothing is imported."""
    values = _check(batch_id)
    if "HX-Request" in request.headers:
        return render_template("catalogue/_check.html", **values)
    return _page(batch_id, **values)


@blueprint.post("/batches/<uuid:batch_id>/catalogue")
@accepts_uploads
def send(batch_id: UUID) -> ResponseReturnValue:
    """Import the catalogue that was checked before; check another one."""
    values = _check(batch_id)
    if values["problems"] or request.form.get("checked") != values["checked"]:
        return _page(batch_id, **values), 422 if values["problems"] else 200
    request.files["catalogue"].stream.seek(0)
    flash(_describe(catalogues.import_file(batch_id, catalogues.read_form(), dry_run=False)))
    return redirect(url_for("catalogue.show", batch_id=batch_id), code=303)


def _check(batch_id: UUID) -> dict[str, object]:
    """Return the template values that say what would become of the form's catalogue."""
    with services().read() as session:
        batch = get_owned(session, Batch, g.identity.tenant_id, batch_id)
    values: dict[str, object] = {"batch": batch, "problems": [], "preview": None, "checked": None, "most": EXAMPLES}
    try:
        data = catalogues.read_form()
        values["preview"] = catalogues.import_file(batch_id, data, dry_run=True)
        values["checked"] = hashlib.sha256(data).hexdigest()
    except CatalogueRefused as error:
        values["problems"] = error.problems
    return values


def _page(batch_id: UUID, **values: object) -> str:
    with services().read() as session:
        batch = get_owned(session, Batch, g.identity.tenant_id, batch_id)
        records, matched = catalogue.count(session, batch.tenant_id, batch_id)
    defaults = {"batch": batch, "records": records, "matched": matched, "preview": None, "problems": []}
    return render_template("catalogue/show.html", **defaults | values)


def _describe(done: Import) -> str:
    """Say in one line what an import has done."""
    sentences = [f"Imported {words.pluralize(len(done.matching.rows), 'record')}."]
    if done.replaced:
        sentences.append(f"They replace {words.pluralize(done.replaced, 'earlier one')}.")
    if done.kept_gray:
        sentences.append(f"{words.pluralize(done.kept_gray, 'photo')} will not be colorized.")
    if done.withheld:
        sentences.append(
            f"{words.pluralize(done.withheld, 'colored result')} "
            f"{'is' if done.withheld == 1 else 'are'} withheld, and made anew without colors."
        )
    return " ".join(sentences)
