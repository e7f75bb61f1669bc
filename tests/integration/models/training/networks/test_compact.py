"""The recipe of `compact` on real photographs: a tiny run beats what asks for no network."""

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.paths import DATA

from retint_models.command.train import imagenet
from retint_models.datasets.photographs import Photos, open_photos
from retint_models.evaluation import metrics
from retint_models.evaluation.colorize import as_tensor, mean_ab, shots_of
from retint_models.evaluation.metrics import delta_e_2000
from retint_models.training.loop import Pace
from retint_models.training.networks import compact


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not DATA.exists():
        pytest.skip(f"no training photographs at {DATA}")
    return tmp_path_factory.mktemp("photos")


@pytest.fixture(scope="module")
def training(cache: Path) -> Photos:
    return open_photos(DATA / "train", cache, pattern="train-000.tar", short_side=80)


@pytest.fixture(scope="module")
def held_back(cache: Path) -> Photos:
    return open_photos(DATA / "dev", cache, pattern="*-0[37].jpg", short_side=64)


def test_a_tiny_run_falls_below_the_mean_color_and_below_gray(
    training: Photos, held_back: Photos, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    recipe = compact.Recipe(sides=(64,), batch=12, dropout=0.0)
    pace = Pace(steps=160, average=0.97, judge_every=1e9)
    run = compact.start(tmp_path, training, held_back, imagenet(None, "compact"), pace, recipe)
    run.train()
    ours = run.judge(run.average)["delta_e"]
    shots = shots_of(held_back)
    constant = mean_ab(training)
    mean = [delta_e_2000(as_tensor(constant(n, shot.gray)), as_tensor(shot.true)) for n, shot in enumerate(shots)]
    gray = [delta_e_2000(as_tensor(shot.gray), as_tensor(shot.true)) for shot in shots]
    assert ours < np.mean(mean) - 0.8
    assert ours < np.mean(gray), "which is what the untrained network gives"


def test_colorfulness_in_the_loss_is_that_of_the_judge() -> None:
    rgb = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(1)) * torch.tensor([1, 0.5, 0.2]).view(
        3, 1, 1
    )
    judged = [metrics.colorfulness(one) for one in rgb]
    assert metrics.colorfulnesses(rgb, floor=1.0).tolist() == pytest.approx(judged, abs=0.02)
    red, green, blue = 255 * rgb[0].double().numpy()
    one, two = red - green, (red + green) / 2 - blue
    published = np.hypot(one.std(), two.std()) + 0.3 * np.hypot(one.mean(), two.mean())
    assert judged[0] == pytest.approx(published, rel=1e-5)
    gray = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    metrics.colorfulnesses(gray, floor=1.0).sum().backward()  # type: ignore[no-untyped-call]
    assert gray.grad is not None
    assert gray.grad.isfinite().all()


def test_a_run_with_the_same_seed_takes_the_same_steps(training: Photos, held_back: Photos, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    recipe = compact.Recipe(sides=(64,), batch=4)
    encoder = imagenet(None, "compact")
    logs = []
    for name in ("one", "two"):
        pace = Pace(steps=3, log_every=1, judge_every=1e9, seed=5)
        run = compact.start(tmp_path / name, training, held_back, encoder, pace, recipe)
        seen: list[float] = []
        run.tell = lambda entry, seen=seen: seen.append(entry["loss"]) if "loss" in entry else None  # type: ignore[misc]
        run.train()
        logs.append(seen)
    assert len(logs[0]) == 3
    assert logs[0] == logs[1]


def test_the_command_trains_and_leaves_weights_to_ship(cache: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted((DATA / "dev").glob("food-0[1-4].jpg")):
        (photos / path.name).symlink_to(path)
    (photos / "broken.jpg").write_bytes(b"no photograph")
    command = [sys.executable, "-m", "retint", "train", "compact", str(photos), "--dev", str(photos)]
    command += ["--out", str(tmp_path / "run"), "--steps", "2", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "4 photographs to train on, 4 held back; skipped: {'broken': 1}" in done.stdout
    assert '"event": "finished"' in done.stdout
    assert done.stdout.endswith(f"The best weights so far: {tmp_path / 'run' / 'weights.safetensors'}\n")
    size = (tmp_path / "run" / "weights.safetensors").stat().st_size
    assert 7_000_000 < size < 10_000_000
    again = subprocess.run([*command, "--resume", "--seed", "9"], capture_output=True, text=True, timeout=200)
    assert again.returncode == 2
    assert "seed was 1, now 9" in again.stderr


def test_the_command_stopped_by_sigterm_says_how_to_go_on_and_goes_on(cache: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted((DATA / "dev").glob("food-0[1-4].jpg")):
        (photos / path.name).symlink_to(path)
    command = [sys.executable, "-m", "retint", "train", "compact", str(photos), "--dev", str(photos)]
    command += ["--out", str(tmp_path / "run"), "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert any('"event": "started"' in line for line in run.stdout)
        run.terminate()
        ending = run.stdout.read()
    assert run.returncode == 0
    assert re.search(r"Stopped at step \d+; the same command with --resume goes on\.\n$", ending)
    done = int(ending.split("Stopped at step ")[1].split(";")[0])
    with subprocess.Popen([*command, "--resume"], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        [started] = islice((line for line in run.stdout if '"event": "started"' in line), 1)
        run.kill()
    assert f'"step": {done},' in started
