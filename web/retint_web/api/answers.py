"""Rows as the API's messages."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from flask import g, request

from retint import batches, fleets, photos, tables, trials
from retint.errors import NotFound
from retint.jobs import tallies
from retint.lifecycle import FLEETS, Stage, State
from retint.tenancy import get_owned
from retint_models.weights.cards import Card
from retint_web import services
from retint_web.api import messages

PREFIX: Final = "/api/v1"


def root() -> str:
    """Give the address of this portal, without a slash at its end."""
    return (services().settings.public_url or request.url_root).rstrip("/")


def job_url(job_id: UUID) -> str:
    """Give the address of a photo's page."""
    return f"{root()}/jobs/{job_id}"


def trial_url(trial_id: UUID) -> str:
    """Give the address of a trial's page."""
    return f"{root()}/trials/{trial_id}"


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
        "url": f"{root()}/batches/{batch.id}",
        "recipe": batch.recipe,
        "recipe_hash": batch.recipe_hash,
        "priority": batch.priority,
        "created_at": batch.created_at,
        "paused": batch.paused_at is not None,
        "cancelled": batch.cancelled_at is not None,
        "counts": _counts(counts),
    }


def batch(batch: tables.Batch, counts: tallies.Counts) -> messages.Batch:
    """Tell of a batch."""
    return messages.Batch(**_batch_fields(batch, counts))


def watched(session: Any, batch_id: UUID) -> messages.WatchedBatch:
    """Tell of a batch and how it goes."""
    session.expire_all()
    batch = get_owned(session, tables.Batch, g.identity.tenant_id, batch_id)
    progress = batches.progress(session, g.identity.tenant_id, batch_id)
    return messages.WatchedBatch(
        **_batch_fields(batch, progress.counts), rate_per_minute=progress.rate_per_minute, eta_s=progress.eta_s
    )


def deposited(session: Any, job: tables.Job) -> messages.DepositedJob:
    """Tell of a job that was just deposited."""
    photo = get_owned(session, tables.Photo, g.identity.tenant_id, job.photo_id)
    return messages.DepositedJob(
        id=job.id,
        photo_id=job.photo_id,
        sha256=photo.sha256,
        name=job.name,
        state=job.state,
        stage=job.stage,
        url=job_url(job.id),
    )


def job(session: Any, job_id: UUID) -> messages.Job:
    """Tell everything of a job."""
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
        url=job_url(job.id),
        batch_id=job.batch_id,
        photo_id=job.photo_id,
        sha256=shown.photo.sha256,
        size=shown.photo.size,
        seconds=shown.seconds,
        created_at=job.created_at,
        ended_at=job.ended_at,
        attempts=[_attempt(attempt) for attempt in shown.attempts],
        files=_files(job.id, shown.files),
        facts=shown.facts,
    )


def _files(job_id: UUID, files: Iterable[str]) -> dict[str, str]:
    return {name: f"{root()}{PREFIX}/jobs/{job_id}/files/{name}" for name in files}


def trial(session: Any, trial_id: UUID) -> messages.Trial:
    """Tell everything of a trial."""
    session.expire_all()
    trial = trials.show(session, g.identity.tenant_id, trial_id)
    return messages.Trial(
        id=trial.id,
        name=trial.name,
        url=trial_url(trial.id),
        sha256=trial.photo.sha256,
        created_at=trial.created_at,
        is_over=trial.is_over,
        tries=[
            messages.Try(
                id=each.job_id,
                name=trial.name,
                stage=each.stage,
                state=each.state,
                reason_code=each.reason_code,
                reason=each.reason,
                url=job_url(each.job_id),
                recipe=each.recipe,
                seconds=each.seconds,
                files=_files(each.job_id, each.files),
                remark=each.remark,
            )
            for each in trial.tries
        ],
    )


def network(card: Card) -> messages.Network:
    """Tell everything of a network."""
    return messages.Network(
        name=card.name,
        kind=card.kind,
        title=card.title,
        url=f"{root()}/networks/{card.name}",
        is_here=card.is_here,
        good_at=card.good_at,
        weaknesses=card.weaknesses,
        parameters=card.parameters,
        size=card.size,
        sha256=card.sha256 if card.is_here else "",
        license=card.license,
        source=card.source,
        data=card.data,
        settings={name: messages.Setting(**asdict(setting)) for name, setting in card.settings.items()},
        scores=card.scores,
        preprocessing=card.preprocessing,
        official={name: value for name, value in asdict(card.official).items() if value} if card.official else {},
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


def fleet(session: Any, name: str) -> messages.Fleet:
    """Tell of a fleet.

    Raises:
        NotFound: there is no such fleet.
    """
    if name not in FLEETS:
        raise NotFound(f"There is no fleet {name}.")
    live = sum(worker.fleet == name for worker in fleets.live(session))
    return messages.Fleet(name=name, wanted=fleets.wanted(session)[name], live=live)
