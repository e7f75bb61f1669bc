"""What the queue costs: no-op stages through the whole pipeline, beside a plain Celery chain of four no-op tasks.

    python tests/benchmarks/bench_pipeline.py [--database sqlite postgresql] [--photos 4000] [--jobs 1000 100000]

Everything is real: broker, database, dispatcher, one `cpu` and one `gpu` worker. The plain chain runs on the same
broker with as many worker processes and the same Celery settings. Figures printed side by side were measured in one
run; ratios mean something on any machine, seconds on this one only.
"""

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain
from sqlalchemy import insert, literal, select
from tests import servers

from retint import batches, broker, database, store_identity, telemetry
from retint.columns import now
from retint.jobs import long_moves, tallies
from retint.jobs.attempts import ATTEMPTS
from retint.jobs.leases import AttemptEnd, Done, Lease
from retint.lifecycle import QUEUES, STAGES, Outcome, Stage, State
from retint.recipes import parse
from retint.services import Services
from retint.settings import Settings
from retint.tables import Batch, Job, Photo, Tenant
from retint_workers.beats import Beat
from retint_workers.dispatch import dispatcher
from retint_workers.queue import app, tasks

FLEETS = ("cpu", "gpu")
ENDED = "bench:ended"
URGENT = 5
REPEATS = 9
FILLS = {"sqlite": (1_000, 100_000), "postgresql": (1_000, 1_000_000)}
"""Jobs that are in the database already."""
ROUNDS = 3
HEAVY = "heavy"
HEAVY_S = 2.0
"""What a heavy network takes for a photo on a CPU, and more."""


