"""Names of the networks, and how one is loaded. Imports torch only when a network is loaded.

A maker in `COLORIZERS` or `DEFADERS` returns what a stage uses: a callable from proxies to layers. A maker in
`NETWORKS` returns the bare network of a name, filled with tensors as its authors name them; it refuses tensors that do
not fit.

`keep` is no network: a stage that reads it in a recipe does nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from retint_models.layers.types import ColorLayer, DensityLayer
from retint_models.weights import cards
from retint_models.weights.cards import Card

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")

Proxy = NDArray[np.uint8]
"""A small upright picture, uint8 (h, w, 3), sRGB."""


class Colorizer(Protocol):
    """Decides the color of proxies.

    Attributes:
        at_once: How many proxies to pass in one call on its device.
    """

    at_once: int

    def __call__(self, proxies: Sequence[Proxy], /, settings: Mapping[str, float]) -> list[ColorLayer]:
        """Decide on proxies of any sizes, in order.

        Raises:
            ValueError: not a proxy, or a setting that the network does not have.
        """


class Defader(Protocol):
    """Decides the tone of proxies.

    Attributes:
        at_once: How many proxies to pass in one call on its device.
    """

    at_once: int

    def __call__(self, proxies: Sequence[Proxy], /) -> list[DensityLayer]:
        """Decide on proxies of any sizes, in order.

        Raises:
            ValueError: not a proxy.
        """


def import_maker(module: str, name: str) -> Callable[..., Any]:
    """Return a function that imports its module, and torch with it, when it is called."""

    def make(*arguments: Any) -> Any:
        return getattr(import_module(f"retint_models.networks.{module}"), name)(*arguments)

    return make


COLORIZERS: dict[str, Callable[[Card, str], Colorizer]] = {
    "compact": import_maker("compact", "CompactColorizer"),
    "compact-vivid": import_maker("compact", "CompactColorizer"),
    "artistic": import_maker("deoldify_colorizer", "DeoldifyColorizer"),
    "stable": import_maker("deoldify_colorizer", "DeoldifyColorizer"),
    "video": import_maker("deoldify_colorizer", "DeoldifyColorizer"),
    "ddcolor": import_maker("ddcolor_colorizer", "DdcolorColorizer"),
    "ddcolor-tiny": import_maker("ddcolor_colorizer", "DdcolorColorizer"),
    "ddcolor-artistic": import_maker("ddcolor_colorizer", "DdcolorColorizer"),
    "deoldify-2018": import_maker("deoldify_2018", "Colorizer2018"),
    "yuv-gan": import_maker("yuv_gan", "YuvGanColorizer"),
    "lab-resnet18": import_maker("lab_resnet18", "LabColorizer"),
}
DEFADERS: dict[str, Callable[[Card, str], Defader]] = {
    "compact-defade": import_maker("compact_defade", "load_compact_defader"),
    "defade-deoldify": import_maker("deoldify_2018", "Defader2018"),
}
NETWORKS: "dict[str, Callable[[str, Mapping[str, Tensor]], nn.Module]]" = {
    "artistic": import_maker("deoldify", "load_network"),
    "stable": import_maker("deoldify", "load_network"),
    "video": import_maker("deoldify", "load_network"),
    "ddcolor": import_maker("ddcolor", "load_network"),
    "ddcolor-tiny": import_maker("ddcolor", "load_network"),
    "ddcolor-artistic": import_maker("ddcolor", "load_network"),
    "deoldify-2018": import_maker("deoldify_2018", "load_network"),
    "yuv-gan": import_maker("yuv_gan", "load_network"),
    "lab-resnet18": import_maker("lab_resnet18", "load_network"),
    "defade-deoldify": import_maker("deoldify_2018", "load_network"),
}


def card(name: str, imported: Path = cards.IMPORTED) -> Card:
    """Return what is known of a network.

    Raises:
        ValueError: no such network.
    """
    known = cards.read_cards(imported)
    if name not in known:
        raise ValueError(f"no network is called {name!r}; there are {', '.join(known)}")
    return known[name]


def load_colorizer(name: str, device: str = "cpu", imported: Path = cards.IMPORTED) -> Colorizer:
    """Load a colorizer onto a device (`cpu`, `cuda`).

    Raises:
        ValueError: no such colorizer, or its weights are not what their card says.
        FileNotFoundError: its weights are missing; says how to get them.
    """
    if name not in COLORIZERS:
        raise ValueError(f"no colorizer is called {name!r}; there are {', '.join(COLORIZERS)}")
    return _make(COLORIZERS[name], card(name, imported), device)


def load_defader(name: str, device: str = "cpu", imported: Path = cards.IMPORTED) -> Defader:
    """Load a defader onto a device (`cpu`, `cuda`).

    Raises:
        ValueError: no such defader, or its weights are not what their card says.
        FileNotFoundError: its weights are missing; says how to get them.
    """
    if name not in DEFADERS:
        raise ValueError(f"no defader is called {name!r}; there are {', '.join(DEFADERS)}")
    return _make(DEFADERS[name], card(name, imported), device)


def _make(maker: Callable[[Card, str], T], which: Card, device: str) -> T:
    """Load a network, which then computes in the precision that its layers record."""
    from retint_models.acceleration.prepare import keep_float32  # and torch with it

    keep_float32(device)
    return maker(which, device)
