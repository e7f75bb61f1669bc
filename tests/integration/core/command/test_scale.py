"""`retint admin scale`: a number, limits, or what is wanted and why."""

from click.testing import CliRunner, Result
from tests.integration.conftest import Site

from retint.command.scale import scale
from retint.demand import read
from retint.lifecycle import Mode


def run(site: Site, *arguments: str) -> Result:
    return CliRunner().invoke(scale, arguments, obj=site.services)


def test_a_number_or_limits_are_set_and_told(sqlite_site: Site) -> None:
    assert run(sqlite_site, "gpu", "3").output == "gpu: 3 wanted. The operator has set this number.\n"
    assert (
        "wanted. Nothing waits or runs."
        in run(sqlite_site, "gpu", "--least", "0", "--most", "8", "--wait", "10").output
    )
    with sqlite_site.services.read() as session:
        limits = read(session, sqlite_site.services.settings)["gpu"].limits
    assert (limits.mode, limits.least, limits.most, limits.wait_s) == (Mode.AUTOMATIC, 0, 8, 600)
    assert run(sqlite_site, "gpu").output.startswith("gpu: 0 wanted.")


def test_what_contradicts_itself_changes_nothing(sqlite_site: Site) -> None:
    run(sqlite_site, "gpu", "3")
    for arguments in (["2", "--most", "3", "--least", "1"], ["--most", "3"], ["--wait", "5"], ["-1"], ["1001"]):
        answer = run(sqlite_site, "gpu", *arguments)
        assert answer.exit_code == 2, arguments
    assert run(sqlite_site, "gpu").output.startswith("gpu: 3 wanted.")
    assert run(sqlite_site, "gpu", "--least", "4", "--most", "3").exception is not None
