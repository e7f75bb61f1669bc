"""API operations for administrators: the failures of their institution; for operators: the house and its faults."""

from uuid import UUID

from flask import g
from sqlalchemy import select
from sqlalchemy.orm import Session

from retint import demand, fleets
from retint.columns import now
from retint.errors import NotFound
from retint.jobs import long_moves, tallies
from retint.jobs.long_moves import Selection
from retint.lifecycle import FLEETS, QUEUES, State
from retint.roles import OPERATOR, Role, Scope
from retint.services import Services
from retint.store_tables import Sweep
from retint_web import house, services
from retint_web.api import administration_responses as answers
from retint_web.api import requests
from retint_web.api.blueprint import api
from retint_web.security import takes_metrics_token


@api.operation("GET", "/workers", answers.Workers, roles=(OPERATOR,), scope=Scope.ADMIN)
def list_workers() -> answers.Workers:
    """List the running workers."""
    with house().read() as session:
        live = fleets.list_live(session)
    return answers.Workers(
        items=[
            answers.Worker(
                id=worker.id,
                fleet=worker.fleet,
                host=worker.host,
                pid=worker.pid,
                device=worker.device,
                version=worker.version,
                activity=worker.activity,
                trouble=worker.trouble,
                trouble_since=worker.trouble_since,
                started_at=worker.started_at,
                heartbeat_at=worker.heartbeat_at,
            )
            for worker in live
        ]
    )


