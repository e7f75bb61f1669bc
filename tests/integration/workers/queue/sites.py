"""A worker in the test's own process: it runs one bundle when the test says so, on a site's database and store."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from uuid import UUID

from tests.integration.conftest import Site

from retint import photos, recipes
from retint.jobs import changes
from retint.jobs.leases import AttemptEnd, Done, Lease
from retint.lifecycle import Stage
from retint.services import Services
from retint.tables import Job
from retint_workers.beats import Beat
from retint_workers.queue import tasks
from retint_workers.queue.heartbeat import Heartbeat
from retint_workers.queue.machine import Check, Machine
from retint_workers.queue.tasks import RunStage


def make_machine(
    services: Services, checks: Mapping[str, Check] | None = None, device_check: Check | None = None
) -> Machine:
    """Register a worker; without checks its machine passes every test."""
    heartbeat = Heartbeat(services, "cpu", "none")
    heartbeat.register()
    return Machine(heartbeat, checks or {}, device_check)


def run_bundle(
    services: Services, run_stage: RunStage, job_ids: Sequence[UUID], stage: Stage = Stage.INGEST
) -> Machine:
    """Run one bundle on a sound machine; return the machine."""
    machine = make_machine(services)
    tasks.run_bundle(machine, stage, run_stage, job_ids)
    return machine


def run_nothing(_: Services, leases: Sequence[Lease], __: Beat) -> Iterator[AttemptEnd]:
    """A stage that is done at once."""
    yield from ((lease, Done()) for lease in leases)


def deposit(site: Site, services: Services, path: Path, **recipe: object) -> UUID:
    """Deposit a file as a batch of its own; return its job."""
    batch = site.add_batch(recipe=recipes.parse(recipe))
    with path.open("rb") as source:
        return photos.deposit(services, batch.tenant_id, batch.id, path.name, photos.Stream(source)).id


def cancel(site: Site, job_id: UUID) -> None:
    """Cancel a job, as a person does."""
    with site.services.begin() as session:
        changes.cancel_job(session, session.get_one(Job, job_id).tenant_id, job_id)
