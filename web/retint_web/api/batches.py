"""API operations on photos and batches: upload, deposit, progress, pause, results."""

from typing import Any, Final
from uuid import UUID

from flask import g, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from retint import batches, known_files, photos, tables
from retint.jobs import long_moves, tallies
from retint.lifecycle import Stage, State
from retint.roles import Scope
from retint.tenancy import get_owned
from retint_web import remote_photos, services
from retint_web.api import requests, responses
from retint_web.api.blueprint import api, job_url, next_cursor, portal_url
from retint_web.api.openapi import OCTETS, Header
from retint_web.files import downloads
from retint_web.uploads import RequestBody

KEY: Final = r"^[!-~]([ -~]{0,98}[!-~])?$"
CANCELLED: Final = {409: "The batch was cancelled, or no more photos may wait or run (see `GET /usage`)."}


@api.operation("POST", "/photos/known", responses.KnownHashes, body=requests.Hashes, scope=Scope.DEPOSIT)
def known(body: requests.Hashes) -> responses.KnownHashes:
    """Find out which files the server has already."""
    with services().read() as session:
        found = photos.find_by_sha256(session, g.identity.tenant_id, body.sha256)
    return responses.KnownHashes(known=sorted(found))


@api.operation(
    "PUT", "/photos", responses.StoredPhoto, status=201, query=requests.PhotoQuery, body=OCTETS, scope=Scope.DEPOSIT
)
def keep_photo(query: requests.PhotoQuery) -> responses.StoredPhoto:
    """Upload a photo that batches and trials may name later; the same bytes sent again are the same photo."""
    photo = photos.store_original(services(), g.identity.tenant_id, RequestBody(query.sha256), sha256=query.sha256)
    return responses.StoredPhoto(id=photo.id, sha256=photo.sha256, size=photo.size)


@api.operation(
    "POST",
    "/batches",
    responses.Batch,
    status=201,
    body=requests.NewBatch,
    headers={
        "Idempotency-Key": Header(
            "1 to 100 printable ASCII characters. A repeated request with the same key returns the first one's batch.",
            schema={"type": "string", "pattern": KEY},
        )
    },
    scope=Scope.DEPOSIT,
)
def open_batch(body: requests.NewBatch) -> responses.Batch:
    """Open a batch."""
    with services().begin() as session:
        batch = batches.open(
            session,
            g.identity.tenant_id,
            body.name,
            body.recipe,
            priority=body.priority,
            paused=body.paused,
            created_by=g.identity.user_id,
            idempotency_key=request.headers.get("Idempotency-Key"),
            imported=services().settings.weights,
        )
        return _batch(batch, tallies.count_jobs(session, [batch.id])[batch.id])


@api.operation("GET", "/batches", responses.Page[responses.Batch], query=requests.PageQuery, scope=Scope.READ)
def list_batches(query: requests.PageQuery) -> responses.Page[responses.Batch]:
    """List batches, newest first."""
    with services().read() as session:
        found = batches.list_page(session, g.identity.tenant_id, query.after, query.limit)
        counts = tallies.count_jobs(session, [batch.id for batch in found])
    items = [_batch(batch, counts[batch.id]) for batch in found]
    return responses.Page(items=items, next=next_cursor(items, query.limit))


@api.operation("GET", "/batches/<uuid:batch_id>", responses.BatchWithProgress, scope=Scope.READ)
def show_batch(batch_id: UUID) -> responses.BatchWithProgress:
    """Get a batch and its progress."""
    with services().read() as session:
        return _batch_with_progress(session, batch_id)


@api.operation(
    "PUT",
    "/batches/<uuid:batch_id>/files",
    responses.DepositedJob,
    status=201,
    query=requests.UploadQuery,
    body=OCTETS,
    scope=Scope.DEPOSIT,
    errors=CANCELLED,
)
def upload(batch_id: UUID, query: requests.UploadQuery) -> responses.DepositedJob:
    """Upload a file into a batch; the same bytes sent again under the same name are the same job."""
    tenant_id = g.identity.tenant_id
    body = RequestBody(query.sha256)
    job = photos.deposit(services(), tenant_id, batch_id, query.name, body, sha256=query.sha256)
    with services().read() as session:
        return _deposited_job(session, job)


@api.operation(
    "POST",
    "/batches/<uuid:batch_id>/jobs",
    responses.DepositedJob,
    status=201,
    body=requests.NewJob,
    scope=Scope.DEPOSIT,
    errors=CANCELLED,
)
def add_known(batch_id: UUID, body: requests.NewJob) -> responses.DepositedJob:
    """Deposit a photo that the server has, or one from a web address."""
    if body.url is not None:
        job = remote_photos.deposit(batch_id, body.url, body.name)
        with services().read() as session:
            return _deposited_job(session, job)
    with services().begin() as session:
        job = photos.add_by_sha256(session, g.identity.tenant_id, batch_id, body.name or "", body.sha256 or "")
        return _deposited_job(session, job)


@api.operation(
    "POST",
    "/batches/<uuid:batch_id>/known",
    responses.AddedFiles,
    body=requests.KnownFiles,
    scope=Scope.DEPOSIT,
    errors=CANCELLED,
)
def add_known_files(batch_id: UUID, body: requests.KnownFiles) -> responses.AddedFiles:
    """Deposit those of up to 1,000 files whose bytes the server has, as far as a quota allows; upload the others."""
    files = [(file.name, file.sha256) for file in body.files]
    with services().begin() as session:
        added = known_files.add(session, g.identity.tenant_id, batch_id, files)
    left_out = None
    if added.left_out is not None:
        numbers = responses.QuotaNumbers(**added.left_out.numbers)
        left_out = responses.LeftOut(detail=added.left_out.message, quota=numbers)
    return responses.AddedFiles(jobs=[job and job.id for job in added.jobs], left_out=left_out)


