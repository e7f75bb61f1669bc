"""`retint restore`: what results and the files beside them are called, and that nobody's file is written over."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests import films, photographs
from tests.integration.workers.local.commands import KEEP, Command, read_report
from tests.photographs import write_old_prints

from retint.names import NAME_BYTES
from retint_workers.local import restore as restoring


def write_photo(path: Path, number: int = 0, kind: str = "JPEG") -> Path:
    """Write a photograph of its own bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photographs.to_gray(photographs.color_photo(number, 96))).save(path, kind)
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def restore(command: Command, *arguments: object, status: int = 0) -> dict[str, dict[str, Any]]:
    return read_report(command("restore", *arguments, "--json", *KEEP, status=status))


@pytest.mark.case("25")
def test_accession_numbers_keep_their_name(command: Command, tmp_path: Path) -> None:
    names = ["1923.45.12", "1923.45.13", "Portrait of Mr. Smith", "1923.45.12.verso.JPG", "old.scan.jpeg"]
    for number, name in enumerate(names):
        write_photo(tmp_path / "box" / name, number)
    report = restore(command, tmp_path / "box", "--out", tmp_path / "out")
    assert {name: Path(row["output"]).name for name, row in report.items()} == {
        "1923.45.12": "1923.45.12.jpg",
        "1923.45.13": "1923.45.13.jpg",
        "Portrait of Mr. Smith": "Portrait of Mr. Smith.jpg",
        "1923.45.12.verso.JPG": "1923.45.12.verso.JPG",
        "old.scan.jpeg": "old.scan.jpeg",
    }
    again = restore(command, tmp_path / "box", "--out", tmp_path / "out")
    assert all(row["already_there"] for row in again.values())