def run_noop_stage(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """Run a stage that does nothing; `colorize` of photos with heavy names takes as long as a heavy network."""
    for lease in leases:
        if not beat():
            return
        if lease.stage is Stage.COLORIZE and lease.name.startswith(HEAVY):
            time.sleep(HEAVY_S)
        yield lease, Done()


def make_plain_celery_app(url: str) -> Celery:
    """Return a Celery application of four tasks that do nothing; the last one counts."""
    link = broker.connect(url, "plain")

    def task(stage: Stage) -> Callable[[str], None]:
        def nothing(photo: str) -> None:
            if stage.next is None:
                link.redis.incr(ENDED)

        return nothing

    for stage in Stage:
        link.app.task(name=f"plain.{stage}", ignore_result=True, shared=False)(task(stage))
    return link.app


class Bench:
    """A database with some jobs in it, a broker, and the processes that work."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.services = Services.connect(settings)
        self.services.store.prepare()
        database.migrate(self.services.engine)
        self.services.store.prepare()
        store_identity.verify(self.services)
        self.link = self.services.connect_broker()

    def add_batch(
        self,
        count: int,
        *,
        priority: int = 0,
        state: State = State.READY,
        paused: bool = False,
        name: str = "",
    ) -> uuid.UUID:
        """Deposit some photos for a new tenant, all at once; restored ones have been through all stages."""
        recipe = parse({})
        with self.services.begin() as session:
            tenant = Tenant(name=uuid.uuid4().hex)
            session.add(tenant)
            session.flush()
            batch = Batch(tenant_id=tenant.id, name="bench", recipe_hash=recipe.hash, recipe=recipe.model_dump())
            batch.priority, batch.paused_at = priority, datetime.now(UTC) if paused else None
            photo = Photo(tenant_id=tenant.id, sha256=uuid.uuid4().hex * 2, size=1)
            session.add_all([batch, photo])
            session.flush()
            values: dict[str, Any] = {
                "tenant_id": tenant.id,
                "batch_id": batch.id,
                "photo_id": photo.id,
                "state": state,
            }
            if state is not State.READY:
                values["started_at"] = datetime.now(UTC)
            if state is State.RESTORED:
                values |= {"stage": Stage.RENDER, "attempt": 4, "ended_at": datetime.now(UTC)}
            rows = [{"name": f"{name}{number}.jpg", **values} for number in range(count)]
            session.execute(insert(Job).returning(Job.id), rows)  # which makes it one statement for many rows
            for number, stage in enumerate(STAGES if state is State.RESTORED else (), start=1):
                self._add_attempts(session, batch.id, number, stage)
        has_more = True
        while has_more:  # as a dispatcher does
            with self.services.begin() as session:
                has_more = tallies.fold(session)
        return batch.id

    def _add_attempts(self, session: Any, batch_id: uuid.UUID, number: int, stage: Stage) -> None:
        values = {"number": number, "stage": stage, "outcome": Outcome.DONE, "files": {}, "facts": {}, "timings": {}}
        columns = [literal(value, ATTEMPTS.c[name].type) for name, value in values.items()]
        rows = select(Job.id, Job.tenant_id, now(), *columns).where(Job.batch_id == batch_id)
        session.execute(insert(ATTEMPTS).from_select(["job_id", "tenant_id", "ended_at", *values], rows))

    def cancel(self, batch_id: uuid.UUID) -> None:
        with self.services.begin() as session:
            move_id = long_moves.cancel_batch(session, session.get_one(Batch, batch_id).tenant_id, batch_id)
        long_moves.carry_out(self.services, move_id, within_s=600)

    def wait_for(self, batch_id: uuid.UUID, count: int, timeout_s: float = 600) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            with self.services.read() as session:
                ended = tallies.count_jobs(session, [batch_id])[batch_id].ended
            if ended >= count:
                return
            assert time.monotonic() < deadline, f"{ended} of {count} ended"
            time.sleep(0.02)

    @contextmanager
    def run_workers(self, turn_s: float = tasks.BUNDLE_S) -> Iterator[None]:
        with ExitStack() as stack:
            for arguments in (("dispatcher",), *(("worker", fleet, str(turn_s)) for fleet in FLEETS)):
                stack.enter_context(run_process(self.settings, *arguments))
            self.wait_for(self.add_batch(2), 2)
            yield

    def measure_photos_per_s(self, count: int) -> float:
        started = time.monotonic()
        self.wait_for(self.add_batch(count), count)
        return count / (time.monotonic() - started)

    def measure_chains_per_s(self, count: int) -> float:
        celery = make_plain_celery_app(self.settings.broker_url)
        with ExitStack() as stack:
            for fleet in FLEETS:
                stack.enter_context(run_process(self.settings, "plain", fleet))
            self._run_plain_chains(celery, 2)
            started = time.monotonic()
            self._run_plain_chains(celery, count)
            return count / (time.monotonic() - started)

    def _run_plain_chains(self, celery: Celery, count: int) -> None:
        self.link.redis.delete(ENDED)
        for number in range(count):
            links = [
                celery.signature(f"plain.{stage}", args=(str(number),), immutable=True, queue=QUEUES[stage])
                for stage in Stage
            ]
            chain(*links, app=celery).apply_async()
        while int(self.link.redis.get(ENDED) or 0) < count:
            time.sleep(0.02)

    def measure_urgent_wait_s(self, repeats: int = REPEATS) -> float:
        """Return how long one photo from a browser takes from start to end: the median of some."""

        def one() -> float:
            started = time.monotonic()
            self.wait_for(self.add_batch(1, priority=URGENT), 1)
            return time.monotonic() - started

        return statistics.median(one() for _ in range(repeats))

    def measure_page_ms(self, batch_id: uuid.UUID) -> float:
        """Return what the data of a batch's page costs: its progress and its first page of photos."""

        def one() -> float:
            started = time.monotonic()
            with self.services.read() as session:
                tenant_id = session.get_one(Batch, batch_id).tenant_id
                batches.measure_progress(session, tenant_id, batch_id)
                batches.list_jobs_page(session, tenant_id, batch_id, limit=60)
            return time.monotonic() - started

        return 1000 * statistics.median(one() for _ in range(5 * REPEATS))


@contextmanager
def run_process(settings: Settings, *arguments: str) -> Iterator[None]:
    """Run a part of this file in a process of its own."""
    root = str(Path(__file__).parents[2])
    command = [sys.executable, __file__, *arguments]
    running = subprocess.Popen(
        command, env=settings.environment(PYTHONPATH=root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        running.kill()
        running.wait()


def run_part(kind: str, fleet: str = "", turn_s: str = "") -> None:
    settings = Settings()
    telemetry.configure(settings, kind)
    services = Services.connect(settings)
    if kind == "worker":
        tasks.BUNDLE_S = float(turn_s)
        app.run_worker(services, fleet, dict.fromkeys(Stage, run_noop_stage), device="none")
    elif kind == "dispatcher":
        dispatcher.run(services)
    else:
        celery = make_plain_celery_app(settings.broker_url)
        options = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True, "quiet": True}
        celery.Worker(hostname=fleet, pool="solo", concurrency=1, queues=[fleet], loglevel="ERROR", **options).start()


def print_row(what: str, value: str, ratio: str = "") -> None:
    print(f"{what:<66}{value:>14}{ratio:>16}", flush=True)


def measure(settings: Settings, photos: int, fills: Sequence[int]) -> None:
    """Print all figures of one database."""
    bench = Bench(settings)
    full, first_page_ms = 0, 0.0
    for fill in fills:
        batch_id = bench.add_batch(fill - full, state=State.RESTORED)
        # In turns, and the best of each: what else the machine does in the meantime slows one as well as the other.
        plain, ours = 0.0, 0.0
        for _ in range(ROUNDS):
            plain = max(plain, bench.measure_chains_per_s(photos // 4))
            with bench.run_workers():
                ours = max(ours, bench.measure_photos_per_s(photos))
        print(f"with {fill:,} jobs in the database")
        print_row("  plain Celery chain of 4 no-op tasks", f"{plain:.0f} photos/s", "1.0")
        print_row("  Retint", f"{ours:.0f} photos/s", f"{ours / plain:.1f} x plain")
        page_ms = bench.measure_page_ms(batch_id)
        first_page_ms = first_page_ms or page_ms
        print_row(
            f"  a page of a batch of {fill - full:,} photos",
            f"{page_ms:.1f} ms",
            f"{page_ms / first_page_ms:.1f} x first",
        )
        full = fill
    with bench.run_workers():
        idle = bench.measure_urgent_wait_s()
        print_row("one photo from a browser, idle", f"{idle:.2f} s", "1.0")
        bulk = bench.add_batch(5000)
        busy = bench.measure_urgent_wait_s()
        with bench.services.read() as session:
            left = tallies.count_jobs(session, [bulk])[bulk]
        print_row(
            f"the same while 5,000 of another tenant run ({left.total - left.ended:,} left)",
            f"{busy:.2f} s",
            f"{busy / idle:.1f} x idle",
        )
    bench.cancel(bulk)
    for turn_s in (math.inf, tasks.BUNDLE_S):
        with bench.run_workers(turn_s):
            heavy_batch = bench.add_batch(200, name=HEAVY)
            time.sleep(2 * HEAVY_S)
            heavy = bench.measure_urgent_wait_s(3)
            bench.cancel(heavy_batch)
        print_row(
            f"the same beside photos of {HEAVY_S:g} s, bundles run "
            + ("to their end" if math.isinf(turn_s) else f"for {turn_s:g} s"),
            f"{heavy:.1f} s",
            f"{heavy / idle:.0f} x idle",
        )
    bench.services.engine.dispose()


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--photos", type=int, default=4000, help="photos through the pipeline at a time")
    parser.add_argument(
        "--jobs", type=int, nargs="+", help="jobs that are there already; at most a million on PostgreSQL by default"
    )
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        for name in options.database:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="retint-bench-")))
            folder.chmod(0o755)
            valkey = servers.start_valkey(make_folder(folder, "broker"))
            stack.callback(valkey.stop)
            values: dict[str, Any] = {"data": folder, "broker_url": f"redis://127.0.0.1:{valkey.port}/0"}
            if name == "postgresql":
                postgresql = servers.start_postgresql(make_folder(folder, "postgresql"))
                stack.callback(postgresql.stop)
                values["database_url"] = f"postgresql+psycopg://retint@127.0.0.1:{postgresql.port}/postgres"
            print(f"\n{name}")
            measure(Settings(**values), options.photos, options.jobs or FILLS[name])


def make_folder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_the_pipeline_costs_less_than_a_bare_chain() -> None:
    main([])


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ("worker", "dispatcher", "plain"):
        run_part(*sys.argv[1:])
    else:
        main(sys.argv[1:])
