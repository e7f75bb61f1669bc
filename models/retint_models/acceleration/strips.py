"""DeOldify's generators on a CPU: the large maps in strips, which threads share among themselves.

The last half of the decoder is local: a row of its maps needs no more than two rows on each side. So what lies between
a map and the next block's, which for a picture of 560 x 560 is up to 380 MB, is made for a strip of rows at a time and
never whole. A thread does a strip alone: none waits for another, and a strip is still in the cache when it is read.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional

from retint_models.acceleration.folding import fold
from retint_models.acceleration.onednn import Convolution, multiply
from retint_models.acceleration.winograd import Winograd, bits, narrow, widen
from retint_models.networks import deoldify

Parts = Any
"""A module of `deoldify` whose parts are taken; to mypy those are tensors or modules."""
STRIP = 12 << 20
"""Bytes of a strip where a block is widest."""
ALIGNED = 8
"""Channels are filled up to a multiple of this."""


class Generator(nn.Module):
    """One of DeOldify's generators, ready to run on a CPU.

    Args:
        network: It is taken apart.
        dtype: float32 or bfloat16, what it computes in.
    """

    def __init__(self, network: deoldify.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        layers: Parts = network.layers
        attended = layers["5"].conv if layers["5"].convolutions == 1 else layers["5"].conv2
        attended[3] = Attention(fold(attended[3]), dtype)
        self.ups = nn.ModuleList(Up(fold(layers.pop(number)), dtype) for number in ("6", "7"))
        self.last = Last(fold(layers.pop("8")), fold(layers.pop("10")), fold(layers.pop("11")), dtype)
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, h, w) as `deoldify.Generator` does."""
        y, skips = self.network.encode(x)
        for up in (self.network.layers["4"], self.network.layers["5"], *self.ups):
            y = up(y, skips.pop())
        return self.last(y, x)  # type: ignore[no-any-return]


class Block:
    """A map doubled by pixel shuffle, joined with another, and convolved; channels last, one picture at a time.

    Args:
        shuffle: Its convolution doubles the map.
        convolutions: Each of 3x3, then ReLU, then batch norm if there is one.
        dtype: float32 or bfloat16.
        norm: Batch norm of the other map, a ReLU follows; or it is joined as it is.
    """

    def __init__(
        self, shuffle: Parts, convolutions: list[Parts], dtype: torch.dtype, norm: Parts | None = None
    ) -> None:
        self.affine = None if norm is None else tuple(each.to(dtype) for each in affine(norm))
        conv = shuffle.conv[0]
        bias = conv.bias
        self.doubled = conv.out_channels // 4
        # The four places of a pixel lie one after the other, not interleaved: whole rows of channels are copied.
        order = torch.arange(4 * self.doubled).view(-1, 4).t().flatten()
        self.shuffle = Convolution(conv.weight[order].to(dtype), bias[order], relu=True)
        self.convolutions = [winograd(steps, dtype) for steps in convolutions]
        self.widest = max(channels for conv in self.convolutions for channels in (conv.inside, conv.outside))

    def __call__(self, low: Tensor, other: Tensor, first: int, end: int) -> tuple[Tensor, Tensor]:
        """Return rows of the joined map, (end - first, W, joined), and of the convolved one, (end - first, W, outside).

        Args:
            low: (h, w, inside).
            other: (H, W, more) where H is 2 h or one less, and W the same of w.
            first: First row, of H.
            end: The row after the last one.
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
        blur(bits(maps.permute(0, 2, 3, 1)[0]), first - 2 * start, bits(joined))
        filled = self.doubled + other.shape[2]
        more = other[first:end]
        if self.affine is not None:
            gain, offset = self.affine
            more = torch.addcmul(offset, more, gain).relu_()
        joined[..., self.doubled : filled] = more
        joined[..., filled:] = 0
        return joined


class Up(nn.Module):
    """An up block of the decoder; see `deoldify.Up`."""

    def __init__(self, up: Parts, dtype: torch.dtype) -> None:
        super().__init__()
        steps = [up.conv] if up.convolutions == 1 else [up.conv1, up.conv2]
        self.outside: int = steps[-1][0].out_channels
        self.block = Block(up.shuf, steps, dtype, up.bn)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, inside, h, w) and (B, skip, H, W) to (B, outside, H, W)."""
        low, other = rows(x), rows(skip)
        y = x.new_empty(*other.shape[:3], self.outside)

        def strip(picture: int, first: int, end: int) -> None:
            y[picture, first:end] = self.block(low[picture], other[picture], first, end)[1][..., : self.outside]

        in_strips(strip, other, self.block.widest)
        return y.permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Self-attention over the places of a map; see `deoldify.Attention`."""

    def __init__(self, attention: Parts, dtype: torch.dtype) -> None:
        super().__init__()
        parts = (attention.query, attention.key, attention.value)
        self.query, self.key, self.value = (Convolution(part.weight[..., None].to(dtype)) for part in parts)
        self.gamma = attention.gamma.item()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape; what is given is changed."""
        y = rows(x)
        query, key = rows(self.query(x)).flatten(1, 2), rows(self.key(x))
        value = self.value(x).flatten(2).contiguous()

        def strip(picture: int, first: int, end: int) -> None:
            # Each key chooses among the queries.
            choice = multiply(key[picture, first:end], query[picture]).softmax(-1)
            y[picture, first:end].add_(multiply(choice, value[picture]), alpha=self.gamma)

        in_strips(strip, y, query.shape[1])
        return y.permute(0, 3, 1, 2)


