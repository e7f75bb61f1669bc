"""Weights files as others publish them, read without ever running what is in them.

A PyTorch file is a pickle, the old sort followed by the tensors' bytes, the newer sort inside of a zip. A pickle may
ask for any function by name and have it called. So it passes two gates: its instructions are read, not run, and every
name in them must be on a short list; then PyTorch's own restricted reader (`weights_only`) builds what they describe.
"""

import pickle
import pickletools
import struct
import warnings
import zipfile
from collections import deque
from collections.abc import Iterator
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
"""All that a file may ask for."""

PICKLES = 5
"""How many follow each other in an old file: number, version, machine, the object, the order of its tensors."""

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
"""What reading a damaged file may raise: a pickle is a program, and this one is wrong somewhere."""


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a PyTorch file, old or new, or of a safetensors file.

    Where the file holds exactly `model` and `opt`, as fastai saves them, the tensors are those of `model`.

    Returns:
        The state: name to tensor, on the CPU, in the type that the file has.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it asks for something else than tensors and plain containers, is cut off, or is no weights file;
            one sentence that says which.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise ValueError(f"{path.name} is empty")
    is_safetensors = head[8:9] == b"{"
    strange = None
    try:
        if not is_safetensors:
            strange = next((name for name in asked(path) if name not in ALLOWED), None)
        held = None if strange else load_file(path) if is_safetensors else unpickled(path)
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
    return state_of(held, path.name)


def asked(path: Path) -> Iterator[str]:
    """Tell by which names a PyTorch file asks for classes and functions, without running it."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            for _ in range(PICKLES):
                if file.peek(1):
                    yield from named(file)
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise zipfile.BadZipFile(f"{entry.filename} is compressed")  # as no weights are; a bomb may be
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as file:
                    yield from named(file)


def named(file: IO[bytes]) -> Iterator[str]:
    """Tell the names in one pickle, and leave the file behind its end."""
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


def unpickled(path: Path) -> Any:
    """Read a PyTorch file by PyTorch's own restricted reader."""
    with torch.serialization.safe_globals([slice]), warnings.catch_warnings(action="ignore"):
        return torch.load(path, map_location="cpu", weights_only=True)


def state_of(held: Any, name: str) -> dict[str, Tensor]:
    """Take the tensors out of what a file holds.

    Raises:
        ValueError: there is something else.
    """
    if isinstance(held, dict) and held.keys() == {"model", "opt"}:
        held = held["model"]
    if not isinstance(held, dict) or not held:
        raise ValueError(f"{name} holds no tensors by name, but a {type(held).__name__}")
    for key, value in held.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"{name} holds more than tensors by name: {key!r} is a {type(value).__name__}")
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise ValueError(f"{name} holds {key!r}, which is no plain tensor")
    return {key: value.detach() for key, value in held.items()}
