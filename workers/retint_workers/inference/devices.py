"""The device that networks run on: which one it is, whether it works, and what its errors mean."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from retint.errors import DeviceFailed, InvalidRequest, OutOfMemory

NODES = Path("/dev")
GPU_NODES = ("nvidia[0-9]*", "nvidiactl", "dxg")
"""Names of files there where a machine has an NVIDIA GPU."""
ROOM_MIB = 256
"""Memory that a sound device has left: less than every network needs for a photo."""
SIDE = 64
"""Rows and columns of the matrices that are multiplied as a test."""
DEVICE_ERRORS = re.compile(
    r"CUDA (?:driver |unknown )?error|cuDNN error|CU(?:BLAS|DNN|FFT|SOLVER|SPARSE)_STATUS|device-side assert"
    r"|No CUDA GPUs|CUDA-capable device|NVIDIA driver|NVML"
)
"""What torch's messages about a device say. It raises plain RuntimeErrors for most of CUDA's libraries."""

log = structlog.get_logger()


def resolve_device(name: str) -> str:
    """Return the device that a setting names; for `auto` the GPU (`cuda`) where there is one, otherwise `cpu`.

    Raises:
        InvalidRequest: no device has such a name.
        DeviceFailed: this machine has no such GPU, or no driver for it.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidRequest(f"No device is called {name!r}; there are auto, cpu, cuda, cuda:1 …") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise DeviceFailed(
            f"Networks should run on {name}, and there is no such GPU here, or no driver for it: install the NVIDIA "
            "driver, or set RETINT_DEVICE to auto or cpu.",
            code="no_device",
        )
    return name


def describe_device(name: str) -> str:
    """Return what administrators see of the device that a setting names: the GPU's name, or `cpu (8 cores)`.

    Logs a warning where networks will run on the CPU although the machine has a GPU.

    Raises:
        InvalidRequest, DeviceFailed: as `resolve_device`.
    """
    device = resolve_device(name)
    if device.startswith("cuda"):
        import torch

        with translate_errors():
            return str(torch.cuda.get_device_name(device))
    if name == "auto" and (nodes := [str(path) for pattern in GPU_NODES for path in NODES.glob(pattern)]):
        log.warning("gpu_not_used", found=nodes, reason="torch finds no GPU: the driver is missing or does not fit")
    return f"{device} ({os.cpu_count()} cores)"


def prove_device(device: str) -> None:
    """Prove that a layer on a device multiplies two matrices correctly, and that it has some memory left.

    A process whose device failed learns nothing by this: CUDA repeats the error. Run it in a process of its own.

    Raises:
        DeviceFailed: it does not work.
        OutOfMemory: it has too little memory.
    """
    import torch

    with translate_errors(), torch.inference_mode():
        # Small whole numbers: the product is exact in every arithmetic.
        left = (torch.arange(SIDE * SIDE) % 7).reshape(SIDE, SIDE)
        right = (torch.arange(SIDE * SIDE) % 5).reshape(SIDE, SIDE)
        layer = torch.nn.Linear(SIDE, SIDE, bias=False, device=device)
        layer.weight.copy_(right.T)
        product = layer(left.to(device, torch.float32)).cpu()
        torch.empty(ROOM_MIB << 20, dtype=torch.uint8, device=device)
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
    if not torch.equal(product.to(torch.int64), left @ right):
        raise DeviceFailed(f"The device {device} multiplied two matrices wrongly.")


@contextmanager
def translate_errors() -> Iterator[None]:
    """Tell what torch says about its device from what it says about a network or its input, which stays as it is.

    Raises:
        DeviceFailed: the device reported an error.
        OutOfMemory: the device, or the machine, has too little memory.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory("The GPU's memory is too small for this photo.") from error
    except MemoryError as error:
        raise OutOfMemory("There was not enough memory for the network.") from error
    except RuntimeError as error:
        message = str(error)
        if isinstance(error, torch.AcceleratorError) or DEVICE_ERRORS.search(message):
            raise DeviceFailed(f"The device reported: {message.splitlines()[0]}") from error
        if "DefaultCPUAllocator" in message:
            raise OutOfMemory("There was not enough memory for the network.") from error
        raise
