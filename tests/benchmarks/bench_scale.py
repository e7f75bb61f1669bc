"""Many workers and portals on one PostgreSQL of 100 connections, and a million jobs that are cancelled and retried.

    python -m tests.benchmarks.bench_scale [--workers 200] [--photos 20000] [--jobs 1000000]

Dispatcher, portals, broker and database are real. A worker is a thread that receives bundles, claims, beats and settles
as a real one does, and sleeps instead of running a network. Seconds and photos a second mean something on this machine
only; statements, commits and bytes of a photo mean the same on any.
"""

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
from tests import servers
from tests.benchmarks.bench_pipeline import Bench, make_folder, print_row
from tests.servers import Server

from retint import accounts, broker, fleets
from retint.jobs import tallies
from retint.jobs.leases import Done, claim, extend, settle
from retint.lifecycle import FLEETS, Stage, State
from retint.roles import Role
from retint.services import Services
from retint.settings import Settings
from retint.tables import Batch, Tenant

PORTALS = 3
PROCESSES = 4
"""Processes that the simulated workers share; each has its own engine."""
CONNECTIONS = 16
"""Most connections of such a process."""
PHOTO_S = 0.1
"""What a stage of a simulated worker takes for a photo."""
BEAT_S = 2.0
POLL_S = 0.5
"""Time between two requests of one who looks at a batch's page."""


@dataclass
class Figures:
    """What the workers of one process measured."""

    claims_s: list[float] = field(default_factory=list)


