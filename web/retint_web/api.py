"""The JSON API, version 1. Every function here calls the same functions of the core as the pages do."""

from typing import Any
from uuid import UUID

from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue

from retint import __version__, accounts, batches, fleets, jobs, photos, tables, tallies
from retint.errors import IllegalMove, InvalidRequest, NotFound
from retint.lifecycle import FLEETS, QUEUES, Stage, State
from retint.tenancy import get_owned
from retint_web import downloads, messages, services
from retint_web.openapi import OCTETS, Table
from retint_web.security import csrf, require_token

PREFIX = "/api/v1"
KEY_LENGTH = 100

blueprint = Blueprint("api", __name__, url_prefix=PREFIX)
table = Table(blueprint)
csrf.exempt(blueprint)  # a token is not sent by a browser on its own


@blueprint.before_request
def _authorize() -> None:
    if request.endpoint != "api.openapi":
        require_token()


@blueprint.get("/openapi.json")
def openapi() -> ResponseReturnValue:
    """The API's description, for programs and people."""
    return jsonify(table.document("Retint", __version__, _root() + PREFIX))


@table.operation("POST", "/photos/known", messages.Known, body=messages.Hashes)
def known(body: messages.Hashes) -> messages.Known:
    """Ask which files need not be sent again."""
    with services().begin() as session:
        found = photos.known(session, g.identity.tenant_id, body.sha256)
    return messages.Known(known=sorted(found))


@table.operation(
    "POST",
    "/batches",
    messages.Batch,
    status=201,
    body=messages.NewBatch,
    headers={"Idempotency-Key": "The same key finds the batch that it opened; at most 100 characters."},
)
def open_batch(body: messages.NewBatch) -> messages.Batch:
    """Open a batch."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= KEY_LENGTH and key.isascii() and key.isprintable()):
        raise InvalidRequest(f"An idempotency key has 1 to {KEY_LENGTH} printable ASCII characters.")
    with services().begin() as session:
        batch = batches.open(
            session,
            g.identity.tenant_id,
            body.name,
            body.recipe,
            priority=body.priority,
            created_by=g.identity.user_id,
            idempotency_key=key,
            imported=services().settings.weights,
        )
        return _batch(batch, tallies.counts(session, [batch.id])[batch.id])


@table.operation("GET", "/batches", messages.Page[messages.Batch], query=messages.PageQuery)
def list_batches(query: messages.PageQuery) -> messages.Page[messages.Batch]:
    """List batches, newest first."""
    with services().begin() as session:
        found = batches.page(session, g.identity.tenant_id, query.after, query.limit)
        counts = tallies.counts(session, [batch.id for batch in found])
    items = [_batch(batch, counts[batch.id]) for batch in found]
    return messages.Page(items=items, next=_next(items, query.limit))


@table.operation("GET", "/batches/<uuid:batch_id>", messages.WatchedBatch)
def show_batch(batch_id: UUID) -> messages.WatchedBatch:
    """See how a batch goes."""
    with services().begin() as session:
        return _watched(session, batch_id)


@table.operation(
    "PUT",
    "/batches/<uuid:batch_id>/files",
    messages.DepositedJob,
    status=201,
    query=messages.UploadQuery,
    body=OCTETS,
)
def upload(batch_id: UUID, query: messages.UploadQuery) -> messages.DepositedJob:
    """Deposit a file; sent again under the same name, it is the same job."""
    tenant_id = g.identity.tenant_id
    job = photos.deposit(services(), tenant_id, batch_id, query.name, request.stream, sha256=query.sha256)
    with services().begin() as session:
        return _deposited(session, job)


@table.operation("POST", "/batches/<uuid:batch_id>/jobs", messages.DepositedJob, status=201, body=messages.NewJob)
def add_known(batch_id: UUID, body: messages.NewJob) -> messages.DepositedJob:
    """Deposit a file whose bytes the server has."""
    with services().begin() as session:
        job = photos.add_known(session, g.identity.tenant_id, batch_id, body.name, body.sha256)
        return _deposited(session, job)


@table.operation("GET", "/batches/<uuid:batch_id>/jobs", messages.Page[messages.ListedJob], query=messages.JobsQuery)
def list_jobs(batch_id: UUID, query: messages.JobsQuery) -> messages.Page[messages.ListedJob]:
    """List a batch's jobs in the order of deposit."""
    with services().begin() as session:
        cards = batches.jobs_page(
            session, g.identity.tenant_id, batch_id, state=query.state, after=query.after, limit=query.limit
        )
    items = [
        messages.ListedJob(
            id=card.id,
            name=card.name,
            stage=card.stage,
            state=card.state,
            reason_code=card.reason_code,
            reason=card.reason,
            url=_job_url(card.id),
        )
        for card in cards
    ]
    return messages.Page(items=items, next=_next(items, query.limit))


