"""What a photo's layers may owe to the photos beside it on a GPU, whose batches are full: nothing that can be seen."""

import numpy as np
from numpy.typing import NDArray
from tests.photographs import color_photo

from retint_models.layers.rendering import colorize_proxy, repair_proxy
from retint_models.networks import registry

GPU = "cuda"
TOLERANCE = 2
"""Code values of 255."""


def make_proxies() -> list[NDArray[np.uint8]]:
    """Faded proxies of one size, so that they run together and the defader has something to do."""
    return [np.rint(60 + color_photo(number, 192) * [0.6, 0.5, 0.3]).astype(np.uint8) for number in range(8)]


def test_a_picture_gets_nearly_the_same_color_alone_and_among_others() -> None:
    proxies, colorizer = make_proxies(), registry.load_colorizer("compact", GPU)
    for proxy, layer in zip(proxies, colorizer(proxies, {}), strict=True):
        alone = colorize_proxy(proxy, colorizer([proxy], {})[0])
        assert np.abs(alone.astype(int) - colorize_proxy(proxy, layer)).max() <= TOLERANCE


def test_a_picture_gets_nearly_the_same_repair_alone_and_among_others() -> None:
    proxies, defader = make_proxies(), registry.load_defader("compact-defade", GPU)
    layers = defader(proxies)
    assert max(layer.gate for layer in layers) > 0.5
    for proxy, layer in zip(proxies, layers, strict=True):
        alone = repair_proxy(proxy, defader([proxy])[0])
        assert np.abs(alone.astype(int) - repair_proxy(proxy, layer)).max() <= TOLERANCE
