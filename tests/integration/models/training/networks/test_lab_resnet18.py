"""Some seconds of training `lab-resnet18` on real photographs."""

from pathlib import Path

import torch
from tests.integration.models.training.networks.short_runs import sample_crops, short_options, train_without_judging

from retint_models.datasets.photographs import Photos
from retint_models.networks.color import rec709_luma
from retint_models.training.networks import lab_resnet18


def test_lab_resnet18_beats_gray(photos: Photos, tmp_path: Path) -> None:
    hyperparameters = lab_resnet18.Hyperparameters(side=64, batch=8, rate=1e-3)
    network = train_without_judging(
        lab_resnet18.make_run(tmp_path, photos, photos, short_options(50), {}, hyperparameters)
    )
    rgb = sample_crops(photos, 64)
    ours = lab_resnet18.compute_loss(network(rec709_luma(rgb).clamp(0, 1)), rgb)
    gray = lab_resnet18.compute_loss(torch.full((16, 2, 64, 64), 128 / 255), rgb)
    assert ours < 0.95 * gray
