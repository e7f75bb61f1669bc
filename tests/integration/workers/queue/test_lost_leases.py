"""Bytes that move keep a lease; work on a job that was lost ends within seconds, wherever it is."""

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests import films
from tests.integration.conftest import Processes, Site, open_site
from tests.integration.workers.queue.sites import cancel, deposit, run_bundle, run_nothing
from tests.proxies import Proxy

from retint import fleets, stores
from retint.errors import LeaseLost, RetintError
from retint.jobs import queueing
from retint.jobs.leases import AttemptEnd, Done, Lease
from retint.lifecycle import STAGES, Outcome, Stage, State
from retint.services import Services
from retint.settings import Settings
from retint.stores.directory import DirectoryStore
from retint.tables import Job
from retint_workers.beats import Beat
from retint_workers.queue import stages, transfers
from retint_workers.queue.tasks import RunStage

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""boto3 leaves the sockets of a transfer that a callback ended to the garbage collector, which warns of each."""

LEASE_S = 2.0
SOON_S = 10
"""Within this time lost work has ended; the machine may be busy."""


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    """A site on each kind of backends, with short leases."""
    settings.data.mkdir(exist_ok=True)
    yield from open_site(settings.model_copy(update={"lease_s": LEASE_S}))


@pytest.fixture
def services(site: Site) -> Services:
    return site.services


class SlowStore(DirectoryStore):
    """A directory whose every piece of a large blob takes its time."""

    def put(self, key: str, source: Any, content_type: str = "", progress: Any = lambda: None) -> None:
        super().put(key, source, content_type, slow_down(progress, 0.1))

    def fetch(self, key: str, path: Path, progress: Any = lambda: None) -> None:
        super().fetch(key, path, slow_down(progress, 0.015))


def slow_down(progress: Callable[[], object], seconds: float) -> Callable[[], object]:
    def report_late() -> None:
        time.sleep(seconds)
        progress()

    return report_late


@pytest.fixture
def slow_services(services: Services) -> Iterator[Services]:
    """The site's services with a store that needs some seconds for some megabytes."""
    settings = services.settings
    store = stores.connect(settings)
    if isinstance(store, DirectoryStore):
        yield replace(services, store=SlowStore(store.folder))
        return
    assert settings.s3_endpoint
    with Proxy(int(settings.s3_endpoint.rpartition(":")[2])) as proxy:
        through = settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{proxy.port}"})
        with proxy.slow(0.05):
            yield replace(services, store=stores.connect(through))
    for thread in threading.enumerate():
        if thread.name == "retint-background":
            thread.join(30)
    gc.collect()


def add_large_job(site: Site) -> UUID:
    """Add a job at the stage colorize whose original is large."""
    [job_id] = site.add_jobs("large.tif")
    [lease] = site.claim([job_id])
    site.services.store.put(lease.original_key, bytes(40 << 20))
    site.settle((lease, Done()))
    return job_id


class Reclaimer:
    """A dispatcher that takes back every lease that runs out, and nothing else."""

    def __init__(self, site: Site) -> None:
        self._site, self._stop = site, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            with self._site.services.begin() as session:
                queueing.reclaim_expired(session)


