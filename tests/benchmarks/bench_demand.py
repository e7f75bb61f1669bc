"""A simulated day of two museums and 200 people with browsers: the demand, compared with a scaler on queue length.

    python -m tests.benchmarks.bench_demand [--svg docs/scaling.svg]

The clock is simulated; the demand is the function that runs in service (`retint.demand`). A step is five seconds. Pods
take time to start, and are taken away as Kubernetes would. The scaler that it is compared with is the usual one: KEDA
on the number of ready jobs, with the autoscaler's own window of five minutes.
"""

import argparse
import math
import random
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from retint import recipes
from retint.demand import Decision, FilmLoad, Limits, Speeds, decide, measure_work
from retint.jobs.tallies import Load
from retint.lifecycle import FLEETS, QUEUES, Mode, Stage, State

START: Final = datetime(2026, 12, 1, tzinfo=UTC)
STEP_S: Final = 5
DAY_S: Final = 24 * 3600
POLL_S: Final = 15
SECONDS: Final = {Stage.INGEST: 0.8, Stage.COLORIZE: 0.2, Stage.RENDER: 1.2}
"""A worker's time for a photo; defade adopts what colorize decided, and is left out."""
FRAME_SECONDS: Final = {Stage.INGEST: 0.02, Stage.COLORIZE: 0.1, Stage.RENDER: 0.1}
FOLLOWING: Final = {Stage.INGEST: Stage.COLORIZE, Stage.COLORIZE: Stage.RENDER, Stage.RENDER: None}
STARTING_S: Final = {"cpu": 25, "gpu": 180}
"""From the decision until a pod takes work: a GPU's node comes first, and its image is large."""
MOST: Final = {"cpu": 40, "gpu": 6}
LEAST: Final = {"cpu": 1, "gpu": 0}
WAIT_S: Final = 300.0
JOBS_EACH: Final = 300
"""Ready jobs for one worker, of the scaler on queue length."""
WINDOW_S: Final = 300
RECIPE: Final = recipes.parse({})
SPEEDS: Final = Speeds(
    {(stage, RECIPE.colorizer if stage is Stage.COLORIZE else ""): seconds for stage, seconds in SECONDS.items()},
    {(stage, RECIPE.colorizer if stage is Stage.COLORIZE else ""): seconds for stage, seconds in FRAME_SECONDS.items()},
)


@dataclass
class Item:
    """Photos that were deposited together, or one film, with the work that is left at their stage."""

    at: float
    kind: str
    n: int
    frames: int = 0
    stage: Stage = Stage.INGEST
    left_s: float = 0.0
    is_running: bool = False

    def begin(self, stage: Stage) -> None:
        """Begin a stage."""
        self.stage, self.is_running = stage, False
        self.left_s = self.frames * FRAME_SECONDS[stage] if self.frames else self.n * SECONDS[stage]


def make_day(seed: int) -> list[Item]:
    """Make a day's deposits, in their order."""
    chance = random.Random(seed)
    items = [Item(7.5 * 3600 + 2 * part, "bulk", 100) for part in range(400)]
    items += [Item(9 * 3600 + 20 * part, "bulk", 100) for part in range(540)]
    items += [Item(hour * 3600, "film", 1, frames=43_200) for hour in (14, 14.5, 19)]
    for _ in range(200):
        at = 8 * 3600 + chance.expovariate(1 / 5400)
        while at < 18 * 3600:
            items.append(Item(at, "browser", chance.randint(1, 20)))
            at += chance.expovariate(1 / 5400)
    items.sort(key=lambda item: item.at)
    for item in items:
        item.begin(Stage.INGEST)
    return items


@dataclass
class Scaler:
    """Asks how many pods there should be; `want` is called every `POLL_S` with the work that is there."""

    name: str
    want: Callable[[float, list[Item]], dict[str, int]]
    protects_busy: bool


def by_demand() -> Scaler:
    """Scale by the demand, as in service."""
    limits = {name: Limits(Mode.AUTOMATIC, 1, LEAST[name], MOST[name], WAIT_S, MOST[name]) for name in FLEETS}
    decisions = {name: Decision() for name in FLEETS}

    def want(at: float, items: list[Item]) -> dict[str, int]:
        work = measure_work(*describe(items), SPEEDS)
        for name in FLEETS:
            decisions[name] = decide(work[name], limits[name], decisions[name], START + timedelta(seconds=at))
        return {name: decisions[name].demand for name in FLEETS}

    return Scaler("demand", want, protects_busy=True)


