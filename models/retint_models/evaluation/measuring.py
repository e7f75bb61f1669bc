"""What a judgement costs: seconds, and the memory that comes on top."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Cost:
    """What something took.

    Attributes:
        seconds: Of the clock.
        megabytes: By how much the process grew at its largest, in 10^6 bytes; 0 where the system does not tell.
    """

    seconds: float = 0.0
    megabytes: float = 0.0


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure what happens inside; the numbers are there afterwards."""
    cost = Cost()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the largest size so far (Linux, proc(5))
    before, began = resident("VmRSS"), time.perf_counter()
    yield cost
    cost.seconds = time.perf_counter() - began
    cost.megabytes = max(0.0, resident("VmHWM") - before)


def resident(field: str) -> float:
    """Return what is resident of this process: now (`VmRSS`), or at most (`VmHWM`)."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field + ":")), 0.0)
