"""Some seconds of NoGAN on real photographs; networks are narrower than in use."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tests.integration.models.training.networks.short_runs import (
    NO_PRETRAINED,
    sample_crops,
    short_options,
    train_without_judging,
)

from retint_models.datasets.photographs import Photos
from retint_models.networks.deoldify import GeneratorConfig
from retint_models.networks.up_blocks import UpConfig
from retint_models.training.networks.deoldify import NoGan
from retint_models.training.networks.deoldify_hyperparameters import choose_hyperparameters
from retint_models.training.networks.deoldify_pictures import denormalise, generate

TINY = GeneratorConfig(
    (1, 1, 1, 1),
    False,
    (
        UpConfig(512, 256, 32, 48, 1),
        UpConfig(48, 128, 32, 48, 1),
        UpConfig(48, 64, 16, 32, 1),
        UpConfig(32, 64, 16, 32, 1),
    ),
)


@pytest.fixture(scope="module")
def nogan(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> NoGan:
    """A tiny training of all three steps, the last two repeated."""
    hyperparameters = replace(
        choose_hyperparameters("artistic", 64, 2),
        stages=((1.0, 64, 4, (0.0, 0.0, 2e-3), True),),
        config=TINY,
        channels=8,
        pictures=8,
        critic_batch=4,
        gan_batch=2,
        threshold=0.7,
        keep_every=2,
    )
    folder = tmp_path_factory.mktemp("nogan")
    training = NoGan("artistic", folder, photos, photos, short_options(40), NO_PRETRAINED, hyperparameters)
    for run in training.runs():
        train_without_judging(run)
    return training


def test_nogan_goes_through_its_steps_and_repeats_them(nogan: NoGan) -> None:
    folders = {log.parent.name for log in nogan.folder.glob("*/log.jsonl")}
    assert folders == {"generator", "critic", "gan", "critic-2", "gan-2"}
    assert [run.folder.name for run in nogan.runs()] == [], "what is finished is not done again"
    kept = [file.name for file in sorted((nogan.folder / "gan" / "steps").iterdir())]
    assert kept == ["000002.safetensors"]


def test_nogans_generator_beats_a_picture_of_the_mean_color(nogan: NoGan, photos: Photos) -> None:
    network = nogan.make_generator().eval().requires_grad_(False)
    network.load_state_dict(load_file(nogan.folder / "gan-2" / "best.safetensors"))
    rgb = sample_crops(photos, 64)
    made = denormalise(generate(network, rgb))
    assert (made - rgb).abs().mean() < 0.7 * (rgb.mean((0, 2, 3), keepdim=True) - rgb).abs().mean()


def test_in_the_gan_only_the_last_group_moves_and_only_after_the_critic(nogan: NoGan) -> None:
    before, after = (load_file(nogan.folder / name / "best.safetensors") for name in ("generator", "gan"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "layers.10.layers.0.0.weight_orig" in moved
    assert "layers.0.4.0.bn1.weight" in moved, "norms of the body are trained"
    assert "layers.0.4.0.conv1.weight" not in moved
    lines = [json.loads(line) for line in (nogan.folder / "gan" / "log.jsonl").read_text().splitlines()]
    turns = ["critic" if "critic" in line else "network" for line in lines if "loss" in line]
    assert turns == ["critic", "network", "critic", "network"][: len(turns)]
    assert len(turns) > 2
