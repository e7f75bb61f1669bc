"""What it costs to run a heavy network, plain and accelerated: seconds a photo and peak memory.

    python tests/benchmarks/bench_networks.py [--networks ddcolor] [--batches 1 8] [--threads 2] [--longest 60]

The plain network is that of its file in `networks`, unchanged: float32, channels first. Its weights are made from the
names of its tensors; values do not matter for speed. The variants take turns, and the best round of each counts, so
that other load on the machine slows all of them. Memory is the peak resident memory of a process that loads the network
from a file, prepares it and runs one batch.
A GPU is measured by `tests.gpu.measure`.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from safetensors.torch import save_file
from tests import named_weights
from torch import Tensor, nn
from torch.nn import functional

from retint_models.acceleration.prepare import Precision, fastest_precision, prepare, supports_bfloat16
from retint_models.networks import ddcolor, deoldify, registry
from retint_models.weights.loading import read_tensors

NETWORKS: dict[str, tuple[Callable[[], nn.Module], list[int]]] = {
    "artistic": (lambda: deoldify.DeoldifyGenerator(deoldify.CONFIGS["artistic"]), [336, 560]),
    "ddcolor-tiny": (lambda: ddcolor.Ddcolor(ddcolor.TINY), [512]),
    "ddcolor": (lambda: ddcolor.Ddcolor(ddcolor.LARGE), [512]),
}
"""How a network is made without weights, and the sides of the squares that it looks at, in pixels."""
VARIANTS: dict[str, Precision | None] = {"plain": None, "fast float32": "float32", "fast bfloat16": "bfloat16"}
ROUNDS = 3

Forward = Callable[[Tensor], Tensor]


def load_variant(file: Path, variant: str) -> Forward:
    """Load the network that a file is named after as one of the variants."""
    network = registry.NETWORKS[file.stem](file.stem, read_tensors(file))
    precision = VARIANTS[variant]
    return network if precision is None else prepare(network, precision=precision)


def make_photos(batch: int, side: int) -> Tensor:
    """Return gray pictures in 0..1 with shapes of all sizes, (batch, 3, side, side)."""
    torch.manual_seed(side)
    sizes = [size for size in (2, 4, 8, 16, 32) if size <= side]
    noise = [functional.interpolate(torch.rand(batch, 1, size, size), (side, side), mode="bilinear") for size in sizes]
    return torch.stack(noise).mean(0).expand(-1, 3, -1, -1).contiguous()


@torch.inference_mode()
def time_run(run: Forward, x: Tensor) -> tuple[float, Tensor]:
    started = time.perf_counter()
    y = run(x)
    return time.perf_counter() - started, y


def send_peak_memory(file: Path, variant: str, threads: int, batch: int, side: int, answer: Connection) -> None:
    """Load, prepare and run in this process; send the peak of its resident memory in MB."""
    torch.set_num_threads(threads)
    time_run(load_variant(file, variant), make_photos(batch, side))
    status = Path("/proc/self/status").read_text()
    answer.send(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def measure_peak_memory(*arguments: object) -> float:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=send_peak_memory, args=(*arguments, theirs))
    process.start()
    theirs.close()
    most: float = ours.recv()
    process.join()
    return most


def print_comparison(
    file: Path, side: int, batch: int, threads: int, runs: dict[str, Forward], longest: float
) -> float:
    """Print the rows of a size and a batch size; return the plain network's seconds a photo."""
    x, best, outputs = make_photos(batch, side), dict.fromkeys(runs, float("inf")), dict[str, Tensor]()
    for _ in range(ROUNDS):
        for variant, run in runs.items():
            taken, outputs[variant] = time_run(run, x)
            best[variant] = min(best[variant], taken / batch)
        if sum(best.values()) * batch > longest:  # one round is enough then
            break
    for variant in runs:
        megabytes = measure_peak_memory(file, variant, threads, batch, side)
        ratio, differs = "", ""
        if "plain" in runs:
            difference = (outputs[variant] - outputs["plain"]).abs()
            ratio = f"{best['plain'] / best[variant]:.2f}"
            differs = f"{difference.max():.1e} {difference.mean():.1e}"
        costs = f"{best[variant]:14.2f}{ratio:>8}{megabytes:10.0f}"
        print(f"{file.stem:14}{side:6}{batch:6}  {variant:14}{costs}  {differs}", flush=True)
    return best.get("plain", float("nan"))


def print_cpu_table(file: Path, sides: list[int], batches: list[int], threads: int, longest: float) -> None:
    """Print the table of this machine's processor."""
    torch.set_num_threads(threads)
    runs = {
        variant: load_variant(file, variant)
        for variant in VARIANTS
        if variant != "fast bfloat16" or supports_bfloat16("cpu")
    }
    for run in runs.values():
        time_run(run, make_photos(1, 32))  # compile, once and for all
    for side in sides:
        plain = float("nan")
        for batch in batches:
            some = {variant: run for variant, run in runs.items() if variant != "plain" or not plain * batch > longest}
            plain = print_comparison(file, side, batch, threads, some, longest)
            if len(some) < len(runs):
                print(f"{'':28}plain is left out: more than {longest:.0f} s a round")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--longest", type=float, default=60, help="most seconds for a round of the plain network")
    options = parser.parse_args()
    if not supports_bfloat16("cpu"):
        print("this CPU cannot run bfloat16: it is left out")
    print(f"{options.threads} threads; the precision that is chosen here: {fastest_precision('cpu')}")
    heads = f"{'network':14}{'side':>6}{'batch':>6}  {'variant':14}{'seconds/photo':>14}{'ratio':>8}{'MB':>10}"
    print(heads, " largest, mean difference")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks:
            file, (make, sides) = Path(folder, f"{name}.safetensors"), NETWORKS[name]
            with torch.device("meta"):
                network = make()
            save_file(named_weights.tensors_for(network), file)
            print_cpu_table(file, sides, options.batches, options.threads, options.longest)


if __name__ == "__main__":
    main()
