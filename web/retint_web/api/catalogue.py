"""API operations on catalogues, and the search for photos."""

from typing import Final
from uuid import UUID

from flask import g
from flask.typing import ResponseReturnValue

from retint import search
from retint.catalogue import EXAMPLES, Import, Told
from retint.roles import Scope
from retint_web import services
from retint_web.api import requests, responses
from retint_web.api.blueprint import api, job_url, next_cursor
from retint_web.files import catalogues

CANCELLED: Final = {409: "The batch was cancelled."}


@api.operation(
    "PUT",
    "/batches/<uuid:batch_id>/catalogue",
    responses.CatalogueImport,
    query=requests.CatalogueQuery,
    body="text/csv",
    scope=Scope.DEPOSIT,
    errors=CANCELLED,
)
def import_catalogue(batch_id: UUID, query: requests.CatalogueQuery) -> responses.CatalogueImport:
    """Import a batch's catalogue in place of the one that it has, all of it or nothing; or try to."""
    done = catalogues.import_file(batch_id, catalogues.read_body(), dry_run=query.dry_run)
    return _describe(done, dry_run=query.dry_run)


@api.operation("GET", "/batches/<uuid:batch_id>/catalogue/unmatched.csv", "text/csv", scope=Scope.READ)
def download_unmatched(batch_id: UUID) -> ResponseReturnValue:
    """Download which files and records of a batch have no counterpart, or more than one."""
    return catalogues.send_unmatched(batch_id)


@api.operation(
    "POST",
    "/batches/<uuid:batch_id>/catalogue/unmatched.csv",
    "text/csv",
    body="text/csv",
    scope=Scope.READ,
    errors=CANCELLED,
)
def check_catalogue(batch_id: UUID) -> ResponseReturnValue:
    """Download the same of a catalogue that is not imported."""
    return catalogues.send_would_be_unmatched(batch_id, catalogues.read_body)


@api.operation("GET", "/photos", responses.Page[responses.FoundPhoto], query=requests.SearchQuery, scope=Scope.READ)
def find_photos(query: requests.SearchQuery) -> responses.Page[responses.FoundPhoto]:
    """Find photos by words, state and kind of failure, in one batch or in all."""
    wanted = search.Query(query.q, query.batch, query.state, query.reason_code, query.sort)
    with services().read() as session:
        found = search.list_page(session, g.identity.tenant_id, wanted, after=query.after, limit=query.limit)
    items = [
        responses.FoundPhoto(
            id=each.id,
            name=each.name,
            stage=each.stage,
            state=each.state,
            reason_code=each.reason_code,
            reason=each.reason,
            url=job_url(each.id),
            batch_id=each.batch_id,
            batch=each.batch_name,
            title=each.title,
            identifier=each.identifier,
            rights=each.rights,
        )
        for each in found
    ]
    return responses.Page(items=items, next=next_cursor(items, query.limit))


def _describe(done: Import, *, dry_run: bool) -> responses.CatalogueImport:
    matching = done.matching
    kinds = (matching.ambiguous, matching.no_file, matching.no_record)
    return responses.CatalogueImport(
        dry_run=dry_run,
        records=len(matching.rows),
        replaced=done.replaced,
        matched=matching.matched,
        no_file=len(matching.no_file),
        no_record=len(matching.no_record),
        ambiguous=len(matching.ambiguous),
        not_colorized=matching.forbidden,
        kept_gray=done.kept_gray,
        withheld=done.withheld,
        remarks=done.file.remarks,
        examples=[_problem(each) for kind in kinds for each in kind[:EXAMPLES]],
    )


def _problem(told: Told) -> responses.CatalogueProblem:
    return responses.CatalogueProblem(problem=told.problem, row=told.row, file=told.file, identifier=told.identifier)
