"""The stage defade: proxies, colorized where color was decided, in; density layers out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from retint.errors import Transient
from retint.recipes import Recipe
from retint_models import rendering
from retint_models.layers import ColorLayer, DensityLayer
from retint_workers import networks


def is_wanted(recipe: Recipe) -> bool:
    """Whether photos get a density layer."""
    return recipe.defader != "keep" and recipe.strength > 0


def defade(
    proxies: Sequence[NDArray[Any]], colors: Sequence[ColorLayer | None], recipe: Recipe, device: str
) -> list[DensityLayer | Transient]:
    """Decide the tone of proxies, uint8 (h, w, 3) in sRGB: a layer each, or what went wrong with it.

    Raises:
        NetworkUnavailable: the recipe's defader cannot be loaded here.
    """
    network = networks.load("defader", recipe.defader, device)
    seen = [
        proxy if color is None else rendering.colorize_proxy(proxy, color)
        for proxy, color in zip(proxies, colors, strict=True)
    ]
    return [
        replace(layer, strength=recipe.strength) if isinstance(layer, DensityLayer) else layer
        for layer in networks.run(network, seen)
    ]
