"""How DeOldify applies a generator to a picture: it sees a gray square, and the picture keeps its luma.

Facts: Jason Antic, DeOldify, https://github.com/jantic/DeOldify (MIT), `deoldify/filters.py`; written afresh.

`colorize_picture` equals the original to the last bit: 8-bit steps, Rec. 601 luma. `DeoldifyColorizer` gives the same
colors as a layer, without the original's rounding to 8 bits in between. The original adds U and V to a luma Y: 1.140 V
to red, -.581 V - .395 U to green and 2.032 U to blue, where U = .492 (B - Y) and V = .877 (R - Y) come from the
network's own R, G and B. Multiplied out, every difference of two channels of the result is that of the network's
picture, so the layer's Cb and Cr are the Rec. 709 chroma of the network's picture. Only the gray under the color
differs: the original keeps Rec. 601 luma and so changes Rec. 709 luma; a layer keeps Rec. 709 luma.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from retint_models.acceleration.prepare import prepare
from retint_models.layers.types import ColorLayer
from retint_models.networks import color, proxies
from retint_models.networks.color import IMAGENET_MEAN, IMAGENET_STD
from retint_models.networks.deoldify import load_network
from retint_models.weights.cards import Card
from retint_models.weights.loading import load_tensors

RENDER_FACTORS = range(7, 46)
"""Valid sides of the square that a generator sees, in units of 16 pixels."""


class DeoldifyColorizer:
    """`artistic`, `stable` or `video` with its weights loaded: proxies in, color layers out.

    A layer has the proxy's aspect ratio and is as small as it can be without losing detail of the network's output: its
    short side is that of the square, or the proxy's if that is shorter.

    Attributes:
        at_once: How many proxies run through the network together.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __init__(self, card: Card, device: str = "cpu") -> None:
        self.card = card
        self.network = prepare(self.load_plain(), device)
        self.at_once = proxies.choose_batch(device, gpu=8)

    def load_plain(self) -> nn.Module:
        """Load the network as it was trained, not yet prepared."""
        return load_network(self.card.name, load_tensors(self.card))

    def __call__(self, pictures: Sequence[NDArray[np.uint8]], settings: Mapping[str, float]) -> list[ColorLayer]:
        """Decide on proxies, uint8 (h, w, 3), sRGB, of any sizes.

        Args:
            settings: `render_factor`: the side of the square in units of 16 pixels; the card has its range.

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
            grays = [gray_square(picture, int(settings["render_factor"])) for picture in group]
            squares = run_on_squares(self.network, np.stack(grays), self.mean, self.std)
            for picture, square in zip(group, squares, strict=True):
                luma, chroma = proxies.stretch_to_aspect(picture, color.rec709_chroma(square))
                layers.append(proxies.layer_without_confidence(luma, chroma, record))
        return layers


def colorize_picture(network: nn.Module, picture: NDArray[np.uint8], render_factor: int) -> NDArray[np.uint8]:
    """Color a picture as DeOldify does, without its watermark.

    The network sees a gray square of 16 times the render factor; luma stays that of the picture.

    Args:
        network: A generator; it decides on (1, 3, h, w).
        picture: uint8 (h, w, 3), RGB; its own colors are not used.
        render_factor: 7 to 45.

    Returns:
        uint8 (h, w, 3), RGB.

    Raises:
        ValueError: not such a picture or render factor.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"expected a uint8 picture (h, w, 3), not {picture.dtype} {picture.shape}")
    if render_factor not in RENDER_FACTORS:
        raise ValueError(f"a render factor is a whole number from 7 to 45, not {render_factor}")
    height, width, _ = picture.shape
    square = color_square(network, gray_square(picture, render_factor))
    large = np.asarray(Image.fromarray(square).resize((width, height), Image.Resampling.BILINEAR))
    return merge_chroma(picture, large)


def gray_square(picture: NDArray[np.uint8], render_factor: int) -> NDArray[np.uint8]:
    """Return a picture, uint8 (h, w, 3), as the network sees it: gray uint8 (side, side), its aspect ratio ignored."""
    side = 16 * render_factor
    square = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(square.convert("L"))


@torch.inference_mode()
def run_on_squares(
    network: nn.Module,
    grays: NDArray[np.uint8],
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
) -> Tensor:
    """Return the network's pictures, (B, 3, h, w), sRGB in [0, 1], of gray squares, uint8 (B, h, w)."""
    center, spread = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    x = (torch.from_numpy(grays.astype(np.float32)).unsqueeze(1).expand(-1, 3, -1, -1) / 255 - center) / spread
    rgb: Tensor = network(x).float().cpu() * spread + center
    return rgb.clamp(0, 1)


def color_square(network: nn.Module, gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the network's colors, uint8 (h, w, 3), of gray uint8 (h, w)."""
    rgb = run_on_squares(network, gray[None])[0]
    square: NDArray[np.uint8] = (255 * rgb).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()  # truncated
    return square


def merge_chroma(picture: NDArray[np.uint8], colored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Join the luma of one RGB picture with the chroma of another, both uint8 (h, w, 3).

    Rec. 601 in integers of 14 bits, as OpenCV converts 8-bit YUV, hence exactly what the original gives.
    """
    luma = rec601_luma(picture)
    own = rec601_luma(colored)
    half, middle = 1 << 13, 128 << 14
    u = np.clip((8061 * (colored[..., 2] - own) + middle + half) >> 14, 0, 255) - 128
    v = np.clip((14369 * (colored[..., 0] - own) + middle + half) >> 14, 0, 255) - 128
    red = luma + ((18678 * v + half) >> 14)
    green = luma + ((-9519 * v - 6472 * u + half) >> 14)
    blue = luma + ((33292 * u + half) >> 14)
    rgb: NDArray[np.uint8] = np.clip(np.stack([red, green, blue], -1), 0, 255).astype(np.uint8)
    return rgb


def rec601_luma(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return Rec. 601 luma, int32 (h, w) in 0..255, of uint8 (h, w, 3)."""
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    luma: NDArray[np.int32] = (4899 * red + 9617 * green + 1868 * blue + (1 << 13)) >> 14
    return luma
