"""Convolutions by oneDNN with kernels that already lie as it wants them.

torch rearranges the kernel in every call of a convolution. For matrix products in float32 it does without oneDNN, and
for convolutions too where a thread works alone. The operators here are those that code made by torch.compile calls; the
version of torch is pinned.
"""

import torch
from torch import Tensor, nn


class Packed(nn.Module):
    """A convolution whose kernel is packed.

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
        self.layout = padding, stride, (1, 1), groups
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(weight.detach().to_mkldnn(), *self.layout)  # type: ignore[arg-type]
        self.bias = None if bias is None else bias.detach().to(weight.dtype, copy=True)
        self.then = "relu" if relu else "none"

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inside, h, w) to (B, outside, h', w'), both channels last."""
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *self.layout, self.then, [], "")
        return y


def pack(network: nn.Module, dtype: torch.dtype) -> None:
    """Replace what is simply a convolution among a network's own steps, not in theirs."""
    for name, child in network.named_children():
        if isinstance(child, nn.Conv2d) and is_simple(child):
            kernel, padding = child.weight.to(dtype), tuple(map(int, child.padding))
            packed = Packed(kernel, child.bias, stride=child.stride, padding=padding, groups=child.groups)
            network.register_module(name, packed)


def is_simple(conv: nn.Conv2d) -> bool:
    """Tell whether a convolution does nothing that `Packed` does not."""
    plain = type(conv) is nn.Conv2d and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    return plain and not isinstance(conv.padding, str)


def multiply(x: Tensor, y: Tensor) -> Tensor:
    """Multiply matrices (..., n) and (m, n) to (..., m)."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, y, None, "none", [], "")
    return product
