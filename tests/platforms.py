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
class Platform:
    """A running platform: where it is, and its processes, which a test may kill."""

    url: str
    sign_in: str
    token: str
    settings: Settings
    process: "subprocess.Popen[str]"

    def client(self) -> Client:
        """The API, as the administrator."""
        return Client(self.url, self.token)

    def get(self, path: str) -> httpx.Response:
        """Ask for a page or for JSON, as the administrator."""
        answer = httpx.get(self.url + path, headers={"Authorization": f"Bearer {self.token}"}, timeout=60)
        return answer.raise_for_status()

    def logs(self) -> str:
        """What all its processes said of late."""
        return _logs(self.settings.data)

    def processes(self, command: str) -> list[psutil.Process]:
        """The processes that `retint up` started with `retint <command>`, or with a program of that name."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # one that died this moment, killed by the test
                line = " ".join(child.cmdline())
                if f"-m retint {command}" in line or f"/{command} " in line:
                    found.append(child)
        return found

    def kill(self, command: str) -> None:
        """SIGKILL one such process and all that it started."""
        victim = self.processes(command)[0]
        for process in [*victim.children(recursive=True), victim]:
            process.kill()

    def scale(self, **wanted: int) -> None:
        """Ask for so many workers of the fleets `cpu` and `gpu`."""
        services = Services.connect(self.settings)
        with services.begin() as session:
            for fleet, n in wanted.items():
                fleets.set_wanted(session, fleet, n)
        services.engine.dispose()


@contextmanager
def running(settings: Settings) -> Iterator[Platform]:
    """Run `retint up` on a free port until the block ends; a platform that does not start fails with its logs."""
    settings.data.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "retint", "up", "--json", "--port", "0"]
    log = settings.data / "up.log"
    with (
        log.open("ab") as sink,
        subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            env=_environment(settings),
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        ) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError(f"the platform did not start:\n{_logs(settings.data)}")
            said = json.loads(line)
            services = Services.connect(settings)
            with services.begin() as session:
                user = accounts.find_user(session, ADMIN)
                token = accounts.issue(session, user, "tests")
                sign_in = said["sign_in"] or f"{said['url']}/sign-in/{accounts.invite(session, user)}"
            services.engine.dispose()
            yield Platform(said["url"], sign_in, token, settings, process)
        finally:
            process.terminate()


def _environment(settings: Settings) -> dict[str, str]:
    """What the tests set, and no other setting of Retint that this machine happens to have."""
    given = {f"RETINT_{name.upper()}" for name in settings.model_fields_set}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RETINT_")}
    return clean | {name: value for name, value in settings.environment().items() if name in given}


def _logs(data: Path) -> str:
    logs = [data / "up.log", *sorted((data / "logs").glob("*.log"))]
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs if log.exists())
