"""The stage defade: decides a density layer for each proxy."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from retint.errors import RetintError
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.types import DensityLayer
from retint_workers.beats import Beat, beat_for_nobody
from retint_workers.inference import colorize, loading


def is_wanted(recipe: Recipe, kind: str) -> bool:
    """Whether a photo of this kind gets a density layer: also at strength 0 where a colorizer looks through it."""
    is_used = recipe.strength > 0 or colorize.is_wanted(recipe, kind)
    return recipe.defader != "keep" and recipe.changes(kind) and is_used


def defade(
    proxies: Iterable[NDArray[Any] | RetintError],
    recipe: Recipe,
    settings: Settings,
    beat: Beat = beat_for_nobody,
) -> Iterator[DensityLayer | RetintError]:
    """Decide the tone repair of proxies, uint8 (h, w, 3) in sRGB: yield a layer or an error for each.

    Proxies are taken, and layers yielded, as in `loading.run_network`.

    Raises:
        NetworkUnavailable: the recipe's defader cannot be loaded here.
        DeviceFailed, OutOfMemory: the device cannot take it.
    """
    network = loading.load_network("defader", recipe.defader, settings, beat)
    for layer in loading.run_network(network, proxies, beat):
        yield replace(layer, strength=recipe.strength) if isinstance(layer, DensityLayer) else layer
