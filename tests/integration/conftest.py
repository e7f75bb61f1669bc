"""A site with tenants, batches and jobs on each database, and the processes of the pipeline."""

import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from retint import recipes, store_identity
from retint.columns import now
from retint.errors import Transient
from retint.jobs import changes, tallies
from retint.jobs.leases import AttemptEnd, Lease, claim, settle
from retint.jobs.tallies import Counts
from retint.lifecycle import Outcome, Stage, State
from retint.recipes import Recipe
from retint.services import Services
from retint.settings import Settings
from retint.tables import Attempt, Batch, Job, Photo, Tenant
from retint_workers.dispatch.dispatcher import Dispatcher

TIMEOUT_S = 180


@dataclass
class Site:
    """An installation of Retint: tests add tenants, batches and jobs, and read what became of them."""

    services: Services
    tenants: dict[str, uuid.UUID] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return self.services.settings

    def get_tenant(self, name: str, weight: int = 1) -> uuid.UUID:
        if name not in self.tenants:
            with self.services.begin() as session:
                tenant = Tenant(name=name, weight=weight)
                session.add(tenant)
            self.tenants[name] = tenant.id
        return self.tenants[name]

    def add_batch(self, tenant: str = "museum", priority: int = 0, recipe: Recipe | None = None) -> Batch:
        recipe = recipe or recipes.parse({})
        batch = Batch(
            tenant_id=self.get_tenant(tenant),
            name="a batch",
            recipe_hash=recipe.hash,
            recipe=recipe.model_dump(),
            priority=priority,
        )
        with self.services.begin() as session:
            session.add(batch)
        return batch

    def add_jobs(self, *names: str, batch: Batch | None = None) -> list[uuid.UUID]:
        """Add one job per name."""
        batch = batch or self.add_batch()
        with self.services.begin() as session:
            photo = Photo(tenant_id=batch.tenant_id, sha256=uuid.uuid4().hex * 2, size=1)
            session.add(photo)
            session.flush()
            return [changes.add_job(session, batch, photo, name).id for name in names]

    def add_many_jobs(self, count: int, batch: Batch | None = None, state: State = State.READY) -> list[uuid.UUID]:
        """Add many jobs at once."""
        batch = batch or self.add_batch()
        with self.services.begin() as session:
            photo = Photo(tenant_id=batch.tenant_id, sha256=uuid.uuid4().hex * 2, size=1)
            session.add(photo)
            session.flush()
            common = {"tenant_id": batch.tenant_id, "batch_id": batch.id, "photo_id": photo.id, "state": state}
            job_ids = [uuid.uuid4() for _ in range(count)]
            rows = [{"id": job_id, "name": str(number), **common} for number, job_id in enumerate(job_ids)]
            session.execute(insert(Job), rows)
        return job_ids

    def claim(self, job_ids: list[uuid.UUID], stage: Stage = Stage.INGEST, lease_s: float = 60) -> list[Lease]:
        with self.services.begin() as session:
            return claim(session, stage, job_ids, uuid.uuid4(), lease_s)

    def settle(self, *ended: AttemptEnd) -> set[uuid.UUID]:
        with self.services.begin() as session:
            return settle(session, ended, backoff_s=0.01, requeue_s=self.settings.requeue_s)

    def get_job(self, job_id: uuid.UUID) -> Job:
        with self.services.begin() as session:
            return session.get_one(Job, job_id)

    def count_states(self, job_ids: list[uuid.UUID]) -> Counter[State]:
        with self.services.begin() as session:
            return Counter(session.scalars(select(Job.state).where(Job.id.in_(job_ids))))

    def list_attempts(self, job_id: uuid.UUID) -> list[Attempt]:
        with self.services.begin() as session:
            return list(session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)))

    def count_outcomes(self, job_ids: list[uuid.UUID]) -> Counter[tuple[Stage, Outcome]]:
        with self.services.begin() as session:
            rows = session.execute(select(Attempt.stage, Attempt.outcome).where(Attempt.job_id.in_(job_ids)))
            return Counter((row.stage, row.outcome) for row in rows)

    def read_counts(self, batch_id: uuid.UUID) -> Counts:
        with self.services.begin() as session:
            return tallies.count_jobs(session, [batch_id])[batch_id]

    def count_rows(self, batch_id: uuid.UUID) -> dict[tuple[Stage, State], int]:
        """Count a batch's jobs that are not replaced by stage and state from their rows, without the tallies."""
        with self.services.begin() as session:
            rows = session.execute(
                select(Job.stage, Job.state, func.count())
                .where(Job.batch_id == batch_id, Job.replaced_by.is_(None))
                .group_by(Job.stage, Job.state)
            )
            return {(row[0], row[1]): row[2] for row in rows}

    def make_overdue(self, job_ids: list[uuid.UUID]) -> None:
        with self.services.begin() as session:
            session.execute(update(Job).where(Job.id.in_(job_ids)).values(deadline=now(-1.0)))

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            with suppress(Transient):
                if condition():
                    return
            assert time.monotonic() < deadline, "the condition was not met in time"
            time.sleep(0.05)

    def wait_for(self, job_ids: list[uuid.UUID], state: State = State.RESTORED, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until all of these jobs are in a state."""
        try:
            self.wait_until(lambda: self.count_states(job_ids)[state] == len(job_ids), timeout_s)
        except AssertionError:
            pytest.fail(f"the jobs did not reach {state} in time: {self.count_states(job_ids)}")


def open_site(settings: Settings) -> Iterator[Site]:
    services = Services.connect(settings)
    try:
        services.store.prepare()
        store_identity.verify(services)
        yield Site(services)
    finally:
        services.engine.dispose()


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[Site]:
    """A site on each database, without a broker."""
    yield from open_site(Settings(data=tmp_path / "data", database_url=database_url))


@pytest.fixture
def fast_settings(tmp_path: Path, valkey_url: str) -> Settings:
    """Settings with short leases and pauses, and a real broker."""
    return Settings(
        data=tmp_path / "data",
        broker_url=valkey_url,
        lease_s=2,
        requeue_s=2,
        backoff_s=0.05,
        tick_s=0.05,
        bundle_size=4,
    )


@pytest.fixture
def broker_site(database_url: str, fast_settings: Settings) -> Iterator[Site]:
    """A site on each database, with a broker and fast settings."""
    yield from open_site(fast_settings.model_copy(update={"database_url": database_url}))


@pytest.fixture
def sqlite_site(sqlite_url: str, fast_settings: Settings) -> Iterator[Site]:
    """A site on SQLite with a broker, for tests to which the database makes no difference."""
    yield from open_site(fast_settings.model_copy(update={"database_url": sqlite_url}))


@pytest.fixture
def postgresql_site(postgresql_url: str, fast_settings: Settings) -> Iterator[Site]:
    """A site on PostgreSQL with a broker; the test may kill the database server."""
    yield from open_site(fast_settings.model_copy(update={"database_url": postgresql_url}))


@dataclass
class Processes:
    """The processes of a site: real workers and dispatchers with trivial stages (see `trivial.py`)."""

    site: Site
    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        # It dies with the test run, however that ends.
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.integration.workers.trivial"]
        command += arguments
        with (self.folder / f"{len(self.running)}-{'-'.join(arguments)}.log").open("wb") as sink:
            process = subprocess.Popen(command, stdout=sink, stderr=sink, env=self.site.settings.environment())
        self.running.append(process)
        return process

    def start_all(self) -> None:
        for arguments in (("worker", "cpu"), ("worker", "gpu"), ("dispatcher",)):
            self.start(*arguments)

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-6000:]}" for path in sorted(self.folder.glob("*.log")))

    def kill_all(self) -> None:
        for process in self.running:
            process.kill()
        for process in self.running:
            process.wait()


@pytest.fixture
def make_processes(tmp_path: Path) -> Iterator[Callable[[Site], Processes]]:
    """Return a function that makes the processes of a site; their logs are printed if the test fails."""
    started: list[Processes] = []

    def make(site: Site) -> Processes:
        started.append(Processes(site, tmp_path))
        return started[-1]

    yield make
    for processes in started:
        processes.kill_all()
        print(processes.logs())


@pytest.fixture
def dispatcher(sqlite_site: Site) -> Dispatcher:
    """A dispatcher of `sqlite_site` that ticks when the test calls it."""
    return Dispatcher(sqlite_site.services, sqlite_site.services.connect_broker())