def describe(items: list[Item]) -> tuple[list[Load], list[FilmLoad]]:
    """Describe what is there as the dispatcher reads it: jobs, not what is left of them."""
    loads, films = [], []
    for item in items:
        batch_id, state = uuid.UUID(int=id(item)), State.RUNNING if item.is_running else State.READY
        left = item.n if item.frames else math.ceil(item.left_s / SECONDS[item.stage])
        loads.append(Load(batch_id, 1, batch_id, 0, RECIPE, START, False, item.stage, state, left))
        if item.frames and item.stage is not Stage.INGEST:  # ingest counts the frames
            films.append(FilmLoad(batch_id, item.stage, state, 1, item.frames))
    return loads, films


def by_queue_length() -> Scaler:
    """Scale by the number of ready jobs; fewer pods only when that was enough for five minutes."""
    before: dict[str, deque[tuple[float, int]]] = {name: deque() for name in FLEETS}

    def want(at: float, items: list[Item]) -> dict[str, int]:
        wanted = {}
        for name in FLEETS:
            ready = sum(
                math.ceil(item.left_s / SECONDS[item.stage]) if not item.frames else 1
                for item in items
                if QUEUES[item.stage] == name and not item.is_running
            )
            need = max(LEAST[name], min(MOST[name], math.ceil(ready / JOBS_EACH)))
            seen = before[name]
            seen.append((at, need))
            while seen[0][0] < at - WINDOW_S:
                seen.popleft()
            wanted[name] = max(n for _, n in seen)
        return wanted

    return Scaler("queue length", want, protects_busy=False)


@dataclass
class Fleet:
    """The pods of one fleet: those that work, and those that start."""

    name: str
    pods: int = 0
    starting: list[float] = field(default_factory=list)

    def scale(self, at: float, wanted: int) -> int:
        """Start pods, or take some away, those that start first; return how many of the working ones went."""
        while wanted > self.pods + len(self.starting):
            self.starting.append(at + STARTING_S[self.name])
        while self.starting and wanted < self.pods + len(self.starting):
            self.starting.pop()
        gone = max(0, self.pods - wanted)
        self.pods -= gone
        return gone

    def advance(self, at: float) -> None:
        """Let pods begin that have started."""
        self.pods += sum(until <= at for until in self.starting)
        self.starting = [until for until in self.starting if until > at]


@dataclass
class Outcome:
    """What a day was like."""

    name: str
    waits: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: {"browser": [], "bulk": [], "film": []})
    pods: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in FLEETS})
    interrupted: int = 0
    starts: int = 0

    def hours(self, fleet: str) -> float:
        """Return the pod hours of a fleet, those of starting ones included."""
        return sum(self.pods[fleet]) * STEP_S / 3600

    def percentile(self, kind: str, share: float) -> float:
        """Return the wait from deposit to result that this share of the photos did not exceed, in seconds."""
        waits = sorted(self.waits[kind])
        rest = share * sum(n for _, n in waits)
        for wait, n in waits:
            rest -= n
            if rest <= 0:
                return wait
        return math.inf


def simulate(scaler: Scaler, seed: int = 20) -> Outcome:
    """Simulate a day, and what is left of the work after it."""
    chance, outcome = random.Random(seed), Outcome(scaler.name)
    coming, items = deque(make_day(seed)), list[Item]()
    fleets = {name: Fleet(name, pods=LEAST[name]) for name in FLEETS}
    for at in range(0, DAY_S, STEP_S):
        while coming and coming[0].at <= at:
            items.append(coming.popleft())
        for fleet in fleets.values():
            fleet.advance(at)
        if at % POLL_S == 0:
            wanted = scaler.want(at, items)
            for name, fleet in fleets.items():
                before, busy = fleet.pods + len(fleet.starting), fleet.pods
                gone = fleet.scale(at, wanted[name])
                outcome.starts += max(0, fleet.pods + len(fleet.starting) - before) if name == "gpu" else 0
                outcome.interrupted += interrupt(items, name, gone, busy, chance, scaler)
        for name, fleet in fleets.items():
            outcome.pods[name].append(fleet.pods + len(fleet.starting))
            items = work(items, fleet, at + STEP_S, outcome)
    return outcome


def interrupt(items: list[Item], fleet: str, gone: int, busy: int, chance: random.Random, scaler: Scaler) -> int:
    """Let pods go: where the busy ones are not protected, any pod may be one that has a film. Returns how many had."""
    films = [item for item in items if item.frames and item.is_running and QUEUES[item.stage] == fleet]
    lost = 0
    if scaler.protects_busy:
        lost = max(0, gone - (busy - len(films)))
    else:
        victims = chance.sample(range(busy), gone) if gone else []
        lost = sum(victim < len(films) for victim in victims)
    for film in films[:lost]:
        film.is_running = False  # its segments are kept; another worker goes on
    return lost


