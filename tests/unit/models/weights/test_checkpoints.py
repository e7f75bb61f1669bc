"""Files of strangers: tensors are read, and nothing else, whatever the file asks for."""

import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from retint_models.weights import checkpoints

TENSORS = {"conv.weight": torch.arange(6.0).view(2, 3), "bn.num_batches_tracked": torch.tensor(7)}


class Call:
    """Unpickled without care, it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def saved(path: Path, held: object, *, old: bool) -> Path:
    torch.save(held, path, _use_new_zipfile_serialization=not old)
    return path


def same(read: checkpoints.Checkpoint, expected: dict[str, Tensor] = TENSORS) -> bool:
    state = read.tensors
    return state.keys() == expected.keys() and all(torch.equal(state[key], expected[key]) for key in expected)


@pytest.mark.parametrize("old", [True, False])
def test_old_and_new_files_are_read(tmp_path: Path, old: bool) -> None:
    assert same(checkpoints.read(saved(tmp_path / "bare.pth", OrderedDict(TENSORS), old=old)))
    parameters = {"conv.weight": torch.nn.Parameter(TENSORS["conv.weight"])}
    read = checkpoints.read(saved(tmp_path / "parameters.pth", parameters, old=old))
    assert not read.tensors["conv.weight"].requires_grad


@pytest.mark.parametrize("old", [True, False])
def test_what_fastai_saves_beside_the_weights_is_left_out(tmp_path: Path, old: bool) -> None:
    optimiser = {"state": {}, "param_groups": [{"lr": slice(None, 0.003, None), "betas": (0.9, 0.99), "params": [1]}]}
    held = {"model": OrderedDict(TENSORS), "opt": optimiser}
    assert same(checkpoints.read(saved(tmp_path / "video.pth", held, old=old)))
    with pytest.raises(ValueError, match="'model' is a OrderedDict"):
        checkpoints.read(saved(tmp_path / "more.pth", held | {"epoch": 3}, old=old))


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("wrapper", ["params", "params_ema", "state_dict", "model"])
def test_tensors_are_taken_out_of_every_wrapper_in_which_authors_publish_them(
    tmp_path: Path, wrapper: str, old: bool
) -> None:
    read = checkpoints.read(saved(tmp_path / "wrapped.pth", {wrapper: OrderedDict(TENSORS)}, old=old))
    assert same(read)
    assert read.remark == ""


def test_of_parameters_and_their_moving_average_the_average_is_taken(tmp_path: Path) -> None:
    average = {key: tensor + 1 for key, tensor in TENSORS.items()}
    read = checkpoints.read(saved(tmp_path / "both.pth", {"params": TENSORS, "params_ema": average}, old=False))
    assert same(read, average)
    assert read.remark == "both.pth holds params and params_ema: the moving average, params_ema, was taken."
    with pytest.raises(ValueError, match=r"both\.pth holds model and state_dict: save a file with"):
        checkpoints.read(saved(tmp_path / "both.pth", {"state_dict": TENSORS, "model": TENSORS}, old=False))


def test_a_tensor_that_has_a_wrappers_name_is_a_tensor(tmp_path: Path) -> None:
    bare = {"model": torch.ones(2)}
    assert same(checkpoints.read(saved(tmp_path / "bare.pth", bare, old=False)), bare)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "tensors.safetensors")
    assert same(checkpoints.read(tmp_path / "tensors.safetensors"))


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("where", ["beside", "among", "opt"])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, "posix.system"),
        (eval, "builtin.*eval"),
        (torch.load, "torch.serialization.load"),
        (getattr, "builtin.*getattr"),
        (bytearray, "builtin.*bytearray"),
    ],
)
def test_a_file_that_asks_for_a_function_is_refused_by_its_name_and_never_run(
    tmp_path: Path, old: bool, where: str, function: Callable[..., Any], name: str
) -> None:
    marker = tmp_path / "was-run"
    argument = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    evil = Call(function, *([argument] if function is not getattr else [argument, "upper"]))
    held = {"beside": evil, "among": TENSORS | {"more": evil}, "opt": {"model": TENSORS, "opt": evil}}[where]
    with pytest.raises(ValueError, match=rf"evil\.pth asks for \S*{name}, .* nothing in it was run"):
        checkpoints.read(saved(tmp_path / "evil.pth", held, old=old))
    assert not marker.exists()


@pytest.mark.parametrize("old", [True, False])
def test_the_second_gate_holds_by_itself(tmp_path: Path, old: bool) -> None:
    marker = tmp_path / "was-run"
    path = saved(tmp_path / "evil.pth", {"more": Call(os.system, f"touch {marker}")}, old=old)
    with pytest.raises(pickle.UnpicklingError, match=r"posix\.system"):
        checkpoints.unpickle(path)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_bare_pickle_of_any_protocol_is_refused_by_what_it_asks_for(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "was-run"
    data = pickle.dumps(Call(os.system, f"touch {marker}"), protocol)
    (tmp_path / "evil.pth").write_bytes(data)
    with pytest.raises(ValueError, match=r"asks for posix\.system"):
        checkpoints.read(tmp_path / "evil.pth")
    pickle.loads(data)
    assert marker.exists(), "the file is truly hostile"


def test_a_pickle_beside_the_right_one_in_the_zip_is_refused_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "nested.pth", TENSORS, old=False)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("nested/hidden/data.pkl", pickle.dumps(Call(os.system, "true"), 2))
    with pytest.raises(ValueError, match=r"asks for posix\.system"):
        checkpoints.read(path)


def test_a_pickle_within_the_tensors_bytes_is_only_bytes(tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    inner = torch.frombuffer(bytearray(pickle.dumps(Call(os.system, f"touch {marker}"))), dtype=torch.uint8)
    read = checkpoints.read(saved(tmp_path / "bytes.pth", {"inner": inner}, old=False))
    assert torch.equal(read.tensors["inner"], inner)
    assert not marker.exists()


def test_a_compressed_zip_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "stored.pth", TENSORS, old=False)
    with zipfile.ZipFile(tmp_path / "stored.pth") as source, zipfile.ZipFile(tmp_path / "bomb.pth", "w") as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"bomb\.pth .*is compressed"):
        checkpoints.read(tmp_path / "bomb.pth")


@pytest.mark.parametrize("kind", ["old", "new", "safetensors"])
def test_a_file_cut_off_anywhere_is_refused_in_one_sentence(tmp_path: Path, kind: str) -> None:
    whole, cut = tmp_path / "whole.pth", tmp_path / "cut.pth"
    if kind == "safetensors":
        save_file(TENSORS, whole)
    else:
        saved(whole, {"model": TENSORS, "opt": {}}, old=kind == "old")
    data = whole.read_bytes()
    for length in {*range(1, len(data) - 1, max(1, len(data) // 60)), 12, len(data) - 1}:
        cut.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"^cut\.pth (is|holds) [^\n]*$"):
            checkpoints.read(cut)


def test_a_file_with_any_byte_spoiled_gives_tensors_or_a_sentence(tmp_path: Path) -> None:
    data = saved(tmp_path / "whole.pth", TENSORS, old=True).read_bytes()
    for place in range(0, len(data), 3):
        spoiled = bytearray(data)
        spoiled[place] ^= 0x15
        (tmp_path / "spoiled.pth").write_bytes(spoiled)
        try:
            checkpoints.read(tmp_path / "spoiled.pth")
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>404</html>", "is no weights file but a web page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "is no weights file"),
        (b"PK\x03\x04" + bytes(60), "is cut off, damaged"),
        (pickle.dumps({"a": 1.5}, 2), "is cut off, damaged"),
    ],
)
def test_what_is_no_weights_file_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(ValueError, match=rf"^file\.pth {says}"):
        checkpoints.read(tmp_path / "file.pth")


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize(
    ("held", "says"),
    [
        ([torch.zeros(1)], "a list"),
        ({}, "no tensors by name, but a dict"),
        ({"epoch": 3}, "'epoch' is a int"),
        ({1: torch.zeros(1)}, "1 is a Tensor"),
        (torch.zeros(3), "a Tensor"),
    ],
)
def test_what_holds_no_tensors_by_name_is_refused(tmp_path: Path, held: object, says: str, old: bool) -> None:
    with pytest.raises(ValueError, match=says):
        checkpoints.read(saved(tmp_path / "file.pth", held, old=old))


def test_a_tensor_that_is_not_plain_is_refused(tmp_path: Path) -> None:
    for tensor in (torch.zeros(2, 2).to_sparse(), torch.zeros(2, device="meta")):
        with pytest.raises(ValueError, match=r"file\.pth (asks for|holds 'a', which is no plain)"):
            checkpoints.read(saved(tmp_path / "file.pth", {"a": tensor}, old=False))


def test_a_missing_file_is_an_ordinary_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        checkpoints.read(tmp_path / "nothing.pth")
