"""Names of the networks, and how one is loaded. Imports torch only when a network is loaded.

A maker of `COLORIZERS` or `DEFADERS` gives what a stage uses: proxies in, layers out. A maker of `NETWORKS` gives the
bare network of a name, filled with tensors as their authors name them; it refuses what does not fit.

`keep` is no network: the stage that reads it in a recipe does nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from retint_models import weights
from retint_models.layers import ColorLayer, DensityLayer
from retint_models.weights import Card

if TYPE_CHECKING:
    from torch import Tensor, nn

Proxy = NDArray[np.uint8]
"""A small upright picture, uint8 (h, w, 3), sRGB."""


class Colorizer(Protocol):
    """Decides the color of proxies."""

    def __call__(self, proxies: Sequence[Proxy], /, settings: Mapping[str, float]) -> list[ColorLayer]:
        """Decide on proxies of any sizes, in order.

        Raises:
            ValueError: not a proxy, or a setting that the network does not have.
        """


class Defader(Protocol):
    """Decides the tone of proxies."""

    def __call__(self, proxies: Sequence[Proxy], /) -> list[DensityLayer]:
        """Decide on proxies of any sizes, in order.

        Raises:
            ValueError: not a proxy.
        """


def compact(card: Card, device: str) -> Colorizer:
    """Load the compact colorizer."""
    from retint_models.compact import CompactColorizer

    return CompactColorizer(card, device)


def compact_defade(card: Card, device: str) -> Defader:
    """Load the compact defader."""
    from retint_models.defade import CompactDefader, DefadeNet

    network = DefadeNet()
    weights.fill(network, card.tensors(), card.name)
    return CompactDefader(network, {"defader": card.name, "weights": card.sha256}, device)


def deoldify_colorizer(card: Card, device: str) -> Colorizer:
    """Load one of DeOldify's generators."""
    from retint_models.squares import DeoldifyColorizer

    return DeoldifyColorizer(card, device)


def colorizer_2018(card: Card, device: str) -> Colorizer:
    """Load the colorizer of DeOldify 2018."""
    from retint_models.deoldify2018 import Colorizer2018

    return Colorizer2018(card, device)


def defader_2018(card: Card, device: str) -> Defader:
    """Load the defader of DeOldify 2018."""
    from retint_models.deoldify2018 import Defader2018

    return Defader2018(card, device)


def yuv_gan_colorizer(card: Card, device: str) -> Colorizer:
    """Load the YUV GAN's generator."""
    from retint_models.yuv_gan import YuvGanColorizer

    return YuvGanColorizer(card, device)


def lab_colorizer(card: Card, device: str) -> Colorizer:
    """Load the Lab ResNet."""
    from retint_models.lab_resnet18 import LabColorizer

    return LabColorizer(card, device)


def deoldify(name: str, tensors: "Mapping[str, Tensor]") -> "nn.Module":
    """Make one of DeOldify's generators."""
    from retint_models.deoldify import generator

    return generator(name, tensors)


COLORIZERS: dict[str, Callable[[Card, str], Colorizer]] = {
    "compact": compact,
    "compact-vivid": compact,
    "artistic": deoldify_colorizer,
    "stable": deoldify_colorizer,
    "video": deoldify_colorizer,
    "deoldify-2018": colorizer_2018,
    "yuv-gan": yuv_gan_colorizer,
    "lab-resnet18": lab_colorizer,
}
DEFADERS: dict[str, Callable[[Card, str], Defader]] = {
    "compact-defade": compact_defade,
    "defade-deoldify": defader_2018,
}


def deoldify_2018(name: str, tensors: "Mapping[str, Tensor]") -> "nn.Module":
    """Make the network of DeOldify 2018, to colorize or to defade."""
    from retint_models.deoldify2018 import generator

    return generator(name, tensors)


def yuv_gan(name: str, tensors: "Mapping[str, Tensor]") -> "nn.Module":
    """Make the generator of the YUV GAN."""
    from retint_models.yuv_gan import generator

    return generator(name, tensors)


def lab_resnet18(name: str, tensors: "Mapping[str, Tensor]") -> "nn.Module":
    """Make the Lab ResNet, in the version that the tensors are of."""
    from retint_models.lab_resnet18 import generator

    return generator(name, tensors)


NETWORKS: "dict[str, Callable[[str, Mapping[str, Tensor]], nn.Module]]" = {
    "artistic": deoldify,
    "stable": deoldify,
    "video": deoldify,
    "deoldify-2018": deoldify_2018,
    "yuv-gan": yuv_gan,
    "lab-resnet18": lab_resnet18,
    "defade-deoldify": deoldify_2018,
}


def card(name: str, imported: Path = weights.IMPORTED) -> Card:
    """Return what is known of a network.

    Raises:
        ValueError: no such network.
    """
    known = weights.cards(imported)
    if name not in known:
        raise ValueError(f"no network is called {name!r}; there are {', '.join(known)}")
    return known[name]


def load_colorizer(name: str, device: str = "cpu", imported: Path = weights.IMPORTED) -> Colorizer:
    """Load a colorizer onto a device (`cpu`, `cuda`).

    Raises:
        ValueError: no such colorizer, or its weights are not what their card says.
        FileNotFoundError: its weights are missing; says how to get them.
    """
    if name not in COLORIZERS:
        raise ValueError(f"no colorizer is called {name!r}; there are {', '.join(COLORIZERS)}")
    return COLORIZERS[name](card(name, imported), device)


def load_defader(name: str, device: str = "cpu", imported: Path = weights.IMPORTED) -> Defader:
    """Load a defader onto a device (`cpu`, `cuda`).

    Raises:
        ValueError: no such defader, or its weights are not what their card says.
        FileNotFoundError: its weights are missing; says how to get them.
    """
    if name not in DEFADERS:
        raise ValueError(f"no defader is called {name!r}; there are {', '.join(DEFADERS)}")
    return DEFADERS[name](card(name, imported), device)
