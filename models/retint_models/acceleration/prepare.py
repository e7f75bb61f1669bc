"""Prepare networks to run fast: norms folded, channels last, in the best precision of the hardware."""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from retint_models.acceleration.folding import fold

Precision = Literal["float32", "bfloat16"]


@runtime_checkable
class ChecksInput(Protocol):
    """A network whose `forward` is `check`, for float32, and then `decide`, for the precision of its weights."""

    def check(self, x: Tensor) -> None:
        """Raise ValueError for an input that the network does not take."""

    def decide(self, x: Tensor) -> Tensor:
        """Run the network on a checked input."""


@runtime_checkable
class HasCpuForm(Protocol):
    """A network that computes the same in another form, which is faster on a CPU."""

    def to_cpu_form(self, dtype: torch.dtype) -> nn.Module:
        """Return that form, without a check of its input; the network itself is taken apart."""


class PreparedNetwork(nn.Module):
    """A network that is ready to run.

    Attributes:
        precision: What it computes in: `float32` or `bfloat16`.
    """

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        device: str,
        precision: Precision,
        check: Callable[[Tensor], None] | None,
    ) -> None:
        super().__init__()
        self.run = run
        self.check = check
        self.device = device
        self.precision = precision

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """Map the network's input, float32 (B, C, h, w) on any device, to its output, float32 on its own device."""
        if self.check is not None:
            self.check(x)
        y = self.run(x.to(self.device, getattr(torch, self.precision), memory_format=torch.channels_last))
        return y.float()


@torch.no_grad()
def prepare(
    network: nn.Module, device: str = "cpu", precision: Literal["auto"] | Precision = "auto"
) -> PreparedNetwork:
    """Prepare a network in evaluation mode to run on any batch and size that it takes.

    A network may offer more: see `ChecksInput`, `HasCpuForm` and, in `folding`, `Reparametrized` and `NamesItsNorms`.

    Args:
        network: It is changed: a caller who also needs the plain network must load it again.
        device: `cpu` or `cuda`.
        precision: What it computes in; `auto` is bfloat16 where the device multiplies it natively, else float32.
            In float32 the output is within 1e-3 of the plain network's.

    Raises:
        ValueError: the device cannot compute in this precision.
    """
    chosen: Precision = fastest_precision(device) if precision == "auto" else precision
    if chosen == "bfloat16" and not supports_bfloat16(device):
        raise ValueError("this CPU cannot run networks in bfloat16, which needs AVX-512; use float32 instead")
    dtype: torch.dtype = getattr(torch, chosen)
    check = network.check if isinstance(network, ChecksInput) else None
    has_onednn = torch.device(device).type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if has_onednn and isinstance(network, HasCpuForm):
        network = network.to_cpu_form(dtype)
    fold(network, dtype if has_onednn else None)
    network.requires_grad_(False).to(device, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    keep_float32(device)
    if torch.device(device).type == "cuda":
        torch.backends.cudnn.benchmark = True  # try the algorithms for each size once and keep the fastest
    run = network.decide if isinstance(network, ChecksInput) else network
    return PreparedNetwork(run, device, chosen, check)


def keep_float32(device: str) -> None:
    """Let a GPU compute float32 in float32, for the whole process: its convolutions would round to 10 bits (TF32)."""
    if torch.device(device).type != "cpu":
        torch.backends.cudnn.allow_tf32 = False


def fastest_precision(device: str) -> Precision:
    """Return the fastest precision of a device among those that are accurate enough."""
    if torch.device(device).type == "cuda":
        is_native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        flags = torch.cpu.get_capabilities()
        is_native = bool(flags.get("avx512_bf16") or flags.get("amx_bf16")) and supports_bfloat16(device)
    return "bfloat16" if is_native else "float32"


def supports_bfloat16(device: str) -> bool:
    """Whether convolutions run in bfloat16 on a device: oneDNN refuses them on a CPU without AVX-512 (or its like)."""
    if torch.device(device).type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
