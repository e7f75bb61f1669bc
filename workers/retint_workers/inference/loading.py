"""Networks at work: loaded once a process, fed as many proxies at once as pay on their device."""

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

KEPT = 4
"""Networks that a worker keeps in memory; one more takes the place of the one that was idle longest."""

log = structlog.get_logger()


class NetworkUnavailable(Transient):
    """The network that a recipe names cannot be loaded here: an administrator's business, not the photo's.

    It is tried three times like any fault, minutes apart: a worker without the weights does not quarantine what others
    could run, and where nobody can, the photos soon lie where an administrator looks, with the reason.
    """

    code = "network_unavailable"
    patience = 30


def load(kind: str, name: str, settings: Settings) -> Any:
    """Load the `colorizer` or `defader` of that name onto the device; the second time it is there already.

    Raises:
        NetworkUnavailable: no such network, or its weights are missing or unfit; says what to do.
    """
    return _loaded(kind, name, settings.device, settings.weights)


@lru_cache(KEPT)
def _loaded(kind: str, name: str, device: str, imported: Path) -> Any:
    from retint_models.networks import registry

    loader = registry.load_colorizer if kind == "colorizer" else registry.load_defader
    try:
        return loader(name, pick(device), imported)
    except (ValueError, OSError, KeyError) as error:
        raise NetworkUnavailable(f"The {kind} {name} cannot be used: {error}") from error


def survey(settings: Settings) -> None:
    """Load what a recipe asks for by default, and warn of imported weights that are unfit.

    Raises:
        NetworkUnavailable: a network of the default recipe cannot be loaded here; says what to do.
    """
    from retint_models.weights import cards

    load("colorizer", Recipe().colorizer, settings)
    load("defader", Recipe().defader, settings)
    for card in cards.cards(settings.weights).values():
        if not card.is_shipped and card.is_expected:
            try:
                card.check()
            except (ValueError, OSError) as error:
                log.warning("weights_unfit", network=card.name, reason=str(error))


def pick(device: str) -> str:
    """Resolve `auto` to the first GPU, or to the CPU."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class Network(Protocol[T_co]):
    """A colorizer or defader of `retint_models.networks.registry`.

    Attributes:
        at_once: How many pictures pay in one call on its device.
    """

    at_once: int

    def __call__(self, *pictures: Any, **settings: Any) -> Sequence[T_co]:
        """Decide on a list of pictures, in order."""


def run(
    network: Network[T],
    pictures: Iterable[NDArray[Any] | RetintError],
    beat: Callable[[], bool] = lambda: True,
    **settings: Any,
) -> Iterator[T | RetintError]:
    """Run a network over pictures of any sizes: yields for each in turn its layer, or the fault that it met.

    What does not fit into memory, or fails, is tried again in halves: a picture that the network cannot bear
    takes no other down with it.

    Args:
        network: called with `at_once` pictures at a time.
        pictures: taken as they are needed. An error in a picture's place comes out as it went in.
        beat: called between two calls; where it says so, nothing more is begun.
        settings: what the network is to be told beside the pictures.
    """
    pictures = iter(pictures)
    while chunk := list(islice(pictures, network.at_once)):
        sound = [picture for picture in chunk if not isinstance(picture, RetintError)]
        layers = iter(_halving(partial(network, **settings), sound))
        yield from (picture if isinstance(picture, RetintError) else next(layers) for picture in chunk)
        if not beat():
            return


def _halving(network: Callable[[list[NDArray[Any]]], Sequence[T]], pictures: list[NDArray[Any]]) -> list[T | Transient]:
    import torch

    if not pictures:
        return []
    try:
        return list(network(pictures))
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        problem: Transient = OutOfMemory("The GPU's memory is too small for this photo.")
        problem.__cause__ = error
    except (ValueError, RuntimeError) as error:
        problem = Transient(f"The network failed: {error}", code="network_failed")
        problem.__cause__ = error
    if len(pictures) == 1:
        return [problem]
    middle = len(pictures) // 2
    return _halving(network, pictures[:middle]) + _halving(network, pictures[middle:])
