"""The four stages in one process, for some files and no server: `retint restore`."""

import fcntl
import hashlib
import io
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from retint import recipes, remote
from retint.digests import hash_file
from retint.errors import InvalidRequest, Refused, RetintError
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_models.networks import registry
from retint_workers.films import decide, decoder, segments
from retint_workers.films import ingest as film_ingest
from retint_workers.films import render as film_render
from retint_workers.films.frame_renderer import RenderRequest
from retint_workers.imaging import ingest, render
from retint_workers.inference import colorize, defade, loading
from retint_workers.local import sheets
from retint_workers.local.destinations import Places, Source

Layer = TypeVar("Layer", ColorLayer, DensityLayer)
FETCH_S = 600
FilmProgress = Callable[[Path, str, int, int | None], object]
"""Called with the film, what is done, how many of its frames that is, and how many there are, if that is known."""


@dataclass(frozen=True)
class Restored:
    """What became of one file."""

    file: Source
    output: Path | None
    reason: str | None
    seconds: float
    is_old: bool = False
    """Whether the result was there already."""
    notes: tuple[str, ...] = ()
    """Sentences about the result that a person should know."""
    film: dict[str, Any] | None = None
    """Of a film: `frames`, `scenes`, `ms_per_frame`, `cdc`, `cdc_frame_by_frame`, `notes`."""

    @property
    def status(self) -> str:
        """`restored`, or `refused` with a reason."""
        return "restored" if self.output else "refused"

    @property
    def told(self) -> str:
        """What it took, and how steady a film's colors are (CDC: less is better)."""
        if self.is_old:
            return "it was there already"
        said = f"{self.seconds:.1f} s" + "".join(f"; {note}" for note in self.notes)
        if self.film:
            said += f"; {self.film['frames']} frames, {self.film['ms_per_frame']} ms each"
            if self.film["cdc"] is not None:
                said += f"; CDC {self.film['cdc']:.5f}, frame by frame {self.film['cdc_frame_by_frame']:.5f}"
            said += "".join(f"\n  {note}" for note in self.film["notes"])
        return said


def restore(
    files: Sequence[Source],
    out: Path,
    recipe: Recipe,
    settings: Settings,
    *,
    layers: bool,
    compare: bool = False,
    again: bool = False,
    tell: FilmProgress = lambda *_: None,
) -> Iterator[Restored]:
    """Restore files one after the other; each is told as it ends, and a bad one stops no other.

    Args:
        files: photographs and films; one is never written over, wherever `out` is.
        out: folder of the results; each keeps its file's name, numbered where several are alike.
        recipe: what to do.
        settings: limits and device.
        layers: keep layers and provenance beside each result, too.
        compare: put a picture of before and after beside each photo's result, too.
        again: make also those results that are there already, by the same recipe and loading.
        tell: called every few frames of a film.

    A film's work is kept in a hidden folder in `out`, named after the film, the recipe and the networks, until the
    film is done: interrupted however hard, the same call goes on where it was.

    Raises:
        InvalidRequest: the folder cannot be made, or the recipe sets what its networks do not have.
        NetworkUnavailable: the recipe names a network that cannot be loaded here.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"Results cannot go to {out}: {error.strerror}.") from error
    if recipe.colorizer != "keep":
        loading.load_network("colorizer", recipe.colorizer, settings)
    if recipe.defader != "keep":
        loading.load_network("defader", recipe.defader, settings)
    recipes.check(recipe, settings.weights)
    places = Places(out, recipe, settings, {file.resolve() for file in files if isinstance(file, Path)})
    for source in files:
        started = time.monotonic()
        try:
            with _fetched(source, out, settings) as file:
                ended = _restored(file, places, layers=layers, compare=compare, again=again, tell=tell)
        except RetintError as error:
            ended = Restored(source, None, error.message, 0)
        yield replace(ended, file=source, seconds=round(time.monotonic() - started, 3))


def _restored(file: Path, places: Places, *, layers: bool, compare: bool, again: bool, tell: FilmProgress) -> Restored:
    """Restore one file.

    Raises:
        RetintError: it cannot be.
    """
    out, recipe, settings = places.out, places.recipe, places.settings
    is_film = decoder.is_film(file)
    output, is_old = places.of(file)
    beside = {"json": layers, "compare.jpg": compare and not is_film}
    has_all = all(output.with_name(f"{output.stem}.{kind}").exists() for kind, wanted in beside.items() if wanted)
    if is_old and has_all and not again:
        return Restored(file, output, None, 0, is_old=True)
    if is_film:
        with _workplace(file, out, recipe, settings) as work:
            results, figures = _film_through_the_stages(file, work, recipe, settings, partial(tell, file))
            _keep(results, output, layers=layers)
        return Restored(file, output, None, 0, film=figures)
    with tempfile.TemporaryDirectory(prefix=".retint-", dir=out) as folder:
        results, facts = _through_the_stages(file, Path(folder), recipe, settings)
        if compare:
            sheet = Path(folder) / "compare.jpg"
            sheets.compare(results["before"], results["preview"], recipe, file.name, sheet)
            sheet.replace(output.with_name(f"{output.stem}.compare.jpg"))
        _keep(results, output, layers=layers)
    return Restored(file, output, None, 0, notes=(facts["colorless"],) if facts["colorless"] else ())


@contextmanager
def _fetched(source: Source, out: Path, settings: Settings) -> Iterator[Path]:
    """The file that is meant; from the web it is there for as long as it is needed.

    Raises:
        Refused: there is none.
    """
    if isinstance(source, Path):
        if not source.is_file():
            raise InvalidRequest(f"There is no file {source}.")
        yield source
        return
    with tempfile.TemporaryDirectory(prefix=".retint-", dir=out) as folder:
        path = Path(folder) / "fetched"
        name = remote.fetch(source, path, settings.upload_limit_mib << 20, FETCH_S)
        yield path.rename(path.with_name(name))


def render_again(file: Path, provenance: Path, output: Path, settings: Settings) -> None:
    """Make a result again from the layers kept beside its provenance, without any network.

    Raises:
        InvalidRequest: the provenance or its layers cannot be read, or belong to another file.
    """
    try:
        record = json.loads(provenance.read_text())
        recipe = recipes.parse(record["recipe"])
        original = record["original_sha256"]
        if decoder.is_film(file):
            return _film_again(file, provenance, output, recipe, original, settings)
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


def _film_again(file: Path, provenance: Path, output: Path, recipe: Recipe, original: str, settings: Settings) -> None:
    facts = film_ingest.ingest(file, recipe, settings).facts
    if facts["sha256"] != original:
        raise InvalidRequest(f"{provenance} speaks of another file than {file}.")
    color, density = (
        path.resolve() if (path := provenance.with_suffix(suffix)).exists() else None
        for suffix in (".color.mkv", ".density.zip")
    )
    with tempfile.TemporaryDirectory(prefix=".retint-", dir=output.parent) as folder:
        request = RenderRequest(file, Path(folder), facts, recipe, color, density)
        made = film_render.render(request, settings, with_previews=False)
        made.files["result"].replace(output)


def _kept(path: Path, read: Callable[[bytes], Layer]) -> Layer | None:
    return read(path.read_bytes()) if path.exists() else None


def _through_the_stages(
    file: Path, folder: Path, recipe: Recipe, settings: Settings
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Do what the pipeline does: the files of render and those of the layers, and what render found."""
    ingested = ingest.ingest(file, recipe, settings)
    proxy = np.asarray(Image.open(io.BytesIO(ingested.proxy)).convert("RGB"))
    color = density = None
    files = {}
    if colorize.is_wanted(recipe, ingested.facts["kind"]):
        color = _sole(colorize.colorize([proxy], recipe, settings))
        files["color"] = folder / "color.safetensors"
        files["color"].write_bytes(color.to_bytes())
    if defade.is_wanted(recipe):
        density = _sole(defade.defade([defade.make_input(proxy, color)], recipe, settings))
        files["density"] = folder / "density.safetensors"
        files["density"].write_bytes(density.to_bytes())
    rendered = render.render(file, folder, ingested.facts, recipe, color, density, settings)
    return files | rendered.files, rendered.facts


