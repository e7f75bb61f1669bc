"""`retint again` runs photos of a batch again."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from tests.integration.core.command.files import make_files
from tests.platforms import PlatformUnderTest

from retint.command import cli
from retint.jobs import changes
from retint.services import Services
from retint.tables import Job


@pytest.fixture
def again(
    platform: PlatformUnderTest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Run the command; return its exit status and what it prints."""

    def run(*arguments: str) -> tuple[int, str]:
        given = ["retint", "again", *arguments, "--server", platform.url, "--token", platform.token]
        monkeypatch.setattr(sys, "argv", given)
        status = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def test_the_chosen_photos_are_run_again(
    platform: PlatformUnderTest,
    again: Callable[..., tuple[int, str]],
    push: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    batch_id = push(make_files(tmp_path / "album", "a.jpg", "b.jpg"))["batch"].rsplit("/", 1)[1]
    services = Services.connect(platform.settings)
    with services.begin() as session:
        first = session.scalars(select(Job).where(Job.batch_id == UUID(batch_id)).order_by(Job.id)).first()
        assert first
        changes.cancel_job(session, first.tenant_id, first.id)
    services.engine.dispose()
    assert again(batch_id) == (0, "0 run again.\n")
    assert again(batch_id, "--state", "cancelled", "--recipe", '{"colorizer": "keep"}') == (
        0,
        "1 run again.\n",
    )
    with platform.client() as client:
        jobs = list(client.jobs(batch_id))
        assert {job["state"] for job in jobs} == {"ready"}
        assert client.job(jobs[-1]["id"])["recipe"]["colorizer"] == "keep"
    assert again(batch_id, "--recipe", "{colorizer}")[0] == 2
    status, printed = again(str(uuid4()))
    assert (status, "There is no such batch." in printed) == (2, True)
