"""Networks made ready to run fast: norms folded, channels last, in the precision that the hardware is good at."""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from retint_models import deoldify, onednn, strips
from retint_models.deoldify import Residual, SpectralConv, WeightNormConv

Precision = Literal["float32", "bfloat16"]


class Prepared(nn.Module):
    """A network that is ready to run.

    Attributes:
        precision: What it computes in: `float32` or `bfloat16`.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], device: str, precision: Precision) -> None:
        super().__init__()
        self.run = run
        self.device = device
        self.precision = precision

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """Map what the network maps, float32 (B, C, h, w) of any device, to float32 of the network's device."""
        y = self.run(x.to(self.device, getattr(torch, self.precision), memory_format=torch.channels_last))
        return y.float()


@torch.inference_mode()
def prepared(network: nn.Module, device: str = "cpu", precision: Literal["auto"] | Precision = "auto") -> Prepared:
    """Take over a network in evaluation mode and return it ready to run, on any batch and size that it takes.

    Args:
        network: It is changed: who needs the plain one makes it again.
        device: `cpu` or `cuda`.
        precision: What it computes in; `auto` is bfloat16 where the device multiplies it natively, else float32.
            In float32 the output is within 1e-3 of the plain network's.
    """
    chosen: Precision = natural(device) if precision == "auto" else precision
    dtype: torch.dtype = getattr(torch, chosen)
    fold(network)
    if torch.device(device).type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        if isinstance(network, deoldify.Generator):
            network = strips.Generator(network, dtype)
        onednn.pack(network, dtype)
    network.requires_grad_(False).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Prepared(network, device, chosen)


def natural(device: str) -> Precision:
    """Return the faster precision of a device, among those that are good enough."""
    if torch.device(device).type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        flags = torch.cpu.get_capabilities()
        native = bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))
    return "bfloat16" if native else "float32"


def fold(network: nn.Module) -> None:
    """Put norms that are constant in evaluation into the convolutions before them."""
    for name, child in list(network.named_children()):
        if isinstance(child, SpectralConv | WeightNormConv):
            network.register_module(name, plain(child))
        else:
            fold(child)
    if isinstance(network, Residual):
        for number in range(1, network.count + 1):
            join(network, f"conv{number}", f"bn{number}")
    elif isinstance(network, nn.Sequential):
        names = list(network._modules)
        for conv, norm in pairwise(names):
            join(network, conv, norm)


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
