"""API operations for administrators: the failures of their institution; for operators: the house and its faults."""

from uuid import UUID

from flask import g
from sqlalchemy.orm import Session

from retint import accounts, fleets, tables
from retint.errors import NotFound
from retint.jobs import long_moves, tallies
from retint.lifecycle import FLEETS, QUEUES, State
from retint.store_tables import Sweep
from retint.tenancy import get_owned
from retint_web import services
from retint_web.api import administration_responses as answers
from retint_web.api import requests
from retint_web.api.blueprint import api
from retint_web.security import Role


@api.operation("GET", "/workers", answers.Workers, roles=(Role.OPERATOR,))
def list_workers() -> answers.Workers:
    """List the running workers."""
    with services().read() as session:
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


@api.operation("GET", "/queues", answers.Queues, roles=(Role.OPERATOR,))
def list_queues() -> answers.Queues:
    """Count the jobs that wait or run at each stage."""
    with services().read() as session:
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


@api.operation("GET", "/fleets/<name>", answers.Fleet, path_values={"name": FLEETS}, roles=(Role.OPERATOR,))
def show_fleet(name: str) -> answers.Fleet:
    """Get how many workers a fleet has and how many are wanted."""
    with services().read() as session:
        return _fleet(session, name)


@api.operation(
    "PUT",
    "/fleets/<name>",
    answers.Fleet,
    path_values={"name": FLEETS},
    body=requests.FleetSize,
    roles=(Role.OPERATOR,),
)
def scale_fleet(name: str, body: requests.FleetSize) -> answers.Fleet:
    """Set how many workers a fleet should have; surplus workers finish their current jobs, then stop."""
    with services().begin() as session:
        _check_fleet(name)
        fleets.set_wanted(session, name, body.wanted)
        accounts.record_action(session, "fleet_scaled", f"{name} {body.wanted}", g.identity)
        session.flush()
        return _fleet(session, name)


@api.operation("GET", "/failures", answers.Failures, roles=(Role.ADMIN,))
def list_failures() -> answers.Failures:
    """Count the institution's refused and quarantined jobs by reason."""
    return _list_failures(g.identity.tenant_id)


@api.operation(
    "POST",
    "/failures/retry",
    answers.RetriedJobs,
    body=requests.FailureFilter,
    roles=(Role.ADMIN,),
    errors={404: "There is no such batch."},
)
def retry_failures(body: requests.FailureFilter) -> answers.RetriedJobs:
    """Give the institution's quarantined jobs another three attempts."""
    return _retry_failures(g.identity.tenant_id, body)


@api.operation("GET", "/faults", answers.Failures, roles=(Role.OPERATOR,))
def list_faults() -> answers.Failures:
    """Count every institution's quarantined jobs by reason: what the house failed at."""
    return _list_failures(None)


@api.operation("POST", "/faults/retry", answers.RetriedJobs, body=requests.FaultFilter, roles=(Role.OPERATOR,))
def retry_faults(body: requests.FaultFilter) -> answers.RetriedJobs:
    """Give every institution's quarantined jobs another three attempts."""
    return _retry_failures(None, requests.FailureFilter(reason_code=body.reason_code))


@api.operation("GET", "/sweep", answers.Sweep, roles=(Role.OPERATOR,))
def show_sweep() -> answers.Sweep:
    """Get how far the sweep of the store is, and why it waits for an operator if it does."""
    with services().read() as session:
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
    with services().read() as session:
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


def _retry_failures(tenant_id: UUID | None, chosen: requests.FailureFilter) -> answers.RetriedJobs:
    with services().begin() as session:
        if chosen.batch_id is not None:
            get_owned(session, tables.Batch, g.identity.tenant_id, chosen.batch_id)
        move_id = long_moves.retry_failures(
            session, tenant_id, batch_id=chosen.batch_id, reason_code=chosen.reason_code
        )
        action = "failures_retried" if tenant_id else "faults_retried"
        accounts.record_action(session, action, chosen.reason_code or "all", g.identity)
    move = long_moves.carry_out(services(), move_id)
    return answers.RetriedJobs(retried=move.moved, complete=move.ended_at is not None)


def _check_fleet(name: str) -> None:
    if name not in FLEETS:
        raise NotFound(f"There is no fleet {name}.")


def _fleet(session: Session, name: str) -> answers.Fleet:
    _check_fleet(name)
    live = sum(worker.fleet == name for worker in fleets.list_live(session))
    return answers.Fleet(name=name, wanted=fleets.get_wanted(session)[name], live=live)
