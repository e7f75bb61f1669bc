"""Downloads: a photo's files, a batch's results as one zip, a batch's report."""

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import Final
from uuid import UUID

from flask import Blueprint, Response, g, request
from flask.typing import ResponseReturnValue
from zipstream import ZIP_STORED, ZipStream

from retint import catalogue, photos, reports, withholding
from retint.errors import NotFound
from retint.names import unique_path
from retint.reports import ReportRow
from retint.stores import BlobStore
from retint.tables import Batch, Job
from retint.tenancy import get_owned
from retint_web import services
from retint_web.files import blobs
from retint_web.security import moves_bytes

blueprint = Blueprint("downloads", __name__)

COLUMNS: Final = (
    "file",
    "outcome",
    "stage",
    "reason_code",
    "reason",
    "original_bytes",
    "original_sha256",
    "result",
    "result_sha256",
    "remark",
    "notes",
    "ended_at",
    "job",
    "taken_over_from",
    "earlier_results",
    "verdict",
    "judged_by",
    "judged_at",
    "note",
)
CATALOGUED: Final = ("title", "identifier", "rights")
"""Columns of a report that the catalogue tells."""
CATALOGUE_PREFIX: Final = "catalogue:"
"""In front of the catalogue's own columns, which end a report."""
RECEIPT: Final = ("path", "bytes", "sha256", "received_at")
"""Columns of a receipt."""
FORMULA_PREFIXES: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
"""Beginnings of a cell that a spreadsheet may execute as a formula (OWASP, CSV injection)."""
BOM: Final = "\N{ZERO WIDTH NO-BREAK SPACE}"


@blueprint.get("/jobs/<uuid:job_id>/files/<name>")
@moves_bytes
def file(job_id: UUID, name: str) -> ResponseReturnValue:
    """Send one of a job's files; `?download=1` makes the browser save it."""
    return send_file(job_id, name, attach="download" in request.args)


@blueprint.get("/batches/<uuid:batch_id>/results.zip")
@moves_bytes
def results(batch_id: UUID) -> ResponseReturnValue:
    """Send all results of a batch."""
    return send_results(batch_id)


@blueprint.get("/batches/<uuid:batch_id>/report.csv")
def report(batch_id: UUID) -> ResponseReturnValue:
    """Send a batch's report with a byte order mark, by which spreadsheets recognize UTF-8."""
    return send_report(batch_id, prefix=BOM)


@blueprint.get("/batches/<uuid:batch_id>/receipt.csv")
def receipt(batch_id: UUID) -> ResponseReturnValue:
    """Send a batch's receipt."""
    return send_receipt(batch_id, prefix=BOM)


def send_file(job_id: UUID, name: str, *, attach: bool) -> ResponseReturnValue:
    """Answer with one of a job's files.

    Raises:
        NotFound: there is no such job, or the job has no such file yet.
        Withheld: the catalogue forbids the colors that the file shows.
    """
    deposited, key = _find_file(job_id, name)
    return blobs.send(services().store, key, _download_name(deposited, name, key), attach=attach)


def send_results(batch_id: UUID) -> ResponseReturnValue:
    """Answer with a zip of a batch's results so far, their provenance records and the report, built while it is sent.

    Raises:
        NotFound: there is no such batch.
    """
    name = batch_name(batch_id)
    rows = reports.read(services(), g.identity.tenant_id, batch_id)
    catalogued = _catalogued(batch_id)
    response = Response(_stream_zip(services().store, rows, catalogued), content_type="application/zip")
    response.headers["Content-Disposition"] = blobs.content_disposition("attachment", f"{name}.zip")
    response.headers["Cache-Control"] = "no-store"
    return response


def send_report(batch_id: UUID, *, prefix: str = "") -> ResponseReturnValue:
    """Answer with a batch's report as CSV (RFC 4180, UTF-8).

    Raises:
        NotFound: there is no such batch.
    """
    name = batch_name(batch_id)
    rows = reports.read(services(), g.identity.tenant_id, batch_id)
    return send_csv(_csv_lines(rows, prefix, _catalogued(batch_id)), f"{name}.csv")


def send_receipt(batch_id: UUID, *, prefix: str = "") -> ResponseReturnValue:
    """Answer with a batch's receipt as CSV: what the portal has received, file by file.

    Raises:
        NotFound: there is no such batch.
    """
    name = batch_name(batch_id)
    rows = reports.read(services(), g.identity.tenant_id, batch_id)
    lines = (csv_line((row.name, row.size, row.sha256, row.received_at.isoformat())) for row in rows)
    return send_csv(chain([prefix + csv_line(RECEIPT)], lines), f"{name} receipt.csv")


