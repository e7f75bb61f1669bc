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
from retint.lifecycle import FLEETS, MOST_WORKERS, Mode, State
from retint.roles import OPERATOR, Role
from retint.store_tables import Sweep
from retint.sweeps import Kept
from retint.tables import Batch
from retint.tenancy import select_owned
from retint_web import house, services
from retint_web.pages import fleet_status, words
from retint_web.security import only

LONGEST_WAIT_MIN = 7 * 24 * 60

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


@dataclass(frozen=True)
class UnfinishedBatch:
    """A batch or trial with photos that wait or run, and how many."""

    batch: Batch
    waiting: int
    running: int


@blueprint.get("/")
@only(Role.ADMIN, OPERATOR)
def index() -> ResponseReturnValue:
    """Show the page."""
    return render_template("admin/index.html", **_page_values(), most=MOST_WORKERS)


@blueprint.get("/live")
@only(Role.ADMIN, OPERATOR)
def live() -> ResponseReturnValue:
    """Return the fragments that the page polls."""
    return render_template("admin/_live.html", **_page_values(), oob=True)


@blueprint.post("/fleets/<name>")
@only(OPERATOR)
def scale(name: str) -> ResponseReturnValue:
    """Set a fixed number of workers, or limits between which the demand decides; whoever drives the fleet obeys."""
    if name not in FLEETS:
        raise NotFound("There is no such fleet.")
    with house().begin() as session:
        if request.form.get("mode") == Mode.AUTOMATIC:
            least, most = _read_workers("least"), _read_workers("most")
            wait_min = request.form.get("wait_min", type=float)
            if wait_min is None or not 1 <= wait_min <= LONGEST_WAIT_MIN:
                raise InvalidRequest(f"Work may wait for 1 to {LONGEST_WAIT_MIN} minutes.")
            fleets.set_limits(session, name, least, most, wait_min * 60)
        else:
            fleets.set_wanted(session, name, _read_workers("wanted"))
    return _redirect_to_index()


def _read_workers(field: str) -> int:
    n = request.form.get(field, type=int)
    if n is None or not 0 <= n <= MOST_WORKERS:
        raise InvalidRequest(f"A fleet has 0 to {MOST_WORKERS} workers.")
    return n


@blueprint.post("/failures/retry")
@only(Role.ADMIN)
def retry() -> ResponseReturnValue:
    """Run the institution's photos again that were refused for one reason, or for any."""
    reason_code = request.form.get("reason_code") or None
    with services().begin() as session:
        move_ids = long_moves.run_refused_again(session, g.identity.tenant_id, reason_code)
    flash(words.describe_run_again(*long_moves.carry_out_all(services(), move_ids)))
    return _redirect_to_index()


@blueprint.post("/faults/retry")
@only(OPERATOR)
def retry_faults() -> ResponseReturnValue:
    """Retry every institution's photos that were quarantined for one reason, or for any."""
    reason_code = request.form.get("reason_code") or None
    with house().begin() as session:
        move_id = long_moves.retry_failures(session, None, reason_code=reason_code)
    flash(words.describe_retry(*long_moves.carry_out_all(house(), [move_id])))
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
    workers, settings = fleets.list_live(session), house().settings
    return {
        "fleets": (statuses := fleet_status.read(session, settings, workers)),
        "driver": fleet_status.describe_driver(settings.fleet_driver, statuses),
        "workers": workers,
        "depths": tallies.measure_depths(session),
        "sweep": (sweep := session.get(Sweep, 1)),
        "unknown_files": _list_unknown_files(sweep),
        "faults": [each for each in tallies.group_failures(session, None) if each.state is State.QUARANTINED],
    }


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
