"""The administrator's page: workers and how many, what waits, what failed, and what may be done about it."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from retint import accounts, fleets
from retint.errors import InvalidRequest, NotFound
from retint.jobs import changes, tallies
from retint.lifecycle import FLEETS, QUEUES, Stage, State
from retint.tables import Batch, Worker
from retint.tenancy import owned
from retint_web import services
from retint_web.pages import words
from retint_web.security import admin_required

blueprint = Blueprint("admin", __name__, url_prefix="/admin")

MOST: Final = 64
"""Workers of one fleet that can be asked for."""


@dataclass(frozen=True)
class Standing:
    """One fleet: what is wanted of it, and what it is."""

    name: str
    wanted: int
    running: int

    @property
    def stages(self) -> list[Stage]:
        """What its workers do."""
        return [stage for stage, queue in QUEUES.items() if queue == self.name]

    @property
    def words(self) -> str:
        """What is about to change."""
        if self.running < self.wanted:
            return f"{self.wanted - self.running} starting"
        if self.running > self.wanted:
            return f"{self.running - self.wanted} finishing"
        return "steady" if self.wanted else "paused: none wanted"


@dataclass(frozen=True)
class Line:
    """A batch that has not ended, in the list of those."""

    batch: Batch
    waiting: int
    running: int


@blueprint.get("/")
@admin_required
def index() -> ResponseReturnValue:
    """Show everything an administrator watches."""
    with services().begin() as session:
        return render_template("admin/index.html", **_state(session), most=MOST)


@blueprint.get("/live")
@admin_required
def live() -> ResponseReturnValue:
    """Give the fragments that the page polls."""
    with services().begin() as session:
        return render_template("admin/_live.html", **_state(session), oob=True)


@blueprint.post("/fleets/<name>")
@admin_required
def scale(name: str) -> ResponseReturnValue:
    """Set how many workers of a fleet are wanted; the fleet's driver starts and drains them."""
    if name not in FLEETS:
        raise NotFound("There is no such fleet.")
    wanted = request.form.get("wanted", type=int)
    if wanted is None or not 0 <= wanted <= MOST:
        raise InvalidRequest(f"A fleet has 0 to {MOST} workers.")
    with services().begin() as session:
        fleets.set_wanted(session, name, wanted)
        accounts.record(session, "fleet_scaled", f"{name} {wanted}", g.identity)
    return _back()


@blueprint.post("/failures/retry")
@admin_required
def retry() -> ResponseReturnValue:
    """Give the photos that were quarantined for one reason another three attempts."""
    reason_code = request.form.get("reason_code") or None
    with services().begin() as session:
        retried = changes.retry_jobs(session, g.identity.tenant_id, reason_code=reason_code)
        accounts.record(session, "failures_retried", reason_code or "all", g.identity)
    flash(f"{words.count(retried, 'photo')} will be tried again.")
    return _back()


def _back() -> Response:
    return redirect(url_for("admin.index"), code=303)


def _state(session: Session) -> dict[str, object]:
    workers = fleets.live(session)
    return {
        "fleets": _standings(workers, fleets.wanted(session)),
        "workers": workers,
        "depths": tallies.depths(session),
        "lines": _lines(session),
        "failures": tallies.failures(session, g.identity.tenant_id),
    }


def _standings(workers: list[Worker], wanted: dict[str, int]) -> list[Standing]:
    return [Standing(name, wanted[name], sum(worker.fleet == name for worker in workers)) for name in FLEETS]


def _lines(session: Session) -> list[Line]:
    """List the tenant's batches in which something waits or runs, the oldest first; a trial's tries as one."""
    counts: dict[UUID, tuple[int, int]] = {}
    for load in tallies.loads(session):
        if load.tenant_id == g.identity.tenant_id:
            waiting, running = counts.get(load.batch_id, (0, 0))
            is_running = load.state is State.RUNNING
            counts[load.batch_id] = (waiting, running + load.n) if is_running else (waiting + load.n, running)
    mine = owned(Batch, g.identity.tenant_id).where(Batch.id.in_(counts))
    lines: dict[UUID, Line] = {}
    for batch in session.scalars(mine.order_by(Batch.created_at)):
        line = lines.get(batch.trial or batch.id, Line(batch, 0, 0))
        waiting, running = counts[batch.id]
        lines[batch.trial or batch.id] = Line(line.batch, line.waiting + waiting, line.running + running)
    return list(lines.values())
