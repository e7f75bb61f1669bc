"""The stage defade: proxies, colorized where color was decided, in; density layers out."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from retint.errors import RetintError
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers import rendering
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.inference import loading


def is_wanted(recipe: Recipe) -> bool:
    """Whether photos get a density layer."""
    return recipe.defader != "keep" and recipe.strength > 0


def seen(proxy: NDArray[Any], color: ColorLayer | None) -> NDArray[Any]:
    """Show a proxy as the defader is to see it: in color where color was decided."""
    return proxy if color is None else rendering.colorize_proxy(proxy, color)


def defade(
    proxies: Iterable[NDArray[Any] | RetintError],
    recipe: Recipe,
    settings: Settings,
    beat: Callable[[], bool] = lambda: True,
) -> Iterator[DensityLayer | RetintError]:
    """Decide the tone of proxies, uint8 (h, w, 3) in sRGB, as `seen`: a layer each, or what went wrong with it.

    They are taken, and layers yielded, as in `networks.run`.

    Raises:
        NetworkUnavailable: the recipe's defader cannot be loaded here.
    """
    network = loading.load("defader", recipe.defader, settings)
    for layer in loading.run(network, proxies, beat):
        yield replace(layer, strength=recipe.strength) if isinstance(layer, DensityLayer) else layer
