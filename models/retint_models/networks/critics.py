"""DeOldify's critics, which tell photographs from pictures that a generator colored; for training only.

Jason Antic, DeOldify (2018 to 2024), https://github.com/jantic/DeOldify (MIT); written afresh from a description. Every
tensor has the name that it has in the official files.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from retint_models.networks.deoldify_2018 import Attention2018, Block2018
from retint_models.networks.spectral import SpectralAttention, SpectralConv


def conv_leaky_relu(inside: int, outside: int, kernel: int, *more: nn.Module) -> nn.Sequential:
    """Return a convolution under a spectral norm and a leaky ReLU; a kernel of 4 halves the map."""
    conv = SpectralConv(inside, outside, (kernel, kernel), bias=True, stride=kernel - 2 if kernel == 4 else 1)
    return nn.Sequential(conv, nn.LeakyReLU(0.2), *more)


def score_conv(channels: int) -> SpectralConv:
    """Return the last convolution: one score per position."""
    return SpectralConv(channels, 1, (4, 4), padding=0)


def check_pictures(rgb: Tensor, least: int) -> None:
    """Refuse anything but a batch of pictures with sides of at least `least` pixels.

    Raises:
        ValueError: says what was expected.
    """
    if rgb.dtype != torch.float32 or rgb.dim() != 4 or rgb.shape[1] != 3 or 0 in rgb.shape:
        raise ValueError(f"expected float32 (N, 3, H, W), not {rgb.dtype} {tuple(rgb.shape)}")
    if min(rgb.shape[2:]) < least:
        raise ValueError(f"expected a height and width of at least {least}, not {rgb.shape[2]} x {rgb.shape[3]}")


class DeoldifyCritic(nn.Sequential):
    """The critic of the current DeOldify: 94,555,649 parameters at 256 channels."""

    def __init__(self, channels: int = 256) -> None:
        steps: list[nn.Module] = [conv_leaky_relu(3, channels, 4), nn.Dropout2d(0.075)]
        for number in range(3):
            attention = [SpectralAttention(2 * channels)] if number == 0 else []
            steps += [conv_leaky_relu(channels, channels, 3), nn.Dropout2d(0.15)]
            steps.append(conv_leaky_relu(channels, 2 * channels, 4, *attention))
            channels *= 2
        super().__init__(
            *steps, conv_leaky_relu(channels, channels, 3), nn.Sequential(score_conv(channels)), nn.Flatten()
        )

    def forward(self, rgb: Tensor) -> Tensor:
        """Score pictures.

        Args:
            rgb: (B, 3, h, w), float32, normalised by ImageNet's mean and deviation; sides of 64 pixels or more.

        Returns:
            (B, n): logits, one per position, above 0 for a photograph.

        Raises:
            ValueError: not such a tensor.
        """
        check_pictures(rgb, 64)
        scores: Tensor = super().forward(rgb)  # type: ignore[no-untyped-call]
        return scores


class Critic2018(nn.Module):
    """The critic of October and November 2018, with attention in every halving, as the original in effect has it."""

    def __init__(self, channels: int = 512) -> None:
        super().__init__()
        first, second = critic_block(3, channels, 4), critic_block(channels, channels, 3)
        self.initial = nn.Sequential(first, nn.Dropout2d(0.2), second)
        steps: list[nn.Module] = []
        for inside, outside in pairwise(channels << number for number in range(4)):
            steps += [nn.Dropout2d(0.5), critic_block(inside, outside, 4, Attention2018(outside))]
        self.mid = nn.Sequential(*steps)
        self.out = nn.Sequential(Block2018(score_conv(8 * channels)))

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """Score pictures.

        Args:
            rgb: (B, 3, h, w), float32, in [-1, 1]; sides of 64 pixels or more.

        Returns:
            Scores (B, 1, n, m), above 0 for a photograph, and the features that they come from.

        Raises:
            ValueError: not such a tensor.
        """
        check_pictures(rgb, 64)
        features = self.mid(self.initial(rgb))
        return self.out(features), features


def critic_block(inside: int, outside: int, kernel: int, *more: nn.Module) -> Block2018:
    """Return `conv_leaky_relu` under the names of 2018."""
    return Block2018(*conv_leaky_relu(inside, outside, kernel, *more))
