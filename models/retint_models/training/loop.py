"""The loop that every recipe trains in.

A recipe brings a network, an optimizer, a `step` that draws a batch and returns its loss, and a `judge` that scores the
averaged network on photographs held back. The loop keeps the time, the learning rate, the average of the weights, the
best weights so far and the journal, and can be stopped (Ctrl-C, SIGTERM) and resumed at any step.

A network and its critic take turns in one run: one optimizer holds the parameters of both, and a step's loss reaches
those of one only; the optimizer passes over the others, which have no gradient.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor, nn

from retint_models.acceleration.prepare import fastest_precision
from retint_models.training.journal import Journal, Tell

Step = Callable[[float, torch.Generator], dict[str, Tensor]]
"""Takes the share of the run that is done, in [0, 1), and the run's source of chance; returns what a batch says.

`loss` is what is minimised; everything else goes to the log. The source of chance is on the CPU on every device."""

Judge = Callable[[nn.Module], dict[str, float]]
"""Scores a network in evaluation mode; `score` is what is minimised, everything else goes to the log."""

Show = Callable[[nn.Module], NDArray[np.uint8]]
"""Lays samples of what a network in evaluation mode does out on a sheet, uint8 (h, w, 3)."""

Rates = Callable[[float], list[float]]
"""Tells the learning rate of each group of the optimizer's parameters at a share of the run."""

CHECKPOINT = "last.pt"
BEST = "best.safetensors"