class Last(nn.Module):
    """The last layers, from half the size on: shuffle, concat, the residual block and the three colors."""

    def __init__(self, shuffle: Parts, refine: Parts, color: Parts, dtype: torch.dtype) -> None:
        super().__init__()
        self.block = Block(shuffle, list(refine.layers), dtype)
        conv = color[0]
        inside = self.block.convolutions[-1].outside
        weight = functional.pad(conv.weight, (0, 0, 0, 0, 0, inside - conv.in_channels))
        self.color = Convolution(weight.to(dtype), conv.bias)

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        """Map (B, inside, h / 2, w / 2) and the network's input (B, 3, h, w) to its output, (B, 3, h, w), float32."""
        low, other = rows(x), rows(picture)
        colors = torch.empty_like(other, dtype=torch.float32)

        def strip(number: int, first: int, end: int) -> None:
            joined, y = self.block(low[number], other[number], first, end)
            color = self.color(y.add_(joined)[None].permute(0, 3, 1, 2))
            colors[number, first:end] = 6 * torch.sigmoid(color[0].permute(1, 2, 0).float()) - 3

        in_strips(strip, other, self.block.widest)
        return colors.permute(0, 3, 1, 2)


def rows(x: Tensor) -> Tensor:
    """Return (B, C, h, w) as (B, h, w, C), contiguous."""
    return x.permute(0, 2, 3, 1).contiguous()


def winograd(steps: Parts, dtype: torch.dtype) -> Winograd:
    """Return a convolution, ReLU and batch norm in one, its channels filled up."""
    conv = steps[0]
    bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias
    gain, offset = torch.ones_like(bias), torch.zeros_like(bias)
    if len(steps) > 2:
        gain, offset = affine(steps[2])
    more_in, more_out = -conv.in_channels % ALIGNED, -conv.out_channels % ALIGNED
    weight = functional.pad(conv.weight, (0, 0, 0, 0, 0, more_in, 0, more_out))
    bias, gain, offset = (functional.pad(each, (0, more_out)) for each in (bias, gain, offset))
    return Winograd(weight, bias, gain, offset, dtype)


def affine(norm: Parts) -> tuple[Tensor, Tensor]:
    """Return what a batch norm in evaluation multiplies with and what it adds, (channels,) each."""
    gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return gain, norm.bias - norm.running_mean * gain


def in_strips(work: Callable[[int, int, int], None], other: Tensor, channels: int) -> None:
    """Do the rows of maps (B, H, W, channels) in strips: work(number of the picture, first row, row after the last)."""
    batch, height, width = other.shape[:3]
    threads = torch.get_num_threads()
    count = -(-height * width * channels * other.element_size() // STRIP)
    count = -(-count * batch // threads) * threads // batch  # all threads have as much to do
    starts = range(0, height, max(1, -(-height // max(1, count))))

    @torch.inference_mode()
    def strip(at: tuple[int, int]) -> None:
        work(at[0], at[1], min(at[1] + starts.step, height))

    for _ in pool(threads).map(strip, product(range(batch), starts)):
        pass
    torch.set_num_threads(threads)  # the pool's threads have set it for all threads to come


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Return threads of which each computes alone."""
    return ThreadPoolExecutor(threads, "strips", initializer=torch.set_num_threads, initargs=(1,))


@njit(cache=True, nogil=True, error_model="numpy")
def blur(maps, shift, doubled):  # type: ignore[no-untyped-def]
    """Shuffle maps (h, w, 4 n) to twice the size and take means of 2 x 2, the first row and column repeated.

    `doubled` (rows, W, n or more) begins `shift` rows below the first one of the maps.
    """
    channels = maps.shape[2] // 4
    corners = np.zeros((4, channels), np.float32)
    mean = np.zeros(channels, np.float32)
    for r in range(doubled.shape[0]):
        for c in range(doubled.shape[1]):
            for corner in range(4):
                row = max(shift + r - corner // 2, 0)
                column = max(c - corner % 2, 0)
                start = (2 * (row % 2) + column % 2) * channels
                widen(maps[row // 2, column // 2, start : start + channels], corners[corner])
            for k in range(channels):
                mean[k] = np.float32(0.25) * (corners[0, k] + corners[1, k] + corners[2, k] + corners[3, k])
            narrow(mean, doubled[r, c, :channels])
