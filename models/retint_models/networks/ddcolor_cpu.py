"""DDColor in the form that is fastest on a CPU: convolutions by Winograd, wide maps in strips, none of full size.

The last steps are linear: a map of 256 channels at full size, the products of its pixels with 100 colors, and the mean
of these products for a and for b. So two numbers for each sub-pixel are computed before the shuffle, from one matrix of
2 x 256 for each picture, in strips of rows.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.acceleration.folding import fold
from retint_models.acceleration.onednn import Convolution
from retint_models.acceleration.strips import run_in_strips, to_rows
from retint_models.networks.up_blocks_cpu import CpuUp

if TYPE_CHECKING:
    from retint_models.networks.ddcolor import Ddcolor

Layers = Any
"""A module of `ddcolor` whose children are taken; mypy only knows that they are tensors or modules."""


class CpuDdcolor(nn.Module):
    """DDColor for a CPU.

    Args:
        network: It is taken apart.
        dtype: The precision: float32 or bfloat16.
    """

    def __init__(self, network: "Ddcolor", dtype: torch.dtype) -> None:
        super().__init__()
        decoder: Layers = network.decoder
        self.ups = nn.ModuleList(CpuUp(fold(decoder.layers.pop(0)), dtype) for _ in range(len(decoder.layers)))
        refine: Layers = fold(network.refine_net)
        self.mean, self.std = network.mean.to(dtype), network.std.to(dtype)
        self.encoder, self.color_decoder = network.encoder, decoder.color_decoder
        stages: Layers = network.encoder.arch.stages
        for stage in stages:
            for number, block in enumerate(stage):
                stage[number] = CpuBlock(block, dtype)
        self.last = CpuOutput(fold(decoder.last_shuf), refine[0][0], dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, h, w) as `Ddcolor` does."""
        x = (x - self.mean) / self.std
        y, *skips = reversed(self.encoder(x))
        maps = []
        for up, skip in zip(self.ups, skips, strict=True):
            y = up(y, skip)
            maps.append(y)
        return self.last(y, self.color_decoder(maps), x)  # type: ignore[no-any-return]


class CpuBlock(nn.Module):
    """A block of the encoder; see `ddcolor.ConvNextBlock`. All but its wide filter is computed in strips."""

    def __init__(self, block: Layers, dtype: torch.dtype) -> None:
        super().__init__()
        channels = len(block.gamma)
        self.filter = Convolution(block.dwconv.weight.to(dtype), block.dwconv.bias, padding=(3, 3), groups=channels)
        self.norm = block.norm
        first, second, scale = block.pwconv1, block.pwconv2, block.gamma
        self.widen = Convolution(first.weight[..., None, None].to(dtype), first.bias, after="gelu")
        weight = scale[:, None] * second.weight
        self.narrow = Convolution(weight[..., None, None].to(dtype), scale * second.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape. The input may be overwritten."""
        y, filtered = to_rows(x), to_rows(self.filter(x))

        def compute(picture: int, first: int, end: int) -> None:
            rows = self.norm(filtered[picture, None, first:end]).permute(0, 3, 1, 2)
            y[picture, first:end].add_(self.narrow(self.widen(rows))[0].permute(1, 2, 0))

        run_in_strips(compute, y, 4 * y.shape[3])
        return y.permute(0, 3, 1, 2)


class CpuOutput(nn.Module):
    """The last steps: the shuffle to full size, its product with the colors, and the last convolution."""

    def __init__(self, shuffle: Layers, refine: Layers, dtype: torch.dtype) -> None:
        super().__init__()
        conv, self.factor = shuffle.conv[0], shuffle.factor
        channels = conv.out_channels // self.factor**2
        # The channels of one sub-pixel follow each other, so that each sub-pixel is a row of a matrix.
        order = torch.arange(conv.out_channels).view(channels, -1).t().flatten()
        self.shuffle = Convolution(conv.weight[order].to(dtype), conv.bias[order], after="relu")
        self.of_colors = refine.weight[:, :-3, 0, 0].to(dtype, copy=True)
        self.of_gray = Convolution(refine.weight[:, -3:].to(dtype), refine.bias)

    def forward(self, x: Tensor, colors: Tensor, gray: Tensor) -> Tensor:
        """Map (B, inside, h / 4, w / 4), colors (B, n, channels) and the input (B, 3, h, w) to (B, 2, h, w)."""
        low, mix = to_rows(x), (self.of_colors @ colors).mT.contiguous()
        parts = self.factor**2
        ab = low.new_empty(*low.shape[:3], 2 * parts)

        def compute(picture: int, first: int, end: int) -> None:
            maps = self.shuffle(low[picture, None, first:end].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            mixed = maps.reshape(*maps.shape[1:3], parts, -1) @ mix[picture]
            ab[picture, first:end] = mixed.flatten(2)

        run_in_strips(compute, low, parts * mix.shape[1])
        planes = ab.view(*low.shape[:3], parts, 2).mT.flatten(3).permute(0, 3, 1, 2)
        large = functional.pixel_shuffle(planes, self.factor)
        blurred = functional.avg_pool2d(functional.pad(large, (1, 0, 1, 0), mode="replicate"), 2, stride=1)
        y: Tensor = blurred.float() + self.of_gray(gray).float()
        return y
