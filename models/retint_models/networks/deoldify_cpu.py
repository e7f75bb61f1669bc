"""DeOldify's generators in the form that is fastest on a CPU: the large maps are computed in strips.

The last half of the decoder is local: a row of its maps needs at most two rows on each side. So the maps between one
block's output and the next one's, up to 380 MB for a picture of 560 x 560, are computed for one strip of rows at a time
and never exist as a whole.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.acceleration.folding import batch_norm_affine, fold
from retint_models.acceleration.onednn import Convolution, multiply
from retint_models.acceleration.strips import run_in_strips, shuffle_and_blur, to_rows
from retint_models.acceleration.winograd import Winograd, as_numpy

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


class ShuffleBlock:
    """Double a map by pixel shuffle, join it with another, and convolve: channels last, one picture at a time.

    Args:
        shuffle: The `BlurredShuffle` that doubles the map.
        convolutions: Each is a 3x3 convolution, a ReLU and perhaps a batch norm.
        dtype: float32 or bfloat16.
        norm: Batch norm of the other map, followed by a ReLU; without it the other map is joined unchanged.
    """

    def __init__(
        self, shuffle: Layers, convolutions: list[Layers], dtype: torch.dtype, norm: Layers | None = None
    ) -> None:
        self.affine = None if norm is None else tuple(each.to(dtype) for each in batch_norm_affine(norm))
        conv = shuffle.conv[0]
        bias = conv.bias
        self.doubled = conv.out_channels // 4
        # The channels of one sub-pixel follow each other instead of interleaving, so that they are copied as one row.
        order = torch.arange(4 * self.doubled).view(-1, 4).t().flatten()
        self.shuffle = Convolution(conv.weight[order].to(dtype), bias[order], after="relu")
        self.convolutions = [Winograd.from_layers(layers, dtype) for layers in convolutions]
        self.widest = max(channels for conv in self.convolutions for channels in (conv.inside, conv.outside))

    def __call__(self, low: Tensor, other: Tensor, first: int, end: int) -> tuple[Tensor, Tensor]:
        """Return rows of the joined map, (end - first, W, joined), and of the convolved one, (end - first, W, outside).

        Args:
            low: (h, w, inside).
            other: (H, W, more) where H is 2 h or 2 h - 1, and W is 2 w or 2 w - 1.
            first: First row of the result.
            end: Row after the last one.
        """
        height, halo = len(other), len(self.convolutions)
        top, bottom = max(first - halo, 0), min(end + halo, height)
        joined = self.join(low, other, top, bottom)
        y, above = joined, top
        for conv in self.convolutions:
            y = conv(y, above == 0, bottom == height)
            above, bottom = above + (above > 0), bottom - (bottom < height)
        return joined[first - top :][: end - first], y[first - above :][: end - first]

    def join(self, low: Tensor, other: Tensor, first: int, end: int) -> Tensor:
        """Return rows of the map before the convolutions; see `__call__`."""
        joined = other.new_empty(end - first, other.shape[1], self.convolutions[0].inside)
        start = max(first - 1, 0) // 2
        maps = self.shuffle(low[None, start : (end + 1) // 2].permute(0, 3, 1, 2))
        shuffle_and_blur(as_numpy(maps.permute(0, 2, 3, 1)[0]), first - 2 * start, as_numpy(joined))
        filled = self.doubled + other.shape[2]
        more = other[first:end]
        if self.affine is not None:
            gain, offset = self.affine
            more = torch.addcmul(offset, more, gain).relu_()
        joined[..., self.doubled : filled] = more
        joined[..., filled:] = 0
        return joined


class CpuUp(nn.Module):
    """An up block of the decoder; see `deoldify.DeoldifyUp`."""

    def __init__(self, up: Layers, dtype: torch.dtype) -> None:
        super().__init__()
        steps = [up.conv] if up.convolutions == 1 else [up.conv1, up.conv2]
        self.outside: int = steps[-1][0].out_channels
        self.block = ShuffleBlock(up.shuf, steps, dtype, up.bn)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, inside, h, w) and (B, skip, H, W) to (B, outside, H, W)."""
        low, other = to_rows(x), to_rows(skip)
        y = x.new_empty(*other.shape[:3], self.outside)

        def compute(picture: int, first: int, end: int) -> None:
            y[picture, first:end] = self.block(low[picture], other[picture], first, end)[1][..., : self.outside]

        run_in_strips(compute, other, self.block.widest)
        return y.permute(0, 3, 1, 2)


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
