"""The stages colorize and defade for films: decisions as for a photo, for every frame, that hold still.

Every stage works in a folder that belongs to one film and one recipe. It writes reels of some frames, each complete or
not there, so a stage that was interrupted goes on where it was when it is called again. Memory is that of a few frames.
Foreign films are decoded in child processes; only proxies leave them. `screening.py` is the stage ingest,
`projection.py` the stage render.
"""

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint.errors import RetintError, WorkerLost
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers import rendering, temporal
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.films import encoder
from retint_workers.films.decoder import Film, Look, Reader
from retint_workers.films.encoder import Reel
from retint_workers.films.ingest import Progress, silent
from retint_workers.inference import colorize as colorizing
from retint_workers.inference import defade as defading
from retint_workers.sandbox import iterate_in_child

COLOR_REEL = 24
"""Frames that are decided anew, at most, after an interruption."""
AT_ONCE = 16
"""Scenes whose tone is decided together."""


# --- colorize ---------------------------------------------------------------------------------------------------------


def colorize(
    original: Path, folder: Path, facts: Mapping[str, Any], recipe: Recipe, settings: Settings, tell: Progress = silent
) -> Path | None:
    """Decide the color of every frame, let it hold still, and write it as a color film: none where none is wanted.

    The color film is FFV1 in Matroska, Y'CbCr of Rec. 709 at the size of layers, frame by frame the original's; its
    tag RETINT is the record, with the color distribution consistency of the film and of plain frame-by-frame.

    Raises:
        NetworkUnavailable: the recipe's colorizer cannot be loaded here.
        Transient: the network failed on a frame.
    """
    output = folder / "color.mkv"
    if not colorizing.is_wanted(recipe, facts["kind"]):
        return None
    if output.exists():
        return output
    done = encoder.complete(folder, "color")
    painter = Painter(folder, facts, _state(done))
    frames = range(len(done) * COLOR_REEL, facts["frames"])
    going = partial(_going, tell, "Coloring", frames.start)
    proxies = iterate_in_child(_shown, settings, going, original, frames, recipe.proxy_side)
    with closing(proxies):
        for first in frames[::COLOR_REEL]:
            going = partial(_going, tell, "Coloring", first)
            painter.paint(colorizing.colorize(islice(proxies, COLOR_REEL), recipe, settings, going), first)
    part = output.with_suffix(".part")
    encoder.splice(encoder.complete(folder, "color"), part, {"RETINT": json.dumps(painter.record, sort_keys=True)})
    part.replace(output)
    return output


