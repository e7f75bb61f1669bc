"""Render's seconds and peak memory, as ratios to a copy of the same file by libvips: 1, 24 and 300 megapixels.

    python tests/benchmarks/bench_render.py [--megapixels 1 24 300] [--rounds 3] [--folder FOLDER]

Each run is a process of its own. The rows of a file take turns, and the fastest of their rounds counts: machines are
noisy. Memory is the peak of that process and its children, pages that they share counted once, without file pages that
the kernel may drop. The largest file needs about 5 GB in the folder, which is emptied afterwards.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyvips

from retint.recipes import parse
from retint.settings import Settings
from retint_models.layers.types import ColorLayer, DensityLayer, Order
from retint_workers.imaging.ingest import ingest
from retint_workers.imaging.render import RenderRequest, render
from retint_workers.imaging.vips import open_image

ASPECT = 1.5
RECORD = {"decided_at": "then", "order": Order.TONE_FIRST.value}


def write_scan(path: Path, megapixels: float, bits: int, *, seed: int = 1) -> None:
    """Write an uncompressed RGB TIFF that looks like a scan: soft forms, and grain."""
    height = round((megapixels * 1e6 / ASPECT) ** 0.5)
    width = round(height * ASPECT)
    rng = np.random.default_rng(seed)
    forms = pyvips.Image.new_from_array(rng.uniform(0.1, 0.9, (24, 36)).astype(np.float32))
    forms = forms.resize(width / 36, vscale=height / 24, kernel="linear")
    grain = pyvips.Image.gaussnoise(width, height, mean=0, sigma=0.02, seed=seed)
    full = (1 << bits) - 1
    gray = (forms + grain) * full
    gray = (gray > full).ifthenelse(full, (gray < 0).ifthenelse(0, gray)).cast("ushort" if bits == 16 else "uchar")
    picture = gray.bandjoin([gray, gray]).copy(interpretation="rgb16" if bits == 16 else "srgb")
    if path.suffix == ".jpg":
        picture.jpegsave(str(path), Q=90)
    else:
        picture.tiffsave(str(path))


def make_layers(side: int = 768) -> tuple[ColorLayer, DensityLayer]:
    """Return layers of the usual size that change every pixel."""
    rng = np.random.default_rng(2)
    height, width = round(side / ASPECT), side
    small = rng.uniform(-0.2, 0.2, (2, 6, 9))
    chroma = np.stack([np.kron(plane, np.ones((height // 6 + 1, width // 9 + 1)))[:height, :width] for plane in small])
    luma = rng.uniform(0.2, 0.8, (height, width)).astype(np.float16)
    color = ColorLayer(chroma.astype(np.float16), luma, np.full((height, width), 128, np.uint8), RECORD)
    curve = np.linspace(0, 2.6, 9, dtype=np.float32)
    density = DensityLayer(
        np.eye(3, dtype=np.float32) * np.float32(1.1), np.full(3, -0.05, np.float32), np.stack([curve] * 3),
        rng.normal(0, 0.05, (6, 8, 16, 16)).astype(np.float32), 1.0, 1.0, RECORD,
    )  # fmt: skip
    return color, density


def copy_with_libvips(source: Path, folder: Path) -> None:
    """Read the file and write the same kind of file."""
    kind = "jpeg" if source.suffix == ".jpg" else "tiff"
    image = open_image(source, kind)
    pyvips.Operation.call(f"{kind}save", image, str(folder / f"copy{source.suffix}"))


def render_result(source: Path, folder: Path, *, color: bool, density: bool) -> None:
    """Render the file, with everything that belongs to a result."""
    recipe, settings = parse({}), Settings()
    facts = ingest(source, recipe, settings).facts
    chosen = [layer if is_wanted else None for layer, is_wanted in zip(make_layers(), (color, density), strict=True)]
    small = folder / "small.tif"
    write_scan(small, 0.1, facts["bits"])  # a worker's child has long loaded its code when a photo comes
    render(RenderRequest(small, folder, ingest(small, recipe, settings).facts, recipe, *chosen), settings)  # type: ignore[arg-type]
    started = time.monotonic()
    rendered = render(RenderRequest(source, folder, facts, recipe, *chosen), settings)  # type: ignore[arg-type]
    (folder / "seconds").write_text(str(time.monotonic() - started))
    assert {"result", "preview"} <= rendered.files.keys()


def measure_process(work: Callable[..., None], *args: Any, **named: Any) -> tuple[float, float]:
    """Run a function in a new process; return its seconds and the peak private memory of it and its children in MB."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=args, kwargs=named)
    started, peak = time.monotonic(), 0.0
    process.start()
    while process.is_alive():
        peak = max(peak, private_memory(process.pid or 0))
        time.sleep(0.05)
    process.join()
    if process.exitcode:
        raise SystemExit(f"{work.__name__} failed with {process.exitcode}")
    return time.monotonic() - started, peak / 1e6


def private_memory(pid: int) -> float:
    """Return the memory of a process and its children in bytes that is no file's; what they share counts once.

    Source: the kernel's Documentation/filesystems/proc.rst, smaps_rollup (Pss_Anon).
    """
    total = 0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for each in [root, *root.children(recursive=True)]:
            with suppress(OSError):  # it has ended
                lines = Path(f"/proc/{each.pid}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss_Anon:"))
    return total


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 24, 300])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        warm = Path(name, "warm.tif")
        for bits in (8, 16):  # compile, once and for all
            write_scan(warm, 0.1, bits)
            measure_process(run_once, warm, Path(name), render_result, color=True, density=True)
        print(f"{'file':24} {'work':14} {'seconds':>8} {'ratio':>6} {'MB':>6} {'ratio':>6}")
        for megapixels in arguments.megapixels:
            for suffix, bits in ((".jpg", 8), (".tif", 16)):
                source = Path(name, f"scan{suffix}")
                write_scan(source, megapixels, bits)
                title = f"{megapixels:g} MP {suffix[1:]} {bits} bit RGB"
                print_rows(title, source, Path(name), arguments.rounds)


def print_rows(title: str, source: Path, folder: Path, rounds: int) -> None:
    """Print the rows of one file."""
    runs: dict[str, tuple[Callable[..., None], dict[str, bool]]] = {
        "copy": (copy_with_libvips, {}),
        "color": (render_result, {"color": True, "density": False}),
        "color, density": (render_result, {"color": True, "density": True}),
    }
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (work, layers_wanted) in runs.items():
            _, peak = measure_process(run_once, source, folder, work, **layers_wanted)
            measured[name].append((float((folder / "seconds").read_text()), peak))
    best = {
        name: (min(seconds for seconds, _ in each), max(peak for _, peak in each)) for name, each in measured.items()
    }
    for name, (seconds, peak) in best.items():
        ratios = seconds / best["copy"][0], peak / best["copy"][1]
        print(f"{title:24} {name:14} {seconds:8.2f} {ratios[0]:6.1f} {peak:6.0f} {ratios[1]:6.1f}", flush=True)


def run_once(source: Path, folder: Path, work: Callable[..., None], **layers_wanted: bool) -> None:
    """Do the work in a temporary folder; leave its seconds in a file."""
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        started = time.monotonic()
        work(source, Path(inner), **layers_wanted)
        seconds = Path(inner, "seconds")
        taken = float(seconds.read_text()) if seconds.exists() else time.monotonic() - started
    (folder / "seconds").write_text(str(taken))


if __name__ == "__main__":
    main()
