"""Fold norms, which are constant in evaluation, into the convolutions before them."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from retint_models.acceleration.onednn import use_onednn


@runtime_checkable
class Reparametrized(Protocol):
    """A convolution that computes its kernel from other tensors, as spectral norm and weight norm do."""

    def to_plain(self) -> nn.Module:
        """Return a plain convolution with the kernel that evaluation uses."""


@runtime_checkable
class NamesItsNorms(Protocol):
    """A block that is no `nn.Sequential` and names the pairs that can be folded.

    Attributes:
        batch_norm_after: Name of a convolution to name of the batch norm that directly follows it.
    """

    batch_norm_after: dict[str, str]


def fold(network: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Fold the norms everywhere in a network, in place, and return it.

    Args:
        network: In evaluation mode.
        dtype: If given, oneDNN runs the convolutions in this precision. They are converted module by module, which
            needs less memory than converting all at once.
    """
    for name, child in network.named_children():
        if isinstance(child, Reparametrized):
            network.register_module(name, child.to_plain())
        else:
            fold(child, dtype)
    for conv_name, norm_name in foldable_pairs(network):
        fold_batch_norm(network, conv_name, norm_name)
    if dtype is not None:
        use_onednn(network, dtype)
    return network


def foldable_pairs(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of direct children that follow each other: a convolution and a batch norm, perhaps."""
    if isinstance(network, NamesItsNorms):
        yield from network.batch_norm_after.items()
    elif isinstance(network, nn.Sequential):
        yield from pairwise(list(network._modules))


def fold_batch_norm(network: nn.Module, conv_name: str, norm_name: str) -> None:
    """Replace a convolution and its batch norm by one convolution; leave modules of other types alone."""
    conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
    if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        network.register_module(conv_name, torch.nn.utils.fuse_conv_bn_eval(conv.eval(), norm.eval()))
        network.register_module(norm_name, nn.Identity())


def plain_conv(weight: Tensor, bias: nn.Parameter | None, stride: int = 1, padding: int = 0) -> nn.Module:
    """Return a convolution with this kernel, (outside, inside, k) or (outside, inside, k, k), that is not trained."""
    kind = nn.Conv1d if weight.dim() == 3 else nn.Conv2d
    with torch.device("meta"):
        conv = kind(weight.shape[1], weight.shape[0], weight.shape[-1], stride, padding, bias=bias is not None)
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = bias
    return conv


def batch_norm_affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Return the gain and the offset, (channels,) each, that a batch norm applies in evaluation."""
    gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return gain, norm.bias - norm.running_mean * gain
