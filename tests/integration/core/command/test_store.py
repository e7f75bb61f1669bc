"""`retint admin sweep` and `retint admin adopt-store`, and how every process refuses a wrong store."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from tests.integration.conftest import Site

from retint import store_identity
from retint.jobs.leases import Lease
from retint.lifecycle import Stage
from retint.settings import Settings
from retint.store_tables import StoreIdentity
from retint.stores import keys

TWO_DAYS_S = 2 * 86_400


def run(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command `retint`."""
    return subprocess.run(
        [sys.executable, "-m", "retint", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env=settings.environment(),
    )


def put_old(site: Site, key: str) -> str:
    """Put a blob of two days ago."""
    site.services.store.put(key, b"bytes")
    path = Path(site.settings.store.removeprefix("file://")) / key
    os.utime(path, times=(path.stat().st_mtime - TWO_DAYS_S,) * 2)
    return key


def leave_orphans(site: Site, count: int) -> list[Lease]:
    leases = site.claim(site.add_jobs(*map(str, range(count))))
    for lease in leases:
        put_old(site, lease.file_key("proxy.png"))
    for lease in leases:
        site.settle((lease, store_identity.WrongStore("any reason")))
    return leases


def test_a_sweep_says_what_it_would_do_and_does_it(sqlite_site: Site) -> None:
    site = sqlite_site
    [lease] = leave_orphans(site, 1)
    original = put_old(site, keys.original(lease.tenant_id, uuid.uuid4()))
    stray = put_old(site, keys.attempt_file(lease.tenant_id, uuid.uuid4(), uuid.uuid4(), Stage.RENDER, 1, "a.tif"))
    would = run(site.settings, "admin", "sweep", "--dry-run")
    assert would.returncode == 0, would.stderr
    assert would.stdout.splitlines()[0] == "Looked at 3 files: 1 orphans (0.0 MB) would be deleted."
    assert f"1 kept: originals without a row in the database, never deleted ({original} …)" in would.stdout
    assert f"1 kept: of jobs that the database does not know, never deleted ({stray} …)" in would.stdout
    assert len(list(site.services.store.list(keys.ROOT))) == 3
    done = run(site.settings, "admin", "sweep", "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert {name: found[name] for name in ("looked_at", "orphans", "orphan_bytes", "deleted", "stopped")} == {
        "looked_at": 3,
        "orphans": 1,
        "orphan_bytes": 5,
        "deleted": 1,
        "stopped": None,
    }
    assert found["kept"] == {"original_without_row": 1, "job_without_row": 1}
    assert found["examples"] == {"original_without_row": original, "job_without_row": stray}
    assert {blob.key for blob in site.services.store.list(keys.ROOT)} == {original, stray}


def test_a_sweep_that_stopped_goes_on_when_an_operator_says_so(sqlite_site: Site) -> None:
    site = sqlite_site
    assert "has not stopped" in run(site.settings, "admin", "sweep", "--continue").stderr
    leave_orphans(site, 25)
    would = run(site.settings, "admin", "sweep", "--dry-run")
    assert (would.returncode, would.stderr[:48]) == (1, "A sweep would stop: Files of 25 of 25 jobs would")
    stopped = run(site.settings, "admin", "sweep")
    assert stopped.returncode == 1
    assert "\nStopped: Files of 25 of 25 jobs would be deleted" in stopped.stderr
    assert "0 deleted" in stopped.stdout
    refused = run(site.settings, "admin", "sweep")
    assert (refused.returncode, refused.stderr[:31]) == (2, "Error: Files of 25 of 25 jobs w")
    assert len(list(site.services.store.list(keys.ROOT))) == 25
    done = run(site.settings, "admin", "sweep", "--continue")
    assert done.returncode == 0, done.stderr
    assert list(site.services.store.list(keys.ROOT)) == []


def test_after_an_older_dump_was_restored_an_operator_adopts_the_store(sqlite_site: Site) -> None:
    site = sqlite_site
    for _ in range(3):
        store_identity.grow(site.services)
    with site.services.begin() as session:
        session.execute(update(StoreIdentity).values(mark=2))
    for arguments in (["admin", "sweep"], ["admin", "sweep", "--dry-run"], ["admin", "adopt-store", "--dry-run"]):
        told = run(site.settings, *arguments)
        assert "older copy (its mark is 2, the store's 4)" in told.stdout + told.stderr
    adopted = run(site.settings, "admin", "adopt-store")
    assert adopted.returncode == 0, adopted.stderr
    assert "originals of 0 of 0 photos" in adopted.stdout
    assert run(site.settings, "admin", "sweep").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["portal", "--port", "1"],
        ["dispatcher"],
        ["worker", "--fleet", "cpu"],
        ["admin", "migrate"],
        ["up", "--port", "0"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_process_starts_with_the_store_of_another_database(
    sqlite_site: Site, migrated_sqlite: Path, tmp_path: Path, arguments: list[str]
) -> None:
    shutil.copyfile(migrated_sqlite, tmp_path / "lost.db")
    lost = sqlite_site.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/lost.db"})
    refused = run(lost, *arguments)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1] == (
        "Error: The database is new, and the store belongs to another one: restore the dump of the right database, "
        "correct RETINT_DATABASE_URL, or join the two on purpose with `retint admin adopt-store`."
    )
    assert "Traceback" not in refused.stderr


def test_doctor_says_that_database_and_store_do_not_belong_together(
    sqlite_site: Site, migrated_sqlite: Path, tmp_path: Path
) -> None:
    shutil.copyfile(migrated_sqlite, tmp_path / "lost.db")
    lost = sqlite_site.settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/lost.db"})
    found = {
        settings.database: next(
            check for check in json.loads(run(settings, "doctor", "--json").stdout) if "identity" in check["name"]
        )
        for settings in (sqlite_site.settings, lost)
    }
    assert [check["ok"] for check in found.values()] == [True, False]
    assert "the store belongs to another one" in found[lost.database]["finding"]
