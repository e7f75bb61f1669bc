"""What `retint train` prints and refuses, and whether its documentation is complete."""

import json
from pathlib import Path

from PIL import Image
from tests import photographs
from tests.paths import ROOT
from tests.unit.models.command.retint_command import run

from retint_models.command.train import train


def test_every_training_is_documented() -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    assert [name for name in train.commands if f"`{name}" not in text] == []


def test_an_empty_folder_is_refused(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused = run("train", "lab-resnet18", tmp_path / "empty", "--dev", photos, "--out", tmp_path / "run")
    assert refused.exit_code == 2
    assert "no usable photograph in" in refused.output


def test_skipped_files_are_counted_and_printed(tmp_path: Path, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no photograph")
    Image.fromarray(photographs.color_photo(3, side=80)).convert("L").save(photos / "gray.png")
    out = tmp_path / "run"
    done = run("train", "lab-resnet18", photos, "--dev", photos, "--out", out, "--steps", 1, "--batch", 1)
    assert done.exit_code == 0, done.output
    assert "2 photographs to train on; 1 to choose the best weights: 1 of the 2 in photos/, " in done.output
    assert "{'broken': 1, 'gray': 1}" in done.output
    again = run("train", "lab-resnet18", photos, "--dev", photos, "--out", out, "--steps", 1, "--batch", 1)
    assert again.exit_code == 2
    assert "holds a run already" in again.output


def test_small_machines_train_on_smaller_crops(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "run"
    sizes = ("--batch", 1, "--side", 64)
    done = run("train", "yuv-gan", photos, "--dev", photos, "--out", out, "--steps", 1, *sizes)
    assert done.exit_code == 0, done.output
    settings = json.loads((out / "log.jsonl").read_text().splitlines()[0])["settings"]
    assert (settings["batch"], settings["side"], settings["rate"]) == (1, 64, 1e-4)


def test_a_device_that_is_not_there_is_refused(tmp_path: Path, photos: Path) -> None:
    refused = run("train", "yuv-gan", photos, "--dev", photos, "--out", tmp_path / "run", "--device", "abacus")
    assert refused.exit_code == 2
    assert "no device 'abacus' here" in refused.output


def test_nogan_without_crops_is_refused(tmp_path: Path, photos: Path) -> None:
    arguments = ("--dev", photos, "--out", tmp_path / "run", "--largest", 64)
    refused = run("train", "deoldify", "video", photos, *arguments)
    assert refused.exit_code == 2
    assert "which --largest leaves out" in refused.output
    assert "No --encoder given" in refused.output
