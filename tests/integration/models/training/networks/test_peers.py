"""The recipes of the other networks on real photographs: some seconds of each beat an answer that needs no network.

Networks are narrower than in use where that changes nothing but the time.
"""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.paths import SHARED
from torch import Tensor
from torch.nn import functional

from retint_models.datasets.photographs import Photos, open_photos
from retint_models.networks.color import rec709_luma
from retint_models.networks.deoldify import GeneratorConfig, UpConfig
from retint_models.networks.lab_resnet18 import Tutorial
from retint_models.networks.resnet import resnet_encoder
from retint_models.training import losses
from retint_models.training.adversary import Rivals, alternate
from retint_models.training.crops import crops
from retint_models.training.loop import Pace, Run
from retint_models.training.networks import deoldify, deoldify_2018, lab_resnet18, yuv_gan
from retint_models.training.networks.deoldify_2018 import Given

NOTHING = Given({}, None)
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
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    if not SHARED.exists():
        pytest.skip(f"no photographs at {SHARED / 'data'}")
    torch.set_num_threads(1)
    cache = tmp_path_factory.mktemp("photos")
    return open_photos(SHARED / "data" / "dev", cache, pattern="[fp]*-0[1-4].jpg", short_side=80)


def some(photos: Photos, side: int) -> Tensor:
    """Crops to judge on: (16, 3, side, side)."""
    return crops(photos, torch.device("cpu"))(16, side, torch.Generator().manual_seed(5))


def pace(steps: int, **changed: float) -> Pace:
    return replace(Pace(steps=steps, average=0.9, judge_every=1e9, log_every=1, sheet_every=10**6), **changed)  # type: ignore[arg-type]


def trained(run: Run) -> torch.nn.Module:
    """Train without judging; returns the network in evaluation mode."""
    run.judge = lambda network: {"score": 0.0}
    run.train()
    return run.average.requires_grad_(False)


def test_lab_resnet18_beats_gray(photos: Photos, tmp_path: Path) -> None:
    recipe = lab_resnet18.Recipe(side=64, batch=8, rate=1e-3)
    network = trained(lab_resnet18.start(tmp_path, photos, photos, pace(50), {}, recipe))
    rgb = some(photos, 64)
    ours = lab_resnet18.loss_of(network(rec709_luma(rgb).clamp(0, 1)), rgb)
    gray = lab_resnet18.loss_of(torch.full((16, 2, 64, 64), 128 / 255), rgb)
    assert ours < 0.95 * gray


def test_yuv_gan_beats_gray(photos: Photos, tmp_path: Path) -> None:
    recipe = yuv_gan.Recipe(side=44, batch=4, rate=3e-4)
    network = trained(yuv_gan.start(tmp_path, photos, photos, pace(60), recipe))
    yuv = yuv_gan.yuv_of(some(photos, 44))
    assert functional.mse_loss(network(yuv[:, :1]), yuv[:, 1:]) < 0.95 * yuv[:, 1:].square().mean()


@pytest.mark.parametrize("task", ["deoldify-2018", "defade-deoldify"])
def test_the_first_deoldify_beats_a_picture_of_the_mean_color(
    task: deoldify_2018.Task, photos: Photos, tmp_path: Path
) -> None:
    light = deoldify_2018.recipe_of(task).light
    # The critic's word counts little: in some seconds it learns nothing worth saying.
    recipe = deoldify_2018.Recipe(((64, 4),), rate=1e-2, word=0.1, light=light, channels=32, depths=(1, 1, 1, 1))
    network = trained(deoldify_2018.start(task, tmp_path, photos, photos, pace(60), NOTHING, recipe))
    seen, truth = deoldify_2018.pair_of(task, some(photos, 64), light, torch.Generator().manual_seed(1))
    mean = truth.mean((0, 2, 3), keepdim=True)
    assert ((network(2 * seen - 1) + 1) / 2 - truth).abs().mean() < 0.97 * (mean - truth).abs().mean()


