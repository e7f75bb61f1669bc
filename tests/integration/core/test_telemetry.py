"""Logging of a process: one line an event, each naming what it concerns, and nothing that is secret."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import Site

LOGGING = """
import logging, structlog, threading, warnings
from retint import telemetry
from retint.settings import Settings
telemetry.configure(Settings(log_json=True), "worker-cpu")
telemetry.name_process(worker_id="7")
structlog.get_logger().info("job_claimed", job_id="1")
logging.getLogger("celery").info("too much")
logging.getLogger("celery").warning("of a library")
thread = threading.Thread(target=structlog.get_logger().info, args=("of a thread",))
thread.start()
thread.join()
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("stage_failed")
warnings.warn("of Python")
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)


def read_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_line_of_a_process_is_json_and_names_it_in_all_threads() -> None:
    lines = read_lines(run(LOGGING).stderr)
    events = [line["event"] for line in lines]
    assert events[:4] == ["job_claimed", "of a library", "of a thread", "stage_failed"]
    assert "of Python" in events[4]
    assert {(line["process"], line["worker_id"]) for line in lines} == {("worker-cpu", "7")}
    assert lines[0]["job_id"] == "1"
    assert lines[0]["level"] == logging.getLevelName(logging.INFO).lower()
    assert "ZeroDivisionError" in lines[3]["exception"]


CRASHING = """
import faulthandler, os, sys, structlog
from pathlib import Path
from retint import telemetry
from retint.settings import Settings
file = Path(sys.argv[1])
telemetry.configure(Settings(log_file=file), "worker-gpu")
log = structlog.get_logger()
log.info("first")
file.rename(f"{file}.1")
log.info("second")
os.system("echo of a child process >&2")
faulthandler._sigsegv()
"""


def test_a_log_file_may_be_renamed_and_gets_what_a_crash_leaves_behind(tmp_path: Path) -> None:
    file = tmp_path / "worker.log"
    crashed = run(CRASHING, str(file))
    assert crashed.returncode < 0
    assert crashed.stdout + crashed.stderr == ""
    before, after = Path(f"{file}.1").read_text(), file.read_text()
    assert "first" in before
    assert "second" not in before
    assert after.index("second") < after.index("of a child process") < after.index("Fatal Python error")


LOGGING_AN_ERROR = """
import sys, structlog
from sqlalchemy import insert
from retint import database, telemetry
from retint.settings import Settings
from retint.tables import Tenant
telemetry.configure(Settings(log_json=sys.argv[2] == "json"), "portal")
secret = "the name of a museum"
try:
    with database.begin(database.connect(sys.argv[1])) as session:
        session.execute(insert(Tenant).values(name=secret))
        session.execute(insert(Tenant).values(name=secret))
except Exception:
    structlog.get_logger().exception("request_crashed")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_error_of_the_database_is_logged_without_the_values_of_its_rows(site: Site, form: str) -> None:
    logged = run(LOGGING_AN_ERROR, site.settings.database, form).stderr
    assert "IntegrityError" in logged
    assert "museum" not in logged
