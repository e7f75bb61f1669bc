"""The command `retint up`: where people find it, and what others may read of it."""

import json
import subprocess
import sys

import httpx
import pytest
from pydantic import SecretStr
from tests.platforms import ADMIN, run_platform

from retint import accounts
from retint.roles import Role
from retint.services import Services
from retint.settings import Settings
from retint_workers.supervisor.up import _reachable_host


def test_it_is_found_from_other_machines_and_read_by_no_other_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = Settings(data=tmp_path_factory.mktemp("up") / "data", secret=SecretStr("a secret of the tests only"))
    settings.data.mkdir(mode=0o755)
    with run_platform(settings, "--host", "0.0.0.0") as running:
        assert "0.0.0.0" not in running.url
        assert httpx.get(f"{running.url}/healthz").is_success
        assert running.sign_in_link.startswith(f"{running.url}/sign-in/")
        command = [sys.executable, "-m", "retint", "admin", "sign-in-link", ADMIN, "--json"]
        printed = subprocess.run(command, env=settings.environment(), capture_output=True, text=True, check=True)
        assert json.loads(printed.stdout)["sign_in"].startswith(f"{running.url}/sign-in/")
        open_to_others = [path for path in settings.data.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
        assert [path.name for path in open_to_others if path.name != "up.log"] == []
        assert settings.data.stat().st_mode & 0o777 == 0o700
        services = Services.connect(settings)
        with services.read() as session:
            user = accounts.find_user(session, ADMIN)
            assert (user.role, user.is_operator) == (Role.ADMIN, True)
        services.engine.dispose()


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("portal.example", "portal.example")]
)
def test_a_host_that_people_can_type_is_shown_as_it_is(host: str, shown: str) -> None:
    assert _reachable_host(host) == shown
