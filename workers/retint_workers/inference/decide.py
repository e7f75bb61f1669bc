"""Both decisions about photos: what color and what tone they get."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from numpy.typing import NDArray

from retint.errors import RetintError
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.rendering import colorize_proxy, repair_proxy
from retint_models.layers.types import ColorLayer, DensityLayer, Layers, Order, set_order
from retint_workers.beats import Beat, beat_for_nobody
from retint_workers.inference import colorize, defade

T = TypeVar("T")
First = TypeVar("First", ColorLayer, DensityLayer)
Second = TypeVar("Second", ColorLayer, DensityLayer)
Proxies = Iterable[NDArray[Any] | RetintError]


def decide(
    proxies: Proxies,
    recipe: Recipe,
    settings: Settings,
    beat: Beat = beat_for_nobody,
    order: Order = Order.TONE_FIRST,
) -> Iterator[Layers | RetintError]:
    """Decide the color layers of proxies, and their density layers where the recipe has a defader.

    Tone first: the defader looks at the proxy, and the colorizer at what the full repair makes of it. Color first, as
    the first layers were made: the colorizer looks at the proxy, and the defader at the colorized proxy.

    Args:
        proxies: uint8 (h, w, 3) in sRGB, of photos that are to be colorized; taken as in `loading.run_network`.
        recipe: names the networks and their settings.
        settings: device and folder of weights.
        beat: as in `loading.run_network`.
        order: of the layers.

    Yields:
        For each proxy, in order, its layers or the error that it met.

    Raises:
        NetworkUnavailable: a network cannot be loaded here.
        DeviceFailed, OutOfMemory: the device cannot take it.
    """

    def go_on() -> bool:
        """Beat for the first network: it goes on as long as the second one, which ends both, asks for more."""
        beat()
        return True

    if recipe.defader == "keep":
        for color in colorize.colorize(proxies, recipe, settings, beat):
            yield color if isinstance(color, RetintError) else (color, None)
    elif order is Order.TONE_FIRST:
        defade_first = partial(defade.defade, recipe=recipe, settings=settings, beat=go_on)
        colorize_second = partial(colorize.colorize, recipe=recipe, settings=settings, beat=beat)
        for both in _decide_in_turn(proxies, defade_first, repair_proxy, colorize_second):
            yield both if isinstance(both, RetintError) else (both[1], both[0])
    else:
        colorize_first = partial(colorize.colorize, recipe=recipe, settings=settings, beat=go_on)
        defade_second = partial(defade.defade, recipe=recipe, settings=settings, beat=beat)
        for pair in _decide_in_turn(proxies, colorize_first, colorize_proxy, defade_second):
            yield pair if isinstance(pair, RetintError) else (set_order(pair[0], order), set_order(pair[1], order))


def decide_photo(
    proxy: NDArray[Any], kind: str, recipe: Recipe, settings: Settings, order: Order = Order.TONE_FIRST
) -> Layers:
    """Decide the layers of one photo in this process; None for what the recipe or its kind does not ask for.

    Args:
        proxy: uint8 (h, w, 3) in sRGB.
        kind: the photo's, as ingest found it.
        recipe: names the networks and their settings.
        settings: device and folder of weights.
        order: of the layers, where there are two.

    Raises:
        NetworkUnavailable: a network cannot be loaded here.
        Transient: a network failed on the proxy.
    """
    if colorize.is_wanted(recipe, kind):
        return _take_only(decide([proxy], recipe, settings, order=order))
    return None, _take_only(defade.defade([proxy], recipe, settings)) if defade.is_wanted(recipe, kind) else None


def _decide_in_turn(
    proxies: Proxies,
    decide_first: Callable[[Proxies], Iterator[First | RetintError]],
    show: Callable[[NDArray[Any], First], NDArray[Any]],
    decide_second: Callable[[Proxies], Iterator[Second | RetintError]],
) -> Iterator[tuple[First, Second] | RetintError]:
    """Run two networks in turn; the second one looks at what `show` makes of a proxy and the first one's layer."""
    looked_at: deque[Any] = deque()
    decided: deque[Any] = deque()

    def remember() -> Iterator[NDArray[Any] | RetintError]:
        for proxy in proxies:
            looked_at.append(proxy)
            yield proxy

    def show_first() -> Iterator[NDArray[Any] | RetintError]:
        for layer in decide_first(remember()):
            proxy = looked_at.popleft()
            decided.append(layer)
            yield layer if isinstance(layer, RetintError) else show(proxy, layer)

    for layer in decide_second(show_first()):
        first = decided.popleft()
        yield layer if isinstance(layer, RetintError) else (first, layer)


def _take_only(outcomes: Iterable[T | RetintError]) -> T:
    """Return the one outcome, or raise the error in its place."""
    (outcome,) = outcomes
    if isinstance(outcome, RetintError):
        raise outcome
    return outcome
