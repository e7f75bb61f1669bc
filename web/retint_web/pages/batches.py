"""Pages of batches: the list of all, one batch with its gallery, and pause, resume, cancel and retry."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from retint import batches, proofs, search
from retint.batches import JobSummary, Progress
from retint.jobs import long_moves, tallies
from retint.lifecycle import State
from retint.roles import OPERATOR
from retint.search import Query, Sort
from retint.tables import Batch
from retint.tenancy import get_owned
from retint_web import services
from retint_web.pages import fleet_status, parameters, words
from retint_web.pages import search as searching
from retint_web.security import only

blueprint = Blueprint("batches", __name__)

BATCHES_PER_PAGE: Final = 12
PREVIEWS_PER_BATCH: Final = 8
PHOTOS_PER_PAGE: Final = 60


@dataclass(frozen=True)
class BatchPreview:
    """A batch in the list, with its first pictures."""

    batch: Batch
    progress: Progress
    cards: list[JobSummary]

    @property
    def status(self) -> str:
        """Its speed and remaining time, or that it is paused or finished."""
        return words.describe_progress(self.batch, self.progress)


@blueprint.get("/")
def index() -> ResponseReturnValue:
    """Show all batches, newest first."""
    tenant_id, after = g.identity.tenant_id, _id_argument("after")
    with services().read() as session:
        found = batches.list_page(session, tenant_id, after, BATCHES_PER_PAGE + 1)
        previews = [_preview(session, batch) for batch in found[:BATCHES_PER_PAGE]]
    more = previews[-1].batch.id if len(found) > BATCHES_PER_PAGE else None
    return render_template("batches/index.html", previews=previews, after=after, more=more)


def _preview(session: Session, batch: Batch) -> BatchPreview:
    cards = batches.list_jobs_page(session, batch.tenant_id, batch.id, state=State.RESTORED, limit=PREVIEWS_PER_BATCH)
    if not cards:
        first = batches.list_jobs_page(session, batch.tenant_id, batch.id, limit=PREVIEWS_PER_BATCH)
        cards = [card for card in first if card.picture]
    return BatchPreview(batch, batches.measure_progress(session, batch.tenant_id, batch.id), cards)


@blueprint.get("/batches/<uuid:batch_id>")
def show(batch_id: UUID) -> ResponseReturnValue:
    """Show one batch: its progress, its failures and their reasons, and its gallery."""
    query, after = searching.read_query(Sort.DEPOSITED), _id_argument("after")
    with services().read() as session:
        batch = get_owned(session, Batch, g.identity.tenant_id, batch_id)
        if batch.trial:
            return redirect(url_for("trials.show", trial_id=batch.trial))
        if batch.proof_of:
            return redirect(url_for("proofs.show", batch_id=batch.proof_of))
        cards = _list_cards(session, batch, query, after)
        values = _progress_values(session, batch)
    more = cards[PHOTOS_PER_PAGE - 1].id if len(cards) > PHOTOS_PER_PAGE else None
    return render_template(
        "batches/show.html",
        **values,
        cards=cards[:PHOTOS_PER_PAGE],
        query=query,
        asked=searching.asked(query, Sort.DEPOSITED),
        sorts=searching.SORTS,
        state=query.state,
        after=after,
        more=more,
        limit=PHOTOS_PER_PAGE,
    )


def _list_cards(session: Session, batch: Batch, query: Query, after: UUID | None) -> Sequence[JobSummary]:
    """List a page of a batch's photos, and one more if there is one."""
    limit = PHOTOS_PER_PAGE + 1
    if searching.asked(query, Sort.DEPOSITED):
        query = replace(query, batch_id=batch.id)
        return search.list_page(session, batch.tenant_id, query, after=after, limit=limit)
    return batches.list_jobs_page(session, batch.tenant_id, batch.id, state=query.state, after=after, limit=limit)


