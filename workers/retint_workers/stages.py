"""The four stages as a worker runs them: inputs from the store, the pure stage, files into the store.

Nothing here touches the database. A stage is handed leases and yields each as it ends: `Done` with the files that it
put under the attempt's own folder, or what went wrong. One photo's failure is its own.
"""

import io
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image

from retint.errors import RetintError, Transient
from retint.jobs import Done, Ended, Lease
from retint.lifecycle import Stage
from retint.services import Services
from retint_models.layers import ColorLayer, DensityLayer
from retint_workers import colorize, defade, ingest, render
from retint_workers.tasks import Beat, Work

T = TypeVar("T")
Layer = TypeVar("Layer", ColorLayer, DensityLayer)

log = structlog.get_logger()

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

    def decide(proxies: list[NDArray[Any]], whose: list[Lease]) -> list[ColorLayer | Transient]:
        return colorize.colorize(proxies, whose[0].recipe, services.settings.device)

    yield from _together(services, wanted, decide, beat)


def run_defade(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[Ended]:
    """Proxies with their color layers in; density layers out, where the recipe asks for one."""
    if not defade.is_wanted(leases[0].recipe):  # a bundle is of one batch, hence of one recipe
        yield from ((lease, Done()) for lease in leases)
        return

    def decide(proxies: list[NDArray[Any]], whose: list[Lease]) -> list[DensityLayer | Transient]:
        colors = [_layer(services, lease, "color", ColorLayer.from_bytes) for lease in whose]
        return defade.defade(proxies, colors, whose[0].recipe, services.settings.device)

    yield from _together(services, leases, decide, beat)


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
        beat()
        with tempfile.TemporaryDirectory(prefix="retint-") as folder:
            ended = _attempt(partial(work, lease, Path(folder)), lease)
        yield lease, ended


def _together(
    services: Services,
    leases: Sequence[Lease],
    decide: Callable[[list[NDArray[Any]], list[Lease]], Sequence[Layer | Transient]],
    beat: Beat,
) -> Iterator[Ended]:
    """Run a network on all photos of a bundle at once."""
    started = time.monotonic()
    proxies: list[NDArray[Any]] = []
    whose: list[Lease] = []
    for lease in leases:
        proxy = _attempt(partial(_proxy, services, lease), lease)
        if isinstance(proxy, RetintError):
            yield lease, proxy
        else:
            proxies.append(proxy)
            whose.append(lease)
    if not whose:
        return
    beat()
    fetched = time.monotonic()
    decided = _attempt(partial(decide, proxies, whose), *whose)
    if isinstance(decided, RetintError):
        yield from ((lease, decided) for lease in whose)
        return
    seconds = {"fetch": (fetched - started) / len(whose), "network": (time.monotonic() - fetched) / len(whose)}
    for lease, layer in zip(whose, decided, strict=True):
        beat()
        kept = (
            layer if isinstance(layer, Transient) else _attempt(partial(_keep, services, lease, layer, seconds), lease)
        )
        yield lease, kept


def _keep(services: Services, lease: Lease, layer: ColorLayer | DensityLayer, seconds: dict[str, float]) -> Done:
    name = "color" if isinstance(layer, ColorLayer) else "density"
    return Done(_put(services, lease, {name: (f"{name}.safetensors", layer.to_bytes())}), {}, seconds)


def _attempt(work: Callable[[], T], *leases: Lease) -> T | RetintError:
    """Do the work; what goes wrong becomes the outcome. What nobody foresaw is a bug: logged, tried again, kept."""
    try:
        return work()
    except RetintError as error:
        return error
    except Exception as error:
        for lease in leases:
            log.exception("stage_failed", job_id=str(lease.job_id), attempt=lease.attempt, stage=lease.stage)
        return Transient(f"Something unforeseen: {traceback.format_exception_only(error)[-1].strip()}", code="bug")


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
