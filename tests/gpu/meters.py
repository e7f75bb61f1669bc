"""What is read off a device while networks run on it: time, memory, arithmetic, how busy it is."""

import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from retint_models.evaluation import cost

SAMPLE_MS = 100
"""Time between two samples of how busy a GPU is; the driver itself looks at about the last 170 ms."""


def is_gpu(device: str) -> bool:
    """Whether a device is one of CUDA."""
    return torch.device(device).type == "cuda"


def name_device(device: str) -> str:
    """Return the name of a device."""
    return torch.cuda.get_device_name(device) if is_gpu(device) else f"CPU, {torch.get_num_threads()} threads"


def synchronize(device: str) -> None:
    """Wait until a device has done what it was given."""
    if is_gpu(device):
        torch.cuda.synchronize(device)


def measure_product_rate(device: str, side: int, count: int = 20) -> float:
    """Return the operations per second of products of two bfloat16 matrices (side, side): the best of three rounds.

    The values are random: on zeros a GPU draws less power and is faster than with a network.
    """
    x, y = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(4):  # the first one warms up
        synchronize(device)
        started = time.perf_counter()
        for _ in range(count):
            x @ y
        synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 * count / best


@dataclass
class Memory:
    """The most memory that was taken, in 10^6 bytes: weights included on a GPU, additional to before on a CPU."""

    megabytes: float = 0.0


@contextmanager
def watch_memory(device: str) -> Iterator[Memory]:
    """Measure the block; the number is there when it has ended."""
    memory = Memory()
    if is_gpu(device):
        torch.cuda.reset_peak_memory_stats(device)
        yield memory
        memory.megabytes = torch.cuda.max_memory_allocated(device) / 1e6
    else:
        with cost.measure_cost() as used:
            yield memory
        memory.megabytes = used.megabytes


@contextmanager
def time_module(module: nn.Module, device: str) -> Iterator[list[float]]:
    """Time a module's calls in the block: the list has the seconds of each when the block has ended.

    On a GPU, by its own clock: from the module's first kernel to its last.
    """
    marks: list[Any] = []
    seconds: list[float] = []

    def mark(*_: Any) -> None:
        if is_gpu(device):
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            marks.append(event)
        else:
            marks.append(time.perf_counter())

    hooks = module.register_forward_pre_hook(mark), module.register_forward_hook(mark)
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()
    synchronize(device)
    for start, end in zip(marks[::2], marks[1::2], strict=True):
        seconds.append(start.elapsed_time(end) / 1000 if is_gpu(device) else end - start)


class Busyness:
    """Samples how busy a GPU is while a `with` block runs: by the driver's own program, from outside all processes.

    Attributes:
        samples: The shares of time in which any kernel ran, in percent; empty where nothing tells.
    """

    def __init__(self, device: str) -> None:
        self.samples: list[int] = []
        self._device = device
        self._sampling: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        program = shutil.which("nvidia-smi")
        if is_gpu(self._device) and program:
            which = f"--id=GPU-{torch.cuda.get_device_properties(self._device).uuid}"
            query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", which]
            command = [program, *query, f"--loop-ms={SAMPLE_MS}"]
            self._sampling = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._sampling:
            self._sampling.terminate()
            lines = self._sampling.communicate()[0].splitlines()
            self.samples = [int(line) for line in lines if line.strip().isdigit()]  # a part of a GPU has [N/A]

    @property
    def share(self) -> float | None:
        """The mean share, in [0, 1], from the first sample at work to the last; None where nothing was sampled."""
        at_work = [number for number, sample in enumerate(self.samples) if sample]
        if not at_work:
            return None
        return statistics.mean(self.samples[at_work[0] : at_work[-1] + 1]) / 100
