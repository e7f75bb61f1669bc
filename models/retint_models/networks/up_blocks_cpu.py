"""The up block of DeOldify and DDColor in the form that is fastest on a CPU: large maps in strips of rows."""

from typing import Any

import torch
from torch import Tensor, nn

from retint_models.acceleration.folding import batch_norm_affine
from retint_models.acceleration.onednn import Convolution
from retint_models.acceleration.strips import run_in_strips, shuffle_and_blur, to_rows
from retint_models.acceleration.winograd import Winograd, as_numpy

Layers = Any
"""A module of `up_blocks` whose children are taken; mypy only knows that they are tensors or modules."""


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
    """An up block of the decoder; see `up_blocks.BlurredUp`."""

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
