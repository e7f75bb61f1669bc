"""`yuv-gan`: an encoder and decoder with five residual blocks that decides U and V, trained against a ResNet-18.

zeruniverse, neural-colorization (2018), https://github.com/zeruniverse/neural-colorization: the layout of Johnson et
al.'s network for style transfer (arXiv:1603.08155). Its code and weights are under GPL-3.0 with commercial use
prohibited; written afresh from a description of names, shapes and constants, no line of it is used. The weights are not
ours to pass on. Every tensor has the name that it has in the published `G.pth` and `D.pth`.

Three mistakes of its script are not copied: it never calls `eval`, so that batch norms use the statistics of the one
picture; it scales U and V by .436 and .615, not by the numbers that training divided them by; it resizes the output,
which is up to three pixels too large, to the picture's size instead of cropping it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from retint_models.acceleration.prepare import prepare
from retint_models.layers.types import ColorLayer
from retint_models.networks import proxies
from retint_models.networks.blocks import expect_batch, expect_values
from retint_models.networks.color import rec709_chroma, rec709_luma
from retint_models.networks.resnet import BasicBlock
from retint_models.vision import models
from retint_models.weights.cards import Card
from retint_models.weights.loading import fill_network, load_tensors

U_SCALE, V_SCALE = 0.43601035, 0.61497538
"""Largest U and V of sRGB in [0, 1] (analog YUV of Rec. 601); the network gives U and V divided by them."""
REC601_RED, REC601_BLUE = 0.299, 0.114
"""Rec. 601 luma's weights."""
MARGIN = 40
"""Pixels mirrored at each edge of the picture, whose sides must therefore be larger."""


