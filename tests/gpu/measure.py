"""Measure the networks on a GPU and write what was seen into the model cards, between two marks of `models/README.md`.

    python -m tests.gpu.measure [--minutes 10] [--train compact] [--device cuda] [--quick] [--cards FILE]

The most telling part comes first; one that fails, or for which no time is left, is named in the cards and costs no
other. Measured again, the section is replaced. `--train compact` spends what is left on training in the folder
`--run`. `--device cpu --quick` tries all of it in a small way, on a machine without a GPU.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from tests.gpu import meters, speed
from tests.paths import DATA, REFERENCE, ROOT
from tests.references import REFERENCES

from retint.recipes import Recipe

BEGIN, END = "<!-- measured by tests/gpu/measure.py -->", "<!-- measured -->"
WRITE_S = 20
"""Time kept for what comes after the last part."""
LEAST_TRAINING_S = 90
AFTER_TRAINING_S = 45
"""Time kept for the start of a training, and for judging at its end."""
CHECKS_S = 150
"""How long the tests of a real GPU may take."""


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    networks: Sequence[str] = speed.NETWORKS
    originals: Sequence[str] = tuple(REFERENCES)
    batches: Sequence[int] = (1, 2, 4, 8, 16, 32)
    side: int = 8192
    photos: int = 1280
    heavy: int = 64
    """Photos through `artistic`."""


QUICK = Extent(("compact", "compact-defade"), ("lab-resnet18, tutorial",), (1, 2), 64, 8, 0)


@dataclass
class Measurement:
    """One run of this script: what it may use, and what it has found so far."""

    device: str
    extent: Extent
    ends_at: float
    folder: Path
    lines: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    rate: float = 0.0

    @property
    def left_s(self) -> float:
        return self.ends_at - time.monotonic() - WRITE_S

    def tell(self, *lines: str) -> None:
        self.lines += lines
        print(*lines, sep="\n", flush=True)

    def attempt(self, what: str, least_s: float, measure: Callable[[], None]) -> None:
        """Measure a part, unless less time is left than it needs; whatever goes wrong with it, the others go on."""
        if self.left_s < least_s:
            self.missing.append(f"{what}: no time was left")
            return
        started = time.monotonic()
        try:
            measure()
        except Exception as error:  # noqa: BLE001  a part that cannot be measured is named, whatever the reason
            self.missing.append(f"{what}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
        print(f"[{what}: {time.monotonic() - started:.0f} s, {self.left_s:.0f} s left]", flush=True)
        gc.collect()
        if meters.is_gpu(self.device):
            torch.cuda.empty_cache()


# --- the parts --------------------------------------------------------------------------------------------------------


def measure_rate(run: Measurement) -> None:
    """Find what the device can do at most; all shares are of this rate."""
    side = run.extent.side
    run.rate = meters.measure_product_rate(run.device, side)
    run.tell(f"Products of {side} x {side} in bfloat16 run at {run.rate / 1e12:.3g} TFLOP/s.", "")


def measure_speeds(run: Measurement) -> None:
    """Print the table of networks by the size of the batch."""
    batches = run.extent.batches
    run.tell(
        "Photos a second, from proxies of 768 x 576 to layers, by the size of the batch; of the network alone the "
        f"milliseconds a photo, the share of that rate, and the MB, at a batch of {batches[0]} and at the largest:",
        "",
        f"| network | in | {' | '.join(map(str, batches))} | ms | share | MB |",
        f"|---|---|{'---|' * len(batches)}---|---|---|",
    )
    for name in run.extent.networks:
        run.attempt(f"speed of {name}", 30, partial(measure_network, run, name))
    run.tell("")


def measure_network(run: Measurement, name: str) -> None:
    """Print a network's row."""
    network = speed.load(name, run.device, run.folder)
    proxies = speed.make_proxies(run.extent.batches[-1])
    speeds: list[speed.Speed] = []
    for batch in run.extent.batches:
        try:
            speeds.append(speed.measure(network, proxies[:batch], run.device))
        except torch.OutOfMemoryError:
            run.missing.append(f"speed of {name} from a batch of {batch} on: it does not fit into memory")
            break
    cells = [f"{seen.photos_per_s:.3g}" for seen in speeds] + ["–"] * (len(run.extent.batches) - len(speeds))
    ends = speeds[:1] + speeds[-1:]
    run.tell(
        f"| `{name}` | {network.precision} | {' | '.join(cells)} "
        f"| {join(f'{seen.device_ms:.3g}' for seen in ends)} "
        f"| {join(f'{seen.share_of(run.rate):.1%}' for seen in ends) if run.rate else '–'} "
        f"| {join(f'{seen.megabytes:.0f}' for seen in ends)} |"
    )


def join(values: Iterator[str]) -> str:
    """Return the values at the smallest and at the largest batch."""
    return " to ".join(values)


def compare_with_originals(run: Measurement) -> None:
    """Print how far networks are from their originals on this device."""
    if not REFERENCE.exists():
        run.missing.append(f"differences to the originals: their outputs are not at {REFERENCE.name}")
        return
    run.tell(
        "Largest (mean) difference to the original's output:", "", "| network | float32 | bfloat16 |", "|---|---|---|"
    )
    for name in run.extent.originals:
        run.attempt(f"differences of {name}", 20, partial(compare_network, run, name))
    run.tell("")


