"""The up block of DeOldify and DDColor: a blurred pixel shuffle, joined with the encoder's map of that size.

Jason Antic, DeOldify (2018 to 2024), https://github.com/jantic/DeOldify, after fastai's U-Net; DDColor
(arXiv:2212.11613) has the same blocks. Written afresh from descriptions. Every tensor has the name that it has in the
official files.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.networks.spectral import SpectralAttention, SpectralConv


@dataclass(frozen=True)
class UpConfig:
    """The shape of an up block.

    Attributes:
        inside: Channels of its input.
        skip: Channels of the encoder's map that it is joined with.
        shuffled: Channels after the pixel shuffle.
        outside: Channels of its output.
        convolutions: One or two.
    """

    inside: int
    skip: int
    shuffled: int
    outside: int
    convolutions: int


def conv_relu_norm(inside: int, outside: int, *more: nn.Module) -> nn.Sequential:
    """Return a 3x3 convolution, ReLU and batch norm, in this order."""
    return nn.Sequential(SpectralConv(inside, outside), nn.ReLU(), nn.BatchNorm2d(outside), *more)


class BlurredShuffle(nn.Module):
    """Enlarge a map by pixel shuffle, then blur it by half a pixel against the checkerboard (arXiv:1806.02658)."""

    def __init__(self, *conv: nn.Module, factor: int = 2) -> None:
        super().__init__()
        self.conv = nn.Sequential(*conv)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inside, h, w) to (B, outside / f^2, f h, f w), where the convolution has `outside` channels."""
        large = functional.pixel_shuffle(functional.relu(self.conv(x)), self.factor)
        return functional.avg_pool2d(functional.pad(large, (1, 0, 1, 0), mode="replicate"), 2, stride=1)


class BlurredUp(nn.Module):
    """Double a map and join it with the encoder's map of about that size (after U-Net, arXiv:1505.04597)."""

    def __init__(self, config: UpConfig, attention: bool) -> None:
        super().__init__()
        wide = 4 * config.shuffled
        self.shuf = BlurredShuffle(SpectralConv(config.inside, wide, (1, 1)), nn.BatchNorm2d(wide))
        self.bn = nn.BatchNorm2d(config.skip)
        joined, last = config.shuffled + config.skip, [SpectralAttention(config.outside)] if attention else []
        if config.convolutions == 1:
            self.conv = conv_relu_norm(joined, config.outside, *last)
        else:
            self.conv1 = conv_relu_norm(joined, config.outside)
            self.conv2 = conv_relu_norm(config.outside, config.outside, *last)
        self.convolutions = config.convolutions

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, inside, h, w) and (B, skip, H, W) to (B, outside, H, W)."""
        large = self.shuf(x)
        if large.shape[-2:] != skip.shape[-2:]:
            large = functional.interpolate(large, skip.shape[-2:], mode="nearest")
        joined = functional.relu(torch.cat([large, self.bn(skip)], 1))
        y: Tensor = self.conv(joined) if self.convolutions == 1 else self.conv2(self.conv1(joined))
        return y
