"""Pages of batches: the wall of all of them, one with its gallery, and what a person can tell it to do."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from retint import accounts, batches
from retint.batches import Card, Progress
from retint.errors import InvalidRequest
from retint.jobs import changes, tallies
from retint.lifecycle import State
from retint.tables import Batch
from retint.tenancy import get_owned
from retint_web import services
from retint_web.pages import words
from retint_web.security import admin_required, login_required

blueprint = Blueprint("batches", __name__)

STRIPS: Final = 12
FRAMES: Final = 8
CARDS: Final = 60


@dataclass(frozen=True)
class Strip:
    """One batch on the wall, with its first pictures."""

    batch: Batch
    progress: Progress
    cards: list[Card]

    @property
    def words(self) -> str:
        """How it goes on."""
        return words.standing(self.batch, self.progress)


@blueprint.get("/")
@login_required
def index() -> ResponseReturnValue:
    """Show all batches, the newest first."""
    tenant_id, after = g.identity.tenant_id, _row_id("after")
    with services().begin() as session:
        found = batches.page(session, tenant_id, after, STRIPS + 1)
        strips = [_strip(session, batch) for batch in found[:STRIPS]]
    more = strips[-1].batch.id if len(found) > STRIPS else None
    return render_template("batches/index.html", strips=strips, after=after, more=more)


def _strip(session: Session, batch: Batch) -> Strip:
    cards = batches.jobs_page(session, batch.tenant_id, batch.id, state=State.RESTORED, limit=FRAMES)
    if not cards:
        shown = batches.jobs_page(session, batch.tenant_id, batch.id, limit=FRAMES)
        cards = [card for card in shown if card.picture]
    return Strip(batch, batches.progress(session, batch.tenant_id, batch.id), cards)


@blueprint.get("/batches/<uuid:batch_id>")
@login_required
def show(batch_id: UUID) -> ResponseReturnValue:
    """Show one batch: how far it is, what failed and why, and its gallery."""
    state, after = _state(), _row_id("after")
    with services().begin() as session:
        batch = get_owned(session, Batch, g.identity.tenant_id, batch_id)
        if batch.trial:
            return redirect(url_for("trials.show", trial_id=batch.trial))
        cards = batches.jobs_page(session, batch.tenant_id, batch_id, state=state, after=after, limit=CARDS + 1)
        standing = _standing(session, batch)
    more = cards[CARDS - 1].id if len(cards) > CARDS else None
    return render_template(
        "batches/show.html", **standing, cards=cards[:CARDS], state=state, after=after, more=more, limit=CARDS
    )


@blueprint.get("/batches/<uuid:batch_id>/live")
@login_required
def live(batch_id: UUID) -> ResponseReturnValue:
    """Give the fragment that a batch's page polls.

    Query:
        open: jobs on the page that had not ended, by comma.
        last, room: the page's last job, and how many more may follow it; on the unfiltered gallery only.
    """
    state = _state()
    watched = [words.row_id(job_id) for job_id in request.args.get("open", "").split(",")[:CARDS] if job_id]
    room = min(request.args.get("room", 0, type=int), CARDS)
    with services().begin() as session:
        batch = get_owned(session, Batch, g.identity.tenant_id, batch_id)
        standing = _standing(session, batch)
        cards = batches.cards(session, batch.tenant_id, batch_id, watched)
        fresh = []
        if room > 0 and state is None:
            fresh = batches.jobs_page(session, batch.tenant_id, batch_id, after=_row_id("last"), limit=room)
    return render_template("batches/_refresh.html", **standing, cards=cards, fresh=fresh, state=state)


def _standing(session: Session, batch: Batch) -> dict[str, object]:
    """Gather what the head of a batch's page shows."""
    progress = batches.progress(session, batch.tenant_id, batch.id)
    lost = progress.counts.refused + progress.counts.quarantined
    moves = words.active(progress.counts) > 0 and batch.cancelled_at is None
    return {
        "batch": batch,
        "progress": progress,
        "words": words.standing(batch, progress),
        "failures": tallies.failures(session, batch.tenant_id, batch_id=batch.id) if lost else [],
        "is_live": moves or not progress.counts.total or batches.is_growing(session, batch.tenant_id, batch.id),
    }


@blueprint.post("/batches/<uuid:batch_id>/pause")
@login_required
def pause(batch_id: UUID) -> ResponseReturnValue:
    """Start nothing more of a batch."""
    with services().begin() as session:
        batch = batches.pause(session, g.identity.tenant_id, batch_id)
        accounts.record(session, "batch_paused", str(batch_id), g.identity)
    return _back(batch.id)


@blueprint.post("/batches/<uuid:batch_id>/resume")
@login_required
def resume(batch_id: UUID) -> ResponseReturnValue:
    """Go on with a batch."""
    with services().begin() as session:
        batch = batches.resume(session, g.identity.tenant_id, batch_id)
        accounts.record(session, "batch_resumed", str(batch_id), g.identity)
    return _back(batch.id)


@blueprint.route("/batches/<uuid:batch_id>/cancel", methods=["GET", "POST"])
@login_required
def cancel(batch_id: UUID) -> ResponseReturnValue:
    """Ask whether a batch is really to be cancelled; cancel it."""
    with services().begin() as session:
        batch = get_owned(session, Batch, g.identity.tenant_id, batch_id)
        if request.method == "GET":
            counts = batches.progress(session, batch.tenant_id, batch_id).counts
            return render_template("batches/cancel.html", batch=batch, counts=counts)
        cancelled = changes.cancel_batch(session, batch.tenant_id, batch_id)
        accounts.record(session, "batch_cancelled", str(batch_id), g.identity)
    flash(f"Cancelled. {words.count(cancelled, 'photo')} will not be restored.")
    return _back(batch_id)


@blueprint.post("/batches/<uuid:batch_id>/retry")
@admin_required
def retry(batch_id: UUID) -> ResponseReturnValue:
    """Give a batch's quarantined photos another three attempts: those that failed for one reason, or all."""
    with services().begin() as session:
        get_owned(session, Batch, g.identity.tenant_id, batch_id)
        reason_code = request.form.get("reason_code") or None
        retried = changes.retry_jobs(session, g.identity.tenant_id, batch_id=batch_id, reason_code=reason_code)
        accounts.record(session, "failures_retried", str(batch_id), g.identity)
    flash(f"{words.count(retried, 'photo')} will be tried again.")
    return _back(batch_id)


def _back(batch_id: UUID) -> Response:
    return redirect(url_for("batches.show", batch_id=batch_id), code=303)


def _state() -> State | None:
    try:
        return State(request.args["state"]) if request.args.get("state") else None
    except ValueError as error:
        raise InvalidRequest("There is no such state.") from error


def _row_id(name: str) -> UUID | None:
    return words.row_id(request.args[name]) if request.args.get(name) else None
