"""What a judgement costs: seconds and additional memory."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Cost:
    """Cost of a block of code.

    Attributes:
        seconds: Wall time.
        megabytes: Peak growth of the process's resident memory, in 10^6 bytes; 0 where the system does not tell.
    """

    seconds: float = 0.0
    megabytes: float = 0.0


@contextmanager
def measure_cost() -> Iterator[Cost]:
    """Measure the block; the numbers are there when it has ended."""
    cost = Cost()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak of the resident memory (Linux, proc(5))
    before, started = read_resident_memory("VmRSS"), time.perf_counter()
    yield cost
    cost.seconds = time.perf_counter() - started
    cost.megabytes = max(0.0, read_resident_memory("VmHWM") - before)


def read_resident_memory(field: str) -> float:
    """Return this process's resident memory in 10^6 bytes: current (`VmRSS`) or peak (`VmHWM`); 0 if unknown."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field + ":")), 0.0)
