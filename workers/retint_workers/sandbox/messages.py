"""Messages from a child: values without pickle, read by what the function's signature says.

A foreign file may have taken over the child, so the parent believes nothing: a message has a limit of size, says
nothing about classes, and becomes a value only where it is one of the type that was promised. A message is the length
of a JSON text, that text, and the bytes of `bytes` and arrays one after the other. In the JSON, null, booleans,
numbers, text and lists stand for themselves; all else is an object with one entry, which names what it is.
"""

import dataclasses
import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

LENGTH = struct.Struct(">Q")
MAX_BYTES = 64 << 20
"""Most bytes of one message: three times the largest picture that a child sends, a proxy of 2048 × 2048 pixels."""
MAX_JSON_BYTES = 8 << 20
"""Most bytes of its JSON, which takes a multiple of that in memory."""
MAX_NESTING = 32
MAX_INTEGER = 1 << 63
ARRAY_KINDS = "buif"
"""NumPy's letters for arrays of booleans and numbers."""


class InvalidMessage(Exception):
    """A message is not what the function promises; so something else than the function wrote it."""


# --- writing, in the child --------------------------------------------------------------------------------------------


def encode(value: Any) -> bytes:
    """Write a value as a message.

    Raises:
        TypeError, ValueError: it holds something that messages cannot hold, or is too large.
    """
    buffers: list[bytes] = []
    text = json.dumps(_to_json(value, buffers), allow_nan=False).encode()
    message = b"".join([LENGTH.pack(len(text)), text, *buffers])
    if len(text) > MAX_JSON_BYTES or len(message) > MAX_BYTES:
        raise ValueError(f"a message of {len(message)} bytes is too large")
    return message


def _to_json(value: Any, buffers: list[bytes]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        items = [_to_json(item, buffers) for item in value]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) for key in value):
            raise TypeError("the keys of a dictionary must be text")
        return {"dict": {key: _to_json(item, buffers) for key, item in value.items()}}
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, bytes):
        buffers.append(value)
        return {"bytes": len(value)}
    if isinstance(value, np.ndarray):
        buffers.append(np.ascontiguousarray(value).tobytes())
        return {"array": [value.dtype.str, list(value.shape)]}
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {"fields": {name: _to_json(getattr(value, name), buffers) for name in names}}
    raise TypeError(f"a {type(value).__name__} cannot leave the process that opens files")


# --- reading, in the parent -------------------------------------------------------------------------------------------


def decode(message: bytes | bytearray, kind: Any, folders: Iterable[Path]) -> Any:
    """Read a value of a type from a message.

    Args:
        message: as `encode` wrote it, or anything else.
        kind: the type, as annotations spell it; `Any` is for JSON values.
        folders: a path in the message must be that of something in one of them.

    Raises:
        InvalidMessage: it is no such value.
    """
    try:
        (size,) = LENGTH.unpack_from(message)
        start = LENGTH.size
        if size > MAX_JSON_BYTES:
            raise InvalidMessage("too much JSON")
        node = json.loads(bytes(message[start : start + size]), parse_constant=_refuse_constant)
        reader = _Reader(memoryview(message)[start + size :], [Path(os.path.realpath(folder)) for folder in folders])
        value = reader.read(node, kind, 0)
    except (ValueError, TypeError, LookupError, OSError, RecursionError, struct.error) as error:
        raise InvalidMessage(f"{type(error).__name__}: {error}") from error
    if reader.rest:
        raise InvalidMessage("bytes are left over")
    return value


def _refuse_constant(name: str) -> Any:
    raise InvalidMessage(f"{name} is no number of JSON")