@contextmanager
def _workplace(file: Path, out: Path, recipe: Recipe, settings: Settings) -> Iterator[Path]:
    """The folder of what is done of a film so far; gone when the film is done, or cannot be.

    Raises:
        InvalidRequest: another process is at this film.
    """
    film = hash_file(file)
    named = [name for name in (recipe.colorizer, recipe.defader) if name != "keep"]
    weights = [registry.card(name, settings.weights).sha256 for name in named]
    key = hashlib.sha256("\n".join([film, recipe.hash, *weights]).encode()).hexdigest()
    folder = out / f".{file.name}.{key[:16]}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InvalidRequest(f"Another process restores {file} into {out} already.") from error
        try:
            yield folder
        except Refused:
            shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)


def _film_through_the_stages(
    file: Path, folder: Path, recipe: Recipe, settings: Settings, tell: Callable[[str, int, int | None], object]
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Do what the pipeline does with a film: the files, and what is to be said of it."""
    started = time.monotonic()
    known = folder / "facts.json"
    if known.exists():
        facts = json.loads(known.read_text())
    else:
        facts = film_ingest.ingest(file, recipe, settings, lambda phase, frames: tell(phase, frames, None)).facts
        segments.write_atomically(known, json.dumps(facts).encode())
    frames = facts["frames"]
    before = decide.count_colorized(folder)

    def told(phase: str, done: int) -> None:
        tell(phase, done, frames)

    color = decide.colorize(file, folder, facts, recipe, settings, told)
    density = decide.defade(file, folder, facts, recipe, color, settings, told)
    request = RenderRequest(file, folder, facts, recipe, color, density)
    rendered = film_render.render(request, settings, told, with_previews=False)
    layers = {"color": color, "density": density}
    figures = {
        "frames": frames,
        "scenes": len(facts["scenes"]),
        "ms_per_frame": round(1000 * (time.monotonic() - started) / max(1, frames - before), 1),
        "cdc": rendered.facts.get("cdc"),
        "cdc_frame_by_frame": rendered.facts.get("cdc_frame_by_frame"),
        "notes": [*facts["notes"], *rendered.facts["notes"], *filter(None, [rendered.facts["colorless"]])],
    }
    return rendered.files | {name: path for name, path in layers.items() if path}, figures


def _sole(layers: Iterable[Layer | RetintError]) -> Layer:
    (layer,) = layers
    if isinstance(layer, RetintError):
        raise layer
    return layer


def _keep(results: dict[str, Path], output: Path, *, layers: bool) -> None:
    """Move the result to its place; a file of that name from an earlier run is replaced in one step."""
    if layers:
        for name in ("color", "density"):
            if name in results:
                results[name].replace(output.with_name(f"{output.stem}.{results[name].name}"))
        results["provenance"].replace(output.with_name(f"{output.stem}.json"))
    results["result"].replace(output)
