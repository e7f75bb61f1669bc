"""The training loop that all networks share.

A network's module in `networks/` brings the network, an optimizer, a training step that draws a batch and returns its
loss, and a judge that scores the network on photographs held back. The loop sets the learning rate, keeps an
exponential moving average (EMA) of the weights, checkpoints, the best weights so far and the journal. A run can be
stopped by Ctrl-C or SIGTERM and resumed at any step.

A network and its critic are trained in one run: one optimizer holds the parameters of both. A step's loss reaches only
one of the two; the optimizer skips parameters without a gradient.
"""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from retint_models.training.journal import Journal, OnEntry
from retint_models.training.precision import device_of, uses_bfloat16
from retint_models.training.run_files import BEST, CHECKPOINT, write_atomically
from retint_models.training.schedule import warmup_cosine
from retint_models.training.signals import catch_stop_signals

TrainingStep = Callable[[float, torch.Generator], dict[str, Tensor]]
"""Draws a batch and returns its losses by name: `loss` is minimised, the others are logged.

Takes the progress of the run in [0, 1) and the run's random generator, which is on the CPU whatever the device."""

Judge = Callable[[nn.Module], dict[str, float]]
"""Scores a network in evaluation mode. The weights with the lowest `score` are kept; the other scores are logged."""

DrawSamples = Callable[[nn.Module], NDArray[np.uint8]]
"""Draws a contact sheet of what a network in evaluation mode makes of some photographs, uint8 (h, w, 3)."""

LearningRates = Callable[[float], list[float]]
"""Returns the learning rate of each parameter group of the optimizer at a progress in [0, 1)."""


@dataclass(frozen=True)
class TrainingOptions:
    """How long a run lasts and what it does besides its training steps. The field names are keys in `log.jsonl`.

    Attributes:
        minutes: Time budget of the whole run, including resumed parts and judging.
        steps: Number of steps; replaces the time budget. The learning rate then follows the steps instead of the clock,
            which makes a run repeatable.
        warm_up: Share of the run in which the learning rate rises linearly; then it falls to 0 along a cosine.
        average: Decay of the weights' moving average; 0 for no average.
        clip: Largest norm of a step's gradient; 0 for no limit.
        judge_every: Minutes between two judgements; each also writes a checkpoint.
        keep_every: If given, the network is also judged every so many steps, and each time its weights are kept.
        log_every: Steps between two lines of the log, which hold means over those steps.
        sheet_every: Steps between two contact sheets.
        seed: Seed of all random numbers.
    """

    minutes: float = 100.0
    steps: int | None = None
    warm_up: float = 0.05
    average: float = 0.999
    clip: float = 1.0
    judge_every: float = 8.0
    keep_every: int | None = None
    log_every: int = 50
    sheet_every: int = 1000
    seed: int = 1


