"""What operators see: one line an event, and Prometheus' figures."""

import json
import logging
import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families
from tests.integration.conftest import Site

from retint import fleets, telemetry
from retint.errors import InvalidPhoto


def test_the_figures_tell_what_waits_runs_and_failed(site: Site) -> None:
    leases = site.claim(site.add_many_jobs(5)[:3])
    site.settle((leases[0], InvalidPhoto("This is not a photograph.")))
    with site.services.begin() as session:
        fleets.register_worker(session, "gpu", "host", 1, "a GPU", "1.0")
        fleets.set_wanted(session, "gpu", 3)
        text = telemetry.render_metrics(session).decode()
    figures = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert figures["retint_jobs", "ingest", "ready"] == 2
    assert figures["retint_jobs", "ingest", "running"] == 2
    assert figures["retint_failed_jobs", "invalid_photo", "refused"] == 1
    assert figures["retint_workers", "idle", "gpu"] == 1
    assert figures["retint_workers_wanted", "gpu"] == 3
    assert figures["retint_oldest_seconds", "ingest"] >= 0


LOGGING = """
import logging, structlog
from retint import telemetry
from retint.settings import Settings
telemetry.configure(Settings(log_json=True), "worker-cpu")
structlog.get_logger().info("job_claimed", job_id="1")
logging.getLogger("celery").info("too much")
logging.getLogger("celery").warning("of a library")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("stage_failed")
"""


def test_every_line_of_a_process_is_json_and_names_it() -> None:
    logged = subprocess.run([sys.executable, "-c", LOGGING], capture_output=True, text=True, check=True).stderr
    lines = [json.loads(line) for line in logged.splitlines()]
    assert [line["event"] for line in lines] == ["job_claimed", "of a library", "stage_failed"]
    assert {line["process"] for line in lines} == {"worker-cpu"}
    assert lines[0]["job_id"] == "1"
    assert lines[0]["level"] == logging.getLevelName(logging.INFO).lower()
    assert "ZeroDivisionError" in lines[2]["exception"]
