"""Upgrades"""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.conftest import MakeInstallation
from tests.faults.copies import make_empty_database
from tests.faults.installation import Installation
from tests.faults.processes import make_path
from tests.faults.report import fault
from tests.faults.test_portal import answers, note_inputs, start_push
from tests.paths import ROOT
from tests.photographs import write_old_prints
from tests.servers import find_free_ports

from retint.stores import keys

BEFORE = "4ba1493"
"""The last commit of the version before."""
PHOTOS = 8


@fault(
    "rolling upgrade",
    made=f"the version before (commit {BEFORE}) works on a batch; the new one migrates the database, starts beside it "
    "and gets a batch, too; then the old processes end, one after the other, and the migration is finished",
    promise="both versions run at the same time; what is in flight is restored once, by either",
)
def test_work_in_flight_survives_an_upgrade(
    installation: Installation, make_installation: MakeInstallation, version_before: Path, tmp_path: Path
) -> None:
    installation.site.services.store.delete([keys.IDENTITY])  # the version before knows none
    url = make_empty_database(installation.settings.database, "old")
    upgraded = make_installation("upgraded", database_url=url, lease_s=10.0, requeue_s=5.0)
    upgraded.is_plain = False
    [port] = find_free_ports(1)
    run(upgraded, version_before, "admin", "migrate")
    run(upgraded, version_before, "admin", "create-user", "jo@museum.example")
    token = run(upgraded, version_before, "admin", "create-token", "jo@museum.example").strip()
    for command in (["worker", "--fleet", "cpu"], ["worker", "--fleet", "gpu"], ["dispatcher"]):
        upgraded.start_version(version_before, *command)
    upgraded.start_version(version_before, "portal", "--port", str(port))
    old = list(upgraded.processes)
    upgraded.wait_until(lambda: answers(f"http://127.0.0.1:{port}"))
    push(upgraded, tmp_path / "before", f"http://127.0.0.1:{port}", token)
    upgraded.wait_for_done(4)

    run(upgraded, ROOT, "admin", "migrate")
    upgraded.start_all()
    upgraded.deposit(PHOTOS)
    push(upgraded, tmp_path / "during", f"http://127.0.0.1:{port}", token, first=2 * PHOTOS)
    upgraded.wait_until(lambda: upgraded.count_workers() == 4)
    upgraded.deposit(PHOTOS)
    for process in old:
        upgraded.processes.remove(process)
        process.drain()
    run(upgraded, ROOT, "admin", "migrate", "--finish")
    upgraded.over()
    upgraded.recover()
    installation.recovery = upgraded.recovery


@pytest.fixture
def version_before(tmp_path: Path) -> Path:
    """The parts of the version before, out of the history."""
    folder = tmp_path / "version-before"
    folder.mkdir()
    archive = subprocess.run(["git", "archive", BEFORE], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"the history here does not go back to {BEFORE}: {archive.stderr.decode().strip()}")
    subprocess.run(["tar", "--extract", "--directory", str(folder)], input=archive.stdout, check=True)
    return folder


def run(installation: Installation, version: Path, *command: str) -> str:
    """Run `retint <command>` of a version; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "retint", *command],
        env=installation.settings.environment(PYTHONPATH=make_path(version)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def push(installation: Installation, folder: Path, url: str, token: str, first: int = 0) -> None:
    """Deposit photographs through the portal."""
    write_old_prints(folder, PHOTOS, side=128, first=100 + first)
    assert start_push(folder, url, token).wait(timeout=120) == 0
    note_inputs(installation, folder)
