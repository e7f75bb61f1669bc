"""Training of the defader: a few seconds of it help already."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import photographs
from torch import nn

from retint_models.command.train import imagenet
from retint_models.datasets import fading
from retint_models.datasets.photographs import Photos, open_photos
from retint_models.networks.compact_defade import DefadeNet
from retint_models.training.loop import Pace
from retint_models.training.networks import compact_defade as training
from retint_models.training.networks.compact_defade import Recipe


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(8):
        Image.fromarray(photographs.color_photo(number, side=160)).save(folder / f"{number}.png")
    return open_photos(folder, folder / "cache", short_side=160)


def error(network: nn.Module, photos: Photos) -> float:
    """How far the network's repairs of some color prints are from the truth, as training measures it."""
    assert isinstance(network, DefadeNet)
    rng = np.random.default_rng(11)
    draw = training.crops(photos)
    pairs = [fading.simulate(draw(rng), rng, "dark") for _ in range(16)]
    with torch.no_grad():
        return float(training.loss_of(network.eval(), pairs, 0, Recipe(gate=0, smooth=0), rng))


def test_a_few_steps_repair_better_than_doing_nothing(photos: Photos, tmp_path: Path) -> None:
    pace = Pace(steps=70, average=0.9, log_every=10)
    encoder = imagenet(None, "compact-defade")
    run = training.start(tmp_path, photos, lambda net: {"score": error(net, photos)}, encoder, pace, Recipe(batch=8))
    nothing = error(DefadeNet(), photos)
    assert run.train() < 0.85 * nothing
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[0]["settings"]["again"] == 4


def test_a_repair_is_seen_again_as_a_clean_photograph(photos: Photos) -> None:
    rng = np.random.default_rng(2)
    pairs = [fading.simulate(training.crops(photos)(rng), rng, "light") for _ in range(4)]
    seen = training.batch_of([pair.print for pair in pairs])
    network = DefadeNet()
    repaired = training.repaired_once(network, seen)
    assert network.training
    assert torch.equal(repaired, (repaired * 255).round() / 255)
    once, twice = (training.loss_of(network, pairs, again, Recipe(), np.random.default_rng(3)) for again in (0, 4))
    assert twice < once, "an untrained network leaves its repairs alone, which is right"


def test_a_crop_is_a_part_of_a_photograph_and_half_of_them_are_mirrored(photos: Photos) -> None:
    draw, rng = training.crops(photos), np.random.default_rng(0)
    crops = [draw(rng) for _ in range(6)]
    assert all(crop.shape == (128, 128, 3) and crop.dtype == np.float32 for crop in crops)
    assert all(0 <= crop.min() < crop.max() <= 1 for crop in crops)
