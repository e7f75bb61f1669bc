"""Messages from children: what is written is read again, and anything else is refused."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retint_workers.sandbox.messages import LENGTH, InvalidMessage, decode, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 62), 1 << 62) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@dataclass(frozen=True)
class Found:
    """A result as the stages' are."""

    facts: dict[str, Any]
    picture: bytes
    files: dict[str, Path]
    sizes: tuple[int, int]
    pixels: NDArray[Any] | None


@given(JSON)
def test_json_values_come_back(value: Any) -> None:
    assert decode(encode({"value": value}), Any, ()) == {"value": _clean(value)}


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.replace("\0", "\ufffd"): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def test_a_result_comes_back_with_all_its_types(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint16).reshape(2, 4, 3)
    found = Found({"a": [1, 2.5, None, True]}, b"png", {"result": tmp_path / "a.tif"}, (3, 4), pixels)
    read = decode(encode(found), Found, [tmp_path])
    assert (read.facts, read.picture, read.files, read.sizes) == (found.facts, b"png", found.files, (3, 4))
    assert read.pixels.dtype == np.uint16
    assert (read.pixels == pixels).all()
    assert read.pixels.flags.writeable


def test_items_are_of_one_of_the_promised_types() -> None:
    assert decode(encode(3), int | list[str], ()) == 3
    assert decode(encode(["a"]), int | list[str], ()) == ["a"]
    with pytest.raises(InvalidMessage):
        decode(encode([1]), int | list[str], ())


def test_text_that_no_database_can_hold_is_mended() -> None:
    assert decode(encode("a\0b\udcffc\U0001f4f7"), str, ()) == "a\ufffdb\ufffdc\U0001f4f7"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("NaN", float),
        ("1e999", float),
        ("1" * 4000, int),
        ("1" * 100_000, int),
        ('{"path": "/etc/passwd"}', Path),
        ('{"path": "a\\u0000b"}', Path),
        ('{"bytes": 9}', bytes),
        ('{"bytes": -1}', bytes),
        ('{"array": ["|O", 1]}', NDArray[Any]),
        ('{"array": ["<f4", -1]}', NDArray[Any]),
        ('{"array": ["<f4,<f4", 1]}', NDArray[Any]),
        ('{"array": ["nonsense", 1]}', NDArray[Any]),
        ('{"fields": {}}', Found),
        ('{"fields": {"facts": 1}}', Found),
        ("true", int),
        ("[1]", tuple[int, ...]),
        ('{"tuple": [1]}', tuple[int, int]),
        ("1", object),
        ("[" * 100 + "]" * 100, Any),
        ("", Any),
    ],
)
def test_what_is_no_value_of_the_type_is_refused(text: str, kind: Any, tmp_path: Path) -> None:
    message = LENGTH.pack(len(text)) + text.encode()
    with pytest.raises(InvalidMessage):
        decode(message, kind, [tmp_path])


@given(st.binary(max_size=200), st.sampled_from([Any, int, str, bytes, Path, Found, NDArray[Any], list[Any]]))
def test_no_bytes_raise_anything_else(message: bytes, kind: Any) -> None:
    for whole in (message, LENGTH.pack(len(message)) + message):
        with suppress(InvalidMessage):
            decode(whole, kind, ())


@pytest.mark.parametrize("value", [object(), {1: 2}, float("nan"), np.float32(1), {1, 2}])
def test_what_cannot_be_sent_is_a_bug_of_the_function(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode(value)
