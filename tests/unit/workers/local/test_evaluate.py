"""What `retint evaluate` refuses, and what it is asked for."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests import photographs

from retint.errors import InvalidPhoto
from retint.settings import Settings
from retint_models.evaluation.candidates import read_candidates
from retint_models.evaluation.restoration import RestorationSample
from retint_models.layers.types import Order
from retint_models.networks import registry
from retint_workers.commands import commands
from retint_workers.inference.loading import NetworkUnavailable
from retint_workers.local import restore_prints
from retint_workers.local.evaluate import Networks


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, ["evaluate", *map(str, arguments)])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(photographs.color_photo(1, side=80)).save(folder / "0.png")  # its name: it may choose
    return folder


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("compact,nobody", "no such network: 'nobody'; there are compact, compact-vivid"),
        ("compact,,compact-vivid", "no such network: ''"),
        ("compact,compact", "compact is named twice"),
    ],
)
def test_bad_names_are_refused_before_a_photograph_is_read(names: str, reason: str, tmp_path: Path) -> None:
    refused = run(tmp_path, "--colorizers", names)
    assert refused.exit_code == 2
    assert reason in refused.output


def test_what_a_network_does_not_have_is_refused_before_a_photograph_is_read(tmp_path: Path) -> None:
    for option, names, reason in (
        ("--colorizers", "compact:haste=1", "compact has no setting 'haste'; it has gain, limit"),
        ("--colorizers", "compact:gain=9", "gain is between 0.1 and 4, not 9"),
        ("--colorizers", "compact:gain=much", "'gain=much' is no setting: write NAME=NUMBER"),
        ("--defaders", "compact-defade:gain=2", "compact-defade has no setting 'gain'; it has none"),
        ("--colorizers", f"compact={tmp_path}/gone.safetensors", "gone.safetensors: it is no file"),
    ):
        refused = run(tmp_path, option, names)
        assert refused.exit_code == 2
        assert reason in refused.output


def test_old_photographs_need_a_folder_to_be_shown_in(photos: Path) -> None:
    refused = run(photos, "--old", photos)
    assert refused.exit_code == 2
    assert "--old needs --sheets" in refused.output


def test_scores_to_compare_with_must_be_scores(photos: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    scores.write_text("[]")
    refused = run(photos, "--against", scores)
    assert refused.exit_code == 2
    assert "scores.json holds no scores" in refused.output


def test_weights_that_are_not_here_are_named_with_how_to_get_them(tmp_path: Path, photos: Path) -> None:
    refused = run(photos, "--colorizers", "lab-resnet18", "--folder", tmp_path)
    assert refused.exit_code == 2
    assert "retint weights import" in refused.output


def test_weights_that_restoration_lacks_are_named_before_a_print_is_made(tmp_path: Path, photos: Path) -> None:
    refused = run(photos, "--score", "restoration", "--colorizers", "lab-resnet18", "--folder", tmp_path)
    assert isinstance(refused.exception, NetworkUnavailable)
    assert "retint weights import" in refused.exception.message


@pytest.mark.parametrize("score", ["networks", "restoration"])
def test_a_half_without_photographs_is_refused(score: str, photos: Path) -> None:
    refused = run(photos, "--half", "judge", "--score", score, "--colorizers", "compact")
    assert refused.exit_code == 2
    assert "none of the photographs is in the half that may judge: add photographs" in refused.output


def networks(colorizers: str, defaders: str, folder: Path) -> Networks:
    known = {name: registry.card(name) for name in (*registry.COLORIZERS, *registry.DEFADERS)}
    return Networks(read_candidates(colorizers, known), read_candidates(defaders, known), folder, folder)


def test_color_first_is_what_tone_first_is_compared_with(tmp_path: Path) -> None:
    runs = networks("compact,compact-vivid", "compact-defade", tmp_path).plan_runs("both")
    assert [run.title for run in runs] == [
        "compact, compact-defade, color-first",
        "compact, compact-defade, tone-first",
        "compact-vivid, compact-defade, color-first",
        "compact-vivid, compact-defade, tone-first",
    ]
    assert [run.order for run in networks("compact", "", tmp_path).plan_runs("tone-first")] == [Order.TONE_FIRST]
    assert networks("", "", tmp_path).plan_runs("color-first")[0].title == "color-first"


def test_a_candidate_restores_with_its_own_settings_and_weights(tmp_path: Path) -> None:
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(registry.card("compact").path.read_bytes())
    runs = networks(f"compact,compact={weights}:gain=1.5", "compact-defade", tmp_path).plan_runs("tone-first")
    assert [dict(run.recipe.colorizer_settings) for run in runs] == [{}, {"gain": 1.5}]
    assert runs[0].weights == tmp_path
    assert registry.card("compact", runs[1].weights).path.resolve() == weights


def test_a_print_that_is_refused_stays_as_it_is_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    photo = photographs.color_photo(1, side=48)
    sample = RestorationSample("barn.jpg", "silver", photo // 2, photo)
    monkeypatch.setattr(restore_prints, "run_stages", refuse)
    run = networks("compact", "compact-defade", tmp_path).plan_runs("tone-first")[0]
    assert restore_prints.restore_print(sample, run, Settings(), told.append) is sample.print
    assert told == ["barn.jpg (silver; compact, compact-defade, tone-first) was not restored: It is no photograph."]


def refuse(*_: object) -> None:
    raise InvalidPhoto("It is no photograph.")