@api.operation(
    "GET",
    "/batches/<uuid:batch_id>/jobs",
    responses.Page[responses.JobSummary],
    query=requests.JobsQuery,
    scope=Scope.READ,
)
def list_jobs(batch_id: UUID, query: requests.JobsQuery) -> responses.Page[responses.JobSummary]:
    """List a batch's jobs in the order of deposit."""
    with services().read() as session:
        cards = batches.list_jobs_page(
            session, g.identity.tenant_id, batch_id, state=query.state, after=query.after, limit=query.limit
        )
    items = [
        responses.JobSummary(
            id=card.id,
            name=card.name,
            stage=card.stage,
            state=card.state,
            reason_code=card.reason_code,
            reason=card.reason,
            url=job_url(card.id),
        )
        for card in cards
    ]
    return responses.Page(items=items, next=next_cursor(items, query.limit))


@api.operation(
    "POST",
    "/batches/<uuid:batch_id>/pause",
    responses.BatchWithProgress,
    scope=Scope.DEPOSIT,
    errors=CANCELLED,
)
def pause_batch(batch_id: UUID) -> responses.BatchWithProgress:
    """Pause a batch: running jobs finish their stage, no more are started."""
    with services().begin() as session:
        batches.pause(session, g.identity.tenant_id, batch_id)
        return _batch_with_progress(session, batch_id)


@api.operation(
    "POST",
    "/batches/<uuid:batch_id>/resume",
    responses.BatchWithProgress,
    scope=Scope.DEPOSIT,
    errors=CANCELLED,
)
def resume_batch(batch_id: UUID) -> responses.BatchWithProgress:
    """Resume a paused batch."""
    with services().begin() as session:
        batches.resume(session, g.identity.tenant_id, batch_id)
        return _batch_with_progress(session, batch_id)


@api.operation("POST", "/batches/<uuid:batch_id>/cancel", responses.BatchWithProgress, scope=Scope.DEPOSIT)
def cancel_batch(batch_id: UUID) -> responses.BatchWithProgress:
    """Cancel all jobs of a batch that have not ended; results stay."""
    with services().begin() as session:
        move_id = long_moves.cancel_batch(session, g.identity.tenant_id, batch_id)
    long_moves.carry_out(services(), move_id)
    with services().read() as session:
        return _batch_with_progress(session, batch_id)


@api.operation("GET", "/batches/<uuid:batch_id>/results.zip", "application/zip", scope=Scope.HANDOVER)
def download_results(batch_id: UUID) -> ResponseReturnValue:
    """Download the results so far, with their provenance records and the report."""
    return downloads.send_results(batch_id)


@api.operation("GET", "/batches/<uuid:batch_id>/report.csv", "text/csv", scope=Scope.READ)
def download_report(batch_id: UUID) -> ResponseReturnValue:
    """Download the report: one row for each deposited file."""
    return downloads.send_report(batch_id)


@api.operation("GET", "/batches/<uuid:batch_id>/receipt.csv", "text/csv", scope=Scope.READ)
def download_receipt(batch_id: UUID) -> ResponseReturnValue:
    """Download the receipt: path, bytes, SHA-256 and time of arrival of each deposited file."""
    return downloads.send_receipt(batch_id)


def _counts(counts: tallies.Counts) -> responses.Counts:
    stages: dict[Stage, dict[State, int]] = {}
    for (stage, state), n in counts.by.items():
        stages.setdefault(stage, {})[state] = n
    return responses.Counts(
        total=counts.total,
        ready=counts.ready,
        queued=counts.queued,
        running=counts.running,
        restored=counts.restored,
        refused=counts.refused,
        quarantined=counts.quarantined,
        cancelled=counts.cancelled,
        ended=counts.ended,
        stages=stages,
        verdicts=counts.verdicts,
    )


def _batch_fields(batch: tables.Batch, counts: tallies.Counts) -> dict[str, Any]:
    return {
        "id": batch.id,
        "name": batch.name,
        "url": f"{portal_url()}/batches/{batch.id}",
        "recipe": batch.recipe,
        "recipe_hash": batch.recipe_hash,
        "priority": batch.priority,
        "created_at": batch.created_at,
        "paused": batch.paused_at is not None,
        "cancelled": batch.cancelled_at is not None,
        "counts": _counts(counts),
    }


def _batch(batch: tables.Batch, counts: tallies.Counts) -> responses.Batch:
    return responses.Batch(**_batch_fields(batch, counts))


def _batch_with_progress(session: Session, batch_id: UUID) -> responses.BatchWithProgress:
    session.expire_all()  # pausing and the like change rows behind the session's back
    batch = get_owned(session, tables.Batch, g.identity.tenant_id, batch_id)
    progress = batches.measure_progress(session, g.identity.tenant_id, batch_id)
    return responses.BatchWithProgress(
        **_batch_fields(batch, progress.counts), rate_per_minute=progress.rate_per_minute, eta_s=progress.eta_s
    )


def _deposited_job(session: Session, job: tables.Job) -> responses.DepositedJob:
    photo = get_owned(session, tables.Photo, g.identity.tenant_id, job.photo_id)
    return responses.DepositedJob(
        id=job.id,
        photo_id=job.photo_id,
        sha256=photo.sha256,
        name=job.name,
        state=job.state,
        stage=job.stage,
        url=job_url(job.id),
    )
