"""Training of `compact-defade`: a few seconds of it help already."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import photographs
from torch import nn

from retint_models.command.run_training import read_imagenet_encoder
from retint_models.datasets import fading
from retint_models.datasets.photographs import Photos, open_photos
from retint_models.networks.compact_defade import DefadeNet
from retint_models.training.loop import TrainingOptions
from retint_models.training.networks import compact_defade as training
from retint_models.training.networks.compact_defade import Hyperparameters


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(8):
        Image.fromarray(photographs.color_photo(number, side=160)).save(folder / f"{number}.png")
    return open_photos(folder, folder / "cache", short_side=160)


def training_error(network: nn.Module, photos: Photos) -> float:
    """Return the training loss of the network's repairs of some color prints."""
    assert isinstance(network, DefadeNet)
    rng = np.random.default_rng(11)
    draw = training.make_defade_crop_sampler(photos)
    pairs = [fading.simulate(draw(rng), rng, "dark") for _ in range(16)]
    with torch.no_grad():
        return float(training.compute_loss(network.eval(), pairs, 0, Hyperparameters(gate=0, smooth=0), rng))


def test_a_few_steps_repair_better_than_doing_nothing(photos: Photos, tmp_path: Path) -> None:
    options = TrainingOptions(steps=70, average=0.9, log_every=10)
    encoder = read_imagenet_encoder(None, "compact-defade")
    run = training.make_run(
        tmp_path, photos, lambda net: {"score": training_error(net, photos)}, encoder, options, Hyperparameters(batch=8)
    )
    error_of_nothing = training_error(DefadeNet(), photos)
    assert run.train() < 0.85 * error_of_nothing
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[0]["settings"]["again"] == 4


def test_a_repair_is_seen_again_as_a_clean_photograph(photos: Photos) -> None:
    rng = np.random.default_rng(2)
    pairs = [fading.simulate(training.make_defade_crop_sampler(photos)(rng), rng, "light") for _ in range(4)]
    inputs = training.stack_pictures([pair.print for pair in pairs])
    network = DefadeNet()
    repaired = training.repair_without_gradient(network, inputs)
    assert network.training
    assert torch.equal(repaired, (repaired * 255).round() / 255)
    once, twice = (
        training.compute_loss(network, pairs, again, Hyperparameters(), np.random.default_rng(3)) for again in (0, 4)
    )
    assert twice < once, "an untrained network leaves its repairs alone, which is right"


def test_a_crop_is_a_part_of_a_photograph_and_half_of_them_are_mirrored(photos: Photos) -> None:
    draw, rng = training.make_defade_crop_sampler(photos), np.random.default_rng(0)
    crops = [draw(rng) for _ in range(6)]
    assert all(crop.shape == (128, 128, 3) and crop.dtype == np.float32 for crop in crops)
    assert all(0 <= crop.min() < crop.max() <= 1 for crop in crops)