@dataclass(frozen=True)
class Pace:
    """How long a run lasts and how it moves.

    Attributes:
        minutes: Time budget of the whole run, resumed parts and judging included.
        steps: If given, the run ends after so many steps and the learning rate follows them instead of the clock, which
            makes a run repeatable.
        warm_up: Share of the run in which the learning rate rises from 0; a cosine takes it back to 0 after that.
        average: Decay of the moving average of the weights; 0 for none.
        clip: Largest norm of a step's gradient; 0 for no limit.
        judge_every: Minutes between two judgements (and checkpoints).
        keep_every: If given, the network is also judged every so many steps, and its weights kept each time.
        log_every: Steps between two lines of the log, which hold means over those steps.
        sheet_every: Steps between two sample sheets.
        seed: Of everything that is drawn.
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
class Run:
    """A training run in a folder: `last.pt` to resume from, `best.safetensors`, and the journal.

    Attributes:
        folder: Where the run is kept.
        settings: Everything that shapes the run besides its pace; JSON values. Resuming with others is refused.
        beside: What is trained or remembered beside the network, such as a critic: kept in checkpoints only.
        rates: The learning rates; those of the optimizer, after a warm-up and then along a cosine, by default.
        show: Makes sample sheets.
        tell: Is given each entry of the log.
        pulse: Is called after each step.
    """

    folder: Path
    network: nn.Module
    optimizer: torch.optim.Optimizer
    step: Step
    judge: Judge
    pace: Pace = field(default_factory=Pace)
    settings: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, nn.Module] = field(default_factory=dict)
    rates: Rates | None = None
    show: Show | None = None
    tell: Tell = lambda entry: None
    pulse: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.average = deepcopy(self.network).eval().requires_grad_(False)
        self.averaged = {name for name, _ in self.network.named_parameters()}
        self.chance = torch.Generator().manual_seed(self.pace.seed)
        self.highest = [group["lr"] for group in self.optimizer.param_groups]
        self.done, self.spent_s, self.best = 0, 0.0, math.inf
        self.sums: dict[str, tuple[Tensor, int]] = {}
        self.stopped = False

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def adopt(self, tensors: dict[str, Tensor]) -> None:
        """Start from the weights of another run."""
        self.network.load_state_dict(tensors)
        self.average.load_state_dict(tensors)

    def progress(self) -> float:
        """Tell the share of the run that is done."""
        if self.pace.steps is not None:
            return self.done / self.pace.steps
        return self.spent_s / (60 * self.pace.minutes)

    def train(self, *, resume: bool = False) -> float:
        """Train to the end of the pace, or until the process is asked to stop; return the best score.

        Raises:
            ValueError: resumed with other settings or from a damaged checkpoint, or the folder holds a run already.
            FloatingPointError: the loss is not a number; the last good checkpoint is kept.
            OSError: a file cannot be written, such as on a full disk; the last whole checkpoint is kept.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.pace.seed)
        if (self.folder / CHECKPOINT).exists():
            if not resume:
                raise ValueError(f"{self.folder} holds a run already: resume it, or give another folder")
            self.load()
        self.journal = Journal(self.folder, self.done, self.tell)
        facts = {"settings": self.settings, "pace": asdict(self.pace), "on": self.where()}
        judged_s = self.spent_s
        with asked_to_stop() as stop:
            self.journal.note(event="started", step=self.done, **facts)
            while self.progress() < 1 and not stop.is_set():
                began = time.perf_counter()
                self.advance()
                self.spent_s += time.perf_counter() - began
                self.pulse()
                is_kept = self.pace.keep_every is not None and self.done % self.pace.keep_every == 0
                if is_kept or self.spent_s - judged_s > 60 * self.pace.judge_every:
                    self.assess(keep=is_kept)
                    judged_s = self.spent_s
            self.stopped = stop.is_set() and self.progress() < 1
            if self.stopped:
                self.save()
            else:
                self.assess()
        event = "stopped" if self.stopped else "finished"
        best = self.best if math.isfinite(self.best) else None
        self.journal.note(event=event, step=self.done, seconds=round(self.spent_s), best=best)
        return self.best

    def where(self) -> dict[str, Any]:
        """Tell what the run runs on."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        precision = "bfloat16" if is_mixed(self.device) else "float32"
        return {"torch": torch.__version__, "device": name, "precision": precision, "threads": torch.get_num_threads()}

    def advance(self) -> None:
        """Take one step."""
        progress = self.progress()
        for group, rate in zip(self.optimizer.param_groups, self.rates_at(progress), strict=True):
            group["lr"] = rate
        for module in (self.network, *self.beside.values()):
            module.train()
        told = self.step(progress, self.chance)
        self.insist(told["loss"], "the loss")
        self.optimizer.zero_grad(set_to_none=True)
        told["loss"].backward()  # type: ignore[no-untyped-call]
        trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(trained, self.pace.clip or math.inf)
        self.insist(norm, "the gradient")
        self.optimizer.step()
        self.done += 1
        self.follow()
        self.count(told | {"norm": norm})
        if self.done % self.pace.log_every == 0:
            means = {name: float(f"{(total / count).item():.4g}") for name, (total, count) in self.sums.items()}
            rate = max(group["lr"] for group in self.optimizer.param_groups)
            self.journal.note(step=self.done, seconds=round(self.spent_s, 1), **means, rate=rate)
            self.sums = {}
        if self.show and self.done % self.pace.sheet_every == 0:
            with torch.no_grad():
                self.journal.show(self.done, self.show(self.average))

    def rates_at(self, progress: float) -> list[float]:
        """Tell the learning rates of a step."""
        if self.rates is not None:
            return self.rates(progress)
        return [highest * rate_at(progress, self.pace.warm_up) for highest in self.highest]

    def insist(self, value: Tensor, what: str) -> None:
        """Stop the run before a number that is none gets into the weights."""
        if torch.isfinite(value):
            return
        self.journal.note(event="diverged", step=self.done)
        kept = self.folder / CHECKPOINT
        where = f"the last good checkpoint is {kept}" if kept.exists() else "there is no checkpoint yet"
        raise FloatingPointError(
            f"{what} became {value.item()} at step {self.done}; {where}. Try a smaller learning rate or a longer"
            " warm-up, and look for odd photographs."
        )

    def count(self, told: dict[str, Tensor]) -> None:
        """Remember what a step said until the next line of the log."""
        for name, value in told.items():
            total, count = self.sums.get(name, (torch.zeros((), device=value.device), 0))
            self.sums[name] = (total + value.detach(), count + 1)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average towards the network; faster in the beginning, when there is little to remember.

        Averaged are parameters and the statistics of batch norms; what else there is (counters, the vectors of spectral
        norms) belongs to the last step.
        """
        decay = min(self.pace.average, (1 + self.done) / (10 + self.done))
        averages = self.average.state_dict()
        for name, value in self.network.state_dict().items():
            if name in self.averaged or "running_" in name:
                averages[name].lerp_(value, 1 - decay)
            else:
                averages[name].copy_(value)

    def assess(self, *, keep: bool = False) -> None:
        """Judge the averaged network, keep it if it is the best so far (or is to be kept), write a checkpoint."""
        began = time.perf_counter()
        with torch.no_grad():
            scores = self.judge(self.average)
        self.spent_s += time.perf_counter() - began
        tensors = {name: value.contiguous() for name, value in self.average.state_dict().items()}
        if scores["score"] < self.best:
            self.best = scores["score"]
            write_whole(self.folder / BEST, save(tensors))
        if keep:
            (self.folder / "steps").mkdir(exist_ok=True)
            write_whole(self.folder / "steps" / f"{self.done:06}.safetensors", save(tensors))
        self.save()
        self.journal.note(event="judged", step=self.done, seconds=round(self.spent_s), **scores)

    def save(self) -> None:
        """Write all that a resumed run needs; the old checkpoint survives a failure.

        Raises:
            OSError: it cannot be written, such as on a full disk.
        """
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "beside": {name: module.state_dict() for name, module in self.beside.items()},
            "chance": self.chance.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "sums": self.sums,
            "done": self.done,
            "spent_s": self.spent_s,
            "best": self.best,
            "settings": self.settings | asdict(self.pace),
        }
        write_whole(self.folder / CHECKPOINT, lambda file: torch.save(state, file))

    def load(self) -> None:
        """Go on where `save` left off.

        Raises:
            ValueError: the checkpoint was made with other settings, or is damaged.
        """
        try:
            state = torch.load(self.folder / CHECKPOINT, map_location=self.device, weights_only=True)
        except (RuntimeError, EOFError, LookupError, ValueError) as error:
            raise ValueError(f"{self.folder / CHECKPOINT} is damaged: {error}") from error
        ours, theirs = self.settings | asdict(self.pace), state["settings"]
        if ours != theirs:
            differing = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
            told = ", ".join(f"{key} was {theirs.get(key)!r}, now {ours.get(key)!r}" for key in differing)
            raise ValueError(f"cannot resume {self.folder} with other settings: {told}")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, module in self.beside.items():
            module.load_state_dict(state["beside"][name])
        self.chance.set_state(state["chance"].cpu())
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"]:
            torch.cuda.set_rng_state_all([kept.cpu() for kept in state["cuda"]])
        self.sums = state["sums"]
        self.done, self.spent_s, self.best = state["done"], state["spent_s"], state["best"]


