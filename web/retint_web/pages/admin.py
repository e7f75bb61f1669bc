"""The page of those who rule: operators see fleets, queues, workers and faults, administrators their failures."""

from dataclasses import dataclass
from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from retint import fleets
from retint.errors import InvalidRequest, NotFound
from retint.jobs import long_moves, tallies
from retint.lifecycle import FLEETS, MOST_WORKERS, QUEUES, Stage, State
from retint.services import Services
from retint.store_tables import Sweep
from retint.sweeps import Kept
from retint.tables import Batch, Worker
from retint.tenancy import select_owned
from retint_web import house, services
from retint_web.pages import words
from retint_web.security import Role, only

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


@dataclass(frozen=True)
class FleetStatus:
    """A fleet's wanted and running workers."""

    name: str
    wanted: int
    running: int

    @property
    def stages(self) -> list[Stage]:
        """The stages that its workers run."""
        return [stage for stage, queue in QUEUES.items() if queue == self.name]

    @property
    def change(self) -> str:
        """What is about to change, in words."""
        if self.running < self.wanted:
            return f"{self.wanted - self.running} starting"
        if self.running > self.wanted:
            return f"{self.running - self.wanted} finishing"
        return "steady" if self.wanted else "paused: none wanted"


@dataclass(frozen=True)
class UnfinishedBatch:
    """A batch or trial with photos that wait or run, and how many."""

    batch: Batch
    waiting: int
    running: int


@blueprint.get("/")
@only(Role.ADMIN, Role.OPERATOR)
def index() -> ResponseReturnValue:
    """Show the page."""
    return render_template("admin/index.html", **_page_values(), most=MOST_WORKERS)


@blueprint.get("/live")
@only(Role.ADMIN, Role.OPERATOR)
def live() -> ResponseReturnValue:
    """Return the fragments that the page polls."""
    return render_template("admin/_live.html", **_page_values(), oob=True)


@blueprint.post("/fleets/<name>")
@only(Role.OPERATOR)
def scale(name: str) -> ResponseReturnValue:
    """Set how many workers a fleet should have; the supervisor starts and stops them."""
    if name not in FLEETS:
        raise NotFound("There is no such fleet.")
    wanted = request.form.get("wanted", type=int)
    if wanted is None or not 0 <= wanted <= MOST_WORKERS:
        raise InvalidRequest(f"A fleet has 0 to {MOST_WORKERS} workers.")
    with house().begin() as session:
        fleets.set_wanted(session, name, wanted)
    return _redirect_to_index()


@blueprint.post("/failures/retry")
@only(Role.ADMIN)
def retry() -> ResponseReturnValue:
    """Retry the institution's photos that were quarantined for one reason, or for any."""
    return _retry(services(), g.identity.tenant_id)


@blueprint.post("/faults/retry")
@only(Role.OPERATOR)
def retry_faults() -> ResponseReturnValue:
    """Retry every institution's photos that were quarantined for one reason, or for any."""
    return _retry(house(), None)


def _retry(whose: Services, tenant_id: UUID | None) -> ResponseReturnValue:
    reason_code = request.form.get("reason_code") or None
    with whose.begin() as session:
        move_id = long_moves.retry_failures(session, tenant_id, reason_code=reason_code)
    flash(words.describe_retry(long_moves.carry_out(whose, move_id)))
    return _redirect_to_index()


def _redirect_to_index() -> Response:
    return redirect(url_for("admin.index"), code=303)


def _page_values() -> dict[str, object]:
    """Collect the template values of the page and of its fragments, as far as the user may see them."""
    values: dict[str, object] = {}
    if g.identity.is_operator:
        with house().read() as session:
            values |= _house_values(session)
    if g.identity.is_admin:
        with services().read() as session:
            values |= {
                "unfinished": _unfinished_batches(session),
                "failures": tallies.group_failures(session, g.identity.tenant_id),
            }
    return values


def _house_values(session: Session) -> dict[str, object]:
    workers = fleets.list_live(session)
    return {
        "fleets": _fleet_statuses(workers, fleets.get_wanted(session)),
        "workers": workers,
        "depths": tallies.measure_depths(session),
        "sweep": (sweep := session.get(Sweep, 1)),
        "unknown_files": _list_unknown_files(sweep),
        "faults": [each for each in tallies.group_failures(session, None) if each.state is State.QUARANTINED],
    }


def _fleet_statuses(workers: list[Worker], wanted: dict[str, int]) -> list[FleetStatus]:
    return [FleetStatus(name, wanted[name], sum(worker.fleet == name for worker in workers)) for name in FLEETS]


def _list_unknown_files(sweep: Sweep | None) -> list[tuple[int, str]]:
    """List how many files the sweep kept because the database does not know them, and what they are."""
    kept = (sweep and sweep.kept) or {}
    return [(kept[kind], kind.words) for kind in (Kept.UNKNOWN_ORIGINAL, Kept.UNKNOWN_JOB) if kept.get(kind)]


def _unfinished_batches(session: Session) -> list[UnfinishedBatch]:
    """List the tenant's batches in which photos wait or run, oldest first. A trial and a proof are one entry each."""
    counts: dict[UUID, tuple[int, int]] = {}
    for load in tallies.list_loads(session):
        if load.tenant_id == g.identity.tenant_id:
            waiting, running = counts.get(load.batch_id, (0, 0))
            is_running = load.state is State.RUNNING
            counts[load.batch_id] = (waiting, running + load.n) if is_running else (waiting + load.n, running)
    batches = select_owned(Batch, g.identity.tenant_id).where(Batch.id.in_(counts))
    unfinished: dict[UUID | str, UnfinishedBatch] = {}
    for batch in session.scalars(batches.order_by(Batch.created_at)):
        place = batch.trial or (batch.proof_of and f"proof of {batch.proof_of}") or batch.id
        entry = unfinished.get(place, UnfinishedBatch(batch, 0, 0))
        waiting, running = counts[batch.id]
        unfinished[place] = UnfinishedBatch(entry.batch, entry.waiting + waiting, entry.running + running)
    return list(unfinished.values())