class Painter:
    """Makes a color film of layers, reel by reel; all that it knows between two of them is kept beside the reel."""

    def __init__(self, folder: Path, facts: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        self._folder = folder
        self._cuts = set(facts["scenes"])
        self._rate = Fraction(facts["rate"]).limit_denominator(1001)
        self._smoother = temporal.Smoother(_under("smoother", state))
        self._smooth = temporal.Consistency(_under("smooth", state))
        self._plain = temporal.Consistency(_under("plain", state))
        self._record: dict[str, Any] = json.loads(str(state["record"])) if state else {}

    @property
    def record(self) -> dict[str, Any]:
        """What made the color film."""
        figures = {"cdc": self._smooth.value, "cdc_frame_by_frame": self._plain.value}
        return self._record | {"smoothing": {"memory": temporal.MEMORY, "scenes": len(self._cuts)} | figures}

    def paint(self, layers: Iterator[ColorLayer | RetintError], first: int) -> None:
        """Write the reel that begins with frame `first`.

        Raises:
            Transient: there is no layer for a frame.
        """
        smooth = [self._add(layer, number) for number, layer in enumerate(layers, first)]
        if not smooth:
            raise WorkerLost("The film ended before its last frame.")
        height, width = smooth[0].luma.shape
        with Reel(self._folder / f"color-{first:08}.nut", encoder.ffv1(width, height, self._rate)) as reel:
            for number, layer in enumerate(smooth, first):
                reel.write(encoder.color_frame(layer, number, self._rate))
            encoder.keep(self._folder / f"color-{first:08}.npz", self._state())

    def _add(self, layer: ColorLayer | RetintError, number: int) -> ColorLayer:
        if isinstance(layer, RetintError):
            raise layer
        if not self._record:
            self._record = dict(layer.record)
        if number in self._cuts:
            for memory in (self._smoother, self._smooth, self._plain):
                memory.cut()
        smooth = self._smoother.smooth(layer)
        gray = np.rint(layer.luma.astype(np.float32) * 255).astype(np.uint8)
        self._plain.add(rendering.apply(gray, 0, gray.shape, layer, None))
        self._smooth.add(rendering.apply(gray, 0, gray.shape, smooth, None))
        return smooth

    def _state(self) -> dict[str, Any]:
        memories: dict[str, Any] = {"smoother": self._smoother, "smooth": self._smooth, "plain": self._plain}
        named = {f"{name}.{key}": value for name, memory in memories.items() for key, value in memory.state.items()}
        return named | {"record": np.array(json.dumps(self._record))}


def _going(tell: Progress, phase: str, frames: int) -> bool:
    """Say how far it is; and that a film which was begun goes on to its end."""
    tell(phase, frames)
    return True


def _shown(original: Path, wanted: Sequence[int] | set[int], proxy_side: int) -> Iterator[NDArray[np.uint8]]:
    with Film(original) as film:
        reader = None
        for number, frame in enumerate(film.frames()):
            reader = reader or Reader(Look.of(frame, film.stream))
            if number in wanted:
                yield reader.proxy(frame, proxy_side)


# --- defade -----------------------------------------------------------------------------------------------------------


def defade(
    original: Path,
    folder: Path,
    facts: Mapping[str, Any],
    recipe: Recipe,
    color: Path | None,
    settings: Settings,
    tell: Progress = silent,
) -> Path | None:
    """Decide the tone of every scene by the frame in its middle; write a zip of density layers by first frames.

    Raises:
        NetworkUnavailable: the recipe's defader cannot be loaded here.
        Transient: the network failed on a frame.
    """
    output = folder / "density.zip"
    if not defading.is_wanted(recipe):
        return None
    if output.exists():
        return output
    starts = facts["scenes"]
    middles = [(start + end) // 2 for start, end in zip(starts, [*starts[1:], facts["frames"]], strict=True)]
    wanted = set(middles)
    going = partial(_going, tell, "Looking at the tone", 0)
    steps = iterate_in_child(_shown, settings, going, original, wanted, recipe.proxy_side)
    part = output.with_suffix(".part")
    with closing(steps), zipfile.ZipFile(part, "w") as file:
        layers = _layers_at(color, wanted)
        seen = (defading.make_input(proxy, layer) for proxy, layer in zip(steps, layers, strict=True))
        for start, layer in zip(starts, _by_few(seen, recipe, settings, going), strict=True):
            if isinstance(layer, RetintError):
                raise layer
            file.writestr(_density_name(start), layer.to_bytes())
    part.replace(output)
    return output


def _by_few(
    seen: Iterator[NDArray[Any]], recipe: Recipe, settings: Settings, going: Callable[[], bool]
) -> Iterator[DensityLayer | RetintError]:
    while few := list(islice(seen, AT_ONCE)):
        yield from defading.defade(few, recipe, settings, going)


def _layers_at(color: Path | None, wanted: set[int]) -> Iterator[ColorLayer | None]:
    if color is None:
        yield from (None for _ in wanted)
    else:
        yield from (layer for number, layer in enumerate(encoder.color_layers(color)) if number in wanted)


def density_starts(path: Path | None) -> frozenset[int]:
    """The frames with which a film's density layers begin."""
    if path is None:
        return frozenset()
    with zipfile.ZipFile(path) as file:
        return frozenset(int(name[:8]) for name in file.namelist())


def density_at(path: Path, start: int) -> DensityLayer:
    """The density layer of the scene that begins with a frame."""
    with zipfile.ZipFile(path) as file:
        return DensityLayer.from_bytes(file.read(_density_name(start)))


def _density_name(start: int) -> str:
    return f"{start:08}.safetensors"


def colored(folder: Path) -> int:
    """How many frames of a film have their color already."""
    return len(encoder.complete(folder, "color")) * COLOR_REEL


def _state(done: Sequence[Path]) -> dict[str, Any]:
    """What was kept beside the last reel."""
    return dict(np.load(done[-1].with_suffix(".npz"))) if done else {}


def _under(name: str, state: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    return {key.partition(".")[2]: value for key, value in state.items() if key.startswith(f"{name}.")}
