"""The training loop on a network that a line of arithmetic can check."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from retint_models.training.loop import Pace, Run, rate_at, write_whole


def make_run(
    folder: Path, during: Callable[[int, nn.Linear], None] = lambda step, network: None, **changed: Any
) -> Run:
    """A run that learns y = 2 x + 1."""
    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    count = [0]

    def step(progress: float, chance: torch.Generator) -> Tensor:
        count[0] += 1
        during(count[0], network)
        x = torch.rand(8, 1, generator=chance)
        return functional.mse_loss(network(x), 2 * x + 1)

    def judge(averaged: nn.Module) -> dict[str, float]:
        x = torch.linspace(0, 1, 9)[:, None]
        return {"score": float(functional.mse_loss(averaged(x), 2 * x + 1))}

    settings = changed.pop("settings", {"size": 8})
    pace = Pace(**({"steps": 60, "log_every": 1, "average": 0.9} | changed))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.2)
    return Run(folder, network, optimizer, step, judge, pace, settings)


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in log(folder) if "loss" in entry]


def test_a_run_learns_and_keeps_its_best_average(tmp_path: Path) -> None:
    assert make_run(tmp_path).train() < 1e-2
    best = load_file(tmp_path / "best.safetensors")
    assert best["weight"].item() == pytest.approx(2, abs=0.3)
    assert best["bias"].item() == pytest.approx(1, abs=0.3)
    assert [entry["event"] for entry in log(tmp_path) if "event" in entry] == ["started", "judged", "finished"]


def test_a_run_stopped_by_sigterm_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    make_run(tmp_path / "whole").train()

    def stop(step: int, network: nn.Linear) -> None:
        if step == 23:
            os.kill(os.getpid(), signal.SIGTERM)

    make_run(tmp_path / "broken", stop).train()
    assert len(losses(tmp_path / "broken")) == 23
    make_run(tmp_path / "broken").train(resume=True)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "listens only while it runs"


def test_resuming_with_other_settings_is_refused_with_the_difference(tmp_path: Path) -> None:
    make_run(tmp_path).train()
    with pytest.raises(ValueError, match=r"seed was 1, now 7.*size was 8, now 9"):
        make_run(tmp_path, seed=7, settings={"size": 9}).train(resume=True)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_weights(tmp_path: Path) -> None:
    def spoil(step: int, network: nn.Linear) -> None:
        if step == 10:
            nn.init.constant_(network.weight, float("nan"))

    with pytest.raises(FloatingPointError, match=r"step 9.*last\.pt.*smaller learning rate"):
        make_run(tmp_path, spoil, judge_every=0.0).train()
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["done"] == 9
    assert torch.isfinite(kept["network"]["weight"]).all()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    write_whole(tmp_path / "best", b"old")
    (tmp_path / "best.partial").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "best", b"new")
    assert (tmp_path / "best").read_bytes() == b"old"


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    rates = [rate_at(progress / 100, 0.05) for progress in range(101)]
    assert rates[0] < 0.03
    assert max(rates) == rates[5] == pytest.approx(1)
    assert rates[-1] == pytest.approx(0)
    assert rates[5:] == sorted(rates[5:], reverse=True)


def test_a_run_that_has_minutes_ends_when_they_are_over(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=None, minutes=0.01)
    run.train()
    assert 0.6 <= run.spent_s < 5
    assert run.done > 60
