"""The training loop on a network that a line of arithmetic can check."""

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

from retint_models.training.loop import Pace, Run, rate_at, write_whole


def make_run(
    folder: Path, during: Callable[[int, nn.Linear], None] = lambda step, network: None, **changed: Any
) -> Run:
    """A run that learns y = 2 x + 1."""
    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    count = [0]

    def step(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
        count[0] += 1
        during(count[0], network)
        x = torch.rand(8, 1, generator=chance)
        return {"loss": functional.mse_loss(network(x), 2 * x + 1)}

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
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["done"] == 9
    assert torch.isfinite(kept["network"]["weight"]).all()


def test_a_gradient_that_is_no_number_does_not_reach_the_weights(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    steps = run.step
    run.step = lambda progress, chance: {"loss": (steps(progress, chance)["loss"] - 1e9).sqrt().nan_to_num()}
    before = run.network.state_dict()["weight"].clone()
    with pytest.raises(FloatingPointError, match="gradient became nan at step 0; there is no checkpoint yet"):
        run.train()
    assert torch.equal(run.network.state_dict()["weight"], before)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    make_run(tmp_path).train()
    before = (tmp_path / "last.pt").read_bytes()
    run = make_run(tmp_path)
    run.load()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*last\.pt: File too large; the one written before is whole"):
            run.save()
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
    dying.show = lambda network: np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(KeyboardInterrupt):
        dying.train()
    assert len(losses(tmp_path / "broken")) == 22
    assert len(list((tmp_path / "broken" / "sheets").iterdir())) == 2
    make_run(tmp_path / "broken", keep_every=20, sheet_every=11).train(resume=True)
    assert [sheet.name for sheet in (tmp_path / "broken" / "sheets").iterdir()] == ["000011.png"]
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


def test_weights_are_kept_every_so_many_steps(tmp_path: Path) -> None:
    make_run(tmp_path, keep_every=20).train()
    kept = sorted((tmp_path / "steps").iterdir())
    assert [file.name for file in kept] == ["000020.safetensors", "000040.safetensors", "000060.safetensors"]
    assert len({load_file(file)["weight"].item() for file in kept}) == 3


def test_sheets_are_drawn_every_so_many_steps(tmp_path: Path) -> None:
    run = make_run(tmp_path, sheet_every=25)
    run.show = lambda network: np.full((4, 6, 3), 7, np.uint8)
    run.train()
    assert sorted(file.name for file in (tmp_path / "sheets").iterdir()) == ["000025.png", "000050.png"]


def test_what_stands_beside_the_network_is_resumed_with_it(tmp_path: Path) -> None:
    """A critic and its network share the optimizer; a loss that reaches one only leaves the other alone."""

    def make(folder: Path, steps_before_stop: int = 99) -> Run:
        run = make_run(folder, average=0.0)
        critic = nn.Linear(1, 1)
        nn.init.ones_(critic.weight)
        run.beside["critic"] = critic
        run.optimizer.add_param_group({"params": list(critic.parameters()), "lr": 0.2})
        run.highest.append(0.2)
        network_step = run.step
        count = [0]

        def step(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
            count[0] += 1
            if count[0] == steps_before_stop:
                os.kill(os.getpid(), signal.SIGTERM)
            if progress >= 0.5:
                return network_step(progress, chance)
            x = torch.rand(8, 1, generator=chance)
            return {"loss": functional.mse_loss(critic(x), -x), "critic": torch.ones(())}

        run.step = step
        return run

    whole = make(tmp_path / "whole")
    whole.train()
    make(tmp_path / "broken", 7).train()
    broken = make(tmp_path / "broken")
    broken.train(resume=True)
    for ours, theirs in ((whole.network, broken.network), (whole.beside["critic"], broken.beside["critic"])):
        assert torch.equal(ours.state_dict()["weight"], theirs.state_dict()["weight"])
    assert whole.beside["critic"].state_dict()["weight"].item() < 0.5
    assert sum("critic" in entry for entry in log(tmp_path / "whole")) == 30


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