@blueprint.get("/batches/<uuid:batch_id>/live")
def live(batch_id: UUID) -> ResponseReturnValue:
    """Return the fragment that a batch's page polls.

    Query:
        open: ids of the jobs on the page that had not ended, separated by commas.
        last, room: the last job on the page and how many more fit; used by the unfiltered gallery only.
    """
    query = searching.read_query(Sort.DEPOSITED)
    state, asked = query.state, searching.asked(query, Sort.DEPOSITED)
    open_ids = [
        parameters.parse_id(job_id) for job_id in request.args.get("open", "").split(",")[:PHOTOS_PER_PAGE] if job_id
    ]
    room = min(request.args.get("room", 0, type=int), PHOTOS_PER_PAGE)
    with services().read() as session:
        batch = get_owned(session, Batch, g.identity.tenant_id, batch_id)
        values = _progress_values(session, batch)
        cards = batches.list_jobs(session, batch.tenant_id, batch_id, open_ids)
        new_cards = []
        if room > 0 and state is None and not asked:
            new_cards = batches.list_jobs_page(
                session, batch.tenant_id, batch_id, after=_id_argument("last"), limit=room
            )
    return render_template(
        "batches/_refresh.html", **values, cards=cards, new_cards=new_cards, state=state, asked=asked
    )


def _progress_values(session: Session, batch: Batch) -> dict[str, object]:
    """Collect the template values of the head of a batch's page."""
    progress = batches.measure_progress(session, batch.tenant_id, batch.id)
    failed = progress.counts.refused + progress.counts.quarantined
    again = long_moves.find_run_again(session, batch.id)
    is_active = again is not None or (words.count_unfinished(progress.counts) > 0 and batch.cancelled_at is None)
    goes_on = is_active and batch.paused_at is None
    return {
        "again": again,
        "awaited": fleet_status.list_awaited(session, services().settings, progress.counts) if goes_on else [],
        "batch": batch,
        "progress": progress,
        "status": words.describe_progress(batch, progress),
        "failures": tallies.group_failures(session, batch.tenant_id, batch_id=batch.id) if failed else [],
        "is_proved": batches.is_proved(session, batch.id),
        "may_prove": batch.paused_at is not None and proofs.may_begin(session, batch) and progress.counts.total > 0,
        "is_live": is_active or not progress.counts.total or batches.is_growing(session, batch.tenant_id, batch.id),
    }


@blueprint.post("/batches/<uuid:batch_id>/pause")
def pause(batch_id: UUID) -> ResponseReturnValue:
    """Pause a batch."""
    with services().begin() as session:
        batch = batches.pause(session, g.identity.tenant_id, batch_id)
    return _redirect_to_batch(batch.id)


@blueprint.post("/batches/<uuid:batch_id>/resume")
def resume(batch_id: UUID) -> ResponseReturnValue:
    """Resume a paused batch."""
    with services().begin() as session:
        batch = batches.resume(session, g.identity.tenant_id, batch_id)
    return _redirect_to_batch(batch.id)


@blueprint.route("/batches/<uuid:batch_id>/cancel", methods=["GET", "POST"])
def cancel(batch_id: UUID) -> ResponseReturnValue:
    """Ask for confirmation, then cancel a batch."""
    if request.method == "GET":
        with services().read() as session:
            batch = get_owned(session, Batch, g.identity.tenant_id, batch_id)
            counts = batches.measure_progress(session, batch.tenant_id, batch_id).counts
        return render_template("batches/cancel.html", batch=batch, counts=counts)
    with services().begin() as session:
        batch = get_owned(session, Batch, g.identity.tenant_id, batch_id)
        unfinished = words.count_unfinished(tallies.count_jobs(session, [batch_id])[batch_id])
        move_id = long_moves.cancel_batch(session, batch.tenant_id, batch_id)
    long_moves.carry_out(services(), move_id)
    flash(f"Cancelled. {words.pluralize(unfinished, 'photo')} will not be restored.")
    return _redirect_to_batch(batch_id)


@blueprint.post("/batches/<uuid:batch_id>/retry")
@only(OPERATOR)
def retry(batch_id: UUID) -> ResponseReturnValue:
    """Give a batch's quarantined photos another three attempts: all, or those that failed for one reason."""
    with services().begin() as session:
        get_owned(session, Batch, g.identity.tenant_id, batch_id)
        reason_code = request.form.get("reason_code") or None
        move_id = long_moves.retry_failures(session, g.identity.tenant_id, batch_id=batch_id, reason_code=reason_code)
    flash(words.describe_retry(*long_moves.carry_out_all(services(), [move_id])))
    return _redirect_to_batch(batch_id)


def _redirect_to_batch(batch_id: UUID) -> Response:
    return redirect(url_for("batches.show", batch_id=batch_id), code=303)


def _id_argument(name: str) -> UUID | None:
    return parameters.parse_id(request.args[name]) if request.args.get(name) else None
