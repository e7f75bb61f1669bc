"""The stage colorize: decides a color layer for each proxy."""

from collections.abc import Iterable, Iterator
from typing import Any

from numpy.typing import NDArray

from retint.errors import RetintError
from retint.kinds import COLOR
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.types import ColorLayer
from retint_workers.beats import Beat, beat_for_nobody
from retint_workers.inference import loading


def is_wanted(recipe: Recipe, kind: str) -> bool:
    """Whether a photo of this kind gets a color layer."""
    return recipe.colorizer != "keep" and recipe.changes(kind) and (kind != COLOR or recipe.insist)


def colorize(
    proxies: Iterable[NDArray[Any] | RetintError],
    recipe: Recipe,
    settings: Settings,
    beat: Beat = beat_for_nobody,
) -> Iterator[ColorLayer | RetintError]:
    """Decide the colors of proxies, uint8 (h, w, 3) in sRGB: yield a layer or an error for each.

    Proxies are taken, and layers yielded, as in `loading.run_network`.

    Raises:
        NetworkUnavailable: the recipe's colorizer cannot be loaded here.
        DeviceFailed, OutOfMemory: the device cannot take it.
    """
    network = loading.load_network("colorizer", recipe.colorizer, settings, beat)
    return loading.run_network(network, proxies, beat, settings=recipe.colorizer_settings)
