"""Read published weights files without executing anything in them.

A PyTorch file is a pickle: in old files the tensors' bytes follow it, in newer ones it is inside a zip. A pickle can
name any function and have it called. So a file must pass two checks: its instructions are read, not executed, and every
name in them must be on a short list; then PyTorch's own restricted reader (`weights_only`) builds the tensors.
"""

import pickle
import pickletools
import struct
import warnings
import zipfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
ALLOWED = {
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "builtins.slice",  # the learning rates that fastai saves beside the weights
    "__builtin__.slice",
    *(f"torch.{name}Storage" for name in STORAGES),
}
"""All names that a file may use."""

WRAPPERS = ("model", "params", "params_ema", "state_dict")
"""Names under which training code saves the tensors: fastai's, BasicSR's two, PyTorch Lightning's and many others'."""

BESIDE_TENSORS = {"opt"}
"""What may stand beside them, and is left out: the optimiser's state, as fastai saves it."""

PICKLES = 5
"""Number of pickles in an old file: magic number, version, machine, the object, the order of its tensors."""

DAMAGED = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    SafetensorError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""Exceptions that reading a damaged file can raise."""


@dataclass(frozen=True)
class Checkpoint:
    """What was read from a weights file.

    Attributes:
        tensors: By name, on the CPU, in the type that the file has.
        remark: A sentence where the file held two sets of weights: which one this is; else empty.
    """

    tensors: dict[str, Tensor]
    remark: str = ""


def read(path: Path) -> Checkpoint:
    """Read the tensors of a PyTorch file, old or new, or of a safetensors file; bare, or in one of `WRAPPERS`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it uses a name that is not allowed, is cut off, or is no weights file; says which.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise ValueError(f"{path.name} is empty")
    is_safetensors = head[8:9] == b"{"
    strange = None
    try:
        if not is_safetensors:
            strange = next((name for name in requested_names(path) if name not in ALLOWED), None)
        held = None if strange else load_file(path) if is_safetensors else unpickle(path)
    except DAMAGED as error:
        if not is_safetensors and not head.startswith((b"PK\x03\x04", b"\x80")):
            page = " but a web page" if head.lstrip().startswith(b"<") else ""
            raise ValueError(f"{path.name} is no weights file{page}: neither PyTorch's nor safetensors") from error
        what = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise ValueError(f"{path.name} is cut off, damaged, or holds more than tensors: {what}") from error
    if strange:
        raise ValueError(
            f"{path.name} asks for {strange}, for which weights have no use: it was refused, and nothing in it was run"
        )
    inner, remark = unwrap(held, path.name)
    return Checkpoint(check_tensors(inner, path.name), remark)


def requested_names(path: Path) -> Iterator[str]:
    """Yield the names of the classes and functions that a PyTorch file would call, without executing it."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            for _ in range(PICKLES):
                if file.peek(1):
                    yield from names_in_pickle(file)
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise zipfile.BadZipFile(f"{entry.filename} is compressed")  # as no weights are; a bomb may be
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as file:
                    yield from names_in_pickle(file)


def names_in_pickle(file: IO[bytes]) -> Iterator[str]:
    """Yield the names in one pickle; the file is then positioned behind it."""
    strings: deque[str] = deque(maxlen=2)
    for instruction, argument, _ in pickletools.genops(file):
        if instruction.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".", 1)
        elif instruction.name == "STACK_GLOBAL":  # takes module and name from the stack: the last strings, as a rule
            yield ".".join(strings)
        elif instruction.name.startswith("EXT"):
            yield f"extension {argument}"
        elif isinstance(argument, str):
            strings.append(argument)


def unpickle(path: Path) -> Any:
    """Read a PyTorch file with PyTorch's own restricted reader."""
    with torch.serialization.safe_globals([slice]), warnings.catch_warnings(action="ignore"):
        return torch.load(path, map_location="cpu", weights_only=True)


def unwrap(held: Any, name: str) -> tuple[Any, str]:
    """Take the tensors out of a wrapper, if there is one.

    Where there are the parameters of a training and their moving average, as BasicSR saves them, the average is taken:
    it is what its authors publish scores of.

    Returns:
        The tensors by name, as far as the wrapper tells; and a remark, where there were two sets of them.

    Raises:
        ValueError: there are two sets, of which neither is known to be the better one.
    """
    if not isinstance(held, dict) or not held or not held.keys() <= {*WRAPPERS, *BESIDE_TENSORS}:
        return held, ""
    found = [wrapper for wrapper in WRAPPERS if isinstance(held.get(wrapper), dict)]
    if found == ["params", "params_ema"]:
        return held["params_ema"], f"{name} holds params and params_ema: the moving average, params_ema, was taken."
    if len(found) > 1:
        raise ValueError(f"{name} holds {' and '.join(found)}: save a file with the one that is meant")
    return (held[found[0]], "") if found else (held, "")


def check_tensors(held: Any, name: str) -> dict[str, Tensor]:
    """Return what a file holds as tensors by name.

    Raises:
        ValueError: it holds anything else.
    """
    if not isinstance(held, dict) or not held:
        raise ValueError(f"{name} holds no tensors by name, but a {type(held).__name__}")
    for key, value in held.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"{name} holds more than tensors by name: {key!r} is a {type(value).__name__}")
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise ValueError(f"{name} holds {key!r}, which is no plain tensor")
    return {key: value.detach() for key, value in held.items()}
