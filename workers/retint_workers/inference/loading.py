"""Loads networks once per process and runs them on as many proxies at once as pays on their device."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog
from numpy.typing import NDArray

from retint.errors import OutOfMemory, RetintError, Transient
from retint.recipes import Recipe
from retint.settings import Settings

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_LOADED = 4
"""Networks that a worker keeps in memory; the next one replaces the least recently used."""

log = structlog.get_logger()


class NetworkUnavailable(Transient):
    """The network that a recipe names cannot be loaded here. An administrator can help, the photo cannot.

    The job is tried three times like after any fault, minutes apart: so one worker without the weights does not
    quarantine what others can run. Where no worker can run it, an administrator soon finds the job, with the reason.
    """

    code = "network_unavailable"
    backoff_factor = 30


def load_network(kind: str, name: str, settings: Settings) -> Any:
    """Load the `colorizer` or `defader` of that name onto the device; it stays loaded (see `MAX_LOADED`).

    Raises:
        NetworkUnavailable: there is no such network, or its weights are missing or damaged; says what to do.
    """
    return _load_cached(kind, name, settings.device, settings.weights)


@lru_cache(MAX_LOADED)
def _load_cached(kind: str, name: str, device: str, imported: Path) -> Any:
    from retint_models.networks import registry

    loader = registry.load_colorizer if kind == "colorizer" else registry.load_defader
    try:
        return loader(name, resolve_device(device), imported)
    except (ValueError, OSError, KeyError) as error:
        raise NetworkUnavailable(f"The {kind} {name} cannot be used: {error}") from error


def preload_networks(settings: Settings) -> None:
    """Load the networks of the default recipe; log a warning for imported weights that are damaged.

    Raises:
        NetworkUnavailable: a network of the default recipe cannot be loaded here; says what to do.
    """
    from retint_models.weights import cards

    load_network("colorizer", Recipe().colorizer, settings)
    load_network("defader", Recipe().defader, settings)
    for card in cards.read_cards(settings.weights).values():
        if not card.is_shipped and card.is_expected:
            try:
                card.verify()
            except (ValueError, OSError) as error:
                log.warning("weights_unfit", network=card.name, reason=str(error))


def resolve_device(device: str) -> str:
    """Return `cuda` or `cpu` for `auto`: the GPU where there is one. Other names stay as they are."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


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
    beat: Callable[[], bool] = lambda: True,
    **settings: Any,
) -> Iterator[T | RetintError]:
    """Run a network over proxies of any sizes; yield for each, in order, its layer or the error that it met.

    A call that fails or runs out of memory is repeated with half as many proxies: so one proxy that the network cannot
    process does not fail the others.

    Args:
        network: called with `at_once` proxies at a time.
        proxies: taken as they are needed. An error in a proxy's place is yielded unchanged.
        beat: called after every call; where it returns False, no further call is made.
        settings: passed to the network with every call.
    """
    proxies = iter(proxies)
    while chunk := list(islice(proxies, network.at_once)):
        valid = [proxy for proxy in chunk if not isinstance(proxy, RetintError)]
        layers = iter(_run_splitting(partial(network, **settings), valid))
        yield from (proxy if isinstance(proxy, RetintError) else next(layers) for proxy in chunk)
        if not beat():
            return


def _run_splitting(
    network: Callable[[list[NDArray[Any]]], Sequence[T]], proxies: list[NDArray[Any]]
) -> list[T | Transient]:
    """Run one call; after a failure run each half of the proxies by itself."""
    import torch

    if not proxies:
        return []
    try:
        return list(network(proxies))
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        problem: Transient = OutOfMemory("The GPU's memory is too small for this photo.")
        problem.__cause__ = error
    except (ValueError, RuntimeError) as error:
        problem = Transient(f"The network failed: {error}", code="network_failed")
        problem.__cause__ = error
    if len(proxies) == 1:
        return [problem]
    middle = len(proxies) // 2
    return _run_splitting(network, proxies[:middle]) + _run_splitting(network, proxies[middle:])
