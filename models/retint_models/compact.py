"""The compact colorizer: a small self-attention U-Net on an ImageNet encoder, of our own design.

It is given luma and decides, at a quarter of the size, the chroma that it expects, how far off it expects to be, and how
vivid the place should be; the last two make its confidence.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from retint_models.blocks import Attention, Encoder, Up

STRIDE = 4
"""Pixels of input for one decided place."""


@dataclass(frozen=True)
class Config:
    """Channels of the decoder at strides 32, 16, 8 and 4, and the share of maps dropped in training."""

    widths: tuple[int, int, int, int] = (160, 128, 96, 64)
    dropout: float = 0.1


class Compact(nn.Module):
    """Luma in, chroma out."""

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = config or Config()
        deep, middle, shallow, last = self.config.widths
        dropout = self.config.dropout
        self.encoder = Encoder()
        self.neck = nn.Sequential(nn.Conv2d(320, deep, 1), nn.Dropout2d(dropout), Attention(deep))
        self.up16 = Up(deep, 112, middle, dropout)
        self.attention = Attention(middle)
        self.up8 = Up(middle, 40, shallow, dropout)
        self.up4 = Up(shallow, 24, last, dropout)
        self.head = nn.Conv2d(last, 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, luma: Tensor) -> "Decision":
        """Decide on luma (B, 1, h, w) in [0, 1]; h and w are multiples of 32."""
        return self.decide(self.encoder(luma))

    def decide(self, maps: list[Tensor]) -> "Decision":
        """Decide on the encoder's maps of a picture."""
        stride4, stride8, stride16, stride32 = maps
        x = self.attention(self.up16(self.neck(stride32), stride16))
        raw = self.head(self.up4(self.up8(x, stride8), stride4))
        return Decision(raw[:, :2] / 10, 10 * torch.exp(raw[:, 2:3]), 0.1 * torch.exp(raw[:, 3:4]))


@dataclass(frozen=True)
class Decision:
    """What the network says of a picture, at a quarter of its size.

    Attributes:
        chroma: (B, 2, h, w): the Cb and Cr that it expects, not limited to the gamut.
        error: (B, 1, h, w): the CIEDE2000 that it expects to be off.
        vividness: (B, 1, h, w): how far from gray it expects the place to be, whatever the hue: the mean of
            sqrt(Cb^2 + Cr^2), hence never less than the length of a well-fitted `chroma`.
    """

    chroma: Tensor
    error: Tensor
    vividness: Tensor