def run_workers(settings: Settings, count: int, stop: threading.Event) -> Figures:
    """Run simulated workers as threads until the event is set."""
    services = Services.connect(settings, connections=CONNECTIONS)
    link, figures = services.connect_broker(), Figures()
    threads = [
        threading.Thread(target=run_worker, args=(services, link, FLEETS[n % 2], n, stop, figures))
        for n in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    services.engine.dispose()
    return figures


def run_worker(
    services: Services, link: broker.Broker, fleet: str, number: int, stop: threading.Event, figures: Figures
) -> None:
    """Receive bundles, claim, beat and settle, as `retint_workers.queue` does."""
    with services.begin() as session:
        # Threads of one process: the number stands for the process id.
        worker_id = fleets.register_worker(session, fleet, f"bench-{uuid.uuid4().hex[:8]}", number, "none", "bench")
    beaten_at = 0.0
    while not stop.is_set():
        if time.monotonic() - beaten_at > BEAT_S:
            with services.begin() as session:
                fleets.record_heartbeat(session, worker_id, "")
            beaten_at = time.monotonic()
        if (received := receive(link, fleet)) is None:
            continue
        stage, job_ids = received
        started = time.monotonic()
        with services.begin() as session:
            leases = claim(session, stage, job_ids, worker_id, services.settings.lease_s)
        figures.claims_s.append(time.monotonic() - started)
        time.sleep(PHOTO_S * len(leases))
        with services.begin() as session:
            extend(session, leases, services.settings.lease_s)
        with services.begin() as session:
            settle(session, [(lease, Done()) for lease in leases], backoff_s=1, requeue_s=30)
        if leases and stage.next:
            link.send(stage.next, job_ids)


def receive(link: broker.Broker, fleet: str) -> tuple[Stage, list[uuid.UUID]] | None:
    """Take the next bundle off a fleet's queue; None where there is none for a second."""
    taken = link.redis.brpop(link._list_keys(fleet), timeout=1)
    if taken is None:
        return None
    stage = json.loads(taken[1])["headers"]["task"].removeprefix("retint.")
    return Stage(stage), broker._read_job_ids(taken[1])


@contextmanager
def start(settings: Settings, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of Retint, or a part of this file, until the block ends."""
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, *command],
        env=settings.environment(PYTHONPATH=root),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


class Onlookers:
    """People who look at a batch's page, one a portal: how long it takes."""

    def __init__(self, urls: Sequence[str], token: str, batch_id: uuid.UUID) -> None:
        self.seconds: list[float] = []
        self._stop = threading.Event()
        path = f"/api/v1/batches/{batch_id}"
        self._threads = [threading.Thread(target=self._look, args=(url + path, token)) for url in urls]

    def _look(self, url: str, token: str) -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
            while not self._stop.wait(POLL_S * random.uniform(0.5, 1.5)):
                started = time.monotonic()
                client.get(url).raise_for_status()
                self.seconds.append(time.monotonic() - started)

    def __enter__(self) -> "Onlookers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


class Statistics:
    """What PostgreSQL counts."""

    def __init__(self, port: int) -> None:
        self._connection = psycopg.connect(f"postgresql://retint@127.0.0.1:{port}/postgres", autocommit=True)

    def read(self) -> dict[str, float]:
        time.sleep(1.5)  # backends report what they did about once a second
        self._connection.execute("SELECT pg_stat_clear_snapshot()")
        row = self._connection.execute(
            "SELECT n_tup_upd, n_tup_hot_upd, xact_commit, wal_bytes::float FROM pg_stat_user_tables, "
            "pg_stat_database, pg_stat_wal WHERE relname = 'jobs' AND datname = 'postgres'"
        ).fetchone()
        assert row
        return dict(zip(("updates", "hot", "commits", "wal"), map(float, row), strict=True))

    def measure_load(self) -> tuple[int, float]:
        """Return how many connections there are, and how long the longest transaction has taken so far."""
        row = self._connection.execute(
            "SELECT count(*), coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) "
            "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
        assert row
        return int(row[0]), float(row[1])


class Watch:
    """The most connections and the longest transaction while the block runs."""

    def __init__(self, port: int) -> None:
        self.connections, self.transaction_s = 0, 0.0
        self._statistics, self._stop = Statistics(port), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            connections, seconds = self._statistics.measure_load()
            self.connections = max(self.connections, connections)
            self.transaction_s = max(self.transaction_s, seconds)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def measure_workers(bench: Bench, postgresql: Server, urls: Sequence[str], workers: int, photos: int) -> None:
    """Measure many workers at once."""
    settings, counted = bench.settings, Statistics(postgresql.port)
    batch_id = bench.add_batch(photos)
    token = make_token(bench.services, batch_id)
    with ExitStack() as stack:
        stack.enter_context(start(settings, "-m", "retint", "dispatcher"))
        simulated = [
            stack.enter_context(start(settings, __file__, "--simulate", str(workers // PROCESSES)))
            for _ in range(PROCESSES)
        ]
        bench.wait_for(batch_id, photos // 10)
        before, started = counted.read(), time.monotonic()
        with Onlookers(urls, token, batch_id) as onlookers, Watch(postgresql.port) as watch:
            bench.wait_for(batch_id, photos, timeout_s=1800)
        seconds, after = time.monotonic() - started, counted.read()
        claims_s: list[float] = []
        for process in simulated:
            process.terminate()
            assert process.stdout
            claims_s += [float(line) for line in process.stdout]
    done = photos * 9 // 10
    print_row(f"{workers} workers, {len(urls)} portals", f"{done / seconds:.0f} photos/s")
    print_row("  commits", f"{(after['commits'] - before['commits']) / seconds:.0f}/s")
    print_row("  a claim, p95", f"{1000 * p95(claims_s):.0f} ms", f"median {1000 * statistics.median(claims_s):.0f}")
    print_row("  a batch's page, p95", f"{1000 * p95(onlookers.seconds):.0f} ms")
    print_row("  connections, at most", f"{watch.connections}")
    updates = after["updates"] - before["updates"]
    print_row("  updates of a job", f"{updates / done:.1f}", f"{(after['hot'] - before['hot']) / updates:.0%} HOT")
    print_row("  WAL of a photo", f"{(after['wal'] - before['wal']) / done / 1000:.1f} kB")


def measure_long_moves(bench: Bench, postgresql: Server, urls: Sequence[str], jobs: int) -> None:
    """Measure cancelling and retrying a million jobs while people look at the page."""
    with ExitStack() as stack:
        stack.enter_context(start(bench.settings, "-m", "retint", "dispatcher"))
        for state, path in (("ready", "/batches/{}/cancel"), ("quarantined", "/failures/retry")):
            batch_id = bench.add_batch(jobs, state=State(state), paused=True)
            token = make_token(bench.services, batch_id)
            started = time.monotonic()
            with Onlookers(urls, token, batch_id) as onlookers, Watch(postgresql.port) as watch:
                address = f"{urls[0]}/api/v1{path.format(batch_id)}"
                chosen = {"batch_id": str(batch_id)} if state == "quarantined" else None
                answer = httpx.post(address, headers={"Authorization": f"Bearer {token}"}, json=chosen, timeout=60)
                answered_s = time.monotonic() - started
                answer.raise_for_status()
                wait_until_left(bench, batch_id, state)
            verb = "cancelled" if state == "ready" else "retried"
            print_row(f"{jobs:,} jobs {verb}", f"{time.monotonic() - started:.0f} s", f"answer {answered_s:.1f} s")
            print_row("  longest transaction", f"{watch.transaction_s:.2f} s")
            print_row("  a batch's page meanwhile, p95", f"{1000 * p95(onlookers.seconds):.0f} ms")


def wait_until_left(bench: Bench, batch_id: uuid.UUID, state: str) -> None:
    """Wait until no job of a batch is in a state any more."""
    while True:
        with bench.services.read() as session:
            if not getattr(tallies.count_jobs(session, [batch_id])[batch_id], state):
                return
        time.sleep(0.2)


def make_token(services: Services, batch_id: uuid.UUID) -> str:
    """Make an administrator of the batch's tenant, and a token."""
    with services.begin() as session:
        tenant = session.get_one(Tenant, session.get_one(Batch, batch_id).tenant_id)
        user = accounts.create_user(session, tenant.id, f"{tenant.id.hex}@bench.example", role=Role.ADMIN)
        return accounts.issue_token(session, user, "bench")


def run_portals(settings: Settings, stack: ExitStack) -> list[str]:
    """Start the portals; return their addresses."""
    urls = [f"http://127.0.0.1:{port}" for port in servers.find_free_ports(PORTALS)]
    for url in urls:
        stack.enter_context(start(settings, "-m", "retint", "portal", "--port", url.rsplit(":", 1)[1]))
    for url in urls:
        for _ in range(200):
            try:
                httpx.get(f"{url}/healthz").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.1)
    return urls


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs that are cancelled, and that are retried")
    parser.add_argument("--simulate", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.simulate:
        simulate(options.simulate)
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="retint-bench-")))
        folder.chmod(0o755)
        valkey = servers.start_valkey(make_folder(folder, "broker"))
        stack.callback(valkey.stop)
        postgresql = servers.start_postgresql(make_folder(folder, "postgresql"))
        stack.callback(postgresql.stop)
        settings = Settings(
            data=folder,
            broker_url=f"redis://127.0.0.1:{valkey.port}/0",
            database_url=f"postgresql+psycopg://retint@127.0.0.1:{postgresql.port}/postgres",
            secret="bench",
        )
        bench = Bench(settings)
        urls = run_portals(settings, stack)
        measure_workers(bench, postgresql, urls, options.workers, options.photos)
        measure_long_moves(bench, postgresql, urls, options.jobs)
        bench.services.engine.dispose()


def simulate(count: int) -> None:
    """Run simulated workers until SIGTERM, then print how long each claim took."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    for seconds in run_workers(Settings(), count, stop).claims_s:
        print(seconds)


@pytest.mark.bench
@pytest.mark.timeout(7200)
def test_many_workers_share_one_database() -> None:
    main([])


if __name__ == "__main__":
    main(sys.argv[1:])