def test_results_that_earlier_versions_named_are_recognised(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number, name in enumerate(("1923.45.12", "1923.45.13", "scan.jpeg")):
        write_photo(tmp_path / "box" / name, number)
    restore(command, tmp_path / "box", "--out", out)
    for new, old in {
        "1923.45.12.jpg": "1923.45.jpg",
        "1923.45.13.jpg": "1923.45-2.jpg",
        "scan.jpeg": "scan.jpg",
    }.items():
        (out / new).rename(out / old)
    report = restore(command, tmp_path / "box", "--out", out)
    assert [(Path(row["output"]).name, row["already_there"]) for row in report.values()] == [
        ("1923.45.jpg", True), ("1923.45-2.jpg", True), ("scan.jpg", True),
    ]  # fmt: skip
    restore(command, tmp_path / "box" / "1923.45.13", "--out", out, "--again")
    assert names_in(out) == ["1923.45-2.jpg", "1923.45.13.jpg", "1923.45.jpg", "scan.jpg"]


@pytest.mark.case("26")
def test_a_master_and_its_copies_have_provenance_and_layers_each(command: Command, tmp_path: Path) -> None:
    """osxphotos#210: photo.jpg, photo.tif and photo.png in one folder."""
    box, out = tmp_path / "box", tmp_path / "out"
    for number, (name, kind) in enumerate({"photo.jpg": "JPEG", "photo.tif": "TIFF", "photo.png": "PNG"}.items()):
        write_photo(box / name, number, kind)
    report = read_report(command("restore", box, "--out", out, "--layers", "--compare", "--json"))
    for name, row in report.items():
        assert Path(row["output"]).name == name
        assert {f"{name}.json", f"{name}.compare.jpg", f"{name}.color.safetensors"} <= set(names_in(out))
        again = tmp_path / f"again {name}"
        command("render", box / name, "--layers", out / f"{name}.json", "--out", again)
        assert again.read_bytes() == (out / name).read_bytes()
    report = read_report(command("restore", box, "--out", out, "--layers", "--compare", "--json"))
    assert all(row["already_there"] for row in report.values())


@pytest.mark.case("23")
def test_names_that_are_not_utf_8_are_restored_under_a_readable_name(command: Command, tmp_path: Path) -> None:
    box, out = tmp_path / os.fsdecode(b"caf\xe9"), tmp_path / "out"
    write_photo(box / os.fsdecode(b"_\xf1_.jpg"), 0)
    write_photo(box / "a.jpg", 1)
    film = films.write(tmp_path / "film.mp4", films.pan(films.gray_photo("coffee"), 8), sound=None)
    shutil.move(film, box / os.fsdecode(b"film\xe9.mp4"))
    report = restore(command, box, "--out", out)
    assert [row["status"] for row in report.values()] == ["restored"] * 3
    assert names_in(out) == ["_%F1_.jpg", "a.jpg", "film%E9.mp4"]
    assert all(row["already_there"] for row in restore(command, box, "--out", out).values())
    planned = json.loads(command("restore", box, "--out", out, "--dry-run", "--json", *KEEP).stdout)
    assert [file["is_old"] for file in planned["files"]] == [True] * 3
    told = command("restore", box, "--out", out, *KEEP)
    assert "caf%E9/_%F1_.jpg -> " in told.stdout
    refused = command("restore", out / "a.jpg", "--out", box, "--json", *KEEP, status=2)
    assert json.loads(refused.stdout) == []
    assert "caf%E9: its name is not UTF-8." in refused.stderr


@pytest.mark.case("24")
@pytest.mark.parametrize("asked", [(), ("--compare", "--layers")], ids=["result only", "with sidecars"])
def test_the_longest_names_are_restored_under_a_shorter_one(
    command: Command, tmp_path: Path, asked: tuple[str, ...]
) -> None:
    box, out = tmp_path / "box", tmp_path / "out"
    names = ["n" * 255, "m" * 250 + ".jpg", "\u5199" * 83 + ".jpg", "short.jpg"]
    for number, name in enumerate(names):
        write_photo(box / name, number)
    write_photo(tmp_path / "other" / names[1], 9)
    film = films.write(tmp_path / "film.mp4", films.pan(films.gray_photo("coffee"), 8), sound=None)
    shutil.move(film, box / ("f" * 251 + ".mp4"))
    report = restore(command, box, tmp_path / "other", "--out", out, *asked)
    assert [row["reason"] for row in report.values()] == [None] * 5
    for row in report.values():
        output = Path(row["output"])
        assert output.name[0] == Path(row["file"]).name[0]
        assert len(os.fsencode(output.name)) <= NAME_BYTES
    made = names_in(out)
    assert len([name for name in made if name.startswith("m") and not name.endswith(("compare.jpg", "json"))]) == 2
    again = restore(command, box, tmp_path / "other", "--out", out, *asked)
    assert all(row["already_there"] for row in again.values())
    assert names_in(out) == made


# --- other files ------------------------------------------------------------------------------------------------------

TAKEOUT = {"title": "photo.jpg", "photoTakenTime": {"timestamp": "0"}}
"""What Google Takeout writes beside photo.jpg, as photo.jpg.json."""


@pytest.mark.case("26")
@pytest.mark.parametrize(
    ("ending", "asked"),
    [(".json", "--layers"), (".color.safetensors", "--layers"), (".compare.jpg", "--compare"), (".json", "")],
)
def test_a_foreign_sidecar_stays_and_the_result_gets_a_number_with_all_that_is_beside_it(
    command: Command, tmp_path: Path, ending: str, asked: str
) -> None:
    photo, out = write_photo(tmp_path / "photo.jpg"), tmp_path / "out"
    out.mkdir()
    (out / f"photo.jpg{ending}").write_text(json.dumps(TAKEOUT))
    options = [asked] if asked else []
    row = read_report(command("restore", photo, "--out", out, "--json", *options))["photo.jpg"]
    assert json.loads((out / f"photo.jpg{ending}").read_text()) == TAKEOUT
    if not asked:
        assert row["output"] == str(out / "photo.jpg"), "nothing but the result is asked for"
        return
    assert row["output"] == str(out / "photo-2.jpg")
    assert (out / f"photo-2.jpg{ending}").is_file()
    assert [name for name in names_in(out) if name.startswith("photo.")] == [f"photo.jpg{ending}"]
    assert read_report(command("restore", photo, "--out", out, "--json", *options))["photo.jpg"]["already_there"]


def test_a_file_that_comes_meanwhile_is_not_written_over(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, out = write_photo(tmp_path / "photo.jpg"), tmp_path / "out"

    def intrude() -> None:
        (out / "photo.jpg").write_text("somebody's")
        (out / "photo-2.jpg.json").symlink_to("nowhere")

    meanwhile(monkeypatch, intrude)
    row = restore(command, photo, "--out", out, "--layers")["photo.jpg"]
    assert row["output"] == str(out / "photo-3.jpg")
    assert (out / "photo.jpg").read_text() == "somebody's"
    assert names_in(out) == ["photo-2.jpg.json", "photo-3.jpg", "photo-3.jpg.json", "photo.jpg"]


def meanwhile(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], object]) -> None:
    """Let something happen after the stages have run, and before their files are put in place."""
    run_stages = restoring.run_stages

    def run_slowly(*arguments: Any) -> Any:
        made = run_stages(*arguments)
        happen()
        return made

    monkeypatch.setattr(restoring, "run_stages", run_slowly)