@api.operation("GET", "/queues", answers.Queues, roles=(OPERATOR,), scope=Scope.ADMIN)
def list_queues() -> answers.Queues:
    """Count the jobs that wait or run at each stage."""
    with house().read() as session:
        depths = tallies.measure_depths(session)
    return answers.Queues(
        items=[
            answers.Queue(
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


@api.operation(
    "GET", "/fleets/<name>", answers.Fleet, path_values={"name": FLEETS}, roles=(OPERATOR,), scope=Scope.ADMIN
)
def show_fleet(name: str) -> answers.Fleet:
    """Get how many workers a fleet has and how many are wanted."""
    with house().read() as session:
        return _fleet(session, name)


@api.operation(
    "PUT",
    "/fleets/<name>",
    answers.Fleet,
    path_values={"name": FLEETS},
    body=requests.FleetSize,
    roles=(OPERATOR,),
    scope=Scope.ADMIN,
)
def scale_fleet(name: str, body: requests.FleetSize) -> answers.Fleet:
    """Set how many workers a fleet should have; surplus workers finish their current jobs, then stop."""
    _check_fleet(name)
    with house().begin() as session:
        if body.wanted is not None:
            fleets.set_wanted(session, name, body.wanted)
        else:
            fleets.set_limits(session, name, body.least or 0, body.most or 0, body.wait_s)
        session.flush()
        return _fleet(session, name)


@api.operation(
    "GET",
    "/fleets/<name>/demand",
    answers.Demand,
    path_values={"name": FLEETS},
    roles=(OPERATOR,),
    scope=Scope.ADMIN,
)
@takes_metrics_token
def show_demand(name: str) -> answers.Demand:
    """Get how many workers a fleet should have now, and why: for an operator, or with the token for metrics."""
    _check_fleet(name)
    with house().read() as session:
        found = demand.read(session, house().settings)[name]
        demand.require_fresh(found, session.scalars(select(now())).one())
        live = _count_live(session, name)
    return answers.Demand(
        name=name,
        wanted=found.wanted,
        why=found.why,
        rule=found.rule,
        live=live,
        work_s=found.work.seconds,
        wait_s=found.limits.wait_s,
        waiting=found.work.waiting,
        running=found.work.running,
        coming=found.work.coming,
        least=found.limits.least,
        most=min(found.limits.most, found.limits.cap),
        assessed_at=found.assessed_at,
        short_since=found.short_since,
        is_unmet=found.is_unmet,
    )


@api.operation("GET", "/failures", answers.Failures, roles=(Role.ADMIN,), scope=Scope.ADMIN)
def list_failures() -> answers.Failures:
    """Count the institution's refused and quarantined jobs by reason."""
    return _list_failures(g.identity.tenant_id)


@api.operation(
    "POST",
    "/failures/retry",
    answers.RetriedJobs,
    body=requests.FailureFilter,
    roles=(Role.ADMIN,),
    scope=Scope.ADMIN,
    errors={404: "There is no such batch.", 409: "The batch was cancelled."},
)
def retry_failures(body: requests.FailureFilter) -> answers.RetriedJobs:
    """Run the institution's refused jobs again, each with its recipe: an upgrade may take their files."""
    with services().begin() as session:
        if body.batch_id is None:
            move_ids = long_moves.run_refused_again(session, g.identity.tenant_id, body.reason_code)
        else:
            chosen = Selection(State.REFUSED, reason_code=body.reason_code)
            move_ids = [long_moves.run_again(session, g.identity.tenant_id, body.batch_id, chosen)]
    moved, is_complete = long_moves.carry_out_all(services(), move_ids)
    return answers.RetriedJobs(retried=moved, complete=is_complete)


@api.operation("GET", "/faults", answers.Failures, roles=(OPERATOR,), scope=Scope.ADMIN)
def list_faults() -> answers.Failures:
    """Count every institution's quarantined jobs by reason: what the house failed at."""
    return _list_failures(None)


@api.operation(
    "POST", "/faults/retry", answers.RetriedJobs, body=requests.FaultFilter, roles=(OPERATOR,), scope=Scope.ADMIN
)
def retry_faults(body: requests.FaultFilter) -> answers.RetriedJobs:
    """Give every institution's quarantined jobs another three attempts."""
    with house().begin() as session:
        move_id = long_moves.retry_failures(session, None, reason_code=body.reason_code)
    moved, is_complete = long_moves.carry_out_all(house(), [move_id])
    return answers.RetriedJobs(retried=moved, complete=is_complete)


@api.operation("GET", "/sweep", answers.Sweep, roles=(OPERATOR,), scope=Scope.ADMIN)
def show_sweep() -> answers.Sweep:
    """Get how far the sweep of the store is, and why it waits for an operator if it does."""
    with house().read() as session:
        sweep = session.get(Sweep, 1) or Sweep(looked_at=0, deleted=0)
        return answers.Sweep(
            started_at=sweep.started_at,
            looked_at=sweep.looked_at,
            deleted=sweep.deleted,
            kept=sweep.kept or {},
            stopped_code=sweep.stopped_code,
            stopped=sweep.stopped,
        )


def _list_failures(tenant_id: UUID | None) -> answers.Failures:
    with _services_of(tenant_id).read() as session:
        groups = tallies.group_failures(session, tenant_id)
    return answers.Failures(
        items=[
            answers.FailureGroup(
                reason_code=group.reason_code,
                reason=group.reason,
                state=group.state,
                count=group.count,
                batches=group.batches,
            )
            for group in groups
            if tenant_id is not None or group.state is State.QUARANTINED
        ]
    )


def _services_of(tenant_id: UUID | None) -> Services:
    """Return services that see the institution, or all of them."""
    return services() if tenant_id else house()


def _check_fleet(name: str) -> None:
    if name not in FLEETS:
        raise NotFound(f"There is no fleet {name}.")


def _count_live(session: Session, name: str) -> int:
    return sum(worker.fleet == name for worker in fleets.list_live(session))


def _fleet(session: Session, name: str) -> answers.Fleet:
    _check_fleet(name)
    settings = services().settings
    found = demand.read(session, settings)[name]
    return answers.Fleet(
        name=name,
        mode=found.limits.mode,
        wanted=found.wanted,
        live=_count_live(session, name),
        least=found.limits.least,
        most=found.limits.most,
        wait_s=found.limits.wait_s,
        cap=found.limits.cap,
        driver=settings.fleet_driver,
    )
