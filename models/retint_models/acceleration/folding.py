"""Norms, constant in evaluation, folded into the convolutions before them."""

from itertools import pairwise

import torch
from torch import nn

from retint_models.acceleration.onednn import convert
from retint_models.networks.deoldify import Residual, SpectralConv, WeightNormConv


def fold(network: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Put norms into the convolutions before them, everywhere in a network; return it.

    Args:
        network: In evaluation mode.
        dtype: Let oneDNN do the convolutions, in this precision; step by step, which takes less memory.
    """
    for name, child in network.named_children():
        if isinstance(child, SpectralConv | WeightNormConv):
            network.register_module(name, plain(child))
        else:
            fold(child, dtype)
    if isinstance(network, Residual):
        for number in range(1, network.count + 1):
            join(network, f"conv{number}", f"bn{number}")
    elif isinstance(network, nn.Sequential):
        for conv, norm in pairwise(list(network._modules)):
            join(network, conv, norm)
    if dtype is not None:
        convert(network, dtype)
    return network


def plain(conv: SpectralConv | WeightNormConv) -> nn.Module:
    """Return a convolution without norm."""
    if isinstance(conv, SpectralConv):
        weight = conv.weight_orig / conv.weight_u.dot(conv.weight_orig.flatten(1).mv(conv.weight_v))
    else:
        weight = conv.weight_v * (conv.weight_g / torch.linalg.vector_norm(conv.weight_v, dim=(1, 2, 3), keepdim=True))
    kind = nn.Conv1d if weight.dim() == 3 else nn.Conv2d
    stride, padding = (conv.stride, conv.padding) if isinstance(conv, SpectralConv) else (1, 0)
    with torch.device("meta"):
        new = kind(weight.shape[1], weight.shape[0], weight.shape[-1], stride, padding, bias=conv.bias is not None)
    new.weight = nn.Parameter(weight, requires_grad=False)
    new.bias = conv.bias
    return new


def join(network: nn.Module, conv_name: str, norm_name: str) -> None:
    """Replace a convolution and the batch norm that follows it by one convolution, where they are these."""
    conv, norm = network.get_submodule(conv_name), network.get_submodule(norm_name)
    if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
        network.register_module(conv_name, torch.nn.utils.fuse_conv_bn_eval(conv.eval(), norm.eval()))
        network.register_module(norm_name, nn.Identity())