def rate_at(progress: float, warm_up: float) -> float:
    """Tell the factor of the learning rate: linear up, then half a cosine down to 0."""
    if progress < warm_up:
        return (progress + 1e-3) / (warm_up + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def is_mixed(device: torch.device) -> bool:
    """Say whether networks are trained in bfloat16: on GPUs that have it; on CPUs it brought nothing (backward)."""
    return device.type == "cuda" and fastest_precision(str(device)) == "bfloat16"


def mixed(device: torch.device) -> AbstractContextManager[Any]:
    """Run a network, not its loss, in bfloat16 where that pays; weights and gradients stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=is_mixed(device))


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


def write_whole(path: Path, data: bytes | Callable[[IO[bytes]], None]) -> None:
    """Write a file so that its name always stands for a whole file, the old one or the new one.

    Args:
        path: Its folder exists.
        data: What it holds, or what writes it.

    Raises:
        OSError: it cannot be written, such as on a full disk; the old file is still there.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            if callable(data):
                data(file)
            else:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        # torch reports a write that failed as an error of its own, with the system's one behind it.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        if partial.is_file():
            partial.unlink()
        kept = "; the one written before is whole" if path.exists() else ""
        raise OSError(cause.errno, f"cannot write {path}: {cause.strerror}{kept}") from error
    partial.replace(path)


def is_finished(folder: Path) -> bool:
    """Say whether the run in a folder came to the end of its pace."""
    log = folder / "log.jsonl"
    return log.exists() and '"event": "finished"' in log.read_text()


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Read the best weights of a run.

    Raises:
        FileNotFoundError: there are none yet.
    """
    return load((folder / BEST).read_bytes())
