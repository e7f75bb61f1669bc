"""Ablation study of `compact`: short runs that differ in one thing each, with several seeds.

    python -m tests.benchmarks.study_compact RUNS [--steps 1500] [--seeds 1 2] [--at-once 2] [--svg curves.svg]

Every run is a process with one thread. Runs that RUNS holds already are not repeated; `--dry-run` prints how many are
left. Afterwards a table in Markdown is printed: the score at the end of each run, and its mean over the seeds. (The
best score of a run would favor runs that are judged more often.)
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tests.paths import DATA

from retint_models.command.run_training import read_imagenet_encoder
from retint_models.datasets.halves import part_photographs
from retint_models.datasets.photographs import open_photos
from retint_models.training.loop import TrainingOptions
from retint_models.training.networks import compact
from retint_models.training.networks.compact import Hyperparameters
from retint_models.training.run_files import is_finished

COLORS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#7a4a00")
"""The palette of Okabe and Ito (2008), which color-blind people can tell apart, and two more colors."""


@dataclass(frozen=True)
class Variation:
    """What distinguishes a run from the default: hyperparameters, photographs."""

    description: str
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    shards: str = "*"


VARIATIONS = {
    "default": Variation("the default hyperparameters"),
    "no-skin": Variation("skin weighs as much as everything", Hyperparameters(skin=0.0)),
    "no-repaired": Variation("no crops that were faded and repaired", Hyperparameters(repaired=False)),
    "no-gray": Variation("nothing but photographs", Hyperparameters(gray_share=0.0)),
    "first-photographs": Variation("without the 3,050 photographs of train-c", shards="train-[0b]*"),
    "more-regular": Variation(
        "dropout .2 and weight decay .3, not .1 and .05", Hyperparameters(dropout=0.2, decay=0.3)
    ),
    "encoder-trained": Variation("the encoder trained in the last two fifths", Hyperparameters(frozen=0.6)),
}


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--at-once", type=int, default=2, help="processes; one core each")
    parser.add_argument("--svg", type=Path, help="draw the curves here")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SEED"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"There are no photographs to study on at {DATA}.")
    if arguments.one:
        train(arguments.runs, arguments.one[0], int(arguments.one[1]), arguments.steps)
        return
    missing = [
        (name, seed) for seed in arguments.seeds for name in VARIATIONS if not has_finished(arguments.runs, name, seed)
    ]
    print(f"{len(missing)} of {len(VARIATIONS) * len(arguments.seeds)} runs to do", file=sys.stderr, flush=True)
    if not arguments.dry_run:
        open_photos(DATA / "train", arguments.runs / "photos")  # once, not by two processes at a time
        with ThreadPoolExecutor(arguments.at_once) as pool:
            list(pool.map(lambda run: launch(arguments.runs, run[0], run[1], arguments.steps), missing))
    print(make_table(arguments.runs, arguments.seeds))
    if arguments.svg and not arguments.dry_run:
        arguments.svg.write_text(draw_curves(arguments.runs, arguments.seeds))


def has_finished(runs: Path, name: str, seed: int) -> bool:
    """Return whether a run is finished."""
    return is_finished(runs / f"{name}-{seed}")


def launch(runs: Path, name: str, seed: int, steps: int) -> None:
    """Train in a process of its own."""
    print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "tests.benchmarks.study_compact", runs, "--steps", steps, "--one", name, seed]
    subprocess.run([str(part) for part in command], check=True)


def train(runs: Path, name: str, seed: int, steps: int) -> None:
    """Train one variation with one seed."""
    torch.set_num_threads(1)
    chosen = VARIATIONS[name]
    known = open_photos(DATA / "train", runs / "photos", pattern=chosen.shards)
    photos, choosing = part_photographs(known, open_photos(DATA / "dev", runs / "photos"))
    options = TrainingOptions(steps=steps, seed=seed, judge_every=2, sheet_every=steps)
    encoder = read_imagenet_encoder(None, "compact")
    folder, views = runs / f"{name}-{seed}", runs / "views"
    run = compact.make_run(folder, photos, choosing, encoder, options, chosen.hyperparameters, kept=views)
    run.train(resume=True)


def read_log(runs: Path, name: str, seed: int) -> list[dict[str, Any]]:
    """Read the log of a run; empty if there is none."""
    file = runs / f"{name}-{seed}" / "log.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def read_judgements(runs: Path, name: str, seed: int) -> list[dict[str, Any]]:
    """Return the judgements of a run in the order of its steps."""
    return [entry for entry in read_log(runs, name, seed) if entry.get("event") == "judged"]


def make_table(runs: Path, seeds: Iterable[int]) -> str:
    """Return the table in Markdown."""
    lines = [
        "| run | what is different | CIEDE2000 at .68 of the true colorfulness | seeds | minutes |",
        "|---|---|---|---|---|",
    ]
    for name, variation in VARIATIONS.items():
        ends = [read_judgements(runs, name, seed)[-1] for seed in seeds if has_finished(runs, name, seed)]
        if not ends:
            continue
        scores = [end["score"] for end in ends]
        each = ", ".join(f"{score:.2f}" for score in scores)
        minutes = sum(end["seconds"] for end in ends) / len(ends) / 60
        lines.append(f"| {name} | {variation.description} | {sum(scores) / len(scores):.2f} | {each} | {minutes:.0f} |")
    return "\n".join(lines)


def draw_curves(runs: Path, seeds: Iterable[int], width: int = 760, height: int = 420) -> str:
    """Return the curves as SVG: score over steps, a line a run, a color a variation."""
    curves = {
        (name, seed): [(entry["step"], entry["score"]) for entry in read_judgements(runs, name, seed)]
        for name in VARIATIONS
        for seed in seeds
    }
    points = [point for curve in curves.values() for point in curve]
    last = max(step for step, _ in points)
    low, high = min(score for _, score in points) - 0.1, max(score for _, score in points) + 0.1

    def place(step: float, score: float) -> str:
        across, down = step / last, (high - score) / (high - low)
        return f"{50 + (width - 230) * across:.1f},{20 + (height - 60) * down:.1f}"

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    parts.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for tenth in range(round(low * 5), round(high * 5) + 1):
        left, right = place(0, tenth / 5), place(last, tenth / 5)
        if low <= tenth / 5 <= high:
            parts.append(f'<polyline points="{left} {right}" stroke="#ddd" fill="none"/>')
            parts.append(f'<text x="8" y="{left.split(",")[1]}" dy="4" font-size="12">{tenth / 5:.1f}</text>')
    for step in range(0, last + 1, 500):
        across = place(step, low).split(",")[0]
        parts.append(f'<text x="{across}" y="{height - 20}" font-size="12" text-anchor="middle">{step}</text>')
    parts.append(
        f'<text x="50" y="{height - 4}" font-size="12">steps; CIEDE2000 at .68 of the true colorfulness</text>'
    )
    for number, name in enumerate(VARIATIONS):
        color = COLORS[number % len(COLORS)]
        for seed in seeds:
            drawn = " ".join(place(*point) for point in curves[name, seed])
            parts.append(f'<polyline points="{drawn}" stroke="{color}" stroke-width="2" fill="none"/>')
        top = 30 + 20 * number
        parts.append(f'<text x="{width - 165}" y="{top}" font-size="13" fill="{color}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()
