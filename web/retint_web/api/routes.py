"""The JSON API, version 1. Every function here calls the same functions of the core as the pages do."""

from typing import Any
from uuid import UUID

from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue

from retint import __version__, accounts, batches, fleets, photos, tables, trials
from retint.errors import IllegalMove, InvalidRequest, NotFound
from retint.jobs import changes, tallies
from retint.lifecycle import QUEUES
from retint.tenancy import get_owned
from retint_models.weights.cards import read_cards
from retint_web import remote_photos, services
from retint_web.api import answers, messages
from retint_web.api.answers import PREFIX
from retint_web.api.openapi import OCTETS, Table
from retint_web.files import downloads
from retint_web.security import csrf, require_token

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
    return jsonify(table.document("Retint", __version__, answers.root() + PREFIX))


@table.operation("POST", "/photos/known", messages.Known, body=messages.Hashes)
def known(body: messages.Hashes) -> messages.Known:
    """Ask which files need not be sent again."""
    with services().begin() as session:
        found = photos.known(session, g.identity.tenant_id, body.sha256)
    return messages.Known(known=sorted(found))


@table.operation("PUT", "/photos", messages.KeptPhoto, status=201, query=messages.PhotoQuery, body=OCTETS)
def keep_photo(query: messages.PhotoQuery) -> messages.KeptPhoto:
    """Send a photo that batches and trials may name later; the same bytes again are the same photo."""
    photo = photos.accept(services(), g.identity.tenant_id, request.stream, sha256=query.sha256)
    return messages.KeptPhoto(id=photo.id, sha256=photo.sha256, size=photo.size)


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
        return answers.batch(batch, tallies.counts(session, [batch.id])[batch.id])


@table.operation("GET", "/batches", messages.Page[messages.Batch], query=messages.PageQuery)
def list_batches(query: messages.PageQuery) -> messages.Page[messages.Batch]:
    """List batches, newest first."""
    with services().begin() as session:
        found = batches.page(session, g.identity.tenant_id, query.after, query.limit)
        counts = tallies.counts(session, [batch.id for batch in found])
    items = [answers.batch(batch, counts[batch.id]) for batch in found]
    return messages.Page(items=items, next=_next(items, query.limit))


@table.operation("GET", "/batches/<uuid:batch_id>", messages.WatchedBatch)
def show_batch(batch_id: UUID) -> messages.WatchedBatch:
    """See how a batch goes."""
    with services().begin() as session:
        return answers.watched(session, batch_id)


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
        return answers.deposited(session, job)


@table.operation("POST", "/batches/<uuid:batch_id>/jobs", messages.DepositedJob, status=201, body=messages.NewJob)
def add_known(batch_id: UUID, body: messages.NewJob) -> messages.DepositedJob:
    """Deposit a file whose bytes the server has, or one from an address on the web."""
    if body.url is not None:
        job = remote_photos.deposit(batch_id, body.url, body.name)
        with services().begin() as session:
            return answers.deposited(session, job)
    with services().begin() as session:
        job = photos.add_known(session, g.identity.tenant_id, batch_id, body.name or "", body.sha256 or "")
        return answers.deposited(session, job)


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
            url=answers.job_url(card.id),
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
        return answers.watched(session, batch_id)


@table.operation("POST", "/batches/<uuid:batch_id>/resume", messages.WatchedBatch)
def resume_batch(batch_id: UUID) -> messages.WatchedBatch:
    """Go on with a paused batch."""
    with services().begin() as session:
        batches.resume(session, g.identity.tenant_id, batch_id)
        _record(session, "batch_resumed", batch_id)
        return answers.watched(session, batch_id)


@table.operation("POST", "/batches/<uuid:batch_id>/cancel", messages.WatchedBatch)
def cancel_batch(batch_id: UUID) -> messages.WatchedBatch:
    """Cancel what has not ended; results stay."""
    with services().begin() as session:
        changes.cancel_batch(session, g.identity.tenant_id, batch_id)
        _record(session, "batch_cancelled", batch_id)
        return answers.watched(session, batch_id)


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
        return answers.job(session, job_id)


@table.operation("GET", "/jobs/<uuid:job_id>/files/<name>", OCTETS, query=messages.FileQuery)
def download_file(job_id: UUID, name: str, query: messages.FileQuery) -> ResponseReturnValue:
    """Download one of a job's files; ranges are understood."""
    return downloads.send_file(job_id, name, attach=query.download)


@table.operation("POST", "/jobs/<uuid:job_id>/retry", messages.Job, for_admins=True)
def retry_job(job_id: UUID) -> messages.Job:
    """Give a quarantined job another three attempts."""
    with services().begin() as session:
        job = get_owned(session, tables.Job, g.identity.tenant_id, job_id)
        if not changes.retry_jobs(session, g.identity.tenant_id, job_id=job_id):
            raise IllegalMove(f"Only a quarantined photo can be retried; this one is {job.state}.")
        _record(session, "job_retried", job_id)
        return answers.job(session, job_id)


