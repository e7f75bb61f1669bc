"""Both decisions about one photo, in this process."""

from collections.abc import Iterable
from typing import Any, TypeVar

from numpy.typing import NDArray

from retint.errors import RetintError
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.inference import colorize, defade

Layer = TypeVar("Layer", ColorLayer, DensityLayer)


def decide(
    proxy: NDArray[Any], kind: str, recipe: Recipe, settings: Settings
) -> tuple[ColorLayer | None, DensityLayer | None]:
    """Decide the color layer of a proxy, then its density layer; None for what the recipe does not ask for.

    The defader looks at the colorized proxy.

    Args:
        proxy: uint8 (h, w, 3) in sRGB.
        kind: the photo's, as ingest found it: `neutral`, `toned` or `color`.
        recipe: names the networks and their settings.
        settings: device and folder of weights.

    Raises:
        NetworkUnavailable: a network cannot be loaded here.
        Transient: a network failed on the proxy.
    """
    color = density = None
    if colorize.is_wanted(recipe, kind):
        color = _take_only(colorize.colorize([proxy], recipe, settings))
    if defade.is_wanted(recipe):
        density = _take_only(defade.defade([defade.make_input(proxy, color)], recipe, settings))
    return color, density


def _take_only(layers: Iterable[Layer | RetintError]) -> Layer:
    """Return the one layer, or raise the error in its place."""
    (layer,) = layers
    if isinstance(layer, RetintError):
        raise layer
    return layer