def work(items: list[Item], fleet: Fleet, at: float, outcome: Outcome) -> list[Item]:
    """Let a fleet work for one step: a film has a worker of its own, photos share the others, browsers' first."""
    mine = [item for item in items if QUEUES[item.stage] == fleet.name]
    free = fleet.pods
    order = {"browser": 0, "film": 1, "bulk": 1}
    for item in sorted(mine, key=lambda item: (not item.is_running, order[item.kind], item.at)):
        if item.frames:
            item.is_running = free > 0
            if item.is_running:
                free -= 1
                item.left_s -= STEP_S
    seconds = float(free * STEP_S)
    for item in sorted(mine, key=lambda item: (order[item.kind], item.at, item.stage is not Stage.RENDER)):
        if not item.frames and seconds > 0:
            used = min(seconds, item.left_s)
            seconds, item.left_s = seconds - used, item.left_s - used
    for item in mine:
        if item.left_s <= 1e-9:
            following = FOLLOWING[item.stage]
            if following:
                item.begin(following)
            else:
                item.left_s = -1.0
                outcome.waits[item.kind].append((at - item.at, item.n))
    return [item for item in items if item.left_s >= 0]


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the comparison as a table for docs/scaling.md."""
    rows = [
        "| | GPU pod hours | CPU pod hours | browser p50 | browser p95 | bulk p95 | film, longest | films interrupted "
        "| GPU pods started |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for day in outcomes:
        rows.append(
            f"| {day.name} | {day.hours('gpu'):.1f} | {day.hours('cpu'):.0f} | {day.percentile('browser', 0.5):.0f} s "
            f"| {day.percentile('browser', 0.95):.0f} s | {day.percentile('bulk', 0.95) / 60:.0f} min "
            f"| {day.percentile('film', 1) / 60:.0f} min | {day.interrupted} | {day.starts} |"
        )
    return "\n".join(rows)


COLORS: Final = ("#2a7", "#c63")
WIDTH, HEIGHT, LEFT = 720, 130, 50


def draw(outcomes: list[Outcome]) -> str:
    """Draw the pods of both fleets over the day."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + LEFT + 25} {2 * (HEIGHT + 45)}" role="img">',
        "<title>Pods over a simulated day</title>",
        "<style>text{font:12px sans-serif;fill:#777}path{fill:none;stroke-width:1.6}line{stroke:#999}</style>",
    ]
    for row, fleet in enumerate(("gpu", "cpu")):
        top = row * (HEIGHT + 45) + 22
        most = max(max(day.pods[fleet]) for day in outcomes)
        parts.append(f'<text x="{LEFT}" y="{top - 8}">{fleet} pods, {most} at most</text>')
        parts.append(f'<line x1="{LEFT}" y1="{top + HEIGHT}" x2="{LEFT + WIDTH}" y2="{top + HEIGHT}"/>')
        for hour in range(0, 25, 4):
            parts.append(f'<text x="{LEFT + WIDTH * hour / 24 - 12:.0f}" y="{top + HEIGHT + 15}">{hour:02}:00</text>')
        for day, color in zip(outcomes, COLORS, strict=True):
            parts.append(f'<path d="{_draw_line(day.pods[fleet][:: 60 // STEP_S], top, most)}" stroke="{color}"/>')
    for place, (day, color) in enumerate(zip(outcomes, COLORS, strict=True)):
        parts.append(f'<text x="{LEFT + 300 + 130 * place}" y="14" style="fill:{color}">{day.name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _draw_line(pods: list[int], top: int, most: int) -> str:
    """Return the path of one number of pods a minute; where nothing changes there is no point."""
    kept = [
        place for place, n in enumerate(pods) if not 0 < place < len(pods) - 1 or {*pods[place - 1 : place + 2]} != {n}
    ]
    points = [(LEFT + WIDTH * place / len(pods), top + HEIGHT * (1 - pods[place] / most)) for place in kept]
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def main() -> None:
    """Simulate the day with both scalers, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svg", type=Path, help="Also draw the pods over the day.")
    options = parser.parse_args()
    outcomes = [simulate(by_demand()), simulate(by_queue_length())]
    print(table(outcomes))
    if options.svg:
        options.svg.write_text(draw(outcomes))


if __name__ == "__main__":
    main()
