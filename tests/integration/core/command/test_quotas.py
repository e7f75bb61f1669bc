"""`retint push` meets a quota in the middle and goes on later; the operator's commands on institutions."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import update
from tests.integration.conftest import Site
from tests.integration.core.command.files import make_files
from tests.platforms import ADMIN, PlatformUnderTest

from retint import accounts, quotas
from retint.command import cli
from retint.command.institution import institution
from retint.quota_tables import Quota
from retint.quotas import Limits
from retint.services import Services

Push = Callable[..., dict[str, Any]]


@pytest.fixture
def limit(platform: PlatformUnderTest) -> Iterator[Callable[..., None]]:
    """Set the quotas of the platform's institution beyond what it uses; without one afterwards."""
    services = Services.connect(platform.settings)

    def set_limits(more_bytes: int | None = None, **limits: int) -> None:
        with services.begin() as session:
            tenant_id = accounts.find_user(session, ADMIN).tenant_id
            used = quotas.read(session, tenant_id).used_bytes
            most = None if more_bytes is None else used + more_bytes
            quotas.set_limits(session, tenant_id, Limits(most, **limits))

    yield set_limits
    set_limits()
    services.engine.dispose()


def test_a_quota_in_the_middle_keeps_what_was_sent_and_the_next_run_sends_the_rest(
    push: Push, limit: Callable[..., None], tmp_path: Path
) -> None:
    folder = make_files(tmp_path / "quota", *(f"{number:02}.jpg" for number in range(12)))
    size = (folder / "00.jpg").stat().st_size
    limit(7 * size + size // 2)
    first = push(folder, status=1)
    assert (first["sent"], len(first["not_sent"]), first["refused"]) == (7, 5, {})
    assert "The quota of your institution is reached" in first["error"]
    limit(100 * size)
    again = push(folder)
    assert (again["sent"], again["known"], again["not_sent"]) == (5, 7, {})
    assert again["batch"] == first["batch"]


def test_a_person_reads_how_many_are_left_out_once(
    push: Push, platform: PlatformUnderTest, limit: Callable[..., None], tmp_path: Path
) -> None:
    folder = make_files(tmp_path / "told", *(f"{number}.jpg" for number in range(5)))
    limit(0)
    command = ["push", str(folder), "--server", platform.url, "--token", platform.token]
    result = CliRunner().invoke(cli.retint, command)
    assert result.exit_code == 1
    assert "5 left out. Run it again later: it goes on with the rest." in result.output
    assert result.output.count("The quota of your institution") == 1


def test_known_files_beyond_the_quota_are_left_out(push: Push, limit: Callable[..., None], tmp_path: Path) -> None:
    folder = make_files(tmp_path / "known", *(f"{number}.jpg" for number in range(6)))
    push(folder)
    limit(most_in_flight=0)
    other = push(folder, "--name", "again", status=1)
    assert (other["known"], len(other["not_sent"])) == (0, 6)
    limit()
    assert push(folder, "--name", "again")["known"] == 6


def run(site: Site, *arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(institution, arguments, obj=site.services)
    assert result.exit_code == status, result.output
    return result.stdout


def test_an_operator_rules_institutions_by_command(site: Site) -> None:
    added = json.loads(run(site, "add", "City Archive", "kim@archive.example", "--room", "1.5TB", "--json"))
    assert added["sign_in"].startswith("http")
    would_be = run(site, "change", "City Archive", "--weight", "4", "--in-flight", "20", "--dry-run")
    assert would_be.startswith(
        "Would be: City Archive: 1 person, 0 photos, 0 B of 1,500.0 GB, 0 of 20 in flight, weight 4"
    )
    [listed] = json.loads(run(site, "list", "--json"))
    assert (listed["weight"], listed["limits"]["most_bytes"]) == (1, 1_500_000_000_000)
    changed = run(site, "change", "City Archive", "--name", "Archive", "--room", "none", "--priority", "5")
    assert changed.startswith("Archive: 1 person, 0 photos, 0 B, 0 in flight, weight 1, priority up to 5")
    run(site, "disable", "Archive")
    assert "Archive (disabled)" in run(site, "list")
    run(site, "enable", "Archive")
    assert "disabled" not in run(site, "list")
    for wrong in (["change", "Archive", "--room", "a lot"], ["add", "Archive", "x@y.example", "--priority", "high"]):
        run(site, *wrong, status=2)


def test_a_full_count_finds_and_mends_wrong_counts(site: Site) -> None:
    site.add_jobs("a.jpg")
    assert run(site, "recount") == "All counts are right.\n"
    with site.services.begin() as session:
        session.execute(update(Quota).values(kept_bytes=99))
    assert "99 bytes counted, 1 found" in run(site, "recount", status=1)
    assert "Mended." in run(site, "recount", "--mend")
    assert json.loads(run(site, "recount", "--json")) == []
