"""Workers that are taken away while they work: by SIGTERM, as Kubernetes and `retint up` do. Nothing is lost."""

import signal
import time
from collections.abc import Callable

from tests.integration.conftest import Processes, Site

from retint.lifecycle import STAGES, Outcome, Stage, State

MakeProcesses = Callable[[Site], Processes]

GRACE_S = 20.0
"""Longer than a worker takes that has to end (`tasks.END_S` is 4 s here): Kubernetes' grace period stands for it."""


def drain(processes: Processes, place: int) -> float:
    """Tell a worker to end, and start another in its place. Returns how long it took."""
    worker = processes.running[place]
    fleet = list(worker.args)[-1]  # type: ignore[arg-type]
    started = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=GRACE_S) == 0
    took_s = time.monotonic() - started
    processes.start("worker", str(fleet))
    processes.running[place] = processes.running.pop()
    return took_s


def test_workers_that_come_and_go_under_load_lose_nothing_and_leave_no_fault(
    broker_site: Site, make_processes: MakeProcesses
) -> None:
    site, processes = broker_site, make_processes(broker_site)
    slow = [f"slow@{stage}:0.{number}" for stage in Stage for number in range(1, 6)]
    job_ids = [*site.add_many_jobs(40), *site.add_jobs(*slow)]
    for fleet in ("cpu", "gpu", "cpu", "gpu"):
        processes.start("worker", fleet)
    processes.start("dispatcher")
    drained = 0
    while site.count_states(job_ids)[State.RESTORED] < len(job_ids):
        running = site.count_states(job_ids)[State.RUNNING]
        if running and drained < 8:
            drain(processes, drained % 4)
            drained += 1
        else:
            time.sleep(0.1)
    assert drained >= 4
    outcomes = site.count_outcomes(job_ids)
    assert outcomes == {(stage, Outcome.DONE): len(job_ids) for stage in STAGES}, "no fault, and no lease ran out"


def test_a_photo_that_takes_too_long_is_given_back_uncounted(sqlite_site: Site, make_processes: MakeProcesses) -> None:
    site, processes = sqlite_site, make_processes(sqlite_site)
    processes.start("worker", "cpu")
    processes.start("dispatcher")
    [job_id] = site.add_jobs("slow@ingest:12")
    site.wait_for([job_id], State.RUNNING)
    took_s = drain(processes, 0)
    assert 3 < took_s < 12, "it had four seconds"
    site.wait_until(lambda: site.count_outcomes([job_id])[Stage.INGEST, Outcome.DONE] == 1)
    assert site.get_job(job_id).faults == 0
    assert site.count_outcomes([job_id]).total() == 1
