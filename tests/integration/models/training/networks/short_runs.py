"""Runs of some seconds, and crops to judge them on."""

from dataclasses import replace

import torch
from torch import Tensor

from retint_models.datasets.photographs import Photos
from retint_models.training.crops import make_crop_sampler
from retint_models.training.loop import TrainingOptions, TrainingRun
from retint_models.training.pretrained import Pretrained

NO_PRETRAINED = Pretrained({}, None)


def sample_crops(photos: Photos, side: int) -> Tensor:
    """Return crops to judge on: (16, 3, side, side)."""
    return make_crop_sampler(photos, torch.device("cpu"))(16, side, torch.Generator().manual_seed(5))


def short_options(steps: int, **changed: float) -> TrainingOptions:
    """Return options of a run that is judged only at its end."""
    options = TrainingOptions(steps=steps, average=0.9, judge_every=1e9, log_every=1, sheet_every=10**6)
    return replace(options, **changed)  # type: ignore[arg-type]


def train_without_judging(run: TrainingRun) -> torch.nn.Module:
    """Train, and return the network in evaluation mode."""
    run.judge = lambda network: {"score": 0.0}
    run.train()
    return run.ema_network.requires_grad_(False)
