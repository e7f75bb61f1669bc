"""How DDColor applies its network to a picture: it sees a gray square, and the picture keeps its lightness.

Facts: https://github.com/piddnad/DDColor (Apache-2.0), `ddcolor/pipeline.py`; written afresh.

`colorize_picture` equals the original but for rounding: OpenCV's CIELAB is a coarse table, this one is exact.
`DdcolorColorizer` gives the same a and b as a layer, with three differences. They are enlarged smoothly, where the
original repeats pixels. Where they leave the gamut, they are reduced at constant hue, where the original clips, which
turns blotches into other hues and lightnesses. And the layer keeps luma, where the original keeps lightness.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from retint_models.acceleration.prepare import prepare
from retint_models.layers.types import ColorLayer
from retint_models.networks import color, proxies
from retint_models.networks.ddcolor import STRIDE, load_network
from retint_models.weights.cards import Card
from retint_models.weights.loading import load_tensors


class DdcolorColorizer:
    """`ddcolor`, `ddcolor-tiny` or `ddcolor-artistic` with its weights loaded: proxies in, color layers out.

    A layer has the proxy's aspect ratio; its short side is that of the square that the network sees, or the proxy's if
    that is shorter.

    Attributes:
        at_once: How many proxies run through the network together.
    """

    def __init__(self, card: Card, device: str = "cpu") -> None:
        self.card = card
        self.network = prepare(load_network(card.name, load_tensors(card)), device)
        self.at_once = proxies.choose_batch(device, gpu=8)

    def __call__(self, pictures: Sequence[NDArray[np.uint8]], settings: Mapping[str, float]) -> list[ColorLayer]:
        """Decide on proxies, uint8 (h, w, 3), sRGB, of any sizes.

        Args:
            settings: `side`: of the square that the network sees, in pixels; the card has its range.

        Raises:
            ValueError: not a proxy, an unknown setting, or one out of range.
        """
        settings = self.card.fill_settings(settings)
        for picture in pictures:
            proxies.check_proxy(picture)
        record = proxies.decision_record(self.card, settings, self.network.precision)
        layers = []
        for first in range(0, len(pictures), self.at_once):
            group = pictures[first : first + self.at_once]
            squares = [gray_square(picture, int(settings["side"]), antialias=True) for picture in group]
            for picture, ab in zip(group, self.network(torch.cat(squares)).cpu(), strict=True):
                luma, stretched = proxies.stretch_to_aspect(picture, ab)
                chroma = color.ab_to_chroma(luma, stretched)
                layers.append(proxies.layer_without_confidence(luma, chroma, record))
        return layers


@torch.inference_mode()
def colorize_picture(network: nn.Module, picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Color a picture as DDColor does.

    Args:
        network: DDColor; it decides on (1, 3, side, side).
        picture: uint8 (h, w, 3), RGB; its own colors are not used.
        side: Of the square that the network sees, a multiple of 32.

    Returns:
        uint8 (h, w, 3), RGB.

    Raises:
        ValueError: not such a picture or side.
    """
    proxies.check_proxy(picture)
    if side < STRIDE or side % STRIDE:
        raise ValueError(f"the side of a square is a multiple of {STRIDE}, not {side}")
    return merge_ab(picture, network(gray_square(picture, side)).cpu())


def gray_square(picture: NDArray[np.uint8], side: int, *, antialias: bool = False) -> Tensor:
    """Return a picture, uint8 (h, w, 3), as the network sees it: (1, 3, side, side), gray of the same luminance.

    The original filters nothing when it reduces a picture, so that its grain becomes noise; `antialias` does.
    """
    square = functional.interpolate(to_tensor(picture), (side, side), mode="bilinear", antialias=antialias)
    luminance = torch.einsum("i,bihw->bhw", torch.tensor(color.TO_XYZ[1]), color.srgb_to_linear(square))
    return color.linear_to_srgb(luminance[:, None]).clamp(0, 1).expand(-1, 3, -1, -1)


def merge_ab(picture: NDArray[np.uint8], ab: Tensor) -> NDArray[np.uint8]:
    """Join the lightness of an RGB picture, uint8 (h, w, 3), with a and b (1, 2, H, W), each of which is repeated."""
    lightness = color.rgb_to_lab(to_tensor(picture))[:, :1]
    large = functional.interpolate(ab, picture.shape[:2], mode="nearest")
    rgb = color.lab_to_rgb(torch.cat([lightness, large], 1))[0].permute(1, 2, 0)
    merged: NDArray[np.uint8] = (255 * rgb).round().to(torch.uint8).contiguous().numpy()
    return merged


def to_tensor(picture: NDArray[np.uint8]) -> Tensor:
    """Return a picture, uint8 (h, w, 3), as float32 (1, 3, h, w) in [0, 1]."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
