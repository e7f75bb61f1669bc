"""What `retint train` and `retint evaluate` refuse, and whether their documentation knows them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests import photographs
from tests.paths import ROOT

from retint_models.command.commands import commands
from retint_models.command.train import train


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(photographs.color_photo(number, side=80)).save(folder / f"{number}.png")
    return folder


def test_every_recipe_is_documented() -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    assert [name for name in train.commands if f"`{name}" not in text] == []


def test_an_empty_folder_is_refused(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused = run("train", "lab-resnet18", tmp_path / "empty", "--dev", photos, "--out", tmp_path / "run")
    assert refused.exit_code == 2
    assert "no usable photograph in" in refused.output


def test_what_is_skipped_is_counted_and_said(tmp_path: Path, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no photograph")
    Image.fromarray(photographs.color_photo(3, side=80)).convert("L").save(photos / "gray.png")
    out = tmp_path / "run"
    done = run("train", "lab-resnet18", photos, "--dev", photos, "--out", out, "--steps", 1, "--batch", 1)
    assert done.exit_code == 0, done.output
    assert "2 photographs to train on, 2 held back; skipped: {'broken': 1, 'gray': 1}" in done.output
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


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("compact,nobody", "no such network: 'nobody'; there are compact, compact-vivid"),
        ("compact,,compact-vivid", "no such network: ''"),
        ("compact,compact", "compact is named twice"),
    ],
)
def test_bad_names_are_refused_before_a_photograph_is_read(names: str, reason: str, tmp_path: Path) -> None:
    refused = run("evaluate", tmp_path, "--colorizers", names)
    assert refused.exit_code == 2
    assert reason in refused.output


def test_old_photographs_need_a_sheet_to_be_shown_on(photos: Path) -> None:
    refused = run("evaluate", photos, "--old", photos)
    assert refused.exit_code == 2
    assert "--old and --old-sheet belong together" in refused.output


def test_weights_that_are_not_here_are_named_with_how_to_get_them(tmp_path: Path, photos: Path) -> None:
    refused = run("evaluate", photos, "--colorizers", "lab-resnet18", "--folder", tmp_path)
    assert refused.exit_code == 2
    assert "retint weights import" in refused.output
