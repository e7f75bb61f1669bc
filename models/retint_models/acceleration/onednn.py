"""Convolutions and matrix products by oneDNN, also where torch does not use it.

In float32 torch does not use oneDNN for matrix products, nor for convolutions on a single thread; on a processor that
is not Intel's this halves the speed. The operators called here are those that torch.compile generates calls to; the
version of torch is pinned. Kernels keep their memory layout: torch's reordered kernels are 5 % faster for maps of the
size that they were reordered for, but up to a hundred times slower for other sizes.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn


class Convolution(nn.Module):
    """A convolution without dilation. Kernel and bias are not copied where type and layout are right already.

    Args:
        weight: (outside, inside / groups, h, w), float32 or bfloat16; inputs must have the same type.
        bias: (outside,).
        stride: Down and across.
        padding: Zeros above and below, left and right.
        groups: Number of channel groups.
        after: What follows; GELU is the exact one.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        stride: tuple[int, ...] = (1, 1),
        padding: tuple[int, ...] = (0, 0),
        groups: int = 1,
        after: Literal["none", "relu", "gelu"] = "none",
    ) -> None:
        super().__init__()
        self.weight = weight.detach().contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach().to(weight.dtype)
        self.options: tuple[Any, ...] = padding, stride, (1, 1), groups, after, [], "none"

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inside, h, w) to (B, outside, h', w'), both channels last."""
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *self.options)
        return y


def use_onednn(network: nn.Module, dtype: torch.dtype) -> None:
    """Replace the convolutions among a network's direct children by `Convolution`s of a precision."""
    for name, child in network.named_children():
        if isinstance(child, nn.Conv2d) and is_simple(child):
            kernel, padding = child.weight.to(dtype), tuple(map(int, child.padding))
            conv = Convolution(kernel, child.bias, stride=child.stride, padding=padding, groups=child.groups)
            network.register_module(name, conv)


def is_simple(conv: nn.Conv2d) -> bool:
    """Whether `Convolution` can replace a convolution."""
    plain = type(conv) is nn.Conv2d and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    return plain and not isinstance(conv.padding, str)


def multiply(x: Tensor, y: Tensor) -> Tensor:
    """Multiply matrices (..., n) and (m, n) to (..., m)."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, y, None, "none", [], "")
    return product