def test_an_earlier_result_that_is_another_file_by_now_is_not_written_over(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, out = write_photo(tmp_path / "photo.jpg"), tmp_path / "out"
    restore(command, photo, "--out", out)
    meanwhile(monkeypatch, lambda: (out / "photo.jpg").write_text("edited meanwhile"))
    row = restore(command, photo, "--out", out, "--again")["photo.jpg"]
    assert row["output"] == str(out / "photo-2.jpg")
    assert (out / "photo.jpg").read_text() == "edited meanwhile"


def test_a_file_system_without_links_is_good_enough(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    photo, out = write_photo(tmp_path / "photo.jpg"), tmp_path / "out"
    assert restore(command, photo, "--out", out, "--layers")["photo.jpg"]["output"] == str(out / "photo.jpg")
    assert names_in(out) == ["photo.jpg", "photo.jpg.json"]
    with Image.open(out / "photo.jpg") as result:
        assert result.size == (96, 96)


def test_layers_of_an_earlier_recipe_do_not_stay_beside_another_provenance(command: Command, tmp_path: Path) -> None:
    [photo] = write_old_prints(tmp_path / "prints", 1, side=128).rglob("*.jpg")
    out = tmp_path / "out"
    command("restore", photo, "--out", out, "--layers")
    assert f"{photo.name}.color.safetensors" in names_in(out)
    command("restore", photo, "--out", out, "--layers", *KEEP)
    assert names_in(out) == [photo.name, f"{photo.name}.json"]
    command("render", photo, "--layers", out / f"{photo.name}.json", "--out", tmp_path / "again.jpg")
    assert (tmp_path / "again.jpg").read_bytes() == (out / photo.name).read_bytes()


def test_a_provenance_of_another_recipe_does_not_count_as_there(command: Command, tmp_path: Path) -> None:
    photo, out = write_photo(tmp_path / "photo.jpg"), tmp_path / "out"
    restore(command, photo, "--out", out, "--layers")
    provenance = out / "photo.jpg.json"
    old = json.loads(provenance.read_text())
    provenance.write_text(json.dumps(old | {"recipe_sha256": "0" * 64}))
    assert not restore(command, photo, "--out", out, "--layers")["photo.jpg"]["already_there"]
    assert json.loads(provenance.read_text()) == old


def test_the_original_is_not_an_output(command: Command, tmp_path: Path) -> None:
    photo, out = write_photo(tmp_path / "photo.jpg"), tmp_path / "out"
    restore(command, photo, "--out", out, "--layers")
    before = photo.read_bytes()
    rendered = command("render", photo, "--layers", out / "photo.jpg.json", "--out", photo, status=2)
    assert "is the original, which is never written over" in rendered.stderr
    assert "is the original" in command("preview", photo, "--out", photo, status=2).stderr
    assert photo.read_bytes() == before
