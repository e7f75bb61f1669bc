"""API operations for administrators: workers, queues, fleets and failures."""

from flask import g
from sqlalchemy.orm import Session

from retint import accounts, fleets, tables
from retint.errors import NotFound
from retint.jobs import long_moves, tallies
from retint.lifecycle import FLEETS, QUEUES
from retint.tenancy import get_owned
from retint_web import services
from retint_web.api import requests, responses
from retint_web.api.blueprint import api


@api.operation("GET", "/workers", responses.Workers, for_admins=True)
def list_workers() -> responses.Workers:
    """List the running workers."""
    with services().begin() as session:
        live = fleets.list_live(session)
    return responses.Workers(
        items=[
            responses.Worker(
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


@api.operation("GET", "/queues", responses.Queues, for_admins=True)
def list_queues() -> responses.Queues:
    """Count the jobs that wait or run at each stage."""
    with services().begin() as session:
        depths = tallies.measure_depths(session)
    return responses.Queues(
        items=[
            responses.Queue(
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


@api.operation("GET", "/fleets/<name>", responses.Fleet, for_admins=True)
def show_fleet(name: str) -> responses.Fleet:
    """Get how many workers a fleet has and how many are wanted."""
    with services().begin() as session:
        return _fleet(session, name)


@api.operation("PUT", "/fleets/<name>", responses.Fleet, body=requests.FleetSize, for_admins=True)
def scale_fleet(name: str, body: requests.FleetSize) -> responses.Fleet:
    """Set how many workers a fleet should have; surplus workers finish their current jobs, then stop."""
    with services().begin() as session:
        _check_fleet(name)
        fleets.set_wanted(session, name, body.wanted)
        accounts.record_action(session, "fleet_scaled", f"{name} {body.wanted}", g.identity)
        session.flush()
        return _fleet(session, name)


@api.operation("GET", "/failures", responses.Failures, for_admins=True)
def list_failures() -> responses.Failures:
    """Count refused and quarantined jobs by reason."""
    with services().begin() as session:
        groups = tallies.group_failures(session, g.identity.tenant_id)
    return responses.Failures(
        items=[
            responses.FailureGroup(
                reason_code=group.reason_code,
                reason=group.reason,
                state=group.state,
                count=group.count,
                batches=group.batches,
            )
            for group in groups
        ]
    )


@api.operation("POST", "/failures/retry", responses.RetriedJobs, body=requests.FailureFilter, for_admins=True)
def retry_failures(body: requests.FailureFilter) -> responses.RetriedJobs:
    """Give quarantined jobs another three attempts."""
    with services().begin() as session:
        if body.batch_id is not None:
            get_owned(session, tables.Batch, g.identity.tenant_id, body.batch_id)
        move_id = long_moves.retry_failures(
            session, g.identity.tenant_id, batch_id=body.batch_id, reason_code=body.reason_code
        )
        accounts.record_action(session, "failures_retried", body.reason_code or "all", g.identity)
    move = long_moves.carry_out(services(), move_id)
    return responses.RetriedJobs(retried=move.moved, complete=move.ended_at is not None)


def _check_fleet(name: str) -> None:
    if name not in FLEETS:
        raise NotFound(f"There is no fleet {name}.")


def _fleet(session: Session, name: str) -> responses.Fleet:
    _check_fleet(name)
    live = sum(worker.fleet == name for worker in fleets.list_live(session))
    return responses.Fleet(name=name, wanted=fleets.get_wanted(session)[name], live=live)
