"""A whole Retint as its users run it: `retint up` and the processes that it starts."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from retint import accounts, fleets
from retint.command.client import Client
from retint.services import Services
from retint.settings import Settings

ADMIN = "admin@localhost"
START_S = 90


@dataclass(frozen=True)
class PlatformUnderTest:
    """A running platform, whose processes a test may kill."""

    url: str
    sign_in_link: str
    token: str
    settings: Settings
    process: "subprocess.Popen[str]"

    def client(self) -> Client:
        """Return a client of the API, signed in as the administrator."""
        return Client(self.url, self.token)

    def get(self, path: str) -> httpx.Response:
        """Request a page or JSON, as the administrator."""
        answer = httpx.get(self.url + path, headers={"Authorization": f"Bearer {self.token}"}, timeout=60)
        return answer.raise_for_status()

    def logs(self) -> str:
        """Return the ends of all processes' logs."""
        return _read_logs(self.settings.data)

    def processes(self, command: str) -> list[psutil.Process]:
        """Return the processes that run `retint <command>`, or a program of that name, under `retint up`."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # one that died this moment, killed by the test
                line = " ".join(child.cmdline())
                if f"-m retint {command}" in line or f"/{command} " in line:
                    found.append(child)
        return found

    def kill(self, command: str) -> None:
        """Kill (SIGKILL) one such process and all that it started."""
        victim = self.processes(command)[0]
        for process in [*victim.children(recursive=True), victim]:
            process.kill()

    def scale(self, **wanted: int) -> None:
        """Set how many workers of the fleets `cpu` and `gpu` are wanted."""
        services = Services.connect(self.settings)
        with services.begin() as session:
            for fleet, n in wanted.items():
                fleets.set_wanted(session, fleet, n)
        services.engine.dispose()


@contextmanager
def run_platform(settings: Settings, *options: str) -> Iterator[PlatformUnderTest]:
    """Run `retint up` on a free port until the block ends; a platform that does not start fails with its logs."""
    settings.data.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "retint", "up", "--json", "--port", "0", *options]
    log = settings.data / "up.log"
    with (
        log.open("ab") as sink,
        subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            env=_make_environment(settings),
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        ) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError(f"the platform did not start:\n{_read_logs(settings.data)}")
            announced = json.loads(line)
            services = Services.connect(settings)
            with services.begin() as session:
                user = accounts.find_user(session, ADMIN)
                token = accounts.issue_token(session, user, "tests")
                url = announced["url"]
                link = announced["sign_in"] or f"{url}/sign-in/{accounts.invite(session, user)}"
            services.engine.dispose()
            yield PlatformUnderTest(url, link, token, settings, process)
        finally:
            process.terminate()


def _make_environment(settings: Settings) -> dict[str, str]:
    """Return the environment with the settings that the test set, and no others of Retint."""
    given = {f"RETINT_{name.upper()}" for name in settings.model_fields_set}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RETINT_")}
    return clean | {name: value for name, value in settings.environment().items() if name in given}


def _read_logs(data: Path) -> str:
    logs = [data / "up.log", *sorted((data / "logs").glob("*.log"))]
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs if log.exists())