def compare_network(run: Measurement, name: str) -> None:
    """Print a network's row; an exclamation mark says that a test would fail."""
    differs = speed.compare_with_original(name, run.device)
    cells = []
    for precision in ("float32", "bfloat16"):
        found = differs.get(precision)
        limit = REFERENCES[name].limits.get(precision)
        mark = "" if found is None or limit is None or found.is_within(limit) else " **!**"
        cells.append("" if found is None else f"{found.largest:.2g} ({found.mean:.2g}){mark}")
    run.tell(f"| {name} | {' | '.join(cells)} |")


def measure_worker(run: Measurement) -> None:
    """Print how busy one worker keeps the device, from the store to the store."""
    for colorizer, photos in (("compact", run.extent.photos), ("artistic", run.extent.heavy)):
        if photos:
            run.attempt(f"a worker with {colorizer}", 60, partial(measure_work, run, colorizer, photos))


def measure_work(run: Measurement, colorizer: str, photos: int) -> None:
    """Print what one worker does with a colorizer and the defader of every recipe."""
    from tests.gpu import worker  # needs the whole platform's packages; without them the networks are still measured

    recipe = Recipe(colorizer=colorizer)
    work = worker.measure(recipe, photos, run.device, run.folder / colorizer, run.folder, run.left_s / 3)
    is_told = work.busy is not None
    busy = f"the device is busy for {work.busy:.0%}" if is_told else "its driver does not tell how busy the device is"
    run.tell(
        f"One worker, {colorizer} and {recipe.defader}, {photos} photos: {work.photos_per_s:.3g} photos a second; "
        f"networks are called for {work.calls:.0%} of the time, {busy}.",
        "",
    )


def run_checks(run: Measurement) -> None:
    """Run the tests of a real GPU: memory that runs out, a device that is lost, bundles."""
    if not meters.is_gpu(run.device):
        return
    tests = ["-q", "--confcutdir", "tests/gpu", "tests/gpu"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *tests],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=min(CHECKS_S, run.left_s),
    )
    print(done.stdout[-4000:], flush=True)
    run.tell(f"Tests of a real GPU (`tests/gpu`): {done.stdout.splitlines()[-1].strip('= ')}.", "")


def train(run: Measurement, photos: Path, dev: Path, out: Path) -> None:
    """Train `compact` for what is left of the time.

    Raises:
        FileExistsError: the folder of the run is there: its schedule is another.
    """
    if out.exists():
        raise FileExistsError(f"{out} is there; name another folder with --run")
    minutes = (run.left_s - AFTER_TRAINING_S) / 60
    command = [sys.executable, "-m", "retint", "train", "compact", str(photos), "--dev", str(dev), "--out", str(out)]
    command += ["--minutes", f"{minutes:.2f}", "--judge-every", f"{minutes / 5:.2f}", "--device", run.device]
    subprocess.run(command, check=True, timeout=run.left_s)
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    judged = [entry for entry in entries if entry.get("event") == "judged"]
    best = min(judged, key=lambda entry: entry["score"])
    run.tell(
        f"`compact` trained here for {judged[-1]['seconds']} s: {judged[-1]['step']} steps; the best score on the half "
        f"that chooses, {best['score']:.2f}, at step {best['step']}.",
        "",
    )


# --- the cards --------------------------------------------------------------------------------------------------------


def write_section(path: Path, lines: Sequence[str]) -> None:
    """Replace what stands between the marks.

    Raises:
        ValueError: the file has no marks, or more than one pair.
    """
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{path} needs one line {BEGIN} and, below it, one line {END}")
    before, _, rest = text.partition(BEGIN)
    body = "\n".join(lines).strip()
    path.write_text(f"{before}{BEGIN}\n{body}\n{END}{rest.partition(END)[2]}")


def measure_all(run: Measurement, training: tuple[Path, Path, Path] | None) -> list[str]:
    """Measure every part that there is time for; return the section."""
    started = time.monotonic()
    run.attempt("the rate of matrix products", 10, partial(measure_rate, run))
    run.attempt("the tests of a real GPU", CHECKS_S, partial(run_checks, run))
    measure_speeds(run)
    compare_with_originals(run)
    measure_worker(run)
    if training:
        run.attempt("training compact", LEAST_TRAINING_S, partial(train, run, *training))
    head = f"{meters.name_device(run.device)}, torch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}"
    missing = ["Not measured:", *(f"- {what}" for what in run.missing)] if run.missing else []
    return [f"{head}; {time.monotonic() - started:.0f} s.", *run.lines, *missing]


def main(arguments: Sequence[str]) -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=10, help="time for all of it")
    parser.add_argument("--quick", action="store_true", help="a small part of everything")
    parser.add_argument("--cards", type=Path, default=ROOT / "models/README.md", help="where the section is written")
    parser.add_argument("--train", choices=["compact"], help="train with the time that is left")
    parser.add_argument("--photos", type=Path, default=DATA / "train", help="photographs to train with")
    parser.add_argument("--dev", type=Path, default=DATA / "dev", help="photographs held back")
    parser.add_argument("--run", type=Path, default=Path("compact-on-a-gpu"), help="folder of the training")
    options = parser.parse_args(arguments)
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here; try it with --device cpu --quick")
    with tempfile.TemporaryDirectory(prefix="retint-measure-") as folder:
        extent = QUICK if options.quick else Extent()
        run = Measurement(options.device, extent, time.monotonic() + 60 * options.minutes, Path(folder))
        training = (options.photos, options.dev, options.run) if options.train else None
        write_section(options.cards, measure_all(run, training))


if __name__ == "__main__":
    main(sys.argv[1:])
