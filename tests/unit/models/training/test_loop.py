"""The training loop, on a network that is checked by a line of arithmetic."""

import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from retint_models.training.loop import TrainingOptions, TrainingRun


def make_run(
    folder: Path, on_step: Callable[[int, nn.Linear], None] = lambda step, network: None, **changed: Any
) -> TrainingRun:
    """Make a run that learns y = 2 x + 1; `on_step` is called before each step."""
    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    count = [0]

    def step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        count[0] += 1
        on_step(count[0], network)
        x = torch.rand(8, 1, generator=rng)
        return {"loss": functional.mse_loss(network(x), 2 * x + 1)}

    def judge(averaged: nn.Module) -> dict[str, float]:
        x = torch.linspace(0, 1, 9)[:, None]
        return {"score": float(functional.mse_loss(averaged(x), 2 * x + 1))}

    settings = changed.pop("settings", {"size": 8})
    options = TrainingOptions(**({"steps": 60, "log_every": 1, "average": 0.9} | changed))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.2)
    return TrainingRun(folder, network, optimizer, step, judge, options, settings)


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def logged_losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in read_log(folder) if "loss" in entry]


def test_a_run_learns_and_keeps_its_best_average(tmp_path: Path) -> None:
    assert make_run(tmp_path).train() < 1e-2
    best = load_file(tmp_path / "best.safetensors")
    assert best["weight"].item() == pytest.approx(2, abs=0.3)
    assert best["bias"].item() == pytest.approx(1, abs=0.3)
    assert [entry["event"] for entry in read_log(tmp_path) if "event" in entry] == ["started", "judged", "finished"]


def test_a_run_stopped_by_sigterm_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    make_run(tmp_path / "whole").train()

    def stop(step: int, network: nn.Linear) -> None:
        if step == 23:
            os.kill(os.getpid(), signal.SIGTERM)

    make_run(tmp_path / "broken", stop).train()
    assert len(logged_losses(tmp_path / "broken")) == 23
    make_run(tmp_path / "broken").train(resume=True)
    assert logged_losses(tmp_path / "broken") == logged_losses(tmp_path / "whole")
    whole, broken = (load_file(tmp_path / name / "best.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[key], broken[key]) for key in whole)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "listens only while it runs"


def test_resuming_with_other_settings_is_refused_with_the_difference(tmp_path: Path) -> None:
    make_run(tmp_path).train()
    with pytest.raises(ValueError, match=r"seed was 1, now 7.*size was 8, now 9"):
        make_run(tmp_path, seed=7, settings={"size": 9}).train(resume=True)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_weights(tmp_path: Path) -> None:
    def spoil(step: int, network: nn.Linear) -> None:
        if step == 10:
            nn.init.constant_(network.weight, float("nan"))

    with pytest.raises(FloatingPointError, match=r"loss became nan at step 9.*last\.pt.*smaller learning rate"):
        make_run(tmp_path, spoil, judge_every=0.0).train()
    checkpoint = torch.load(tmp_path / "last.pt", weights_only=True)
    assert checkpoint["done"] == 9
    assert torch.isfinite(checkpoint["network"]["weight"]).all()


def test_a_gradient_that_is_no_number_does_not_reach_the_weights(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    steps = run.training_step
    run.training_step = lambda progress, rng: {"loss": (steps(progress, rng)["loss"] - 1e9).sqrt().nan_to_num()}
    before = run.network.state_dict()["weight"].clone()
    with pytest.raises(FloatingPointError, match="gradient became nan at step 0; there is no checkpoint yet"):
        run.train()
    assert torch.equal(run.network.state_dict()["weight"], before)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    make_run(tmp_path).train()
    before = (tmp_path / "last.pt").read_bytes()
    run = make_run(tmp_path)
    run.load_checkpoint()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*last\.pt: File too large; the one written before is whole"):
            run.save_checkpoint()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path).train()
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"last\.pt is damaged"):
        make_run(tmp_path).train(resume=True)


def test_a_run_does_not_write_over_another(tmp_path: Path) -> None:
    make_run(tmp_path).train()
    with pytest.raises(ValueError, match="holds a run already"):
        make_run(tmp_path).train()


def test_a_run_that_was_killed_repeats_its_last_steps_once_in_the_log(tmp_path: Path) -> None:
    make_run(tmp_path / "whole", keep_every=20).train()

    def die(step: int, network: nn.Linear) -> None:
        if step == 23:
            raise KeyboardInterrupt

    dying = make_run(tmp_path / "broken", die, keep_every=20, sheet_every=11)
    dying.draw_samples = lambda network: np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(KeyboardInterrupt):
        dying.train()
    assert len(logged_losses(tmp_path / "broken")) == 22
    assert len(list((tmp_path / "broken" / "sheets").iterdir())) == 2
    make_run(tmp_path / "broken", keep_every=20, sheet_every=11).train(resume=True)
    assert [sheet.name for sheet in (tmp_path / "broken" / "sheets").iterdir()] == ["000011.png"]
    assert logged_losses(tmp_path / "broken") == logged_losses(tmp_path / "whole")


def test_weights_are_kept_every_so_many_steps(tmp_path: Path) -> None:
    make_run(tmp_path, keep_every=20).train()
    kept = sorted((tmp_path / "steps").iterdir())
    assert [file.name for file in kept] == ["000020.safetensors", "000040.safetensors", "000060.safetensors"]
    assert len({load_file(file)["weight"].item() for file in kept}) == 3


def test_sheets_are_drawn_every_so_many_steps(tmp_path: Path) -> None:
    run = make_run(tmp_path, sheet_every=25)
    run.draw_samples = lambda network: np.full((4, 6, 3), 7, np.uint8)
    run.train()
    assert sorted(file.name for file in (tmp_path / "sheets").iterdir()) == ["000025.png", "000050.png"]


def test_a_critic_is_resumed_with_its_network(tmp_path: Path) -> None:
    """A critic and its network share the optimizer; a loss that reaches only one leaves the other unchanged."""

    def make(folder: Path, steps_before_stop: int = 99) -> TrainingRun:
        run = make_run(folder, average=0.0)
        critic = nn.Linear(1, 1)
        nn.init.ones_(critic.weight)
        run.extra_modules["critic"] = critic
        run.optimizer.add_param_group({"params": list(critic.parameters()), "lr": 0.2})
        run.peak_rates.append(0.2)
        network_step = run.training_step
        count = [0]

        def step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
            count[0] += 1
            if count[0] == steps_before_stop:
                os.kill(os.getpid(), signal.SIGTERM)
            if progress >= 0.5:
                return network_step(progress, rng)
            x = torch.rand(8, 1, generator=rng)
            return {"loss": functional.mse_loss(critic(x), -x), "critic": torch.ones(())}

        run.training_step = step
        return run

    whole = make(tmp_path / "whole")
    whole.train()
    make(tmp_path / "broken", 7).train()
    broken = make(tmp_path / "broken")
    broken.train(resume=True)
    for ours, theirs in (
        (whole.network, broken.network),
        (whole.extra_modules["critic"], broken.extra_modules["critic"]),
    ):
        assert torch.equal(ours.state_dict()["weight"], theirs.state_dict()["weight"])
    assert whole.extra_modules["critic"].state_dict()["weight"].item() < 0.5
    assert sum("critic" in entry for entry in read_log(tmp_path / "whole")) == 30


def test_a_run_that_has_minutes_ends_when_they_are_over(tmp_path: Path) -> None:
    run = make_run(tmp_path, steps=None, minutes=0.05)
    run.train()
    assert 3 <= run.seconds_spent < 10
    assert run.steps_done > 60
