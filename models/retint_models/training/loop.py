"""The loop that every recipe trains in.

A recipe brings a network, an optimizer, a `step` that draws a batch and returns its loss, and a `judge` that scores the
averaged network on photographs held back. The loop keeps the time, the learning rate, the average of the weights, the
best weights so far and the log, and can be stopped (Ctrl-C, SIGTERM) and resumed at any step.
"""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

Step = Callable[[float, torch.Generator], Tensor]
"""Takes the share of the run that is done, in [0, 1), and the run's source of chance; returns a batch's loss."""

Judge = Callable[[nn.Module], dict[str, float]]
"""Scores a network in evaluation mode; `score` is what is minimised, everything else goes to the log."""


@dataclass(frozen=True)
class Pace:
    """How long a run lasts and how it moves.

    Attributes:
        minutes: Time budget of the whole run, resumed parts and judging included.
        steps: If given, the run ends after so many steps and the learning rate follows them instead of the clock, which
            makes a run repeatable.
        warm_up: Share of the run in which the learning rate rises from 0; a cosine takes it back to 0 after that.
        average: Decay of the moving average of the weights.
        clip: Largest norm of a step's gradient.
        judge_every: Minutes between two judgements (and checkpoints).
        log_every: Steps between two lines of the log.
        seed: Of everything that is drawn.
    """

    minutes: float = 100.0
    steps: int | None = None
    warm_up: float = 0.05
    average: float = 0.999
    clip: float = 1.0
    judge_every: float = 8.0
    log_every: int = 50
    seed: int = 1


@dataclass
class Run:
    """A training run in a folder: `last.pt` to resume from, `best.safetensors`, `log.jsonl`.

    Attributes:
        folder: Where the run is kept.
        settings: Everything that shapes the run besides its pace; JSON values. Resuming with others is refused.
        tell: Is given each entry of the log.
    """

    folder: Path
    network: nn.Module
    optimizer: torch.optim.Optimizer
    step: Step
    judge: Judge
    pace: Pace = field(default_factory=Pace)
    settings: dict[str, Any] = field(default_factory=dict)
    tell: Callable[[dict[str, Any]], None] = lambda entry: None

    def __post_init__(self) -> None:
        self.average = deepcopy(self.network).eval().requires_grad_(False)
        self.chance = torch.Generator().manual_seed(self.pace.seed)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.done, self.spent_s, self.best = 0, 0.0, math.inf

    def adopt(self, data: bytes) -> None:
        """Start from the weights of another run: the bytes of its `best.safetensors`."""
        self.network.load_state_dict(load(data))
        self.average.load_state_dict(load(data))

    def progress(self) -> float:
        """Tell the share of the run that is done."""
        if self.pace.steps is not None:
            return self.done / self.pace.steps
        return self.spent_s / (60 * self.pace.minutes)

    def train(self, *, resume: bool = False) -> float:
        """Train to the end of the pace, or until the process is asked to stop; return the best score.

        Raises:
            ValueError: resumed with other settings.
            FloatingPointError: the loss is not a number; the last good checkpoint is kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.pace.seed)
        if resume and (self.folder / "last.pt").exists():
            self.load()
        self.log(event="started", settings=self.settings, pace=vars(self.pace), step=self.done)
        judged_s = self.spent_s
        with asked_to_stop() as stop:
            while self.progress() < 1 and not stop.is_set():
                began = time.perf_counter()
                self.advance()
                self.spent_s += time.perf_counter() - began
                if self.spent_s - judged_s > 60 * self.pace.judge_every:
                    self.assess()
                    judged_s = self.spent_s
            if stop.is_set():
                self.save()
            else:
                self.assess()
        self.log(
            event="stopped" if stop.is_set() else "finished",
            step=self.done,
            seconds=round(self.spent_s),
            best=self.best,
        )
        return self.best

    def advance(self) -> None:
        """Take one step."""
        progress = self.progress()
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * rate_at(progress, self.pace.warm_up)
        self.network.train()
        loss = self.step(progress, self.chance)
        if not torch.isfinite(loss):
            self.log(event="diverged", step=self.done)
            raise FloatingPointError(
                f"the loss became {loss.item()} at step {self.done}; the last good checkpoint is"
                f" {self.folder / 'last.pt'}. Try a smaller learning rate or a longer warm-up."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.pace.clip)
        self.optimizer.step()
        self.done += 1
        self.follow()
        if self.done % self.pace.log_every == 0:
            rate = self.optimizer.param_groups[0]["lr"]
            self.log(
                step=self.done,
                seconds=round(self.spent_s, 1),
                loss=round(loss.item(), 4),
                norm=round(norm.item(), 3),
                rate=rate,
            )

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average towards the network; faster in the beginning, when there is little to remember."""
        decay = min(self.pace.average, (1 + self.done) / (10 + self.done))
        averages = self.average.state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                averages[name].lerp_(value, 1 - decay)
            else:
                averages[name].copy_(value)

    def assess(self) -> None:
        """Judge the averaged network, keep it if it is the best so far, write a checkpoint."""
        began = time.perf_counter()
        with torch.no_grad():
            scores = self.judge(self.average)
        self.spent_s += time.perf_counter() - began
        if scores["score"] < self.best:
            self.best = scores["score"]
            tensors = {name: value.contiguous() for name, value in self.average.state_dict().items()}
            write_whole(self.folder / "best.safetensors", save(tensors))
        self.save()
        self.log(event="judged", step=self.done, seconds=round(self.spent_s), **scores)

    def save(self) -> None:
        """Write all that a resumed run needs; the old checkpoint survives a failure."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "chance": self.chance.get_state(),
            "torch": torch.get_rng_state(),
            "done": self.done,
            "spent_s": self.spent_s,
            "best": self.best,
            "settings": self.settings | vars(self.pace),
        }
        partial = self.folder / "last.pt.partial"
        torch.save(state, partial)
        partial.replace(self.folder / "last.pt")

    def load(self) -> None:
        """Go on where `save` left off.

        Raises:
            ValueError: the checkpoint was made with other settings.
        """
        state = torch.load(self.folder / "last.pt", weights_only=True)
        ours, theirs = self.settings | vars(self.pace), state["settings"]
        if ours != theirs:
            differing = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
            told = ", ".join(f"{key} was {theirs.get(key)!r}, now {ours.get(key)!r}" for key in differing)
            raise ValueError(f"cannot resume {self.folder} with other settings: {told}")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.chance.set_state(state["chance"])
        torch.set_rng_state(state["torch"])
        self.done, self.spent_s, self.best = state["done"], state["spent_s"], state["best"]

    def log(self, **entry: Any) -> None:
        """Append one line of JSON to the log."""
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
        self.tell(entry)


def rate_at(progress: float, warm_up: float) -> float:
    """Tell the factor of the learning rate: linear up, then half a cosine down to 0."""
    if progress < warm_up:
        return (progress + 1e-3) / (warm_up + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event while a run lasts (only the main thread may listen to signals)."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that its name always stands for a whole file, the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
