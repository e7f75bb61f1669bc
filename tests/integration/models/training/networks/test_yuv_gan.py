"""Some seconds of training `yuv-gan` on real photographs."""

import json
import os
import signal
from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.integration.models.training.networks.short_runs import sample_crops, short_options, train_without_judging
from torch import Tensor
from torch.nn import functional

from retint_models.datasets.photographs import Photos
from retint_models.training.loop import TrainingRun
from retint_models.training.networks import yuv_gan


def test_yuv_gan_beats_gray(photos: Photos, tmp_path: Path) -> None:
    hyperparameters = yuv_gan.Hyperparameters(side=44, batch=4, rate=3e-4)
    network = train_without_judging(yuv_gan.make_run(tmp_path, photos, photos, short_options(60), hyperparameters))
    yuv = yuv_gan.rgb_to_yuv(sample_crops(photos, 44))
    assert functional.mse_loss(network(yuv[:, :1]), yuv[:, 1:]) < 0.95 * yuv[:, 1:].square().mean()


def test_a_gan_stopped_by_sigterm_ends_with_the_same_weights(photos: Photos, tmp_path: Path) -> None:
    def make(folder: Path, stop_at: int = 0) -> TrainingRun:
        run = yuv_gan.make_run(folder, photos, photos, short_options(6), yuv_gan.Hyperparameters(side=44, batch=2))
        step, count = run.training_step, [0]

        def stopping(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
            count[0] += 1
            if count[0] == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(progress, rng)

        run.training_step = stopping
        run.judge = lambda network: {"score": 0.0}
        return run

    make(tmp_path / "whole").train()
    stopped = make(tmp_path / "broken", 3)
    stopped.train()
    assert stopped.was_stopped
    assert stopped.steps_done == 3
    make(tmp_path / "broken").train(resume=True)
    whole, broken = (load_file(tmp_path / name / "best.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    curves = [
        [line for line in (tmp_path / name / "log.jsonl").read_text().splitlines() if '"loss"' in line]
        for name in ("whole", "broken")
    ]
    entries = [[{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in curve] for curve in curves]
    assert entries[0] == entries[1]