@pytest.fixture(scope="module")
def nogan(photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> deoldify.Training:
    """A tiny training of all three steps, the last two repeated."""
    recipe = replace(
        deoldify.recipe_of("artistic", 64, 2),
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
    training = deoldify.Training("artistic", folder, photos, photos, pace(40), NOTHING, recipe)
    for run in training.runs():
        trained(run)
    return training


def test_nogan_goes_through_its_steps_and_repeats_them(nogan: deoldify.Training) -> None:
    folders = {log.parent.name for log in nogan.folder.glob("*/log.jsonl")}
    assert folders == {"generator", "critic", "gan", "critic-2", "gan-2"}
    assert [run.folder.name for run in nogan.runs()] == [], "what is finished is not done again"
    kept = [file.name for file in sorted((nogan.folder / "gan" / "steps").iterdir())]
    assert kept == ["000002.safetensors"]


def test_nogans_generator_beats_a_picture_of_the_mean_color(nogan: deoldify.Training, photos: Photos) -> None:
    network = nogan.network().eval().requires_grad_(False)
    network.load_state_dict(load_file(nogan.folder / "gan-2" / "best.safetensors"))
    rgb = some(photos, 64)
    made = deoldify.restored(deoldify.made_by(network, rgb))
    assert (made - rgb).abs().mean() < 0.7 * (rgb.mean((0, 2, 3), keepdim=True) - rgb).abs().mean()


def test_in_the_gan_only_the_last_group_moves_and_only_after_the_critic(nogan: deoldify.Training) -> None:
    before, after = (load_file(nogan.folder / name / "best.safetensors") for name in ("generator", "gan"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "layers.10.layers.0.0.weight_orig" in moved
    assert "layers.0.4.0.bn1.weight" in moved, "norms of the body are trained"
    assert "layers.0.4.0.conv1.weight" not in moved
    lines = [json.loads(line) for line in (nogan.folder / "gan" / "log.jsonl").read_text().splitlines()]
    turns = ["critic" if "critic" in line else "network" for line in lines if "loss" in line]
    assert turns == ["critic", "network", "critic", "network"][: len(turns)]
    assert len(turns) > 2


def test_a_weak_critic_goes_on_until_it_is_good_enough() -> None:
    rivals = Rivals(torch.nn.Linear(1, 1), threshold=0.65)
    losses = iter([0.9, 0.7, 0.6])
    turns = []

    def of_critic(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
        turns.append("critic")
        return {"loss": torch.tensor(next(losses))}

    def of_network(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
        turns.append("network")
        assert not rivals.critic.weight.requires_grad, "the critic does not learn from the network's loss"
        return {"loss": torch.tensor(0.0)}

    step = alternate(rivals, of_critic, of_network)
    for _ in range(4):
        step(0.0, torch.Generator())
    assert turns == ["critic", "critic", "critic", "network"]
    assert bool(rivals.critics_turn)


def test_a_gan_stopped_by_sigterm_ends_with_the_same_weights(photos: Photos, tmp_path: Path) -> None:
    def make(folder: Path, stop_at: int = 0) -> Run:
        run = yuv_gan.start(folder, photos, photos, pace(6), yuv_gan.Recipe(side=44, batch=2))
        step, count = run.step, [0]

        def stopping(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
            count[0] += 1
            if count[0] == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(progress, chance)

        run.step = stopping
        run.judge = lambda network: {"score": 0.0}
        return run

    make(tmp_path / "whole").train()
    stopped = make(tmp_path / "broken", 3)
    stopped.train()
    assert stopped.stopped
    assert stopped.done == 3
    make(tmp_path / "broken").train(resume=True)
    whole, broken = (load_file(tmp_path / name / "best.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    curves = [
        [line for line in (tmp_path / name / "log.jsonl").read_text().splitlines() if '"loss"' in line]
        for name in ("whole", "broken")
    ]
    told = [[{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in curve] for curve in curves]
    assert told[0] == told[1]


def test_efficientnet_lite0_tells_a_false_color_from_a_true_one(photos: Photos) -> None:
    file = SHARED / "weights" / "efficientnet_lite0_imagenet_fp16.safetensors"
    compare = losses.FeatureLoss(losses.backbone(file, losses.BEFORE_POOLS[:3]), (20, 70, 10))
    pixels = losses.FeatureLoss(None, ())
    rgb = some(photos, 64)
    gray = deoldify_2018.gray_of(rgb)
    assert compare(rgb, rgb, 1.0) == pytest.approx(0, abs=1e-5)
    assert compare(gray, rgb, 1.0) > 1.05 * pixels(gray, rgb, 1.0)


def test_a_backbone_or_an_encoder_that_is_something_else_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="neither VGG16 with batch norms nor EfficientNet-Lite0"):
        losses.backbone(tmp_path / "other.safetensors", (5, 12, 22))
    with pytest.raises(ValueError, match="holds no ResNet as torchvision names it: weight is unknown"):
        losses.resnet(tmp_path / "other.safetensors")


def test_vgg16_gives_the_maps_before_its_max_pools() -> None:
    with torch.device("meta"):
        steps = []
        inside = 3
        for outside in losses.VGG:
            if outside:
                steps += [
                    torch.nn.Conv2d(inside, outside, 3, padding=1),
                    torch.nn.BatchNorm2d(outside),
                    torch.nn.ReLU(),
                ]
                inside = outside
            else:
                steps.append(torch.nn.MaxPool2d(2))
        shapes = torch.nn.ModuleDict({"features": torch.nn.Sequential(*steps)}).state_dict()
    chance = torch.Generator().manual_seed(0)
    state = {name: 0.02 * torch.randn(value.shape, generator=chance) for name, value in shapes.items()}
    state = {name: value.abs() if "running_var" in name else value for name, value in state.items()}
    maps = losses.Vgg(state, deoldify.TAPS)(torch.rand(1, 3, 64, 64))
    assert [tuple(x.shape[1:]) for x in maps] == [(256, 16, 16), (512, 8, 8), (512, 4, 4)]
    assert [tuple(x.shape[1:]) for x in losses.Vgg(state, deoldify_2018.TAPS)(torch.rand(1, 3, 64, 64))] == [
        (64, 64, 64),
        (128, 32, 32),
        (256, 16, 16),
    ]


def test_a_resnet_of_torchvision_starts_the_body(tmp_path: Path) -> None:
    body = resnet_encoder((2, 2, 2, 2))
    names = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
    state = {
        f"{names[name.partition('.')[0]]}.{name.partition('.')[2]}": value + 1 if value.is_floating_point() else value
        for name, value in body.state_dict().items()
    }
    torch.save(state | {"fc.weight": torch.zeros(2, 2)}, tmp_path / "resnet18.pth")
    read = losses.resnet(tmp_path / "resnet18.pth")
    losses.adopt(body, read)
    assert all(torch.equal(body.state_dict()[name], value) for name, value in read.items())
    tutorial = Tutorial().midlevel_resnet
    losses.adopt(tutorial, read)
    assert torch.equal(tutorial.state_dict()["0.weight"], read["0.weight"].sum(1, keepdim=True))
    with pytest.raises(ValueError, match="the encoder does not fit this network"):
        losses.adopt(resnet_encoder((3, 4, 6, 3)), read)
