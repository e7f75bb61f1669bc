"""Convolutions and products of matrices by oneDNN, also where torch does without it.

In float32 torch does without it for products of matrices, and for convolutions where a thread works alone: half as fast
on a processor that is not Intel's. The operators here are those that code of torch.compile calls; the version of torch
is pinned. Kernels stay as they are: torch's rearranged ones gain a twentieth for maps of the size that they were
rearranged for, but a map of another size may take a hundred times as long.
"""

from typing import Any

import torch
from torch import Tensor, nn


class Convolution(nn.Module):
    """A convolution without dilation, with a copy of what it is given.

    Args:
        weight: (outside, inside / groups, h, w), float32 or bfloat16, as its inputs will be.
        bias: (outside,).
        stride: Steps down and across.
        padding: Zeros above and below, left and right.
        groups: Of channels, each by itself.
        relu: Whether a ReLU follows.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: tuple[int, ...] = (1, 1),
        padding: tuple[int, ...] = (0, 0),
        groups: int = 1,
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.weight = weight.detach().clone(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach().to(weight.dtype, copy=True)
        self.options: tuple[Any, ...] = padding, stride, (1, 1), groups, "relu" if relu else "none", [], ""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inside, h, w) to (B, outside, h', w'), both channels last."""
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *self.options)
        return y


def convert(network: nn.Module, dtype: torch.dtype) -> None:
    """Let oneDNN do the convolutions among a network's own steps, not in theirs."""
    for name, child in network.named_children():
        if isinstance(child, nn.Conv2d) and is_simple(child):
            kernel, padding = child.weight.to(dtype), tuple(map(int, child.padding))
            ours = Convolution(kernel, child.bias, stride=child.stride, padding=padding, groups=child.groups)
            network.register_module(name, ours)


def is_simple(conv: nn.Conv2d) -> bool:
    """Tell whether a convolution does nothing that `Convolution` does not."""
    plain = type(conv) is nn.Conv2d and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    return plain and not isinstance(conv.padding, str)


def multiply(x: Tensor, y: Tensor) -> Tensor:
    """Multiply matrices (..., n) and (m, n) to (..., m)."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, y, None, "none", [], "")
    return product
