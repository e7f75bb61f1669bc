"""API operations on trials: one photo restored with several recipes."""

from uuid import UUID

from flask import g
from sqlalchemy.orm import Session

from retint import photos, trials
from retint.roles import Scope
from retint_web import remote_photos, services
from retint_web.api import requests, responses
from retint_web.api.blueprint import api, file_urls, job_url, next_cursor, portal_url


@api.operation(
    "POST",
    "/trials",
    responses.Trial,
    status=201,
    body=requests.NewTrial,
    scope=Scope.DEPOSIT,
    errors={404: "The portal has no file with these bytes.", 409: "No more photos may wait or run (see `GET /usage`)."},
)
def begin_trial(body: requests.NewTrial) -> responses.Trial:
    """Try several recipes on one photo."""
    tenant_id, imported = g.identity.tenant_id, services().settings.weights
    if body.url is not None:
        fetched = remote_photos.fetch(body.url)
        photo, name = photos.store_original(services(), tenant_id, fetched), body.name or fetched.name
    else:
        with services().read() as session:
            photo, name = photos.get_by_sha256(session, tenant_id, body.sha256 or ""), body.name or "photo"
    chosen = body.recipes or trials.suggest_recipes(imported=imported)
    with services().begin() as session:
        trial_id = trials.open(
            session, tenant_id, photo, name, chosen, created_by=g.identity.user_id, imported=imported
        )
        return _trial(session, trial_id)


@api.operation("GET", "/trials", responses.Page[responses.TrialSummary], query=requests.PageQuery, scope=Scope.READ)
def list_trials(query: requests.PageQuery) -> responses.Page[responses.TrialSummary]:
    """List trials, newest first."""
    with services().read() as session:
        found = trials.list_page(session, g.identity.tenant_id, query.after, query.limit)
    items = [
        responses.TrialSummary(
            id=trial.id, name=trial.name, url=_trial_url(trial.id), created_at=trial.created_at, tries=trial.tries
        )
        for trial in found
    ]
    return responses.Page(items=items, next=next_cursor(items, query.limit))


@api.operation("GET", "/trials/<uuid:trial_id>", responses.Trial, scope=Scope.READ)
def show_trial(trial_id: UUID) -> responses.Trial:
    """Get a trial, its progress and its results."""
    with services().read() as session:
        return _trial(session, trial_id)


@api.operation(
    "POST", "/trials/<uuid:trial_id>/tries", responses.Trial, status=201, body=requests.NewTry, scope=Scope.DEPOSIT
)
def add_try(trial_id: UUID, body: requests.NewTry) -> responses.Trial:
    """Try one more recipe."""
    with services().begin() as session:
        trials.add_try(
            session,
            g.identity.tenant_id,
            trial_id,
            body.recipe,
            created_by=g.identity.user_id,
            imported=services().settings.weights,
        )
        return _trial(session, trial_id)


@api.operation("POST", "/trials/<uuid:trial_id>/cancel", responses.Trial, scope=Scope.DEPOSIT)
def cancel_trial(trial_id: UUID) -> responses.Trial:
    """Cancel all tries of a trial that have not ended."""
    with services().begin() as session:
        trials.cancel(session, g.identity.tenant_id, trial_id)
        return _trial(session, trial_id)


def _trial_url(trial_id: UUID) -> str:
    return f"{portal_url()}/trials/{trial_id}"


def _trial(session: Session, trial_id: UUID) -> responses.Trial:
    session.expire_all()  # cancelling changes rows behind the session's back
    trial = trials.load(session, g.identity.tenant_id, trial_id)
    return responses.Trial(
        id=trial.id,
        name=trial.name,
        url=_trial_url(trial.id),
        sha256=trial.photo.sha256,
        created_at=trial.created_at,
        is_over=trial.is_over,
        tries=[make_try(attempted) for attempted in trial.tries],
    )


def make_try(attempted: trials.Try) -> responses.Try:
    """Make the answer for one photo through one recipe, of a trial or of a proof."""
    return responses.Try(
        id=attempted.job_id,
        name=attempted.name,
        stage=attempted.stage,
        state=attempted.state,
        reason_code=attempted.reason_code,
        reason=attempted.reason,
        url=job_url(attempted.job_id),
        recipe=attempted.recipe,
        seconds=attempted.seconds,
        files=file_urls(attempted.job_id, attempted.files),
        remark=attempted.remark,
    )
