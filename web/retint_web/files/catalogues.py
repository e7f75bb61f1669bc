"""Catalogues that are sent in, and what of them has no counterpart, as a CSV."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final
from uuid import UUID

from flask import Blueprint, g, request
from flask.typing import ResponseReturnValue

from retint import catalogue
from retint.catalogue import Import, Told
from retint.catalogue_files import MOST_BYTES, CatalogueRefused
from retint_web import services
from retint_web.files import downloads
from retint_web.security import accepts_uploads, moves_bytes

blueprint = Blueprint("catalogues", __name__)

COLUMNS: Final = ("problem", "row", "file", "identifier")


@blueprint.get("/batches/<uuid:batch_id>/unmatched.csv")
@moves_bytes
def unmatched(batch_id: UUID) -> ResponseReturnValue:
    """Send which files and records of a batch have no counterpart, or more than one."""
    return send_unmatched(batch_id, prefix=downloads.BOM)


@blueprint.post("/batches/<uuid:batch_id>/catalogue/unmatched.csv")
@accepts_uploads
def would_be_unmatched(batch_id: UUID) -> ResponseReturnValue:
    """Send the same of a catalogue that is not imported."""
    return send_would_be_unmatched(batch_id, read_form, prefix=downloads.BOM)


def import_file(batch_id: UUID, data: bytes, *, dry_run: bool) -> Import:
    """Import a catalogue, or say what would become of it.

    Raises:
        NotFound: there is no such batch.
        CatalogueRefused: the catalogue cannot be read.
        IllegalMove: the batch was cancelled.
    """
    tenant_id = g.identity.tenant_id
    return catalogue.import_file(services(), tenant_id, batch_id, data, dry_run=dry_run)


def read_body() -> bytes:
    """Read the request's body, as far as a catalogue may be long."""
    return request.stream.read(MOST_BYTES + 1)


def read_form() -> bytes:
    """Read the file of a form.

    Raises:
        CatalogueRefused: none was chosen.
    """
    file = request.files.get("catalogue")
    if file is None or not file.filename:
        raise CatalogueRefused(["Choose the catalogue first: a CSV file."])
    return file.stream.read(MOST_BYTES + 1)


def send_unmatched(batch_id: UUID, *, prefix: str = "") -> ResponseReturnValue:
    """Answer with which files and records of a batch have no counterpart, or more than one, as CSV.

    Raises:
        NotFound: there is no such batch.
    """
    with services().read() as session:
        matching = catalogue.match(session, g.identity.tenant_id, batch_id)
    return _send(downloads.batch_name(batch_id), matching.told, prefix)


def send_would_be_unmatched(batch_id: UUID, read: Callable[[], bytes], *, prefix: str = "") -> ResponseReturnValue:
    """Answer with the same of a catalogue that is not imported, and is read once it is clear whose batch it is.

    Raises:
        NotFound: there is no such batch.
        CatalogueRefused: the catalogue cannot be read.
    """
    name = downloads.batch_name(batch_id)
    return _send(name, import_file(batch_id, read(), dry_run=True).matching.told, prefix)


def _send(name: str, told: Iterable[Told], prefix: str) -> ResponseReturnValue:
    def lines() -> Iterator[str]:
        yield prefix + downloads.csv_line(COLUMNS)
        for each in told:
            yield downloads.csv_line((each.problem, each.row, each.file, each.identifier))

    return downloads.send_csv(lines(), f"{name} unmatched.csv")
