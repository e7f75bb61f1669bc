"""DeOldify's generators in the form that is fastest on a CPU: the large maps are computed in strips.

The last half of the decoder is local: a row of its maps needs at most two rows on each side. So the maps between one
block's output and the next one's, up to 380 MB for a picture of 560 x 560, are computed for one strip of rows at a time
and never exist as a whole.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.acceleration.folding import fold
from retint_models.acceleration.onednn import Convolution, multiply
from retint_models.acceleration.strips import run_in_strips, to_rows
from retint_models.networks.up_blocks_cpu import CpuUp, ShuffleBlock

if TYPE_CHECKING:
    from retint_models.networks.deoldify import DeoldifyGenerator

Layers = Any
"""A module of `deoldify` whose children are taken; mypy only knows that they are tensors or modules."""


class CpuGenerator(nn.Module):
    """One of DeOldify's generators for a CPU.

    Args:
        network: It is taken apart.
        dtype: The precision: float32 or bfloat16.
    """

    def __init__(self, network: "DeoldifyGenerator", dtype: torch.dtype) -> None:
        super().__init__()
        layers: Layers = network.layers
        attended = layers["5"].conv if layers["5"].convolutions == 1 else layers["5"].conv2
        attended[3] = CpuAttention(fold(attended[3]), dtype)
        self.ups = nn.ModuleList(CpuUp(fold(layers.pop(number)), dtype) for number in ("6", "7"))
        self.last = CpuOutput(fold(layers.pop("8")), fold(layers.pop("10")), fold(layers.pop("11")), dtype)
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, h, w) as `DeoldifyGenerator` does."""
        y, skips = self.network.encode(x)
        for up in (self.network.layers["4"], self.network.layers["5"], *self.ups):
            y = up(y, skips.pop())
        return self.last(y, x)  # type: ignore[no-any-return]


class CpuAttention(nn.Module):
    """Self-attention over the pixels of a map; see `SpectralAttention`."""

    def __init__(self, attention: Layers, dtype: torch.dtype) -> None:
        super().__init__()
        parts = (attention.query, attention.key, attention.value)
        self.query, self.key, self.value = (Convolution(part.weight[..., None].to(dtype)) for part in parts)
        self.gamma = attention.gamma.item()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape. The input may be overwritten."""
        y = to_rows(x)
        query, key = to_rows(self.query(x)).flatten(1, 2), to_rows(self.key(x))
        value = self.value(x).flatten(2).contiguous()

        def compute(picture: int, first: int, end: int) -> None:
            # The softmax runs over the queries, as in the original.
            weights = multiply(key[picture, first:end], query[picture]).softmax(-1)
            y[picture, first:end].add_(multiply(weights, value[picture]), alpha=self.gamma)

        run_in_strips(compute, y, query.shape[1])
        return y.permute(0, 3, 1, 2)


class CpuOutput(nn.Module):
    """The last layers, from half the size on: shuffle, concatenation, the residual block and the three colors."""

    def __init__(self, shuffle: Layers, refine: Layers, color: Layers, dtype: torch.dtype) -> None:
        super().__init__()
        self.block = ShuffleBlock(shuffle, list(refine.layers), dtype)
        conv = color[0]
        inside = self.block.convolutions[-1].outside
        weight = functional.pad(conv.weight, (0, 0, 0, 0, 0, inside - conv.in_channels))
        self.color = Convolution(weight.to(dtype), conv.bias)

    def forward(self, x: Tensor, gray: Tensor) -> Tensor:
        """Map (B, inside, h / 2, w / 2) and the network's input (B, 3, h, w) to its output, (B, 3, h, w), float32."""
        low, other = to_rows(x), to_rows(gray)
        colors = torch.empty_like(other, dtype=torch.float32)

        def compute(picture: int, first: int, end: int) -> None:
            joined, y = self.block(low[picture], other[picture], first, end)
            color = self.color(y.add_(joined)[None].permute(0, 3, 1, 2))
            colors[picture, first:end] = 6 * torch.sigmoid(color[0].permute(1, 2, 0).float()) - 3

        run_in_strips(compute, other, self.block.widest)
        return colors.permute(0, 3, 1, 2)