class _Reader:
    """Reads values from the JSON of a message and, in the order of writing, from the bytes behind it."""

    def __init__(self, rest: memoryview, folders: Sequence[Path]) -> None:
        self.rest = rest
        self._folders = folders

    def read(self, node: Any, kind: Any, depth: int) -> Any:
        if depth > MAX_NESTING:
            raise InvalidMessage("nested too deeply")
        origin = get_origin(kind) or kind
        if origin in (Union, UnionType):
            return self._read_one_of(node, get_args(kind), depth)
        if origin is Any:
            return self._read_any(node, depth)
        if dataclasses.is_dataclass(origin):
            return self._read_fields(node, origin, depth)
        if origin not in READERS:
            raise InvalidMessage(f"no {origin} is ever sent")
        return READERS[origin](self, node, get_args(kind), depth)

    def _read_one_of(self, node: Any, kinds: Sequence[Any], depth: int) -> Any:
        for kind in kinds:
            rest = self.rest
            try:
                return self.read(node, kind, depth)
            except InvalidMessage:
                self.rest = rest
        raise InvalidMessage(f"expected one of {kinds}")

    def _read_any(self, node: Any, depth: int) -> Any:
        kinds: tuple[Any, ...] = (None, bool, int, float, str)
        for kind in kinds:
            if type(node) is (NoneType if kind is None else kind):
                return self.read(node, NoneType if kind is None else kind, depth)
        return self.read(node, list[Any] if isinstance(node, list) else dict[str, Any], depth)

    def _read_fields(self, node: Any, kind: Any, depth: int) -> Any:
        values = _untag(node, "fields", dict)
        hints = get_type_hints(kind)
        names = {field.name for field in dataclasses.fields(kind)}
        if values.keys() != names:
            raise InvalidMessage(f"expected the fields of {kind}")
        return kind(**{name: self.read(values[name], hints[name], depth + 1) for name in values})

    def read_list(self, node: Any, kinds: Sequence[Any], depth: int) -> list[Any]:
        (kind,) = kinds
        return [self.read(item, kind, depth + 1) for item in _expect(node, list)]

    def read_tuple(self, node: Any, kinds: Sequence[Any], depth: int) -> tuple[Any, ...]:
        items = _untag(node, "tuple", list)
        if len(kinds) == 2 and kinds[1] is ...:
            kinds = [kinds[0]] * len(items)
        return tuple(self.read(item, kind, depth + 1) for item, kind in zip(items, kinds, strict=True))

    def read_dict(self, node: Any, kinds: Sequence[Any], depth: int) -> dict[str, Any]:
        _, kind = kinds
        items = _untag(node, "dict", dict)
        return {_clean(key): self.read(item, kind, depth + 1) for key, item in items.items()}

    def read_bytes(self, node: Any, _: Sequence[Any], __: int) -> bytes:
        return bytes(self._take(_untag(node, "bytes", int)))

    def read_array(self, node: Any, _: Sequence[Any], __: int) -> Any:
        name, shape = _untag(node, "array", list)
        dtype = np.dtype(_expect(name, str))
        if dtype.kind not in ARRAY_KINDS or dtype.fields or any(_expect(side, int) < 0 for side in shape):
            raise InvalidMessage("no array of numbers")
        return np.frombuffer(self._take(math.prod(shape) * dtype.itemsize), dtype).reshape(shape).copy()

    def _take(self, size: int) -> memoryview:
        if not 0 <= size <= len(self.rest):
            raise InvalidMessage("bytes are missing")
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def read_path(self, node: Any, _: Sequence[Any], __: int) -> Path:
        """Read the path of something that the child made: no link to a file elsewhere."""
        path = Path(_untag(node, "path", str))
        place = Path(os.path.realpath(path.parent)) / path.name
        if place.is_symlink() or not any(place.is_relative_to(folder) for folder in self._folders):
            raise InvalidMessage("a path outside the folders of this file")
        return path


def _expect(node: Any, kind: type) -> Any:
    """Return a JSON value of exactly this type."""
    if type(node) is not kind:
        raise InvalidMessage(f"expected {kind.__name__}, got {type(node).__name__}")
    return node


def _untag(node: Any, tag: str, kind: type) -> Any:
    """Return the value of an object whose only entry has this name."""
    if type(node) is not dict or node.keys() != {tag}:
        raise InvalidMessage(f"expected {tag}")
    return _expect(node[tag], kind)


def _clean(text: str) -> str:
    """Replace what neither UTF-8 nor a database can hold: lone surrogates and the character zero."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def _read_integer(_: _Reader, node: Any, __: Sequence[Any], ___: int) -> int:
    number: int = _expect(node, int)
    if abs(number) >= MAX_INTEGER:
        raise InvalidMessage("a number too large")
    return number


def _read_float(_: _Reader, node: Any, __: Sequence[Any], ___: int) -> float:
    number = float(node if type(node) is int else _expect(node, float))
    if not math.isfinite(number):
        raise InvalidMessage("a number too large")
    return number


READERS: Mapping[Any, Callable[[_Reader, Any, Sequence[Any], int], Any]] = {
    None: lambda _, node, __, ___: _expect(node, NoneType),
    NoneType: lambda _, node, __, ___: _expect(node, NoneType),
    bool: lambda _, node, __, ___: _expect(node, bool),
    int: _read_integer,
    float: _read_float,
    str: lambda _, node, __, ___: _clean(_expect(node, str)),
    bytes: _Reader.read_bytes,
    list: _Reader.read_list,
    tuple: _Reader.read_tuple,
    dict: _Reader.read_dict,
    Path: _Reader.read_path,
    np.ndarray: _Reader.read_array,
}
