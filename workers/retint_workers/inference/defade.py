"""The stage defade: decides a density layer for each proxy, colorized first where a color layer was decided."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from retint.errors import RetintError
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers import rendering
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.beats import Beat, beat_for_nobody
from retint_workers.inference import loading


def is_wanted(recipe: Recipe) -> bool:
    """Whether photos get a density layer."""
    return recipe.defader != "keep" and recipe.strength > 0


def make_input(proxy: NDArray[Any], color: ColorLayer | None) -> NDArray[Any]:
    """Return a proxy as the defader looks at it: colorized where a color layer was decided."""
    return proxy if color is None else rendering.colorize_proxy(proxy, color)


def defade(
    inputs: Iterable[NDArray[Any] | RetintError],
    recipe: Recipe,
    settings: Settings,
    beat: Beat = beat_for_nobody,
) -> Iterator[DensityLayer | RetintError]:
    """Decide the tone repair of proxies from `make_input`, uint8 (h, w, 3) in sRGB: yield a layer or an error for each.

    Inputs are taken, and layers yielded, as in `loading.run_network`.

    Raises:
        NetworkUnavailable: the recipe's defader cannot be loaded here.
        DeviceFailed, OutOfMemory: the device cannot take it.
    """
    network = loading.load_network("defader", recipe.defader, settings, beat)
    for layer in loading.run_network(network, inputs, beat):
        yield replace(layer, strength=recipe.strength) if isinstance(layer, DensityLayer) else layer
