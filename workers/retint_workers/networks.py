"""Networks at work: loaded once a process, fed as many proxies as the memory holds."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from numpy.typing import NDArray

from retint.errors import OutOfMemory, Transient

T = TypeVar("T")


class NetworkUnavailable(Transient):
    """The network that a recipe names cannot be loaded here: an administrator's business, not the photo's."""

    code = "network_unavailable"


@cache
def load(kind: str, name: str, device: str) -> Any:
    """Load the `colorizer` or `defader` of that name onto the device; the second time it is there already.

    Raises:
        NetworkUnavailable: no such network, or its weights are missing or unfit.
    """
    from retint_models import registry  # torch takes seconds, and cpu workers have none

    loader = registry.load_colorizer if kind == "colorizer" else registry.load_defader
    try:
        return loader(name, pick(device))
    except (ValueError, OSError, KeyError) as error:
        raise NetworkUnavailable(f"The {kind} {name} cannot be used: {error}") from error


def pick(device: str) -> str:
    """Resolve `auto` to the first GPU, or to the CPU."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def run(network: Callable[[list[NDArray[Any]]], list[T]], pictures: Sequence[NDArray[Any]]) -> list[T | Transient]:
    """Run a network over pictures of any sizes: one layer each, or the fault that this one picture met.

    What does not fit into memory, or fails, is tried again in halves: a picture that the network cannot bear
    takes no other down with it.
    """
    import torch

    try:
        return list(network(list(pictures)))
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
    return run(network, pictures[:middle]) + run(network, pictures[middle:])
