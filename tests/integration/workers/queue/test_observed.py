"""What is seen of workers and dispatchers from outside: lines of their logs, and metrics."""

import json
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import signals
from celery.contrib.testing.worker import start_worker
from structlog.contextvars import get_contextvars
from tests.integration.conftest import Processes, Site
from tests.scraping import Figures, scrape

from retint.demand import name_network
from retint.lifecycle import Outcome, Stage, State
from retint.metrics import Kind
from retint.recipes import parse
from retint_workers.queue import tasks
from retint_workers.queue.heartbeat import Heartbeat
from retint_workers.queue.machine import Machine

MakeProcesses = Callable[[Site], Processes]
SECRET = "Aunt Emma's wedding"


def log_as_json(site: Site) -> Site:
    settings = site.settings.model_copy(update={"log_json": True})
    return Site(replace(site.services, settings=settings), site.tenants)


def read_logs(processes: Processes) -> str:
    return "\n".join(path.read_text() for path in processes.folder.glob("*.log"))


def read_lines(processes: Processes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_logs(processes).splitlines() if line.startswith("{")]


def has_ended(site: Site, job_ids: list[UUID]) -> bool:
    states = site.count_states(job_ids)
    return states[State.RESTORED] + states[State.REFUSED] + states[State.QUARANTINED] == len(job_ids)


def test_every_line_names_what_it_concerns_and_no_file(broker_site: Site, make_processes: MakeProcesses) -> None:
    site = log_as_json(broker_site)
    processes = make_processes(site)
    names = [f"{order}:{SECRET} {number}.jpg" for number, order in enumerate(ORDERS)]
    batch = site.add_batch()
    job_ids = site.add_jobs(*names, batch=batch)
    processes.start_all()
    site.wait_until(lambda: has_ended(site, job_ids))
    for process in processes.running:
        process.terminate()
        process.wait()
    lines = read_lines(processes)
    sent = {line["bundle_id"] for line in lines if line["event"] == "bundle_sent"}
    assert {line["batch_id"] for line in lines if line["event"] == "bundle_sent"} == {str(batch.id)}
    of_workers = [line for line in lines if line["process"].startswith("worker")]
    assert all("worker_id" in line for line in of_workers if line["event"] != "worker_not_registered")
    claimed = [line for line in of_workers if line["event"] == "bundle_claimed"]
    assert {job_id for line in claimed for job_id in line["jobs"]} == {str(job_id) for job_id in job_ids}
    assert {line["bundle_id"] for line in claimed} <= sent
    of_jobs = [line for line in of_workers if "job_id" in line]
    for line in of_jobs:
        assert line["bundle_id"] in sent, line
        assert {"tenant_id", "batch_id", "job_id", "stage", "attempt"} <= line.keys(), line
    failed = Counter((line["stage"], line["code"]) for line in of_jobs if line["event"] == "attempt_failed")
    assert failed["render", "invalid_photo"] == 1
    assert failed["colorize", "bug"] == 3
    written = [line for line in of_workers if line["event"] == "outcomes_written"]
    assert all({"bundle_id", "batch_id", "stage"} <= line.keys() for line in written)
    assert SECRET not in read_logs(processes)


ORDERS = ("plain@", "fault@ingest", "bug@colorize", "refuse@render")


def test_celery_s_own_lines_name_the_bundle(sqlite_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[str] = []

    def crash(*_: object) -> Any:
        raise RuntimeError("a bug")

    def note(record: logging.LogRecord) -> bool:
        named.append(get_contextvars()["bundle_id"])
        return True

    sender = sqlite_site.services.connect_broker()
    heartbeat = Heartbeat(sqlite_site.services, "cpu", "none")
    tasks.register(sender.app, Machine(heartbeat, {}), {Stage.INGEST: crash})
    monkeypatch.setattr(tasks, "run_bundle", crash)
    monkeypatch.setattr(logging.getLogger("celery.app.trace"), "filters", [note])
    signals.setup_logging.connect(keep_logging)
    with start_worker(sender.app, pool="solo", perform_ping_check=False, queues=["cpu"]):
        bundle_id = sender.send(Stage.INGEST, [uuid4()])
        sqlite_site.wait_until(lambda: bool(named))
    assert set(named) == {bundle_id}


def keep_logging(**_: object) -> None:
    """Keep Celery from setting up logging."""


def read_counts(site: Site) -> Figures:
    """Read the page's counters and histograms."""
    return scrape(site.services, (Kind.COUNTER, Kind.HISTOGRAM))


def test_counters_never_go_back_while_workers_are_killed_and_restarted(
    broker_site: Site, make_processes: MakeProcesses
) -> None:
    site, processes = broker_site, make_processes(broker_site)
    processes.start_all()
    job_ids = site.add_jobs(*(f"slow@{stage}:0.1{number}" for stage in Stage for number in range(10)))
    seen: Figures = {}
    ends = [
        (1, "gpu", signal.SIGTERM),
        (0, "cpu", signal.SIGTERM),
        (1, "gpu", signal.SIGKILL),
        (0, "cpu", signal.SIGKILL),
    ]
    while not has_ended(site, job_ids):
        figures = read_counts(site)
        assert {name: n for name, n in seen.items() if figures.get(name, 0) < n} == {}
        seen = figures
        time.sleep(0.3)
        if ends and sum(site.count_outcomes(job_ids).values()) > 20 * (5 - len(ends)):
            place, fleet, how = ends.pop(0)
            processes.running[place].send_signal(how)
            processes.running[place].wait()
            processes.start("worker", fleet)
            processes.running[place] = processes.running.pop()
    assert len(ends) < 2
    counted, done = seen["retint_attempts_total", "done", "ingest"], site.count_outcomes(job_ids)
    assert 5 < counted <= done[Stage.INGEST, Outcome.DONE]


def test_workers_that_are_asked_to_end_have_counted_every_attempt(
    broker_site: Site, make_processes: MakeProcesses
) -> None:
    site, processes = broker_site, make_processes(broker_site)
    job_ids = site.add_jobs(*ORDERS, "slow@defade:1.5")
    processes.start_all()
    site.wait_until(lambda: has_ended(site, job_ids))
    for process in processes.running:
        process.terminate()
    for process in processes.running:
        process.wait()
    figures = read_counts(site)
    counted = {
        (Stage(stage), Outcome(outcome)): n
        for (name, *labels), n in figures.items()
        if name == "retint_attempts_total" and n  # what has not happened is told as 0
        for outcome, stage in [labels]
    }
    outcomes = site.count_outcomes(job_ids)
    assert counted == outcomes
    for stage in Stage:
        ended = sum(n for key, n in outcomes.items() if key[0] is stage)
        assert figures["retint_stage_seconds_count", name_network(stage, parse({})), stage] == ended
        # Photos that a slow worker gives back unbegun wait again, and are no attempt.
        assert figures["retint_claim_wait_seconds_count", stage] >= ended
    assert figures["retint_attempts_failed_total", "invalid_photo", "render"] == 1
    assert figures["retint_stage_seconds_sum", parse({}).defader, "defade"] >= 1.5
    assert figures["retint_bundles_sent_total", "ingest"] >= 1
    assert figures["retint_leads_taken_total",] == 1
