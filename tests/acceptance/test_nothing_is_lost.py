"""The promise: whatever process dies, every deposited photo is restored, and no stage is done twice."""

import csv
import io
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select
from tests.conftest import Backends
from tests.photographs import write_old_prints
from tests.platforms import PlatformUnderTest

from retint.digests import hash_file
from retint.jobs import tallies
from retint.lifecycle import STAGES, Outcome, State
from retint.services import Services
from retint.tables import Attempt, Job

PHOTOS = int(os.environ.get("RETINT_TEST_PHOTOS", "30"))
TIMEOUT_S = 120 + 4 * PHOTOS

pytestmark = pytest.mark.timeout(TIMEOUT_S + 120)


def test_every_photo_is_restored_once_while_everything_is_killed(
    platform: PlatformUnderTest, services: Services, backends: Backends, tmp_path: Path
) -> None:
    folder = write_old_prints(tmp_path / "prints", PHOTOS)
    platform.scale(cpu=2, gpu=1)
    batch_id = push(folder, platform)

    for number, victim in enumerate(("worker --fleet cpu", "dispatcher", "portal", "broker", "worker --fleet gpu"), 1):
        wait_until_ended(services, batch_id, PHOTOS * number // 7)
        assert count_ended(services, batch_id) < PHOTOS, f"the batch was over before the {victim} could be killed"
        if victim == "broker":
            lose_the_broker(platform, backends)
        else:
            platform.kill(victim)
    wait_until_ended(services, batch_id, PHOTOS)

    with services.begin() as session:
        states = Counter(session.scalars(select(Job.state).where(Job.batch_id == batch_id)))
        done = session.execute(
            select(Attempt.job_id, Attempt.stage, func.count())
            .where(Attempt.outcome == Outcome.DONE)
            .group_by(Attempt.job_id, Attempt.stage)
        ).all()
        counted = tallies.count_jobs(session, [batch_id])[batch_id]
    assert states == {State.RESTORED: PHOTOS}
    assert counted.restored == counted.total == PHOTOS
    assert len(done) == PHOTOS * len(STAGES)
    assert {times for _, _, times in done} == {1}
    assert_the_report_lists_every_file_once(platform, batch_id, folder)


def push(folder: Path, platform: PlatformUnderTest) -> UUID:
    """Deposit a folder with `retint push`."""
    command = [sys.executable, "-m", "retint", "push", str(folder), "--server", platform.url, "--json"]
    pushed = subprocess.run([*command, "--token", platform.token], capture_output=True, text=True, check=False)
    assert pushed.returncode == 0, pushed.stderr
    [batch] = platform.get("/api/v1/batches").json()["items"]
    return UUID(batch["id"])


def count_ended(services: Services, batch_id: UUID) -> int:
    with services.begin() as session:
        return tallies.count_jobs(session, [batch_id])[batch_id].ended


def wait_until_ended(services: Services, batch_id: UUID, count: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while count_ended(services, batch_id) < count:
        assert time.monotonic() < deadline, f"only {count_ended(services, batch_id)} of {count} have ended"
        time.sleep(0.05)


def lose_the_broker(platform: PlatformUnderTest, backends: Backends) -> None:
    """Kill the broker and delete its data."""
    if backends.database is None:
        # The folder goes first: the supervisor starts another broker as soon as this one is dead.
        shutil.rmtree(platform.settings.data / "broker" / "appendonlydir")
        [broker] = platform.processes("valkey-server")
        broker.kill()
    else:
        backends.broker.kill()
        shutil.rmtree(backends.broker.folder / "appendonlydir")
        backends.broker.start()


def assert_the_report_lists_every_file_once(platform: PlatformUnderTest, batch_id: UUID, folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(platform.get(f"/api/v1/batches/{batch_id}/report.csv").text)))
    deposited = {path.relative_to(folder).as_posix(): hash_file(path) for path in folder.rglob("*.jpg")}
    assert sorted(row["file"] for row in rows) == sorted(deposited)
    assert {row["file"]: row["original_sha256"] for row in rows} == deposited
    assert {row["outcome"] for row in rows} == {"restored"}


@pytest.fixture(autouse=True)
def _print_logs(platform: PlatformUnderTest) -> Iterator[None]:
    yield
    print(platform.logs())
