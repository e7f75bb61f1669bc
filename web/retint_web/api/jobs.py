"""API operations on one job: what is known of it, its files, retry and cancel."""

from typing import Final
from uuid import UUID

from flask import g
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from retint import catalogue, photos, tables
from retint.catalogue_tables import CatalogueRecord
from retint.errors import IllegalMove
from retint.jobs import attempts, changes
from retint.lifecycle import Stage
from retint.pages import list_photographs
from retint.roles import OPERATOR, Scope
from retint.tenancy import get_owned
from retint_web import services
from retint_web.api import requests, responses
from retint_web.api.blueprint import PREFIX, api, file_urls, job_url, portal_url
from retint_web.api.openapi import OCTETS
from retint_web.files import confidence, downloads, zoom

FILES: Final[dict[str, tuple[str, ...]]] = {
    "name": ("original", "result", "preview", "thumb", "before", "provenance", "proxy", "color", "density")
}
WITHHELD: Final = {403: "The catalogue says that the colored result is not given out."}


@api.operation("GET", "/jobs/<uuid:job_id>", responses.Job, scope=Scope.READ)
def show_job(job_id: UUID) -> responses.Job:
    """Get a job with its attempts, files and facts."""
    with services().read() as session:
        return _job(session, job_id)


@api.operation(
    "GET",
    "/jobs/<uuid:job_id>/files/<name>",
    OCTETS,
    query=requests.FileQuery,
    path_values=FILES,
    errors=WITHHELD,
    scope=Scope.READ,
    scope_of=lambda name: Scope.HANDOVER if name in ("original", "result") else Scope.READ,
)
def download_file(job_id: UUID, name: str, query: requests.FileQuery) -> ResponseReturnValue:
    """Download one of a job's files; range requests are supported. `original` and `result` need `handover`."""
    return downloads.send_file(job_id, name, attach=query.download)


@api.operation(
    "GET",
    "/jobs/<uuid:job_id>/zoom",
    OCTETS,
    query=requests.PhotoPageQuery,
    not_yet="The zoom is being prepared.",
    scope=Scope.READ,
    errors=WITHHELD,
)
def download_zoom(job_id: UUID, query: requests.PhotoPageQuery) -> ResponseReturnValue:
    """Download a result as tiles to zoom into: DeepZoom in an uncompressed zip, made when it is first asked for."""
    return zoom.send_zoom(job_id, query.page)


@api.operation(
    "GET",
    "/jobs/<uuid:job_id>/confidence",
    confidence.PNG,
    query=requests.PhotoPageQuery,
    scope=Scope.READ,
    errors=WITHHELD,
)
def show_confidence(job_id: UUID, query: requests.PhotoPageQuery) -> ResponseReturnValue:
    """Get where the network guessed, as a picture to lay over the proxy: the less sure of a color, the more opaque."""
    return confidence.send_picture(job_id, query.page)


@api.operation(
    "POST",
    "/jobs/<uuid:job_id>/retry",
    responses.Job,
    roles=(OPERATOR,),
    scope=Scope.ADMIN,
    errors={409: "The job is not quarantined."},
)
def retry_job(job_id: UUID) -> responses.Job:
    """Give a quarantined job another three attempts."""
    with services().begin() as session:
        job = get_owned(session, tables.Job, g.identity.tenant_id, job_id)
        if not changes.retry_job(session, g.identity.tenant_id, job_id):
            raise IllegalMove(f"Only a quarantined photo can be retried; this one is {job.state}.")
        return _job(session, job_id)


@api.operation(
    "POST", "/jobs/<uuid:job_id>/cancel", responses.Job, scope=Scope.DEPOSIT, errors={409: "The job has ended."}
)
def cancel_job(job_id: UUID) -> responses.Job:
    """Cancel a job that has not ended."""
    with services().begin() as session:
        changes.cancel_job(session, g.identity.tenant_id, job_id)
        return _job(session, job_id)


def _job(session: Session, job_id: UUID) -> responses.Job:
    session.expire_all()  # retrying and cancelling change rows behind the session's back
    shown = photos.load_details(session, g.identity.tenant_id, job_id)
    job, first = shown.job, list_photographs(shown.facts.get(Stage.INGEST, {}))[0]
    return responses.Job(
        id=job.id,
        name=job.name,
        stage=job.stage,
        state=job.state,
        reason_code=job.reason_code,
        reason=job.reason,
        url=job_url(job.id),
        batch_id=job.batch_id,
        photo_id=job.photo_id,
        sha256=shown.photo.sha256,
        size=shown.photo.size,
        seconds=shown.seconds,
        recipe=shown.recipe,
        replaces=job.replaces,
        replaced_by=job.replaced_by,
        verdict=job.verdict,
        risk=job.risk,
        created_at=job.created_at,
        ended_at=job.ended_at,
        attempts=[_attempt(attempt) for attempt in shown.attempts],
        files=file_urls(job.id, shown.files),
        confidence=f"{portal_url()}{PREFIX}/jobs/{job.id}/confidence" if confidence.is_told(shown, first) else None,
        facts=shown.facts,
        notes=shown.notes,
        taken_over_from=shown.taken_over_from,
        catalogue=_record(catalogue.find(session, g.identity.tenant_id, job.record_id)),
        withheld=job.withheld,
    )


def _record(record: CatalogueRecord | None) -> responses.CatalogueRecord | None:
    if record is None:
        return None
    return responses.CatalogueRecord(
        title=record.title,
        identifier=record.identifier,
        rights=record.rights,
        do_not_colorize=record.do_not_colorize,
        columns=record.columns,
    )


def _attempt(attempt: tables.Attempt) -> responses.Attempt:
    return responses.Attempt(
        number=attempt.number,
        stage=attempt.stage,
        outcome=attempt.outcome,
        error=attempts.describe(attempt.error, in_full=g.identity.is_operator),
        worker_id=attempt.worker_id,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        timings=attempt.timings,
        source=attempt.source,
    )
