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
from retint_models.networks.color import rgb_to_lab
from retint_models.networks.compact_defade import SIDE, DefadeNet, pixel_positions, repair
from retint_models.training.loop import TrainingOptions
from retint_models.training.networks import compact_defade as training
from retint_models.training.networks.compact_defade import Hyperparameters
from retint_models.training.print_pool import make_folded_copy, make_prints


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(8):
        Image.fromarray(photographs.color_photo(number, side=160)).save(folder / f"{number}.png")
    return open_photos(folder, folder / "cache", short_side=160)


def batch_of(photos: Photos, family: fading.Family, count: int) -> training.Batch:
    """Return prints of one family as a step sees them, each at full weight."""

    def draw(rng: np.random.Generator) -> fading.Pair:
        return fading.simulate(training.draw_crop(photos[int(rng.integers(len(photos)))], rng), rng, family)

    return training.read_batch(make_prints(range(count), encoded(), draw, seed=11), Hyperparameters())


def encoded() -> DefadeNet:
    network = DefadeNet()
    network.encoder.load_imagenet(read_imagenet_encoder(None, "compact-defade"))
    return network.eval()


def training_error(network: nn.Module, photos: Photos) -> float:
    """Return the training loss of the network's repairs of some color prints."""
    assert isinstance(network, DefadeNet)
    batch, rng = batch_of(photos, "dark", 16), np.random.default_rng(11)
    with torch.no_grad():
        return float(training.compute_loss(network.eval(), batch, Hyperparameters(gate=0, smooth=0), rng))


def test_a_few_steps_repair_better_than_doing_nothing(photos: Photos, tmp_path: Path) -> None:
    options = TrainingOptions(steps=70, average=0.9, log_every=10)
    encoder = read_imagenet_encoder(None, "compact-defade")
    chosen = Hyperparameters(batch=8, prints=160)
    run = training.make_run(
        tmp_path, photos, lambda net: {"score": training_error(net, photos)}, encoder, options, chosen
    )
    error_of_nothing = training_error(DefadeNet(), photos)
    assert run.train() < 0.85 * error_of_nothing
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[0]["settings"]["again"] == 4


def test_a_repair_is_seen_again_as_a_clean_photograph(photos: Photos) -> None:
    batch, network, chosen = batch_of(photos, "light", 6), encoded().train(), Hyperparameters()
    more = training.show_again(network, make_folded_copy(network), batch, chosen)
    assert network.training
    again = more.inputs[6:]
    assert len(again) == chosen.again
    assert torch.equal(again, (again * 255).round() / 255)
    assert torch.equal(again, more.truth[6:])
    assert torch.allclose(network.recognize(again), more.features[6:], atol=1e-3)
    assert more.weight.tolist() == pytest.approx([1] * 6 + [chosen.again_weight] * chosen.again)


@torch.no_grad()
def test_the_loss_is_that_of_the_repair_with_the_networks_gate_and_with_an_open_one(photos: Photos) -> None:
    batch, network = batch_of(photos, "dark", 3), encoded()
    nn.init.constant_(network.head.bias, 0.2)  # it starts as the identity, which is the same behind every gate
    chosen = Hyperparameters(gate=0, smooth=0, stride=1)
    decision, at = network(batch.inputs), pixel_positions(SIDE, SIDE)
    assert 0 < float(decision.gate[0]) < 1
    distances = [
        training.picture_distance(ours.view_as(batch.truth), batch.truth, rgb_to_lab(batch.truth)).mean()
        for ours in (
            repair(decision._replace(gate=gate), batch.inputs.flatten(2), at)
            for gate in (decision.gate, torch.ones_like(decision.gate))
        )
    ]
    loss = training.compute_loss(network, batch, chosen, np.random.default_rng(0))
    assert float(loss) == pytest.approx(float(sum(distances)) / 2, rel=1e-3)


def test_a_crop_is_a_part_of_a_photograph_and_half_of_them_are_mirrored(photos: Photos) -> None:
    rng = np.random.default_rng(0)
    crops = [training.draw_crop(photos[0], rng) for _ in range(6)]
    assert all(crop.shape == (128, 128, 3) and crop.dtype == np.float32 for crop in crops)
    assert all(0 <= crop.min() < crop.max() <= 1 for crop in crops)


def test_clean_photographs_that_look_faded_are_drawn_more_often(tmp_path: Path) -> None:
    vivid = photographs.color_photo(0, side=160)
    sunset = (vivid * [1, 0.7, 0.25]).astype(np.uint8)  # as good as no blue
    for name, photo in {"vivid": vivid, "sunset": sunset}.items():
        Image.fromarray(photo).save(tmp_path / f"{name}.png")
    draw, rng = training.make_print_drawer(open_photos(tmp_path, tmp_path / "cache")), np.random.default_rng(1)
    clean = [pair.print for pair in (draw(rng) for _ in range(400)) if pair.family == "clean"]
    colored = [print_ for print_ in clean if np.ptp(print_, axis=-1).mean() > 0.05]
    sunsets = sum(print_[..., 2].max() < 0.4 for print_ in colored)
    assert sunsets > 1.6 * (len(colored) - sunsets)