class CroppedResidual(nn.Sequential):
    """Residual block of five steps whose shortcut crops the two pixels at each edge that the steps consume."""

    def __init__(self, channels: int) -> None:
        steps = [nn.Conv2d(channels, channels, 3), nn.BatchNorm2d(channels), nn.ReLU()]
        super().__init__(nn.Sequential(*steps, nn.Conv2d(channels, channels, 3), nn.BatchNorm2d(channels)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, channels, h - 4, w - 4)."""
        y: Tensor = self[0](x)
        return y + x[:, :, 2:-2, 2:-2]


class YuvGenerator(nn.Sequential):
    """Maps luma to U and V."""

    def __init__(self) -> None:
        steps: list[nn.Module] = [nn.ReflectionPad2d(MARGIN)]
        for inside, outside, kernel, stride in ((1, 32, 9, 1), (32, 64, 3, 2), (64, 128, 3, 2)):
            steps += [nn.Conv2d(inside, outside, kernel, stride, kernel // 2), nn.BatchNorm2d(outside), nn.ReLU()]
        steps += [nn.Sequential(CroppedResidual(128)) for _ in range(5)]
        for inside, outside in ((128, 64), (64, 32)):
            steps += [nn.ConvTranspose2d(inside, outside, 3, 2, 1, 1), nn.BatchNorm2d(outside), nn.ReLU()]
        super().__init__(*steps, nn.Conv2d(32, 2, 9, padding=4), nn.Tanh())

    def forward(self, luma: Tensor) -> Tensor:
        """Decide U and V.

        Args:
            luma: (B, 1, h, w), float32, Rec. 601 luma minus .5, in [-.5, .5]; h and w are above 40.

        Returns:
            (B, 2, H, W) in [-1, 1], U over 0.43601035 and V over 0.61497538; H and W are h and w rounded up to
            multiples of 4, the surplus lies right and below.

        Raises:
            ValueError: not such a tensor.
        """
        check_luma(luma)
        decided: Tensor = super().forward(luma)  # type: ignore[no-untyped-call]
        return decided


class YuvCritic(models.ResNet):  # type: ignore[misc]  # torchvision has no types
    """A ResNet-18 that tells photographs (1) from pictures that the generator colored (0)."""

    def __init__(self) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.fc = nn.Sequential(nn.Linear(512, 1), nn.Sigmoid())

    def forward(self, yuv: Tensor) -> Tensor:
        """Judge pictures.

        Args:
            yuv: (B, 3, h, w), float32: luma minus .5, and U and V as the generator gives them.

        Returns:
            (B, 1): how probably each is a photograph.

        Raises:
            ValueError: not such a tensor.
        """
        if yuv.dtype != torch.float32 or yuv.dim() != 4 or yuv.shape[1] != 3 or 0 in yuv.shape:
            raise ValueError(f"expected float32 (N, 3, H, W), not {yuv.dtype} {tuple(yuv.shape)}")
        judged: Tensor = super().forward(yuv)
        return judged


def check_luma(luma: Tensor) -> None:
    """Refuse anything but a batch of luma minus .5 with sides above 40.

    Raises:
        ValueError: says what was expected.
    """
    expect_batch(luma, 1)
    if min(luma.shape[2:]) <= MARGIN:
        raise ValueError(f"expected a height and width above {MARGIN}, not {luma.shape[2]} x {luma.shape[3]}")
    expect_values(luma, -0.5, 0.5, "luma minus .5")


def load_network(name: str, tensors: Mapping[str, Tensor]) -> YuvGenerator:
    """Return the generator with its weights, ready to run.

    Args:
        name: Of the network, for error messages.
        tensors: The published state; float32 tensors are used as they are, not copied.

    Raises:
        ValueError: not its weights: a missing or unknown tensor, another shape, NaN or infinity.
    """
    with torch.device("meta"):
        network = YuvGenerator()
    fill_network(network, tensors, name)
    return network


class YuvGanColorizer:
    """`yuv-gan` with its weights loaded: proxies in, color layers of the same size out.

    Attributes:
        at_once: How many proxies run through the network together.
    """

    at_once = 1

    def __init__(self, card: Card, device: str = "cpu") -> None:
        self.card = card
        self.network = prepare(load_network(card.name, load_tensors(card)), device, precision="float32")

    def __call__(self, pictures: Sequence[NDArray[np.uint8]], settings: Mapping[str, float]) -> list[ColorLayer]:
        """Decide on proxies, uint8 (h, w, 3), sRGB, of any sizes.

        Raises:
            ValueError: not a proxy, or a setting: the network has none.
        """
        record = proxies.decision_record(self.card, self.card.fill_settings(settings), self.network.precision)
        layers = []
        for picture in pictures:
            proxies.check_proxy(picture)
            luma = rec709_luma(proxies.resize_proxy(picture, *picture.shape[:2]))
            layers.append(proxies.layer_without_confidence(luma, self.decide(luma), record))
        return layers

    @torch.inference_mode()
    def decide(self, luma: Tensor) -> Tensor:
        """Return Cb and Cr (1, 2, h, w) of luma (1, 1, h, w) in [0, 1]; small pictures are padded with their edge."""
        height, width = luma.shape[-2:]
        padding = (0, max(0, MARGIN + 1 - width), 0, max(0, MARGIN + 1 - height))
        seen = functional.pad(luma, padding, mode="replicate")
        decided: Tensor = self.network((seen - 0.5).clamp(-0.5, 0.5)).cpu()
        return uv_to_chroma(decided[:, :, :height, :width])


def uv_to_chroma(decided: Tensor) -> Tensor:
    """Return Rec. 709 Cb and Cr (..., 2, h, w) of U and V as the network gives them.

    Analog YUV (Rec. 601, as in scikit-image): U = .492 (B - Y) and V = .877 (R - Y), of which .43601035 and .61497538
    are the largest values; the third difference follows from them, because Y is a weighted mean.
    """
    blue = decided[..., 0, :, :] * (1 - REC601_BLUE)
    red = decided[..., 1, :, :] * (1 - REC601_RED)
    green = -(REC601_RED * red + REC601_BLUE * blue) / (1 - REC601_RED - REC601_BLUE)
    return rec709_chroma(torch.stack([red, green, blue], -3))