@table.operation("POST", "/jobs/<uuid:job_id>/cancel", messages.Job)
def cancel_job(job_id: UUID) -> messages.Job:
    """Cancel a job that has not ended."""
    with services().begin() as session:
        changes.cancel_job(session, g.identity.tenant_id, job_id)
        _record(session, "job_cancelled", job_id)
        return answers.job(session, job_id)


@table.operation("POST", "/trials", messages.Trial, status=201, body=messages.NewTrial)
def begin_trial(body: messages.NewTrial) -> messages.Trial:
    """See one photo through several recipes before many go through one."""
    tenant_id, imported = g.identity.tenant_id, services().settings.weights
    if body.url is not None:
        with remote_photos.fetch(body.url) as (found, source):
            photo, name = photos.accept(services(), tenant_id, source), body.name or found
    else:
        with services().begin() as session:
            photo, name = photos.get_known(session, tenant_id, body.sha256 or ""), body.name or "photo"
    wanted = body.recipes or trials.usual(imported=imported)
    with services().begin() as session:
        trial_id = trials.open(
            session, tenant_id, photo, name, wanted, created_by=g.identity.user_id, imported=imported
        )
        return answers.trial(session, trial_id)


@table.operation("GET", "/trials", messages.Page[messages.ListedTrial], query=messages.PageQuery)
def list_trials(query: messages.PageQuery) -> messages.Page[messages.ListedTrial]:
    """List trials, newest first."""
    with services().begin() as session:
        found = trials.page(session, g.identity.tenant_id, query.after, query.limit)
    items = [
        messages.ListedTrial(
            id=each.id, name=each.name, url=answers.trial_url(each.id), created_at=each.created_at, tries=each.tries
        )
        for each in found
    ]
    return messages.Page(items=items, next=_next(items, query.limit))


@table.operation("GET", "/trials/<uuid:trial_id>", messages.Trial)
def show_trial(trial_id: UUID) -> messages.Trial:
    """See how a trial goes, and what came out."""
    with services().begin() as session:
        return answers.trial(session, trial_id)


@table.operation("POST", "/trials/<uuid:trial_id>/tries", messages.Trial, status=201, body=messages.NewTry)
def add_try(trial_id: UUID, body: messages.NewTry) -> messages.Trial:
    """Try one recipe more."""
    with services().begin() as session:
        trials.add(
            session,
            g.identity.tenant_id,
            trial_id,
            body.recipe,
            created_by=g.identity.user_id,
            imported=services().settings.weights,
        )
        return answers.trial(session, trial_id)


@table.operation("POST", "/trials/<uuid:trial_id>/cancel", messages.Trial)
def cancel_trial(trial_id: UUID) -> messages.Trial:
    """Stop what has not ended of a trial."""
    with services().begin() as session:
        trials.cancel(session, g.identity.tenant_id, trial_id)
        _record(session, "trial_cancelled", trial_id)
        return answers.trial(session, trial_id)


@table.operation("GET", "/networks", messages.Networks)
def list_networks() -> messages.Networks:
    """List all networks with their cards, also those whose weights are not here."""
    return messages.Networks(items=[answers.network(card) for card in read_cards(services().settings.weights).values()])


@table.operation("GET", "/networks/<network>", messages.Network)
def show_network(network: str) -> messages.Network:
    """See everything that is known of a network."""
    card = read_cards(services().settings.weights).get(network)
    if card is None:
        raise NotFound("There is no such network.")
    return answers.network(card)


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
        return answers.fleet(session, name)


@table.operation("PUT", "/fleets/<name>", messages.Fleet, body=messages.FleetSize, for_admins=True)
def scale_fleet(name: str, body: messages.FleetSize) -> messages.Fleet:
    """Say how many workers a fleet shall have; they are started, or finish what they do and end."""
    with services().begin() as session:
        answers.fleet(session, name)
        fleets.set_wanted(session, name, body.wanted)
        accounts.record(session, "fleet_scaled", f"{name} {body.wanted}", g.identity)
        session.flush()
        return answers.fleet(session, name)


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
        retried = changes.retry_jobs(
            session, g.identity.tenant_id, batch_id=body.batch_id, reason_code=body.reason_code
        )
        accounts.record(session, "failures_retried", f"{body.reason_code or 'all'} {retried}", g.identity)
    return messages.Retried(retried=retried)


def _next(items: list[Any], limit: int) -> str | None:
    return str(items[-1].id) if len(items) == limit else None


def _record(session: Any, action: str, subject: UUID) -> None:
    accounts.record(session, action, str(subject), g.identity)
