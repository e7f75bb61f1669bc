"""Retint as people install it: a wheel in an environment of its own, on every Python that is at hand.

The dependencies come from the lock files, as `make setup` takes them. What is installed is read-only, as a
distribution's packages are.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests import photo_files
from tests.paths import ROOT
from tests.servers import find_free_ports

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
INSTALL_S = 1200
DEADLINE_S = 180
pytestmark = pytest.mark.timeout(2 * INSTALL_S)


@dataclass(frozen=True)
class Environment:
    """A virtual environment into which the wheel is installed, and a home for what a user keeps."""

    folder: Path
    home: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def command(self, *arguments: object) -> list[str]:
        """`retint` with these arguments. As root, permissions of files are heeded all the same."""
        obey = "--bounding-set=-dac_override,-dac_read_search,-fowner"
        prefix = ["setpriv", "--pdeathsig", "TERM", *([obey] if os.getuid() == 0 else [])]
        return [*prefix, str(self.folder / "bin" / "retint"), *(str(argument) for argument in arguments)]

    def variables(self, settings: Mapping[str, object]) -> dict[str, str]:
        """Nothing of the tests' own environment but the path of programs."""
        given = {f"RETINT_{name.upper()}": str(value) for name, value in settings.items()}
        return {"PATH": os.defpath, "HOME": str(self.home), "LANG": "C.UTF-8", **given}

    def run(self, *arguments: object, **settings: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments),
            cwd=self.home,
            env=self.variables(settings),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )


def call(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=INSTALL_S)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what git knows, so that nothing else slips in."""
    tree, wheels = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheels")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    call(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, tree)
    [built] = wheels.glob("*.whl")
    return built


def install(python: Path, folder: Path, wheel: Path, *locks: str) -> Environment:
    """Make an environment, install locks and the wheel, and take away the right to write there."""
    call(python, "-m", "venv", folder / "venv")
    environment = Environment(folder / "venv", folder / "home")
    environment.home.mkdir()
    for lock in locks:
        call(ROOT / "requirements" / "install", environment.python, lock)
    call(environment.python, "-m", "pip", "install", "--no-deps", "--no-index", wheel)
    call("chmod", "--recursive", "a-w", environment.folder)
    return environment


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    call("chmod", "--recursive", "u+w", tmp_path)
    shutil.rmtree(tmp_path)  # gigabytes, which pytest would keep


def test_the_wheel_alone_restores_a_photo_and_serves_the_portal(wheel: Path, folder: Path) -> None:
    environment = install(Path(sys.executable), folder, wheel, "local")
    scan = environment.home / "scan.jpg"
    scan.write_bytes(photo_files.encode_photo("JPEG"))
    done = environment.run("restore", scan, "--out", environment.home / "restored")
    assert done.returncode == 0, done.stderr
    assert (environment.home / "restored" / "scan.jpg").is_file()
    # Broker, portal, dispatcher and workers of this environment; photographs through the API and back.
    demo = environment.run("demo", "--once", "--data", environment.home / "demo")
    assert demo.returncode == 0, demo.stderr
    assert demo.stdout.count(" restored in ") == 6
    doctor = environment.run("doctor", "--json", data=environment.home / "demo")
    assert doctor.returncode == 0, doctor.stdout
    assert {check["name"] for check in json.loads(doctor.stdout)} >= {"weights of compact", "portal", "gpu worker"}


def pythons() -> list[Path]:
    """Every supported interpreter of this machine, one a version; those beside the running one count, too."""
    found = []
    for version in PYTHONS:
        beside = sorted(Path(sys.base_prefix).parent.glob(f"{version}*/bin/python3"))
        candidates = [Path(path) for path in (shutil.which(f"python{version}"),) if path] + beside
        probe = f"import sys, ensurepip; assert '%d.%d' % sys.version_info[:2] == '{version}'"
        works = (
            path for path in candidates if subprocess.run([path, "-c", probe], capture_output=True).returncode == 0
        )
        found += list(works)[:1]
    return found


@pytest.mark.parametrize("python", pythons(), ids=str)
def test_portal_and_cpu_worker_run_without_torch_on_every_python(
    python: Path, wheel: Path, folder: Path, redis_url: str
) -> None:
    environment = install(python, folder, wheel, "portal", "cpu")
    code = "from importlib.util import find_spec as f; assert not f('torch') and not f('torchvision')"
    call(environment.python, "-c", code)
    [port] = find_free_ports(1)
    url = f"http://127.0.0.1:{port}"
    settings: dict[str, Any] = {
        "data": environment.home / "data",
        "broker_url": redis_url,
        "secret": "s" * 32,
        "public_url": url,
    }
    assert environment.run("admin", "migrate", **settings).returncode == 0
    assert environment.run("admin", "create-user", "jo@museum.example", **settings).returncode == 0
    token = environment.run("admin", "create-token", "jo@museum.example", **settings).stdout.strip()
    with ExitStack() as stack:
        for arguments in (["portal", "--port", port], ["dispatcher"], ["worker", "--fleet", "cpu"]):
            process = subprocess.Popen(
                environment.command(*arguments), cwd=environment.home, env=environment.variables(settings)
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        wait_until(lambda: httpx.get(f"{url}/readyz", timeout=5).status_code == 200)
        scans = environment.home / "scans"
        scans.mkdir()
        (scans / "scan.jpg").write_bytes(photo_files.encode_photo("JPEG"))
        pushed = environment.run("push", scans, "--server", url, "--token", token, "--json", **settings)
        assert pushed.returncode == 0, pushed.stderr
        batch = json.loads(pushed.stdout)["batch"].rsplit("/", 1)[-1]
        client = httpx.Client(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"})
        stack.enter_context(client)
        # Ingest is done by the cpu worker; what follows waits for a gpu worker, which is not here.
        wait_until(lambda: client.get(f"/batches/{batch}/jobs").json()["items"][0]["stage"] == "colorize")


def wait_until(holds: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            if holds():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.2)
