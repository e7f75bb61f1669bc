"""The four stages as a worker runs them: inputs from the store, the pure stage, files into the store.

Nothing here touches the database. A stage is handed leases and yields each as it ends: `Done` with the files that it
put under the attempt's own folder, or what went wrong. One photo's failure is its own.
"""

import io
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retint import recipes
from retint.errors import RetintError
from retint.filetypes import content_type_for
from retint.jobs import Done, Ended, Lease
from retint.lifecycle import Stage
from retint.recipes import Recipe
from retint.services import Services
from retint.settings import Settings
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.films import color_film, decoder, frame_renderer
from retint_workers.films import decide as film_decide
from retint_workers.films import ingest as film_ingest
from retint_workers.films import render as film_render
from retint_workers.imaging import ingest, render
from retint_workers.inference import colorize, defade
from retint_workers.queue.resuming import salvaged
from retint_workers.queue.tasks import Beat, Work

T = TypeVar("T")
Layer = TypeVar("Layer", ColorLayer, DensityLayer)

HANDS = 8
"""Threads that read and write for a network."""
AHEAD = 8
"""Photos that are read before the network asks for them."""
LAG_S = 1.0
"""For how long decided layers may be on their way to the store while the network goes on."""


def run_ingest(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[Ended]:
    """Original in; facts and proxy out."""

    def one(lease: Lease, folder: Path) -> Done:
        original, seconds = _original(services, lease, folder)
        started = time.monotonic()
        ingested = _ingested(original, lease.recipe, services.settings, beat)
        files = _put(services, lease, {"proxy": ("proxy.png", ingested.proxy)})
        return Done(files, ingested.facts, {"fetch": seconds, "ingest": time.monotonic() - started})

    yield from _one_by_one(leases, one, beat)


def _ingested(original: Path, recipe: Recipe, settings: Settings, beat: Beat) -> ingest.Ingested:
    if not decoder.is_film(original):
        return ingest.ingest(original, recipe, settings, beat)
    return film_ingest.ingest(original, recipe, settings, lambda *_: beat(), settings.film_limit_gp)


def run_colorize(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[Ended]:
    """Proxies, or films, in; color layers out, where the recipe and the photo ask for one."""
    wanted: list[Lease] = []
    films: list[Lease] = []
    for lease in leases:
        facts = lease.facts[Stage.INGEST]
        if not colorize.is_wanted(lease.recipe, facts["kind"]):
            yield lease, Done()
        else:
            (films if _is_film(lease) else wanted).append(lease)

    def one(lease: Lease, folder: Path) -> Done:
        original, _ = _original(services, lease, folder)
        facts, settings = lease.facts[Stage.INGEST], services.settings
        weights = recipes.cards(settings.weights)[lease.recipe.colorizer].sha256
        with salvaged(services.store, lease, folder, "color", color_film.SEGMENT_FRAMES, weights, beat) as tell:
            color = film_decide.colorize(original, folder, facts, lease.recipe, settings, tell)
            return Done(_put(services, lease, {"color": (color.name, color)} if color else {}))

    def decide(proxies: Iterator[NDArray[Any] | RetintError]) -> Iterator[ColorLayer | RetintError]:
        return colorize.colorize(proxies, wanted[0].recipe, services.settings, beat)

    if wanted:
        yield from _together(services, wanted, partial(_proxy, services), decide)
    yield from _one_by_one(films, one, beat)


def run_defade(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[Ended]:
    """Proxies, or films, with their color layers in; density layers out, where the recipe asks for one."""
    recipe = leases[0].recipe  # a bundle is of one batch, hence of one recipe
    if not defade.is_wanted(recipe):
        yield from ((lease, Done()) for lease in leases)
        return

    def read(lease: Lease) -> NDArray[Any]:
        return defade.make_input(_proxy(services, lease), _layer(services, lease, "color", ColorLayer.from_bytes))

    def decide(proxies: Iterator[NDArray[Any] | RetintError]) -> Iterator[DensityLayer | RetintError]:
        return defade.defade(proxies, recipe, services.settings, beat)

    def one(lease: Lease, folder: Path) -> Done:
        original, _ = _original(services, lease, folder)
        color, facts = _fetched(services, lease, "color", folder), lease.facts[Stage.INGEST]
        density = film_decide.defade(original, folder, facts, recipe, color, services.settings, lambda *_: beat())
        return Done(_put(services, lease, {"density": (density.name, density)} if density else {}))

    if photos := [lease for lease in leases if not _is_film(lease)]:
        yield from _together(services, photos, read, decide)
    yield from _one_by_one([lease for lease in leases if _is_film(lease)], one, beat)


def run_render(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[Ended]:
    """Original and layers in; result, previews and provenance out, checked."""

    def one(lease: Lease, folder: Path) -> Done:
        original, seconds = _original(services, lease, folder)
        started = time.monotonic()
        if _is_film(lease):
            with salvaged(services.store, lease, folder, "picture", frame_renderer.SEGMENT_FRAMES, "", beat) as tell:
                rendered = _rendered_film(services, lease, original, folder, tell)
                files = _put(services, lease, _named(rendered))
        else:
            rendered = _rendered(services, lease, original, folder, beat)
            files = _put(services, lease, _named(rendered))
        timings = rendered.timings | {"fetch": seconds, "render": time.monotonic() - started}
        return Done(files, rendered.facts, timings)

    yield from _one_by_one(leases, one, beat)


def _rendered(services: Services, lease: Lease, original: Path, folder: Path, beat: Beat) -> render.Rendered:
    color = _layer(services, lease, "color", ColorLayer.from_bytes)
    density = _layer(services, lease, "density", DensityLayer.from_bytes)
    facts = lease.facts[Stage.INGEST]
    return render.render(original, folder, facts, lease.recipe, color, density, services.settings, beat)


def _rendered_film(
    services: Services, lease: Lease, original: Path, folder: Path, tell: film_ingest.ReportProgress
) -> render.Rendered:
    color, density = (_fetched(services, lease, name, folder) for name in ("color", "density"))
    facts, recipe = lease.facts[Stage.INGEST], lease.recipe
    request = frame_renderer.RenderRequest(original, folder, facts, recipe, color, density)
    return film_render.render(request, services.settings, tell)


def _named(rendered: render.Rendered) -> dict[str, tuple[str, Path | bytes]]:
    return {name: (path.name, path) for name, path in rendered.files.items()}


STAGES: Mapping[Stage, Work] = {
    Stage.INGEST: run_ingest,
    Stage.COLORIZE: run_colorize,
    Stage.DEFADE: run_defade,
    Stage.RENDER: run_render,
}


def _one_by_one(leases: Sequence[Lease], work: Callable[[Lease, Path], Done], beat: Beat) -> Iterator[Ended]:
    """Run a cpu stage on each photo, in a folder of its own that is gone afterwards."""
    for lease in leases:
        if not beat():
            return
        with tempfile.TemporaryDirectory(prefix="retint-") as folder:
            ended = _tried(partial(work, lease, Path(folder)))
        yield lease, ended


def _together(
    services: Services,
    leases: Sequence[Lease],
    read: Callable[[Lease], NDArray[Any]],
    decide: Callable[[Iterator[NDArray[Any] | RetintError]], Iterator[Layer | RetintError]],
) -> Iterator[Ended]:
    """Run a network on a bundle; while it runs, threads read what comes next and write what was decided."""

    def keep(lease: Lease, layer: Layer) -> Done:
        name = "color" if isinstance(layer, ColorLayer) else "density"
        return Done(_put(services, lease, {name: (f"{name}.safetensors", layer.to_bytes())}))

    with ThreadPoolExecutor(HANDS) as hands:
        kept: deque[tuple[Lease, Future[Done | RetintError]]] = deque()
        since = time.monotonic()
        for lease, layer in zip(leases, decide(_ahead(hands, read, leases)), strict=False):
            if isinstance(layer, RetintError):
                yield lease, layer
                continue
            kept.append((lease, hands.submit(_tried, partial(keep, lease, layer))))
            # Where the network takes its time, a kill shall cost no more of its work than it must.
            while kept and (kept[0][1].done() or time.monotonic() - since > LAG_S):
                yield _ended(*kept.popleft())
                since = time.monotonic()
        yield from (_ended(*one) for one in kept)


def _ended(lease: Lease, written: Future[Done | RetintError]) -> Ended:
    return lease, written.result()


def _ahead(hands: ThreadPoolExecutor, read: Callable[[Lease], T], leases: Sequence[Lease]) -> Iterator[T | RetintError]:
    """Read the inputs of leases in their order, some before they are asked for."""
    coming: deque[Future[T | RetintError]] = deque()
    for lease in leases:
        coming.append(hands.submit(_tried, partial(read, lease)))
        if len(coming) > AHEAD:
            yield coming.popleft().result()
    while coming:
        yield coming.popleft().result()


def _tried(work: Callable[[], T]) -> T | RetintError:
    """Do the work; what was foreseen to go wrong becomes the outcome. All else is the bundle's (see `tasks`)."""
    try:
        return work()
    except RetintError as error:
        return error


def _is_film(lease: Lease) -> bool:
    return bool(lease.facts[Stage.INGEST].get("film"))


def _fetched(services: Services, lease: Lease, name: str, folder: Path) -> Path | None:
    """Download a film's layer of an earlier stage; none where that stage had nothing to do."""
    if name not in lease.files:
        return None
    path = folder / PurePosixPath(lease.files[name]).name
    services.store.fetch(lease.files[name], path)
    return path


def _original(services: Services, lease: Lease, folder: Path) -> tuple[Path, float]:
    """Download the original: its path, and the seconds that took."""
    started = time.monotonic()
    path = folder / "original"
    services.store.fetch(lease.original_key, path)
    return path, time.monotonic() - started


def _proxy(services: Services, lease: Lease) -> NDArray[Any]:
    with services.store.open(lease.files["proxy"]) as source:
        return np.asarray(Image.open(io.BytesIO(source.read())).convert("RGB"))


def _layer(services: Services, lease: Lease, name: str, read: Callable[[bytes], T]) -> T | None:
    """Read a layer of an earlier stage; none where that stage had nothing to do."""
    if name not in lease.files:
        return None
    with services.store.open(lease.files[name]) as source:
        return read(source.read())


def _put(services: Services, lease: Lease, files: Mapping[str, tuple[str, Path | bytes]]) -> dict[str, str]:
    """Write an attempt's files under its folder in the store: name to key."""
    keys = {}
    for name, (file_name, content) in files.items():
        keys[name] = lease.file_key(file_name)
        services.store.put(keys[name], content, content_type_for(file_name))
    return keys