def send_csv(lines: Iterable[str], name: str) -> Response:
    """Answer with a CSV."""
    response = Response(lines, content_type="text/csv; charset=utf-8; header=present")
    response.headers["Content-Disposition"] = blobs.content_disposition("attachment", name)
    response.headers["Cache-Control"] = "no-store"
    return response


def _stream_zip(store: BlobStore, rows: Iterable[ReportRow], catalogued: list[str]) -> Iterator[bytes]:
    # Pictures are compressed already. Entries are added one at a time, so only the zip's directory grows in memory.
    archive = ZipStream(compress_type=ZIP_STORED)
    with SpooledTemporaryFile(max_size=1 << 20) as table:
        table.write(csv_line(_header(catalogued)).encode())
        for row in rows:
            table.write(csv_line(_cells(row) + _catalogue_cells(row, catalogued)).encode())
            if row.result_name is None:
                continue
            archive.add(_read_blob(store, row.files["result"]), row.result_name)
            if "provenance" in row.files:
                archive.add(_read_blob(store, row.files["provenance"]), f"{row.result_name}.provenance.json")
            yield from archive.all_files()
        table.seek(0)
        archive.add(iter(lambda: table.read(blobs.CHUNK), b""), "report.csv")
        yield from archive.finalize()


def _read_blob(store: BlobStore, key: str) -> Iterator[bytes]:
    with store.open(key) as blob:
        while chunk := blob.read(blobs.CHUNK):
            yield chunk


def _csv_lines(rows: Iterable[ReportRow], prefix: str, catalogued: list[str]) -> Iterator[str]:
    yield prefix + csv_line(_header(catalogued))
    for row in rows:
        yield csv_line(_cells(row) + _catalogue_cells(row, catalogued))


def _catalogued(batch_id: UUID) -> list[str]:
    """Return the columns of a batch's catalogue, which end the report."""
    with services().read() as session:
        return catalogue.list_columns(session, g.identity.tenant_id, batch_id)


def _header(catalogued: list[str]) -> tuple[str, ...]:
    return (*COLUMNS, *CATALOGUED, *(f"{CATALOGUE_PREFIX}{name}" for name in catalogued))


def _catalogue_cells(row: ReportRow, catalogued: list[str]) -> tuple[object, ...]:
    """Return what the catalogue says of a file: what is understood, then every column word for word."""
    is_same = [name for name, _ in row.catalogued] == catalogued  # else it was imported anew meanwhile
    values = [value for _, value in row.catalogued] if is_same else [None] * len(catalogued)
    return (row.title, row.identifier, row.rights, *values)


def _cells(row: ReportRow) -> tuple[object, ...]:
    return (
        row.name,
        row.state.value,
        row.stage.value,
        row.reason_code,
        row.reason,
        row.size,
        row.sha256,
        row.result_name,
        row.result_sha256,
        row.remark,
        " ".join(row.notes),
        row.ended_at and row.ended_at.isoformat(timespec="seconds"),
        row.job_id,
        row.taken_over_from,
        "; ".join(f"{link.job_id} {link.result_sha256 or link.state}" for link in row.earlier),
        row.said and row.said.verdict.value,
        row.said and row.said.by,
        row.said and row.said.at.isoformat(timespec="seconds"),
        row.said and row.said.note,
    )


def csv_line(cells: Iterable[object]) -> str:
    """Write one row of a CSV; nothing in it is a formula."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(["" if cell is None else _escape_formula(str(cell)) for cell in cells])
    return line.getvalue()


def _escape_formula(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_PREFIXES) else cell


def _find_file(job_id: UUID, name: str) -> tuple[str, str]:
    """Return the name under which a job's photo was deposited, and the key of one of its files."""
    with services().read() as session:
        job = get_owned(session, Job, g.identity.tenant_id, job_id)
        withholding.check(job, name)
        found = photos.list_files(session, g.identity.tenant_id, job_id)
    if name == "proxy" and name not in found:  # lists show it without knowing its name
        name = "crop"
    if name not in found:
        raise NotFound("The photo has no such file, or does not have it yet.")
    return job.name, found[name]


def _download_name(deposited: str, name: str, key: str) -> str:
    """Name a download: the result like the deposited file but with its own suffix, other files by what they are."""
    original = PurePosixPath(deposited.replace("\\", "/")).name or "photo"
    if name == "original":
        return original
    suffix = PurePosixPath(key).suffix
    result = PurePosixPath(unique_path(original, suffix, set()))
    return result.name if name == "result" else f"{result.stem}-{name}{suffix}"


def batch_name(batch_id: UUID) -> str:
    """Return a batch's name.

    Raises:
        NotFound: there is no such batch.
    """
    with services().read() as session:
        return get_owned(session, Batch, g.identity.tenant_id, batch_id).name