@dataclass
class TrainingRun:
    """A training run in a folder: its checkpoint `last.pt`, its `best.safetensors` and its journal.

    Attributes:
        folder: Folder of the run; made if missing.
        settings: Hyperparameters and data of the run, as JSON values. Resuming with other settings is refused.
        extra_modules: Modules saved in checkpoints beside the network, such as a critic.
        learning_rates: Schedule of the learning rates; by default those of the optimizer with warm-up and cosine decay.
        draw_samples: Draws contact sheets; None for none.
        on_entry: Called with each entry of the log.
        on_step: Called after each step.
    """

    folder: Path
    network: nn.Module
    optimizer: torch.optim.Optimizer
    training_step: TrainingStep
    judge: Judge
    options: TrainingOptions = field(default_factory=TrainingOptions)
    settings: dict[str, Any] = field(default_factory=dict)
    extra_modules: dict[str, nn.Module] = field(default_factory=dict)
    learning_rates: LearningRates | None = None
    draw_samples: DrawSamples | None = None
    on_entry: OnEntry = lambda entry: None
    on_step: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.ema_network = deepcopy(self.network).eval().requires_grad_(False)
        self.parameter_names = {name for name, _ in self.network.named_parameters()}
        self.rng = torch.Generator().manual_seed(self.options.seed)
        self.peak_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.steps_done, self.seconds_spent, self.best_score = 0, 0.0, math.inf
        self.loss_sums: dict[str, tuple[Tensor, int]] = {}
        self.was_stopped = False

    @property
    def device(self) -> torch.device:
        """The device that the network is trained on."""
        return device_of(self.network)

    def load_weights(self, tensors: dict[str, Tensor]) -> None:
        """Start from the weights of another run."""
        self.network.load_state_dict(tensors)
        self.ema_network.load_state_dict(tensors)

    def progress(self) -> float:
        """Return the share of the run that is done: of its steps, or else of its minutes."""
        if self.options.steps is not None:
            return self.steps_done / self.options.steps
        return self.seconds_spent / (60 * self.options.minutes)

    def train(self, *, resume: bool = False) -> float:
        """Train until the steps or the minutes are used up or a signal asks to stop; return the best score.

        Raises:
            ValueError: the checkpoint is damaged or has other settings, or `resume` is false and there is one.
            FloatingPointError: loss or gradient is not finite; the last good checkpoint is kept.
            OSError: a file cannot be written, such as on a full disk; the last complete checkpoint is kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.options.seed)
        if (self.folder / CHECKPOINT).exists():
            if not resume:
                raise ValueError(f"{self.folder} holds a run already: resume it, or give another folder")
            self.load_checkpoint()
        self.journal = Journal(self.folder, self.steps_done, self.on_entry)
        facts = {"settings": self.settings, "pace": asdict(self.options), "on": self.describe_hardware()}
        with catch_stop_signals() as stop:
            self.journal.log(event="started", step=self.steps_done, **facts)
            judged_at_s = self.seconds_spent
            while self.progress() < 1 and not stop.is_set():
                started = time.perf_counter()
                self.take_step()
                self.seconds_spent += time.perf_counter() - started
                self.on_step()
                keep = self.options.keep_every is not None and self.steps_done % self.options.keep_every == 0
                if keep or self.seconds_spent - judged_at_s > 60 * self.options.judge_every:
                    self.judge_and_save(keep_weights=keep)
                    judged_at_s = self.seconds_spent
            self.was_stopped = stop.is_set() and self.progress() < 1
            if self.was_stopped:
                self.save_checkpoint()
            else:
                self.judge_and_save()
        event = "stopped" if self.was_stopped else "finished"
        best = self.best_score if math.isfinite(self.best_score) else None
        self.journal.log(event=event, step=self.steps_done, seconds=round(self.seconds_spent), best=best)
        return self.best_score

    def describe_hardware(self) -> dict[str, Any]:
        """Return torch's version, the device, the precision and the number of CPU threads, for the log."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        precision = "bfloat16" if uses_bfloat16(self.device) else "float32"
        return {"torch": torch.__version__, "device": name, "precision": precision, "threads": torch.get_num_threads()}

    def take_step(self) -> None:
        """Take one training step: forward, backward, optimizer, moving average, log."""
        progress = self.progress()
        for group, rate in zip(self.optimizer.param_groups, self.scheduled_rates(progress), strict=True):
            group["lr"] = rate
        for module in (self.network, *self.extra_modules.values()):
            module.train()
        losses = self.training_step(progress, self.rng)
        self.require_finite(losses["loss"], "the loss")
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.options.clip or math.inf)
        self.require_finite(norm, "the gradient")
        self.optimizer.step()
        self.steps_done += 1
        self.update_average()
        self.add_losses(losses | {"norm": norm})
        if self.steps_done % self.options.log_every == 0:
            self.log_mean_losses()
        if self.draw_samples and self.steps_done % self.options.sheet_every == 0:
            with torch.no_grad():
                self.journal.write_sheet(self.steps_done, self.draw_samples(self.ema_network))

    def scheduled_rates(self, progress: float) -> list[float]:
        """Return the learning rates of a step."""
        if self.learning_rates is not None:
            return self.learning_rates(progress)
        return [peak * warmup_cosine(progress, self.options.warm_up) for peak in self.peak_rates]

    def require_finite(self, value: Tensor, name: str) -> None:
        """Stop the run before a NaN or an infinity gets into the weights.

        Raises:
            FloatingPointError: the value is not finite.
        """
        if torch.isfinite(value):
            return
        self.journal.log(event="diverged", step=self.steps_done)
        checkpoint = self.folder / CHECKPOINT
        where = f"the last good checkpoint is {checkpoint}" if checkpoint.exists() else "there is no checkpoint yet"
        raise FloatingPointError(
            f"{name} became {value.item()} at step {self.steps_done}; {where}. Try a smaller learning rate or a longer"
            " warm-up, and look for odd photographs."
        )

    def add_losses(self, losses: dict[str, Tensor]) -> None:
        """Add the losses of a step to the sums since the last line of the log."""
        for name, value in losses.items():
            total, count = self.loss_sums.get(name, (torch.zeros((), device=value.device), 0))
            self.loss_sums[name] = (total + value.detach(), count + 1)

    def log_mean_losses(self) -> None:
        """Log the mean losses since the last line of the log."""
        means = {name: float(f"{(total / count).item():.4g}") for name, (total, count) in self.loss_sums.items()}
        rate = max(group["lr"] for group in self.optimizer.param_groups)
        self.journal.log(step=self.steps_done, seconds=round(self.seconds_spent, 1), **means, rate=rate)
        self.loss_sums = {}

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights towards the network's; in the first steps further, as there is little to average.

        Parameters and batch norm statistics are averaged. Other buffers (batch counters, the vectors of spectral norms)
        are copied.
        """
        decay = min(self.options.average, (1 + self.steps_done) / (10 + self.steps_done))
        averages = self.ema_network.state_dict()
        for name, value in self.network.state_dict().items():
            if name in self.parameter_names or "running_" in name:
                averages[name].lerp_(value, 1 - decay)
            else:
                averages[name].copy_(value)

    def judge_and_save(self, *, keep_weights: bool = False) -> None:
        """Judge the averaged network, save its weights if they are the best so far, and write a checkpoint.

        Args:
            keep_weights: Also save the weights under the number of the step.
        """
        started = time.perf_counter()
        with torch.no_grad():
            scores = self.judge(self.ema_network)
        self.seconds_spent += time.perf_counter() - started
        tensors = {name: value.contiguous() for name, value in self.ema_network.state_dict().items()}
        if scores["score"] < self.best_score:
            self.best_score = scores["score"]
            write_atomically(self.folder / BEST, save(tensors))
        if keep_weights:
            (self.folder / "steps").mkdir(exist_ok=True)
            write_atomically(self.folder / "steps" / f"{self.steps_done:06}.safetensors", save(tensors))
        self.save_checkpoint()
        self.journal.log(event="judged", step=self.steps_done, seconds=round(self.seconds_spent), **scores)

    def save_checkpoint(self) -> None:
        """Write all that a resumed run needs; the old checkpoint survives a failure.

        Raises:
            OSError: the checkpoint cannot be written, such as on a full disk.
        """
        state = {
            "network": self.network.state_dict(),
            "average": self.ema_network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "beside": {name: module.state_dict() for name, module in self.extra_modules.items()},
            "chance": self.rng.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "sums": self.loss_sums,
            "done": self.steps_done,
            "spent_s": self.seconds_spent,
            "best": self.best_score,
            "settings": self.settings | asdict(self.options),
        }
        write_atomically(self.folder / CHECKPOINT, lambda file: torch.save(state, file))

    def load_checkpoint(self) -> None:
        """Restore the state that `save_checkpoint` wrote.

        Raises:
            ValueError: the checkpoint is damaged, or was made with other settings.
        """
        try:
            state = torch.load(self.folder / CHECKPOINT, map_location=self.device, weights_only=True)
        except (RuntimeError, EOFError, LookupError, ValueError) as error:
            raise ValueError(f"{self.folder / CHECKPOINT} is damaged: {error}") from error
        ours, theirs = self.settings | asdict(self.options), state["settings"]
        if ours != theirs:
            differing = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
            changes = ", ".join(f"{key} was {theirs.get(key)!r}, now {ours.get(key)!r}" for key in differing)
            raise ValueError(f"cannot resume {self.folder} with other settings: {changes}")
        self.network.load_state_dict(state["network"])
        self.ema_network.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, module in self.extra_modules.items():
            module.load_state_dict(state["beside"][name])
        self.rng.set_state(state["chance"].cpu())
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"]:
            torch.cuda.set_rng_state_all([rng_state.cpu() for rng_state in state["cuda"]])
        self.loss_sums = state["sums"]
        self.steps_done, self.seconds_spent, self.best_score = state["done"], state["spent_s"], state["best"]
