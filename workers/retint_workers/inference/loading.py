"""Loads networks once per process and runs them on as many proxies at once as pays on their device."""

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import islice, repeat
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog
from numpy.typing import NDArray

from retint.errors import DeviceFailed, MachineFault, OutOfMemory, RetintError, Transient
from retint.recipes import Recipe
from retint.settings import Settings
from retint_workers.beats import Background, Beat, beat_for_nobody
from retint_workers.inference import devices

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_LOADED = 4
"""Networks that a worker keeps in memory; the next one replaces the least recently used."""
LOAD_LIMIT_S = 900
"""How long reading a network's weights may take."""

log = structlog.get_logger()


class NetworkUnavailable(Transient):
    """The network that a recipe names cannot be loaded here. An administrator can help, the photo cannot.

    The job is tried three times like after any fault, minutes apart: so one worker without the weights does not
    quarantine what others can run. Where no worker can run it, an administrator soon finds the job, with the reason.
    """

    code = "network_unavailable"
    backoff_factor = 30


def load_network(kind: str, name: str, settings: Settings, beat: Beat = beat_for_nobody) -> Any:
    """Load the `colorizer` or `defader` of that name onto the device; it stays loaded (see `MAX_LOADED`).

    Raises:
        NetworkUnavailable: there is no such network, or its weights are missing or damaged; says what to do.
        DeviceFailed, OutOfMemory: the device cannot take it.
    """
    stalled = NetworkUnavailable(f"The {kind} {name} was not loaded within {LOAD_LIMIT_S} seconds.")
    # Weights may come over a slow network file system, and no reader of them tells how far it is.
    loading = Background(lambda _: _load_cached(kind, name, settings.device, settings.weights), LOAD_LIMIT_S, stalled)
    return loading.wait(beat)


@lru_cache(MAX_LOADED)
def _load_cached(kind: str, name: str, device: str, imported: Path) -> Any:
    from retint_models.networks import registry

    loader = registry.load_colorizer if kind == "colorizer" else registry.load_defader
    try:
        with devices.translate_errors():
            return loader(name, devices.resolve_device(device), imported)
    except (ValueError, OSError, KeyError) as error:
        raise NetworkUnavailable(f"The {kind} {name} cannot be used: {error}") from error


def preload_networks(settings: Settings, beat: Beat = beat_for_nobody) -> None:
    """Load the networks of the default recipe, and compile what shows a proxy repaired to a colorizer.

    Logs a warning for imported weights that are damaged.

    Raises:
        NetworkUnavailable: a network of the default recipe cannot be loaded here; says what to do.
        MachineFault: compiling takes too long.
        DeviceFailed, OutOfMemory: the device cannot take it.
    """
    from retint_models.layers import rendering
    from retint_models.weights import cards

    # Not in the first photo's beats: on a busy machine compiling takes longer than a worker may be silent.
    stalled = MachineFault(f"The code that repairs proxies was not compiled within {LOAD_LIMIT_S} seconds.")
    Background(lambda _: rendering.warm_up(), LOAD_LIMIT_S, stalled).wait(beat)

    def report_progress(*_: object) -> None:
        beat()

    load_network("colorizer", Recipe().colorizer, settings, beat)
    load_network("defader", Recipe().defader, settings, beat)
    for card in cards.read_cards(settings.weights).values():
        if not card.is_shipped and card.is_expected:
            try:
                card.verify(report_progress)
            except (ValueError, OSError) as error:
                log.warning("weights_unfit", network=card.name, reason=str(error))


class LayerNetwork(Protocol[T_co]):
    """A colorizer or defader of `retint_models.networks.registry`.

    Attributes:
        at_once: number of proxies per call that is fastest on its device.
    """

    at_once: int

    def __call__(self, *proxies: Any, **settings: Any) -> Sequence[T_co]:
        """Decide a layer for each of a list of proxies, in order."""


def run_network(
    network: LayerNetwork[T],
    proxies: Iterable[NDArray[Any] | RetintError],
    beat: Beat = beat_for_nobody,
    **settings: Any,
) -> Iterator[T | RetintError]:
    """Run a network over proxies of any sizes; yield for each, in order, its layer or the error that it met.

    A call that fails or runs out of memory is repeated with half as many proxies: so one proxy that the network cannot
    process does not fail the others. After an error of the device itself no further call is made: the process has lost
    it, and which of the proxies was the reason cannot be told.

    Args:
        network: called with `at_once` proxies at a time.
        proxies: taken as they are needed. An error in a proxy's place is yielded unchanged.
        beat: called during a call, after each of the network's layers, and after every call; where it then returns
            False, no further call is made.
        settings: passed to the network with every call.
    """
    proxies = iter(proxies)
    has_device = True
    while has_device and (chunk := list(islice(proxies, network.at_once))):
        valid = [proxy for proxy in chunk if not isinstance(proxy, RetintError)]
        layers: Iterator[T | RetintError]
        try:
            with _beating_between_layers(beat):
                layers = iter(_run_splitting(partial(network, **settings), valid))
        except DeviceFailed as error:
            layers, has_device = repeat(error), False
        yield from (proxy if isinstance(proxy, RetintError) else next(layers) for proxy in chunk)
        if not beat():
            return


@contextmanager
def _beating_between_layers(beat: Beat) -> Iterator[None]:
    """Beat after each module that torch runs in the block: one call of a heavy network takes minutes on a CPU."""
    from torch.nn.modules import module

    def beat_after(*_: Any) -> None:
        beat()

    hook = module.register_module_forward_hook(beat_after)
    try:
        yield
    finally:
        hook.remove()


def _run_splitting(
    network: Callable[[list[NDArray[Any]]], Sequence[T]], proxies: list[NDArray[Any]]
) -> list[T | Transient]:
    """Run one call; after a failure run each half of the proxies by itself.

    Raises:
        DeviceFailed: nothing more can be run.
    """
    import torch

    if not proxies:
        return []
    try:
        with devices.translate_errors():
            return list(network(proxies))
    except OutOfMemory as error:
        problem: Transient = error
    except (ValueError, RuntimeError) as error:
        # A machine without memory says so in many words, such as "could not create a primitive".
        kind = MachineFault if isinstance(error, RuntimeError) else Transient
        problem = kind(f"The network failed: {error}", code="network_failed")
        problem.__cause__ = error
    # The error lives until its photo has ended. Its frames would keep the maps of the call that failed, and the halves
    # need their memory.
    traceback.clear_frames(problem.__cause__.__traceback__ if problem.__cause__ else None)
    torch.cuda.empty_cache()
    if len(proxies) == 1:
        return [problem]
    middle = len(proxies) // 2
    return _run_splitting(network, proxies[:middle]) + _run_splitting(network, proxies[middle:])
