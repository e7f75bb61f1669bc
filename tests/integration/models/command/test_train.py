"""`retint train` as a person uses it."""

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.paths import DATA

from retint_models.networks import registry
from retint_models.training.print_pool import PRINT


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    if not DATA.exists():
        pytest.skip(f"no training photographs at {DATA}")
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted((DATA / "dev").glob("food-0[1-4].jpg")):
        (photos / path.name).symlink_to(path)
    return photos


def test_the_command_trains_and_leaves_weights_to_ship(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no photograph")
    command = [sys.executable, "-m", "retint", "train", "compact", str(photos), "--dev", str(photos)]
    command += ["--out", str(tmp_path / "run"), "--steps", "2", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert (
        "4 photographs to train on; 2 to choose the best weights: 2 of the 4 in photos/, 0 of photos/;"
        " skipped: {'broken': 1}" in done.stdout
    )
    assert '"event": "finished"' in done.stdout
    assert done.stdout.endswith(f"The best weights so far: {tmp_path / 'run' / 'weights.safetensors'}\n")
    size = (tmp_path / "run" / "weights.safetensors").stat().st_size
    assert 7_000_000 < size < 10_000_000
    again = subprocess.run([*command, "--resume", "--seed", "9"], capture_output=True, text=True, timeout=200)
    assert again.returncode == 2
    assert "seed was 1, now 9" in again.stderr


def test_the_command_stopped_by_sigterm_says_how_to_go_on_and_goes_on(photos: Path, tmp_path: Path) -> None:
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


def test_the_defader_is_trained_further_on_few_prints(photos: Path, tmp_path: Path) -> None:
    start = registry.card("compact-defade").path
    command = [sys.executable, "-m", "retint", "train", "compact-defade", str(photos), "--dev", str(photos)]
    command += ["--out", str(tmp_path / "run"), "--steps", "1", "--prints", "20", "--threads", "1"]
    command += ["--start-from", str(start)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    (pool,) = (tmp_path / "run" / "prints").iterdir()
    assert pool.stat().st_size == 20 * PRINT.itemsize
    before, after = load_file(start), load_file(tmp_path / "run" / "weights.safetensors")
    learned = [name for name in before if name.endswith(("weight", "bias"))]
    differences = [float((after[name].float() - before[name].float()).abs().max()) for name in learned]
    assert 0 < max(differences) < 0.01, "one step changes little"
    wrong = subprocess.run([*command, "--encoder", str(start)], capture_output=True, text=True, timeout=200)
    assert wrong.returncode == 2
    assert "--encoder and --start-from exclude each other" in wrong.stderr
