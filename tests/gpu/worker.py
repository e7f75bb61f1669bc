"""How busy a real worker keeps its device: SQLite, a folder, Valkey, a dispatcher and one gpu worker."""

from dataclasses import dataclass
from pathlib import Path

from tests import servers
from tests.benchmarks.bench_busy import Bench
from tests.gpu import meters

from retint.recipes import Recipe
from retint.settings import Settings


@dataclass(frozen=True)
class Work:
    """What a worker did with its device.

    Attributes:
        photos_per_s: Through the stages colorize and defade, with files read and written.
        calls: Share of the time in which networks were called, with what the CPU does before and after.
        busy: Share of the time in which the device worked, as its driver tells; None where it does not.
    """

    photos_per_s: float
    calls: float
    busy: float | None


def measure(recipe: Recipe, photos: int, device: str, folder: Path, weights: Path, timeout_s: float) -> Work:
    """Let a worker run ingested photos.

    Args:
        recipe: Of the photos.
        photos: How many.
        device: Where networks run.
        folder: Empty; for database, store and broker.
        weights: Folder of imported weights.
        timeout_s: How long the photos may take.

    Raises:
        servers.NotInstalled: the broker is missing; says how to get it.
        AssertionError: the photos failed, or took too long.
    """
    (folder / "broker").mkdir(parents=True)
    broker = servers.start_valkey(folder / "broker")
    try:
        broker_url = f"redis://127.0.0.1:{broker.port}/0"
        bench = Bench(Settings(data=folder, weights=weights, device=device, broker_url=broker_url), folder, timeout_s)
        busyness = meters.Busyness(device)
        calls, photos_per_s = bench.measure_share(photos, recipe, 0, "beside", busyness)
        bench.services.engine.dispose()
    finally:
        broker.stop()
    return Work(photos_per_s, calls, busyness.share)
