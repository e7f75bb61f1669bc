"""The share of the wall time in which a gpu worker's networks run, from the first call to the last.

    python tests/benchmarks/bench_busy.py [--photos 320] [--heavy 32] [--delay-ms 20]

The gpu side of a whole pipeline: PostgreSQL, Valkey, SeaweedFS, a dispatcher and one gpu worker, each a process, and
photos that wait for `colorize`; a cpu worker ends them without rendering. `artistic` has weights filled at random and
its smallest render factor, so that the bench ends soon: at the usual one its share is higher. A delay is added to every
request to the store, as for one that is not on this machine. "In turns" is the same worker without the threads that
read and write beside the network. Each row is the best of some rounds, taken in turns.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import SecretStr
from sqlalchemy import insert
from tests import named_weights, photographs, servers
from tests.benchmarks.bench_pipeline import make_folder, print_row, run_noop_stage

from retint import database, recipes, store_identity, telemetry
from retint.jobs import tallies
from retint.jobs.attempts import ATTEMPTS
from retint.lifecycle import Outcome, Stage
from retint.recipes import Recipe
from retint.services import Services
from retint.settings import Settings
from retint.tables import Batch, Job, Photo, Tenant
from retint_models.networks.deoldify import CONFIGS, DeoldifyGenerator
from retint_workers.dispatch import dispatcher
from retint_workers.inference import loading
from retint_workers.queue import app, stages

SIDE = 768
PROXY = "checks/proxy-{}.png"
PROXIES = 8
WAYS = ("in turns", "beside")
ROUNDS = 2
HEAVY = {"colorizer": "artistic", "colorizer_settings": {"render_factor": 7}}


class DelayedStore:
    """A store that answers each request after a delay."""

    def __init__(self, store: Any, delay_s: float) -> None:
        self._store = store
        self._delay_s = delay_s

    def __getattr__(self, name: str) -> Any:
        time.sleep(self._delay_s)
        return getattr(self._store, name)


class TimedNetwork:
    """A network that logs when it ran: a line of start and end for each call."""

    def __init__(self, network: Any, log: Path) -> None:
        self.network = network
        self.log = log
        if hasattr(network, "at_once"):
            self.at_once = network.at_once

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        started = time.monotonic()
        layers = self.network(*arguments, **settings)
        with self.log.open("a") as log:
            log.write(f"{started} {time.monotonic()}\n")
        return layers


class InlineExecutor:
    """An executor that does the work in the calling thread."""

    def __init__(self, _: int) -> None:
        pass

    def __enter__(self) -> "InlineExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*arguments))
        return done


def run_worker(fleet: str, log: str = "", delay_s: str = "0", way: str = "beside") -> None:
    """Run a worker."""
    settings = Settings()
    telemetry.configure(settings, "worker")
    services = Services.connect(settings)
    if fleet == "cpu":
        app.run_worker(services, fleet, {Stage.RENDER: run_noop_stage}, device="none")
        return
    if float(delay_s):
        services = replace(services, store=DelayedStore(services.store, float(delay_s)))
    if way == "in turns":
        vars(stages)["ThreadPoolExecutor"] = InlineExecutor
    load = loading.load_network
    loading.load_network = lambda *which: TimedNetwork(load(*which), Path(log))
    prepare = partial(loading.preload_networks, settings)
    app.run_worker(services, fleet, stages.STAGES, prepare=prepare)


class Bench:
    """Connections to the servers, and photos that are ingested."""

    def __init__(self, settings: Settings, folder: Path, timeout_s: float = 300) -> None:
        self.settings = settings
        self.folder = folder
        self.timeout_s = timeout_s
        self.services = Services.connect(settings)
        database.migrate(self.services.engine)
        self.services.store.prepare()
        store_identity.verify(self.services)
        for number in range(PROXIES):
            buffer = io.BytesIO()
            picture = Image.fromarray(photographs.color_photo(number, SIDE)).convert("L").convert("RGB")
            picture.crop((0, 0, SIDE, SIDE * 3 // 4)).save(buffer, "PNG", compress_level=3)
            self.services.store.put(PROXY.format(number), buffer.getvalue(), "image/png")

    def add_batch(self, count: int, recipe: Recipe) -> uuid.UUID:
        """Deposit photos that are already ingested."""
        with self.services.begin() as session:
            tenant = Tenant(name=uuid.uuid4().hex)
            session.add(tenant)
            session.flush()
            batch = Batch(tenant_id=tenant.id, name="bench", recipe_hash=recipe.hash, recipe=recipe.model_dump())
            photo = Photo(tenant_id=tenant.id, sha256=uuid.uuid4().hex * 2, size=1)
            session.add_all([batch, photo])
            session.flush()
            common = {"tenant_id": tenant.id, "batch_id": batch.id, "photo_id": photo.id}
            jobs = [{"id": uuid.uuid4(), "name": str(n), "stage": Stage.COLORIZE, "attempt": 1} for n in range(count)]
            session.execute(insert(Job), [job | common for job in jobs])
            ingested = {
                "tenant_id": tenant.id,
                "number": 1,
                "stage": Stage.INGEST,
                "outcome": Outcome.DONE,
                "facts": {"kind": "neutral"},
                "timings": {},
            }
            rows = [
                ingested | {"job_id": job["id"], "files": {"proxy": PROXY.format(number % PROXIES)}}
                for number, job in enumerate(jobs)
            ]
            session.execute(insert(ATTEMPTS), rows)
        return batch.id

    def wait_for(self, batch_id: uuid.UUID, count: int) -> None:
        deadline = time.monotonic() + self.timeout_s
        while True:
            with self.services.read() as session:
                counts = tallies.count_jobs(session, [batch_id])[batch_id]
            if counts.restored >= count:
                return
            assert not counts.quarantined, "photos failed"
            assert time.monotonic() < deadline, f"{counts.restored} of {count} done"
            time.sleep(0.05)

    def measure_share(
        self,
        count: int,
        recipe: Recipe,
        delay_s: float,
        way: str,
        watched: AbstractContextManager[object] | None = None,
    ) -> tuple[float, float]:
        """Return the share of the wall time in which networks ran, and photos per second.

        Args:
            count: photos.
            recipe: of the photos.
            delay_s: see `DelayedStore`.
            way: one of `WAYS`.
            watched: entered while the photos run, without the first ones, for which networks are loaded.
        """
        log = self.folder / uuid.uuid4().hex
        gpu = "worker", "gpu", str(log), str(delay_s), way
        with self.run_process("dispatcher"), self.run_process("worker", "cpu"), self.run_process(*gpu):
            self.wait_for(self.add_batch(2, recipe), 2)
            log.unlink()
            with watched or nullcontext():
                self.wait_for(self.add_batch(count, recipe), count)
        times = [(float(start), float(end)) for start, end in (line.split() for line in log.read_text().splitlines())]
        assert all(before[1] <= after[0] for before, after in pairwise(times))
        wall = times[-1][1] - times[0][0]
        return sum(end - start for start, end in times) / wall, count / wall

    @contextmanager
    def run_process(self, *arguments: str) -> Iterator[None]:
        root = str(Path(__file__).parents[2])
        threads = torch.get_num_threads()
        path = os.pathsep.join([root, *filter(None, sys.path)])  # the same Retint as this process
        environment = self.settings.environment(PYTHONPATH=path, OMP_NUM_THREADS=str(threads))
        with (self.folder / f"{arguments[0]}.log").open("ab") as sink:
            command = [sys.executable, __file__, *arguments]
            running = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)
        try:
            yield
        finally:
            running.kill()
            running.wait()


def print_rows(bench: Bench, photos: int, heavy: int, delays_ms: Sequence[float]) -> None:
    """Print all rows."""
    what: dict[str, tuple[int, dict[str, Any]]] = {
        "compact + compact-defade": (photos, {}),
        "artistic (render factor 7) + compact-defade": (heavy, HEAVY),
    }
    for name, (count, recipe) in what.items():
        if not count:
            continue
        print(f"{name}, {count} photos")
        for delay_ms in delays_ms:
            best = dict.fromkeys(WAYS, (0.0, 0.0))
            for _ in range(ROUNDS):
                for way in WAYS:
                    best[way] = max(best[way], bench.measure_share(count, recipes.parse(recipe), delay_ms / 1000, way))
            for way, (share, speed) in best.items():
                where = f"SeaweedFS + {delay_ms:g} ms" if delay_ms else "SeaweedFS"
                print_row(f"  {where}, reads and writes {way}", f"{share:.1%}", f"{speed:.2f} photos/s")
    bench.services.engine.dispose()


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=320, help="photos through compact")
    parser.add_argument("--heavy", type=int, default=32, help="photos through artistic")
    parser.add_argument("--delay-ms", type=float, default=20, help="for the rows with a delay")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="retint-bench-")))
        folder.chmod(0o755)
        running = {}
        for start in (servers.start_valkey, servers.start_postgresql, servers.start_seaweedfs):
            running[start] = start(make_folder(folder, start.__name__))
            stack.callback(running[start].stop)
        weights = make_folder(folder, "weights")
        with torch.device("meta"):
            generator = DeoldifyGenerator(CONFIGS["artistic"])
        named_weights.write_card("artistic", named_weights.tensors_for(generator), weights)
        settings = Settings(
            data=folder,
            weights=weights,
            device="cpu",
            broker_url=f"redis://127.0.0.1:{running[servers.start_valkey].port}/0",
            database_url=f"postgresql+psycopg://retint@127.0.0.1:{running[servers.start_postgresql].port}/postgres",
            store_url="s3://bench",
            s3_endpoint=f"http://127.0.0.1:{running[servers.start_seaweedfs].port}",
            s3_key=servers.S3_KEY,
            s3_secret=SecretStr(servers.S3_SECRET),
        )
        print_rows(Bench(settings, folder), options.photos, options.heavy, [0, options.delay_ms])


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_a_worker_keeps_its_network_busy() -> None:
    main([])


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        run_worker(*sys.argv[2:])
    elif sys.argv[1:] == ["dispatcher"]:
        dispatcher.run(Services.connect(Settings()))
    else:
        main(sys.argv[1:])