@table.operation("POST", "/batches/<uuid:batch_id>/pause", messages.WatchedBatch)
def pause_batch(batch_id: UUID) -> messages.WatchedBatch:
    """Let what runs finish, start nothing more."""
    with services().begin() as session:
        batches.pause(session, g.identity.tenant_id, batch_id)
        _record(session, "batch_paused", batch_id)
        return _watched(session, batch_id)


@table.operation("POST", "/batches/<uuid:batch_id>/resume", messages.WatchedBatch)
def resume_batch(batch_id: UUID) -> messages.WatchedBatch:
    """Go on with a paused batch."""
    with services().begin() as session:
        batches.resume(session, g.identity.tenant_id, batch_id)
        _record(session, "batch_resumed", batch_id)
        return _watched(session, batch_id)


@table.operation("POST", "/batches/<uuid:batch_id>/cancel", messages.WatchedBatch)
def cancel_batch(batch_id: UUID) -> messages.WatchedBatch:
    """Cancel what has not ended; results stay."""
    with services().begin() as session:
        jobs.cancel(session, g.identity.tenant_id, batch_id)
        _record(session, "batch_cancelled", batch_id)
        return _watched(session, batch_id)


@table.operation("GET", "/batches/<uuid:batch_id>/results.zip", "application/zip")
def download_results(batch_id: UUID) -> ResponseReturnValue:
    """Download the results so far, with provenance and report."""
    return downloads.send_results(batch_id)


@table.operation("GET", "/batches/<uuid:batch_id>/report.csv", "text/csv")
def download_report(batch_id: UUID) -> ResponseReturnValue:
    """Download the report: every deposited file exactly once."""
    return downloads.send_report(batch_id)


@table.operation("GET", "/jobs/<uuid:job_id>", messages.Job)
def show_job(job_id: UUID) -> messages.Job:
    """See everything that is known of a job."""
    with services().begin() as session:
        return _job(session, job_id)


@table.operation("GET", "/jobs/<uuid:job_id>/files/<name>", OCTETS, query=messages.FileQuery)
def download_file(job_id: UUID, name: str, query: messages.FileQuery) -> ResponseReturnValue:
    """Download one of a job's files; ranges are understood."""
    return downloads.send_file(job_id, name, attach=query.download)


@table.operation("POST", "/jobs/<uuid:job_id>/retry", messages.Job, for_admins=True)
def retry_job(job_id: UUID) -> messages.Job:
    """Give a quarantined job another three attempts."""
    with services().begin() as session:
        job = get_owned(session, tables.Job, g.identity.tenant_id, job_id)
        if not jobs.retry(session, g.identity.tenant_id, job_id=job_id):
            raise IllegalMove(f"Only a quarantined photo can be retried; this one is {job.state}.")
        _record(session, "job_retried", job_id)
        return _job(session, job_id)


@table.operation("POST", "/jobs/<uuid:job_id>/cancel", messages.Job)
def cancel_job(job_id: UUID) -> messages.Job:
    """Cancel a job that has not ended."""
    with services().begin() as session:
        jobs.cancel_job(session, g.identity.tenant_id, job_id)
        _record(session, "job_cancelled", job_id)
        return _job(session, job_id)


@table.operation("GET", "/workers", messages.Workers, for_admins=True)
def list_workers() -> messages.Workers:
    """List the workers that live."""
    with services().begin() as session:
        live = fleets.live(session)
    return messages.Workers(
        items=[
            messages.Worker(
                id=worker.id,
                fleet=worker.fleet,
                host=worker.host,
                pid=worker.pid,
                device=worker.device,
                version=worker.version,
                activity=worker.activity,
                started_at=worker.started_at,
                heartbeat_at=worker.heartbeat_at,
            )
            for worker in live
        ]
    )


@table.operation("GET", "/queues", messages.Queues, for_admins=True)
def list_queues() -> messages.Queues:
    """See what waits and runs at each stage."""
    with services().begin() as session:
        depths = tallies.depths(session)
    return messages.Queues(
        items=[
            messages.Queue(
                stage=depth.stage,
                fleet=QUEUES[depth.stage],
                ready=depth.ready,
                queued=depth.queued,
                running=depth.running,
                oldest_s=depth.oldest_s,
            )
            for depth in depths
        ]
    )


@table.operation("GET", "/fleets/<name>", messages.Fleet, for_admins=True)
def show_fleet(name: str) -> messages.Fleet:
    """See how many workers a fleet has, and how many it shall have."""
    with services().begin() as session:
        return _fleet(session, name)


@table.operation("PUT", "/fleets/<name>", messages.Fleet, body=messages.FleetSize, for_admins=True)
def scale_fleet(name: str, body: messages.FleetSize) -> messages.Fleet:
    """Say how many workers a fleet shall have; they are started, or finish what they do and end."""
    with services().begin() as session:
        _fleet(session, name)
        fleets.set_wanted(session, name, body.wanted)
        accounts.record(session, "fleet_scaled", f"{name} {body.wanted}", g.identity)
        session.flush()
        return _fleet(session, name)


