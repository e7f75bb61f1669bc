"""The checks of a machine: they pass on this one, and fail where something is missing."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from retint.errors import DiskUnavailable, OutOfMemory
from retint_workers.beats import beat_for_nobody
from retint_workers.queue import machine

GIB = 1 << 30
Usage = namedtuple("Usage", "total used free")


def test_this_machine_passes() -> None:
    machine.check_scratch(beat_for_nobody)
    machine.check_memory(beat_for_nobody)
    machine.check_imaging(beat_for_nobody)
    machine.check_device("cpu", beat_for_nobody)


@pytest.mark.parametrize(
    ("total", "free", "is_enough"),
    [(100 * GIB, GIB, True), (100 * GIB, GIB // 8, False), (GIB // 4, GIB // 40, True), (GIB // 4, GIB // 100, False)],
)
def test_a_disk_needs_some_room_and_a_small_one_less(
    monkeypatch: pytest.MonkeyPatch, total: int, free: int, is_enough: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(total, total - free, free))
    if is_enough:
        machine.check_scratch(beat_for_nobody)
        return
    with pytest.raises(DiskUnavailable, match="nearly full") as full:
        machine.check_scratch(beat_for_nobody)
    assert full.value.code == "disk_full"


@pytest.mark.parametrize(
    ("limit", "used", "cache", "is_enough"),
    [("max", 0, 0, True), (2 * GIB, GIB, 0, True), (2 * GIB, 2 * GIB, GIB, True), (2 * GIB, 2 * GIB, GIB // 8, False)],
)
def test_a_container_has_the_memory_that_its_limit_leaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: object, used: int, cache: int, is_enough: bool
) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {cache}\nactive_file 9\n")
    if is_enough:
        machine.check_memory(beat_for_nobody)
        return
    with pytest.raises(OutOfMemory, match="only 128 MiB of memory left"):
        machine.check_memory(beat_for_nobody)
