"""Bags as files in a folder, judged by the Library of Congress' own program."""

import json
from pathlib import Path
from typing import Any

import bagit
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retint.handover import bags
from retint.handover.bags import ALGORITHMS, Member

NAMES = [
    "a.tif",
    "A.TIF",
    "Straße/ö.jpg",
    "Strasse/o\u0308.jpg",
    "../../etc/passwd.tif",
    "100 %.tif",
    "line\nbreak.tif",
    "con.tif",
    "'=1+1'.tif",
]


def write_bag(folder: Path, names: list[str]) -> list[Member]:
    taken: set[int] = set()
    members = []
    for number, name in enumerate(names):
        path = folder / (relative := bags.make_path("originals", name, ".tif", taken))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data := f"photo {number}".encode())
        members.append(Member.of(relative, data))
    info: dict[str, Any] = bags.describe_bag(
        size=sum(member.size for member in members),
        files=len(members),
        number=1,
        count=1,
        group="0190",
        dated="2026-12-01",
        values={"Source-Organization": "City\nArchive", "Contact-Name": None},
    )
    tags = {"bagit.txt": bags.DECLARATION, "bag-info.txt": bags.write_info(info)}
    tags |= {f"manifest-{name}.txt": "".join(bags.write_manifest(name, members)) for name in ALGORITHMS}
    tagged = [Member.of(name, text.encode()) for name, text in tags.items()]
    tags |= {f"tagmanifest-{name}.txt": "".join(bags.write_manifest(name, tagged)) for name in ALGORITHMS}
    for name, text in tags.items():
        (folder / name).write_text(text, newline="")
    return members


def test_a_bag_with_hostile_names_is_valid(tmp_path: Path) -> None:
    members = write_bag(tmp_path, NAMES)
    bag = bagit.Bag(str(tmp_path))
    bag.validate()
    assert len({member.path for member in members}) == len(NAMES)
    assert bag.info["Source-Organization"] == "City Archive"
    assert "Contact-Name" not in bag.info
    assert all(".." not in member.path and "%" not in member.path for member in members)


def test_one_other_byte_is_found(tmp_path: Path) -> None:
    [member] = write_bag(tmp_path, ["a.tif"])
    (tmp_path / member.path).write_bytes(b"photo 1")
    with pytest.raises(bagit.BagValidationError):
        bagit.Bag(str(tmp_path)).validate()


@given(st.text(max_size=80), st.integers(1, 20))
def test_a_bags_name_is_short_and_plain(batch: str, count: int) -> None:
    name = bags.name_bag(batch, count, count, "0190a1b2")
    assert len(name) <= bags.MOST_NAME
    assert name.isascii()
    assert not set(name) & set('/\\ :*?"<>|%~')
    assert not name.startswith((".", "-"))


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (999, "999 bytes"), (42_600_000_000, "42.6 GB"), (10**17, "100000.0 TB")]
)
def test_sizes_are_read_by_people(size: int, words: str) -> None:
    assert bags.write_size(size) == words


def test_the_profile_asks_for_what_our_bags_have(tmp_path: Path) -> None:
    profile = json.loads(json.dumps(bags.describe_profile("https://example.org/profile.json", "0.1.0")))
    write_bag(tmp_path, NAMES)
    info = bagit.Bag(str(tmp_path)).info
    required = {label for label, rule in profile["Bag-Info"].items() if rule["required"]}
    assert required - {"External-Description", "External-Identifier"} <= info.keys()