@table.operation("GET", "/failures", messages.Failures, for_admins=True)
def list_failures() -> messages.Failures:
    """Group what was refused or quarantined by its reason."""
    with services().begin() as session:
        groups = tallies.failures(session, g.identity.tenant_id)
    return messages.Failures(
        items=[
            messages.FailureGroup(
                reason_code=group.reason_code,
                reason=group.reason,
                state=group.state,
                count=group.count,
                batches=group.batches,
            )
            for group in groups
        ]
    )


@table.operation("POST", "/failures/retry", messages.Retried, body=messages.FailureFilter, for_admins=True)
def retry_failures(body: messages.FailureFilter) -> messages.Retried:
    """Give quarantined jobs another three attempts."""
    with services().begin() as session:
        if body.batch_id is not None:
            get_owned(session, tables.Batch, g.identity.tenant_id, body.batch_id)
        retried = jobs.retry(session, g.identity.tenant_id, batch_id=body.batch_id, reason_code=body.reason_code)
        accounts.record(session, "failures_retried", f"{body.reason_code or 'all'} {retried}", g.identity)
    return messages.Retried(retried=retried)


def _root() -> str:
    return (services().settings.public_url or request.url_root).rstrip("/")


def _job_url(job_id: UUID) -> str:
    return f"{_root()}/jobs/{job_id}"


def _next(items: list[Any], limit: int) -> str | None:
    return str(items[-1].id) if len(items) == limit else None


def _record(session: Any, action: str, subject: UUID) -> None:
    accounts.record(session, action, str(subject), g.identity)


def _counts(counts: tallies.Counts) -> messages.Counts:
    stages: dict[Stage, dict[State, int]] = {}
    for (stage, state), n in counts.by.items():
        stages.setdefault(stage, {})[state] = n
    return messages.Counts(
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
    )


def _batch_fields(batch: tables.Batch, counts: tallies.Counts) -> dict[str, Any]:
    return {
        "id": batch.id,
        "name": batch.name,
        "url": f"{_root()}/batches/{batch.id}",
        "recipe": batch.recipe,
        "recipe_hash": batch.recipe_hash,
        "priority": batch.priority,
        "created_at": batch.created_at,
        "paused": batch.paused_at is not None,
        "cancelled": batch.cancelled_at is not None,
        "counts": _counts(counts),
    }


def _batch(batch: tables.Batch, counts: tallies.Counts) -> messages.Batch:
    return messages.Batch(**_batch_fields(batch, counts))


def _watched(session: Any, batch_id: UUID) -> messages.WatchedBatch:
    session.expire_all()
    batch = get_owned(session, tables.Batch, g.identity.tenant_id, batch_id)
    progress = batches.progress(session, g.identity.tenant_id, batch_id)
    return messages.WatchedBatch(
        **_batch_fields(batch, progress.counts), rate_per_minute=progress.rate_per_minute, eta_s=progress.eta_s
    )


def _deposited(session: Any, job: tables.Job) -> messages.DepositedJob:
    photo = get_owned(session, tables.Photo, g.identity.tenant_id, job.photo_id)
    return messages.DepositedJob(
        id=job.id,
        photo_id=job.photo_id,
        sha256=photo.sha256,
        name=job.name,
        state=job.state,
        stage=job.stage,
        url=_job_url(job.id),
    )


def _job(session: Any, job_id: UUID) -> messages.Job:
    session.expire_all()
    shown = photos.show(session, g.identity.tenant_id, job_id)
    job = shown.job
    return messages.Job(
        id=job.id,
        name=job.name,
        stage=job.stage,
        state=job.state,
        reason_code=job.reason_code,
        reason=job.reason,
        url=_job_url(job.id),
        batch_id=job.batch_id,
        photo_id=job.photo_id,
        sha256=shown.photo.sha256,
        size=shown.photo.size,
        seconds=shown.seconds,
        created_at=job.created_at,
        ended_at=job.ended_at,
        attempts=[_attempt(attempt) for attempt in shown.attempts],
        files={name: f"{_root()}{PREFIX}/jobs/{job.id}/files/{name}" for name in shown.files},
        facts=shown.facts,
    )


def _attempt(attempt: tables.Attempt) -> messages.Attempt:
    return messages.Attempt(
        number=attempt.number,
        stage=attempt.stage,
        outcome=attempt.outcome,
        error=attempt.error if g.identity.is_admin else None,
        worker_id=attempt.worker_id,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        timings=attempt.timings,
    )


def _fleet(session: Any, name: str) -> messages.Fleet:
    if name not in FLEETS:
        raise NotFound(f"There is no fleet {name}.")
    live = sum(worker.fleet == name for worker in fleets.live(session))
    return messages.Fleet(name=name, wanted=fleets.wanted(session)[name], live=live)
