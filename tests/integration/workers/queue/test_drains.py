"""Workers that are taken away while they work: by SIGTERM, as Kubernetes and `retint up` do. Nothing is lost."""

import signal
import time
from collections.abc import Callable

from tests.integration.conftest import Processes, Site

from retint.lifecycle import STAGES, Outcome, Stage, State

MakeProcesses = Callable[[Site], Processes]

DRAINS = 6


def test_workers_that_come_and_go_under_load_lose_nothing_and_leave_no_fault(
    broker_site: Site, make_processes: MakeProcesses
) -> None:
    """Each worker that is told to end is replaced by another, while photos of every stage are in hand."""
    site, processes = broker_site, make_processes(broker_site)
    workers = [(fleet, processes.start("worker", fleet)) for fleet in ("cpu", "gpu", "cpu", "gpu")]
    processes.start("dispatcher")
    slow = [f"slow@{stage}:0.{number}" for stage in Stage for number in range(1, 10)]
    job_ids = [*site.add_many_jobs(80), *site.add_jobs(*slow)]
    ended = []
    for _ in range(DRAINS):
        site.wait_until(lambda: site.count_states(job_ids)[State.RUNNING] > 0)
        fleet, worker = workers.pop(0)
        worker.send_signal(signal.SIGTERM)
        ended.append(worker)
        workers.append((fleet, processes.start("worker", fleet)))
        time.sleep(0.5)
    assert site.count_states(job_ids)[State.RESTORED] < len(job_ids), "all drains were under load"
    site.wait_for(job_ids)
    assert [worker.wait(timeout=30) for worker in ended] == [0] * DRAINS
    outcomes = site.count_outcomes(job_ids)
    assert outcomes == {(stage, Outcome.DONE): len(job_ids) for stage in STAGES}, "no fault, and no lease ran out"


def test_a_photo_that_takes_too_long_is_given_back_uncounted(sqlite_site: Site, make_processes: MakeProcesses) -> None:
    """`tasks.END_S` is four seconds here; Kubernetes' grace period is longer."""
    site, processes = sqlite_site, make_processes(sqlite_site)
    worker = processes.start("worker", "cpu")
    processes.start("dispatcher")
    [job_id] = site.add_jobs("slow@ingest:20")
    site.wait_for([job_id], State.RUNNING)
    worker.send_signal(signal.SIGTERM)
    started = time.monotonic()
    assert worker.wait(timeout=30) == 0
    assert time.monotonic() - started < 15
    assert site.count_outcomes([job_id]).total() == 0
    assert (site.get_job(job_id).faults, site.get_job(job_id).stage) == (0, Stage.INGEST)
    processes.start("worker", "cpu")
    site.wait_until(lambda: site.count_outcomes([job_id])[Stage.INGEST, Outcome.DONE] == 1)
    assert site.count_outcomes([job_id]).total() == 1
