"""Training of `compact` on real photographs: a tiny run beats baselines that need no network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.paths import DATA

from retint_models.command.run_training import read_imagenet_encoder
from retint_models.datasets.photographs import Photos, open_photos
from retint_models.evaluation import metrics
from retint_models.evaluation.colorize_baselines import colorize_with_mean_ab
from retint_models.evaluation.metrics import delta_e_2000
from retint_models.evaluation.pictures import to_tensor
from retint_models.evaluation.samples import make_color_samples
from retint_models.networks.compact import ColorDecision
from retint_models.training.loop import TrainingOptions
from retint_models.training.networks import compact


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not DATA.exists():
        pytest.skip(f"no training photographs at {DATA}")
    return tmp_path_factory.mktemp("photos")


@pytest.fixture(scope="module")
def training(cache: Path) -> Photos:
    return open_photos(DATA / "train", cache, pattern="train-000.tar", short_side=160)


@pytest.fixture(scope="module")
def held_back(cache: Path) -> Photos:
    return open_photos(DATA / "dev", cache, pattern="*-0[37].jpg", short_side=64)


def test_a_tiny_run_falls_below_the_mean_color_and_below_gray(
    training: Photos, held_back: Photos, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    plain = {"dropout": 0.0, "skin": 0.0, "gray_share": 0.0, "repaired": False}  # what helps only a longer run
    hyperparameters = compact.Hyperparameters(sides=(64,), batch=12, **plain)  # type: ignore[arg-type]
    options = TrainingOptions(steps=160, average=0.97, judge_every=1e9, seed=2)
    run = compact.make_run(
        tmp_path, training, held_back, read_imagenet_encoder(None, "compact"), options, hyperparameters
    )
    run.train()
    ours = run.judge(run.ema_network)["delta_e"]
    samples = make_color_samples(held_back)
    constant = colorize_with_mean_ab(training)
    mean = [
        delta_e_2000(to_tensor(constant(n, sample.gray)), to_tensor(sample.true)) for n, sample in enumerate(samples)
    ]
    gray = [delta_e_2000(to_tensor(sample.gray), to_tensor(sample.true)) for sample in samples]
    assert ours < np.mean(mean) - 0.8
    assert ours < np.mean(gray), "which is what the untrained network gives"


def test_colorfulness_in_the_loss_is_that_of_the_judge() -> None:
    rgb = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(1)) * torch.tensor([1, 0.5, 0.2]).view(
        3, 1, 1
    )
    judged = [metrics.colorfulness(one) for one in rgb]
    assert metrics.batch_colorfulness(rgb, floor=1.0).tolist() == pytest.approx(judged, abs=0.02)
    red, green, blue = 255 * rgb[0].double().numpy()
    one, two = red - green, (red + green) / 2 - blue
    published = np.hypot(one.std(), two.std()) + 0.3 * np.hypot(one.mean(), two.mean())
    assert judged[0] == pytest.approx(published, rel=1e-5)
    gray = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    metrics.batch_colorfulness(gray, floor=1.0).sum().backward()  # type: ignore[no-untyped-call]
    assert gray.grad is not None
    assert gray.grad.isfinite().all()


def test_a_run_with_the_same_seed_takes_the_same_steps(training: Photos, held_back: Photos, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    hyperparameters = compact.Hyperparameters(sides=(64,), batch=4)
    encoder = read_imagenet_encoder(None, "compact")
    logs = []
    for name in ("one", "two"):
        options = TrainingOptions(steps=3, log_every=1, judge_every=1e9, seed=5)
        run = compact.make_run(tmp_path / name, training, held_back, encoder, options, hyperparameters)
        losses: list[float] = []
        run.on_entry = lambda entry, losses=losses: losses.append(entry["loss"]) if "loss" in entry else None  # type: ignore[misc]
        run.train()
        logs.append(losses)
    assert len(logs[0]) == 3
    assert logs[0] == logs[1]


@pytest.mark.parametrize(("frozen", "is_trained"), [(1.0, False), (0.5, True)])
def test_the_encoder_is_trained_after_its_share_of_the_run_alone(
    training: Photos, held_back: Photos, tmp_path: Path, frozen: float, is_trained: bool
) -> None:
    torch.set_num_threads(1)
    hyperparameters = compact.Hyperparameters(sides=(64,), batch=2, repaired=False, frozen=frozen)
    encoder = read_imagenet_encoder(None, "compact")
    options = TrainingOptions(steps=4, judge_every=1e9, warm_up=0.0)
    run = compact.make_run(tmp_path, training, held_back, encoder, options, hyperparameters)
    before = {name: value.clone() for name, value in run.network.state_dict().items() if name.startswith("encoder.")}
    changed: list[bool] = []

    def look() -> None:
        now = run.network.state_dict()
        changed.append(any(not torch.equal(value, now[name]) for name, value in before.items()))

    run.on_step = look
    run.train()
    assert changed == [False, False, is_trained, is_trained]


def test_skin_weighs_more() -> None:
    skin = torch.tensor([0.8, 0.6, 0.5]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    leaf = torch.tensor([0.3, 0.6, 0.2]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    ones = torch.ones(1, 1, 4, 4)
    gray = ColorDecision(torch.zeros(1, 2, 4, 4), 10 * ones, 0.1 * ones)
    plain, weighed = compact.Hyperparameters(skin=0.0), compact.Hyperparameters(skin=1.0)
    assert compact.compute_loss(gray, leaf, weighed) == compact.compute_loss(gray, leaf, plain)
    assert compact.compute_loss(gray, skin, weighed) > 1.2 * compact.compute_loss(gray, skin, plain)
