"""Some seconds of training the two networks of DeOldify 2018 on real photographs, narrower than in use."""

from pathlib import Path

import pytest
import torch
from tests.integration.models.training.networks.short_runs import (
    NO_PRETRAINED,
    sample_crops,
    short_options,
    train_without_judging,
)

from retint_models.datasets.photographs import Photos
from retint_models.training.networks import deoldify_2018


@pytest.mark.parametrize("task", ["deoldify-2018", "defade-deoldify"])
def test_the_first_deoldify_beats_a_picture_of_the_mean_color(
    task: deoldify_2018.Task, photos: Photos, tmp_path: Path
) -> None:
    light = deoldify_2018.choose_hyperparameters(task).light
    # The critic's word counts little: in some seconds it learns nothing worth saying.
    hyperparameters = deoldify_2018.Hyperparameters(
        ((64, 4),), rate=1e-2, word=0.1, light=light, channels=32, depths=(1, 1, 1, 1)
    )
    network = train_without_judging(
        deoldify_2018.make_run(task, tmp_path, photos, photos, short_options(60), NO_PRETRAINED, hyperparameters)
    )
    inputs, truth = deoldify_2018.make_pair(task, sample_crops(photos, 64), light, torch.Generator().manual_seed(1))
    mean = truth.mean((0, 2, 3), keepdim=True)
    assert ((network(2 * inputs - 1) + 1) / 2 - truth).abs().mean() < 0.97 * (mean - truth).abs().mean()