def copy_original(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """A stage that downloads the original and uploads it again."""
    for lease in leases:
        held = transfers.watch(lease, beat)
        path = services.settings.data / f"copy-{lease.job_id}"

        def move(progress: Any, lease: Lease = lease, path: Path = path) -> dict[str, str]:
            services.store.fetch(lease.original_key, path, progress)
            return transfers.put_files(services.store, lease, {"copy": ("copy", path)}, progress)

        try:
            yield lease, Done(transfers.start(lease, move).wait(held))
        except RetintError as error:
            yield lease, error


def test_bytes_that_move_slowly_keep_the_lease(site: Site, slow_services: Services) -> None:
    job_id = add_large_job(site)
    started = time.monotonic()
    with Reclaimer(site):
        run_bundle(slow_services, copy_original, [job_id], Stage.COLORIZE)
    assert time.monotonic() - started > 2 * LEASE_S, "the store was not slow"
    assert [attempt.outcome for attempt in site.list_attempts(job_id)] == [Outcome.DONE] * 2


def end_when(condition: Callable[[], bool], act: Callable[[], object]) -> tuple[threading.Thread, list[float]]:
    """Act in a thread once a condition is met; return the thread, and the moment when it acted."""
    acted: list[float] = []

    def run() -> None:
        while not condition():
            time.sleep(0.05)
        act()
        acted.append(time.monotonic())

    thread = threading.Thread(target=run)
    thread.start()
    return thread, acted


def run_and_cancel(
    site: Site, services: Services, run_stage: RunStage, job_ids: list[UUID], stage: Stage, when: Callable[[], bool]
) -> float:
    """Run a bundle, and cancel its first job when a condition is met; return how many seconds the rest took."""
    thread, acted = end_when(when, lambda: cancel(site, job_ids[0]))
    run_bundle(services, run_stage, job_ids, stage)
    ended = time.monotonic()
    thread.join()
    return ended - acted[0]


def test_a_cancelled_photo_ends_its_transfer(site: Site, slow_services: Services) -> None:
    job_id = add_large_job(site)
    path = slow_services.settings.data / f"copy-{job_id}"
    seconds = run_and_cancel(
        site, slow_services, copy_original, [job_id], Stage.COLORIZE, lambda: any(path.parent.glob(f"{path.name}*"))
    )
    assert seconds < SOON_S
    assert site.get_job(job_id).state is State.CANCELLED
    assert [attempt.outcome for attempt in site.list_attempts(job_id)] == [Outcome.DONE, Outcome.CANCELLED]


def test_the_others_of_a_bundle_go_on_when_one_is_lost(site: Site, services: Services) -> None:
    job_ids = site.add_many_jobs(3)
    raised: list[LeaseLost] = []

    def work(_: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
        for lease in leases:
            held = transfers.watch(lease, beat)
            try:
                while lease.job_id == job_ids[1] and held() in (True, False):
                    time.sleep(0.02)
                yield lease, Done()
            except LeaseLost as error:
                raised.append(error)
                yield lease, error

    thread, _ = end_when(lambda: site.get_job(job_ids[1]).state is State.RUNNING, lambda: cancel(site, job_ids[1]))
    run_bundle(services, work, job_ids)
    thread.join()
    assert len(raised) == 1
    assert [len(site.list_attempts(job_id)) for job_id in job_ids] == [1, 1, 1]
    states = [site.get_job(job_id).state for job_id in job_ids]
    assert states == [State.QUEUED, State.CANCELLED, State.QUEUED]


@pytest.mark.parametrize("stage", [Stage.COLORIZE, Stage.RENDER])
def test_a_cancelled_film_ends_in_the_middle(site: Site, services: Services, tmp_path: Path, stage: Stage) -> None:
    path = films.write(tmp_path / "film.mp4", films.two_scenes(960))
    job_id = deposit(site, services, path, defader="keep", colorizer="compact" if stage is Stage.COLORIZE else "keep")
    for earlier in STAGES[: STAGES.index(stage)]:
        run_bundle(services, stages.STAGES[earlier], [job_id], earlier)
    assert site.get_job(job_id).stage is stage

    def has_begun() -> bool:
        return any(
            f"/{stage}-" in blob.key and blob.key.endswith(".segment") for blob in services.store.list("tenants/")
        )

    seconds = run_and_cancel(site, services, stages.STAGES[stage], [job_id], stage, has_begun)
    assert seconds < SOON_S
    assert site.list_attempts(job_id)[-1].outcome is Outcome.CANCELLED
    assert not any(blob.key.endswith(("result.mp4", "color.mkv")) for blob in services.store.list("tenants/"))


def test_a_lease_that_was_lost_meanwhile_is_not_settled(site: Site, services: Services) -> None:
    [job_id] = site.add_jobs("a")

    def work(_: Services, leases: Sequence[Lease], __: Beat) -> Iterator[AttemptEnd]:
        site.make_overdue([job_id])  # as if this process had been stopped
        with site.services.begin() as session:
            queueing.reclaim_expired(session)
        run_bundle(site.services, run_nothing, [job_id])
        yield leases[0], Done({"late": leases[0].file_key("late")})

    run_bundle(services, work, [job_id])
    assert [(attempt.outcome, attempt.files) for attempt in site.list_attempts(job_id)] == [
        (Outcome.EXPIRED, {}),
        (Outcome.DONE, {}),
    ]


MakeProcesses = Callable[[Site], Processes]


@pytest.mark.parametrize("how", ["cancelled", "stopped"])
def test_a_worker_is_free_again_soon_after_it_lost_its_photo(
    sqlite_site: Site, make_processes: MakeProcesses, how: str
) -> None:
    processes = make_processes(sqlite_site)
    worker = processes.start("worker", "cpu")
    processes.start("dispatcher")
    [slow] = sqlite_site.add_jobs("slow@ingest:100")
    sqlite_site.wait_for([slow], State.RUNNING)
    if how == "stopped":
        worker.send_signal(signal.SIGSTOP)
        sqlite_site.wait_until(lambda: len(sqlite_site.list_attempts(slow)) == 1)
        with sqlite_site.services.begin() as session:
            session.get_one(Job, slow).name = "quick now"
        other = processes.start("worker", "cpu")
        sqlite_site.wait_until(lambda: len(sqlite_site.list_attempts(slow)) == 2)
        other.kill()
        worker.send_signal(signal.SIGCONT)
    else:
        cancel(sqlite_site, slow)
    started = time.monotonic()
    [following] = sqlite_site.add_jobs("following")
    sqlite_site.wait_until(lambda: len(sqlite_site.list_attempts(following)) == 1)
    assert time.monotonic() - started < 30
    outcomes = [attempt.outcome for attempt in sqlite_site.list_attempts(slow)]
    assert outcomes == ([Outcome.CANCELLED] if how == "cancelled" else [Outcome.EXPIRED, Outcome.DONE])
    with sqlite_site.services.begin() as session:
        assert {row.pid for row in fleets.list_live(session) if row.fleet == "cpu"} >= {worker.pid}
