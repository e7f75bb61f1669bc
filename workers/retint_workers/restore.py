"""The four stages in one process, for some files and no server: `retint restore`."""

import io
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from retint import recipes
from retint.errors import InvalidRequest, RetintError
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers import ColorLayer, DensityLayer
from retint_workers import colorize, defade, ingest, networks, render

Layer = TypeVar("Layer", ColorLayer, DensityLayer)


@dataclass(frozen=True)
class Restored:
    """What became of one file."""

    file: Path
    output: Path | None
    reason: str | None
    seconds: float

    @property
    def status(self) -> str:
        """`restored`, or `refused` with a reason."""
        return "restored" if self.output else "refused"


def restore(
    files: Sequence[Path], out: Path, recipe: Recipe, settings: Settings, *, layers: bool
) -> Iterator[Restored]:
    """Restore files one after the other; each is told as it ends, and a bad one stops no other.

    Args:
        files: photographs; one is never written over, wherever `out` is.
        out: folder of the results; each keeps its file's name, numbered where several are alike.
        recipe: what to do.
        settings: limits and device.
        layers: keep layers and provenance beside each result, too.

    Raises:
        InvalidRequest: the folder cannot be made.
        NetworkUnavailable: the recipe names a network that cannot be loaded here.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"Results cannot go to {out}: {error.strerror}.") from error
    if recipe.colorizer != "keep":
        networks.load("colorizer", recipe.colorizer, settings)
    if recipe.defader != "keep":
        networks.load("defader", recipe.defader, settings)
    taken = {file.resolve() for file in files}
    for file in files:
        started = time.monotonic()
        output = reason = None
        try:
            if not file.is_file():
                raise InvalidRequest(f"There is no file {file}.")
            with tempfile.TemporaryDirectory(prefix=".retint-", dir=out) as folder:
                results = _through_the_stages(file, Path(folder), recipe, settings)
                output = _free_name(out / file.name, results["result"].suffix, taken)
                _keep(results, output, layers=layers)
        except RetintError as error:
            output, reason = None, error.message
        yield Restored(file, output, reason, round(time.monotonic() - started, 3))


def render_again(file: Path, provenance: Path, output: Path, settings: Settings) -> None:
    """Make a result again from the layers kept beside its provenance, without any network.

    Raises:
        InvalidRequest: the provenance or its layers cannot be read, or belong to another file.
    """
    try:
        record = json.loads(provenance.read_text())
        recipe = recipes.parse(record["recipe"])
        original = record["original_sha256"]
        color = _kept(provenance.with_suffix(".color.safetensors"), ColorLayer.from_bytes)
        density = _kept(provenance.with_suffix(".density.safetensors"), DensityLayer.from_bytes)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidRequest(f"{provenance} and the layers beside it cannot be read: {error}.") from error
    ingested = ingest.ingest(file, recipe, settings)
    if ingested.facts["sha256"] != original:
        raise InvalidRequest(f"{provenance} speaks of another file than {file}.")
    with tempfile.TemporaryDirectory(prefix=".retint-", dir=output.parent) as folder:
        made = render.render(file, Path(folder), ingested.facts, recipe, color, density, settings)
        made.files["result"].replace(output)


def _kept(path: Path, read: Callable[[bytes], Layer]) -> Layer | None:
    return read(path.read_bytes()) if path.exists() else None


def _through_the_stages(file: Path, folder: Path, recipe: Recipe, settings: Settings) -> dict[str, Path]:
    """Do what the pipeline does: the files of render, and those of the layers."""
    ingested = ingest.ingest(file, recipe, settings)
    proxy = np.asarray(Image.open(io.BytesIO(ingested.proxy)).convert("RGB"))
    color = density = None
    files = {}
    if colorize.is_wanted(recipe, ingested.facts["kind"]):
        color = _sole(colorize.colorize([proxy], recipe, settings))
        files["color"] = folder / "color.safetensors"
        files["color"].write_bytes(color.to_bytes())
    if defade.is_wanted(recipe):
        density = _sole(defade.defade([defade.seen(proxy, color)], recipe, settings))
        files["density"] = folder / "density.safetensors"
        files["density"].write_bytes(density.to_bytes())
    return files | dict(render.render(file, folder, ingested.facts, recipe, color, density, settings).files)


def _sole(layers: Iterable[Layer | RetintError]) -> Layer:
    (layer,) = layers
    if isinstance(layer, RetintError):
        raise layer
    return layer


def _free_name(path: Path, suffix: str, taken: set[Path]) -> Path:
    """Name a result as its file; where that is taken in this run, or is the file itself, with a number."""
    candidate, number = path.with_suffix(path.suffix if path.suffix.lower() == suffix else suffix), 1
    while candidate.resolve() in taken:
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{suffix}")
    taken.add(candidate.resolve())
    return candidate


def _keep(results: dict[str, Path], output: Path, *, layers: bool) -> None:
    """Move the result to its place; a file of that name from an earlier run is replaced in one step."""
    if layers:
        for name, suffix in {
            "color": "color.safetensors",
            "density": "density.safetensors",
            "provenance": "json",
        }.items():
            if name in results:
                results[name].replace(output.with_name(f"{output.stem}.{suffix}"))
    results["result"].replace(output)
