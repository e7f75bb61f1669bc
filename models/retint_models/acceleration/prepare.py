"""Networks made ready to run fast: norms folded, channels last, in the precision that the hardware is good at."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from retint_models.acceleration import strips
from retint_models.acceleration.folding import fold
from retint_models.networks import deoldify

Precision = Literal["float32", "bfloat16"]
Check = Callable[[Tensor], None]
"""Raises ValueError for what a network does not take."""


class Prepared(nn.Module):
    """A network that is ready to run.

    Attributes:
        precision: What it computes in: `float32` or `bfloat16`.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], device: str, precision: Precision, check: Check | None) -> None:
        super().__init__()
        self.run = run
        self.check = check
        self.device = device
        self.precision = precision

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """Map what the network maps, float32 (B, C, h, w) of any device, to float32 of the network's device."""
        if self.check is not None:
            self.check(x)
        y = self.run(x.to(self.device, getattr(torch, self.precision), memory_format=torch.channels_last))
        return y.float()


@torch.no_grad()
def prepared(network: nn.Module, device: str = "cpu", precision: Literal["auto"] | Precision = "auto") -> Prepared:
    """Take over a network in evaluation mode and return it ready to run, on any batch and size that it takes.

    Args:
        network: It is changed: who needs the plain one makes it again.
        device: `cpu` or `cuda`.
        precision: What it computes in; `auto` is bfloat16 where the device multiplies it natively, else float32.
            In float32 the output is within 1e-3 of the plain network's.

    Raises:
        ValueError: the device cannot compute in this precision.
    """
    chosen: Precision = natural(device) if precision == "auto" else precision
    if chosen == "bfloat16" and not supports_bfloat16(device):
        raise ValueError("this CPU cannot run networks in bfloat16, which needs AVX-512; use float32 instead")
    dtype: torch.dtype = getattr(torch, chosen)
    check = deoldify.check if isinstance(network, deoldify.Generator) else None
    on_cpu = torch.device(device).type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if on_cpu and isinstance(network, deoldify.Generator):
        network = strips.Generator(network, dtype)
    fold(network, dtype if on_cpu else None)
    network.requires_grad_(False).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    # What stays in the memory of a mapped file keeps all of the file there.
    network.load_state_dict({name: tensor.clone() for name, tensor in network.state_dict().items()}, assign=True)
    if torch.device(device).type == "cuda":
        torch.backends.cudnn.benchmark = True  # try what is fastest for a size, once
    run = network.decide if isinstance(network, deoldify.Generator) else network
    return Prepared(run, device, chosen, check)


def natural(device: str) -> Precision:
    """Return the faster precision of a device, among those that are good enough."""
    if torch.device(device).type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        flags = torch.cpu.get_capabilities()
        native = bool(flags.get("avx512_bf16") or flags.get("amx_bf16")) and supports_bfloat16(device)
    return "bfloat16" if native else "float32"


def supports_bfloat16(device: str) -> bool:
    """Whether convolutions run in bfloat16 on a device: oneDNN refuses them on a CPU without AVX-512 (or its like)."""
    if torch.device(device).type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
