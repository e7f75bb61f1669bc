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
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retint.errors import RetintError
from retint.jobs import Done, Ended, Lease
from retint.lifecycle import Stage
from retint.services import Services
from retint_models.layers import ColorLayer, DensityLayer
from retint_workers import colorize, defade, ingest, render
from retint_workers.tasks import Beat, Work

T = TypeVar("T")
Layer = TypeVar("Layer", ColorLayer, DensityLayer)

HANDS = 8
"""Threads that read and write for a network."""
AHEAD = 8
"""Photos that are read before the network asks for them."""

CONTENT_TYPES: Mapping[str, str] = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".json": "application/json",
    ".szi": "application/zip",
}


def run_ingest(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[Ended]:
    """Original in; facts and proxy out."""

    def one(lease: Lease, folder: Path) -> Done:
        original, seconds = _original(services, lease, folder)
        started = time.monotonic()
        ingested = ingest.ingest(original, lease.recipe, services.settings, beat)
        files = _put(services, lease, {"proxy": ("proxy.png", ingested.proxy)})
        return Done(files, ingested.facts, {"fetch": seconds, "ingest": time.monotonic() - started})

    yield from _one_by_one(leases, one, beat)


def run_colorize(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[Ended]:
    """Proxies in; color layers out, where the recipe and the photo ask for one."""
    wanted = []
    for lease in leases:
        if colorize.is_wanted(lease.recipe, lease.facts[Stage.INGEST]["kind"]):
            wanted.append(lease)
        else:
            yield lease, Done()

    def decide(proxies: Iterator[NDArray[Any] | RetintError]) -> Iterator[ColorLayer | RetintError]:
        return colorize.colorize(proxies, wanted[0].recipe, services.settings, beat)

    if wanted:
        yield from _together(services, wanted, partial(_proxy, services), decide)


def run_defade(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[Ended]:
    """Proxies with their color layers in; density layers out, where the recipe asks for one."""
    recipe = leases[0].recipe  # a bundle is of one batch, hence of one recipe
    if not defade.is_wanted(recipe):
        yield from ((lease, Done()) for lease in leases)
        return

    def read(lease: Lease) -> NDArray[Any]:
        return defade.seen(_proxy(services, lease), _layer(services, lease, "color", ColorLayer.from_bytes))

    def decide(proxies: Iterator[NDArray[Any] | RetintError]) -> Iterator[DensityLayer | RetintError]:
        return defade.defade(proxies, recipe, services.settings, beat)

    yield from _together(services, leases, read, decide)


def run_render(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[Ended]:
    """Original and layers in; result, previews and provenance out, checked."""

    def one(lease: Lease, folder: Path) -> Done:
        original, seconds = _original(services, lease, folder)
        started = time.monotonic()
        rendered = render.render(
            original,
            folder,
            lease.facts[Stage.INGEST],
            lease.recipe,
            _layer(services, lease, "color", ColorLayer.from_bytes),
            _layer(services, lease, "density", DensityLayer.from_bytes),
            services.settings,
            beat,
        )
        files = _put(services, lease, {name: (path.name, path) for name, path in rendered.files.items()})
        timings = rendered.timings | {"fetch": seconds, "render": time.monotonic() - started}
        return Done(files, rendered.facts, timings)

    yield from _one_by_one(leases, one, beat)


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
        for lease, layer in zip(leases, decide(_ahead(hands, read, leases)), strict=False):
            if isinstance(layer, RetintError):
                yield lease, layer
                continue
            kept.append((lease, hands.submit(_tried, partial(keep, lease, layer))))
            while kept and kept[0][1].done():
                yield _ended(*kept.popleft())
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


def _original(services: Services, lease: Lease, folder: Path) -> tuple[Path, float]:
    """Download the original: its path, and the seconds that took."""
    started = time.monotonic()
    path = folder / "original"
    services.store.fetch(lease.original, path)
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
        keys[name] = f"{lease.folder}/{file_name}"
        services.store.put(keys[name], content, CONTENT_TYPES.get(Path(file_name).suffix, "application/octet-stream"))
    return keys
