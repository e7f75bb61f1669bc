"""A gpu worker reports bad weights when it starts; only those of the default recipe stop it."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.paths import ROOT

from retint import database, fleets
from retint.errors import RetintError
from retint.services import Services
from retint.settings import Settings
from retint_workers.beats import Beat
from retint_workers.queue import app

COMMAND = [sys.executable, "-m", "retint", "worker", "--fleet", "gpu"]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the part `models`, whose weights a test may damage."""
    shutil.copytree(ROOT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "models"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a database and a store, and without a broker."""
    (tmp_path / "data").mkdir()
    settings = Settings(
        data=tmp_path / "data",
        weights=tmp_path / "imported",
        device="cpu",
        broker_url="redis://127.0.0.1:9/0",
        secret="s" * 32,
    )
    services = Services.connect(settings)
    database.migrate(services.engine)
    services.store.prepare()
    return settings


@pytest.mark.parametrize("spoil", ["damaged", "missing"])
def test_without_the_usual_network_it_ends_with_a_sentence(models: Path, settings: Settings, spoil: str) -> None:
    file = models / "retint_models" / "weights" / "shipped" / "compact.safetensors"
    if spoil == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    environment = settings.environment(PYTHONPATH=str(models))
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: The colorizer compact cannot be used: ")
    assert "compact.safetensors" in last
    assert "install Retint again" in last


def test_imported_weights_that_are_damaged_are_told_and_it_goes_on(settings: Settings, tmp_path: Path) -> None:
    settings.weights.mkdir()
    (settings.weights / "artistic.safetensors").write_bytes(b"damaged")
    (settings.weights / "artistic.toml").write_text(f'sha256 = "{"0" * 64}"\n')
    (settings.weights / "stable.safetensors").write_bytes(b"without a record")
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(COMMAND, stdout=sink, stderr=sink, env=settings.environment())
    try:
        deadline = time.monotonic() + 100
        while "broker_away" not in log.read_text():  # it is done with its weights, and wants to receive photos
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    warnings = [line for line in log.read_text().splitlines() if "weights_unfit" in line]
    assert len(warnings) == 2
    assert "artistic.safetensors is not the file that its card describes" in warnings[0]
    assert "retint weights fetch artistic" in warnings[0]
    assert "stable.safetensors has no readable record" in warnings[1]


def test_a_worker_that_gets_ready_for_long_is_not_taken_for_one_that_receives_nothing(settings: Settings) -> None:
    services = Services.connect(settings)
    handler = signal.getsignal(signal.SIGTERM)

    def prepare(beat: Beat) -> None:
        deadline = time.monotonic() + 100
        while True:
            beat()
            with services.begin() as session:
                [worker] = fleets.list_live(session)
                if worker.activity:
                    assert fleets.restart_idle(session, "gpu", idle_s=-1) == []
                    raise RetintError("It has seen enough.")
            assert time.monotonic() < deadline, "its row never says what it does"
            time.sleep(0.1)

    try:
        with pytest.raises(RetintError, match="seen enough"):
            app.run_worker(services, "gpu", {}, device="none", prepare=prepare)
    finally:
        signal.signal(signal.SIGTERM, handler)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_the_gpu_that_it_is_to_use_it_ends_with_a_sentence(settings: Settings) -> None:
    environment = settings.environment(RETINT_DEVICE="cuda")
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == (
        "Error: Networks should run on cuda, and there is no such GPU here, or no driver for it: install the NVIDIA "
        "driver, or set RETINT_DEVICE to auto or cpu."
    )
