"""`retint restore`: files in, files out, no server."""

import json
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageStat
from tests import described_photos, photographs
from tests.integration.workers.local.commands import Command, read_report, run_retint


def test_one_bad_file_does_not_stop_the_others(prints: Path, tmp_path: Path) -> None:
    bad = tmp_path / "notes.jpg"
    bad.write_text("this is no photograph")
    gone = tmp_path / "gone.jpg"
    good = sorted(prints.rglob("*.jpg"))
    ended = run_retint("restore", good[0], bad, gone, good[1], "--out", tmp_path / "out", "--json", status=1)
    report = read_report(ended)
    assert list(report) == [good[0].name, "notes.jpg", "gone.jpg", good[1].name]
    assert [row["status"] for row in report.values()] == ["restored", "refused", "refused", "restored"]
    assert report["notes.jpg"]["reason"].endswith(".")
    assert report["notes.jpg"]["output"] is None
    assert "gone.jpg" in report["gone.jpg"]["reason"]
    assert all(row["seconds"] >= 0 for row in report.values())
    for photo in good:
        with Image.open(report[photo.name]["output"]) as result, Image.open(photo) as original:
            assert result.size == original.size
            assert result.mode == "RGB"


def test_files_of_one_name_get_a_number_and_an_original_is_never_written_over(prints: Path, tmp_path: Path) -> None:
    first, second = sorted(prints.rglob("*.jpg"))
    folder = tmp_path / "scans"
    for number, photo in enumerate((first, second)):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "scan.jpg").write_bytes(photo.read_bytes())
    (folder / "scan.jpg").write_bytes(first.read_bytes())
    ended = run_retint("restore", folder, "--out", folder, "--json")
    outputs = sorted(Path(row["output"]).name for row in json.loads(ended.stdout))
    assert outputs == ["scan-2.jpg", "scan-3.jpg", "scan-4.jpg"]
    assert (folder / "scan.jpg").read_bytes() == first.read_bytes()


def test_a_result_is_rendered_again_from_its_layers_bit_for_bit(prints: Path, tmp_path: Path) -> None:
    photo = sorted(prints.rglob("*.jpg"))[0]
    report = read_report(run_retint("restore", photo, "--out", tmp_path / "out", "--layers", "--json"))
    made = report[photo.name]["output"]
    run_retint("render", photo, "--layers", made + ".json", "--out", tmp_path / "again.jpg")
    assert (tmp_path / "again.jpg").read_bytes() == Path(made).read_bytes()


def test_layers_of_all_pages_are_kept_and_make_the_result_again(tmp_path: Path) -> None:
    scan = tmp_path / "scan.tif"
    sides = [Image.fromarray(photographs.to_gray(photographs.color_photo(number, 96))) for number in (0, 1)]
    sides[0].save(scan, save_all=True, append_images=sides[1:])
    plan = json.loads(run_retint("restore", scan, "--out", tmp_path / "out", "--dry-run", "--json").stdout)
    assert "2 pages" in plan["files"][0]["what"]
    options = ("--out", tmp_path / "out", "--layers", "--json")
    report = read_report(run_retint("restore", scan, *options))
    made = Path(report["scan.tif"]["output"])
    names = {f"scan.tif.{name}.safetensors" for name in ("color", "color-2", "density", "density-2")}
    assert {path.name for path in made.parent.iterdir()} == {"scan.tif", "scan.tif.json", *names}
    run_retint("render", scan, "--layers", f"{made}.json", "--out", tmp_path / "again.tif")
    assert (tmp_path / "again.tif").read_bytes() == made.read_bytes()
    assert read_report(run_retint("restore", scan, *options))["scan.tif"]["already_there"]
    (made.parent / "scan.tif.color-2.safetensors").unlink()
    assert not read_report(run_retint("restore", scan, *options))["scan.tif"]["already_there"]


def test_a_region_is_restored_and_made_again_from_its_record(prints: Path, tmp_path: Path) -> None:
    photo = sorted(prints.rglob("*.jpg"))[0]
    options = ("--out", tmp_path / "out", "--layers", "--json")
    report = read_report(run_retint("restore", photo, "--region", "0.2,0.2,0.5,0.5", *options))[photo.name]
    assert report["notes"] == ["The recipe restores a part of the page (25%); all around it keeps its pixels."]
    made, record = Path(report["output"]), Path(f"{report['output']}.json")
    told = json.loads(record.read_text())
    assert told["pictures"]["picture"]["region"]["rectangles"] == [[0.2, 0.2, 0.5, 0.5]]
    again = tmp_path / "again.jpg"
    run_retint("render", photo, "--layers", record, "--out", again)
    assert again.read_bytes() == made.read_bytes()
    assert not read_report(run_retint("restore", photo, "--region", "whole", *options))[photo.name]["already_there"]
    told["pictures"]["picture"]["region"]["rectangles"] = [[0, 0, 0.5, 0.5]]
    record.write_text(json.dumps(told))
    run_retint("render", photo, "--layers", record, "--out", again)
    with Image.open(photo) as page, Image.open(again) as other:
        change = ImageChops.difference(page.convert("RGB"), other)
        half = (page.width // 2, page.height // 2)
        parts = [change.crop((0, 0, *half)), change.crop((half[0] + 16, half[1] + 16, *page.size))]
    assert [max(ImageStat.Stat(part).mean) > 5 for part in parts] == [True, False]


def test_what_is_no_region_is_an_error_before_anything_is_done(prints: Path, tmp_path: Path) -> None:
    photo = sorted(prints.rglob("*.jpg"))[0]
    for region, says in (("0.5,0.5,0.6,0.2", "does not reach beyond the page"), ("left", "auto, whole, or rectangles")):
        ended = run_retint("restore", photo, "--region", region, "--out", tmp_path / "out", status=2)
        assert says in ended.stderr
        assert "Traceback" not in ended.stderr


def test_a_note_reaches_text_json_and_provenance(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(described_photos.jpeg_with((0xE2, b"MPF\0II*\0"), trailer=b"another picture"))
    told = run_retint("restore", path, "--out", tmp_path / "text", "--defader", "keep", "--layers")
    report = read_report(run_retint("restore", path, "--out", tmp_path / "json", "--defader", "keep", "--json"))
    notes = report["a.jpg"]["notes"]
    assert [word in note for word, note in zip(("15 bytes", "Further pictures"), notes, strict=False)] == [True, True]
    assert [line for line in told.stdout.splitlines() if line.startswith("  ")] == [f"  {note}" for note in notes]
    provenance = tmp_path / "text" / "a.jpg.json"
    assert json.loads(provenance.read_text())["notes"] == notes
    again = run_retint("render", path, "--layers", provenance, "--out", tmp_path / "again.jpg")
    assert all(f"  {note}" in again.stdout for note in notes)


def test_an_unknown_colorizer_is_an_error_before_anything_is_done(prints: Path, tmp_path: Path) -> None:
    photo = sorted(prints.rglob("*.jpg"))[0]
    ended = run_retint("restore", photo, "--out", tmp_path / "out", "--colorizer", "crayons", status=3)
    assert "crayons" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_folder_that_cannot_be_made_is_an_error(prints: Path, tmp_path: Path) -> None:
    photo = sorted(prints.rglob("*.jpg"))[0]
    (tmp_path / "file").write_text("")
    ended = run_retint("restore", photo, "--out", tmp_path / "file" / "out", status=2)
    assert ended.stderr.startswith("Error: Results cannot go to")


def test_a_network_without_weights_says_how_to_get_them(prints: Path, tmp_path: Path) -> None:
    ended = run_retint("restore", prints, "--out", tmp_path, "--colorizer", "artistic", status=3)
    assert "The colorizer artistic cannot be used: the weights of artistic are missing" in ended.stderr
    assert "Get them with `retint weights fetch artistic`" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


# --- a second run -----------------------------------------------------------------------------------------------------


def test_existing_results_are_not_made_again(command: Command, prints: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    photo, other = sorted(prints.rglob("*.jpg"))
    first = read_report(command("restore", photo, "--out", out, "--json"))[photo.name]
    made = Path(first["output"]).stat()
    second = read_report(command("restore", photo, other, "--out", out, "--json"))
    assert (first["already_there"], second[photo.name]["already_there"]) == (False, True)
    assert Path(second[photo.name]["output"]).stat().st_mtime_ns == made.st_mtime_ns
    assert not second[other.name]["already_there"]
    vivid = read_report(command("restore", photo, "--out", out, "--json", "--gain", 3))[photo.name]
    assert (vivid["output"], vivid["already_there"]) == (first["output"], False)
    changed = read_report(command("restore", photo, "--out", out, "--json", "--gain", 3, "--layers", "--compare"))[
        photo.name
    ]
    assert (changed["output"], changed["already_there"]) == (first["output"], False)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [photo.name, other.name]
        + [f"{photo.name}.{kind}" for kind in ("compare.jpg", "json", "color.safetensors", "density.safetensors")]
    )


def test_another_file_of_the_same_name_is_not_written_over(command: Command, prints: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    photo, other = sorted(prints.rglob("*.jpg"))
    stranger = out / photo.name
    stranger.write_bytes(other.read_bytes())
    (out / f"{photo.stem}-2.jpg").mkdir()
    output = read_report(command("restore", photo, "--out", out, "--json"))[photo.name]["output"]
    assert Path(output).name == f"{photo.stem}-3.jpg"
    assert stranger.read_bytes() == other.read_bytes()


def test_a_dry_run_says_what_would_be_done_and_does_nothing(command: Command, prints: Path, tmp_path: Path) -> None:
    photo = sorted(prints.rglob("*.jpg"))[0]
    gone, out = tmp_path / "gone.tif", tmp_path / "out"
    printed = command("restore", photo, gone, "https://a.example/x.jpg", "--out", out, "--dry-run", status=1)
    with Image.open(photo) as image:
        assert f"{photo} (JPEG, {image.width} x {image.height}, 8 bits, 0." in printed.stdout
    assert f"would go to {out / photo.name}" in printed.stdout
    assert "https://a.example/x.jpg (on the web)" in printed.stdout
    assert "gone.tif would be refused: There is no file" in printed.stderr
    assert not out.exists()


# --- settings, watermark, sheets, addresses ---------------------------------------------------------------------------


def test_a_setting_that_the_network_does_not_have_is_refused(command: Command, prints: Path, tmp_path: Path) -> None:
    ended = command("restore", prints, "--out", tmp_path, "--render-factor", 20, status=2)
    assert ended.stderr == "Error: The colorizer compact has no setting render_factor; it has gain, limit.\n"


def test_a_sheet_of_before_and_after_lies_beside_the_marked_result(
    command: Command, prints: Path, tmp_path: Path
) -> None:
    photo = sorted(prints.rglob("*.jpg"))[0]
    command("restore", photo, "--out", tmp_path, "--compare", "--watermark", "--layers")
    says = json.loads((tmp_path / f"{photo.name}.json").read_text())
    assert says["recipe"]["watermark"] is True
    assert "palette" in says["watermark"]
    with Image.open(photo) as original, Image.open(tmp_path / f"{photo.name}.compare.jpg") as sheet:
        assert sheet.width >= 2 * original.width
        assert b"compositeWithTrainedAlgorithmicMedia" in sheet.info["xmp"]
        before = sheet.crop((16, 16, 16 + original.width, 16 + original.height))
        assert ImageStat.Stat(ImageChops.difference(before, original.convert("RGB"))).mean[1] < 4


def test_a_drawing_is_left_as_it_is_or_says_why_it_has_no_color(command: Command, tmp_path: Path) -> None:
    drawing = Image.new("1", (300, 200), 1)
    ImageDraw.Draw(drawing).ellipse((40, 30, 260, 170), outline=0, width=3)
    drawing.save(tmp_path / "drawing.tif")
    for says, options in (("taken for a document", []), ("no room for color", ["--insist"])):
        ended = command("restore", tmp_path / "drawing.tif", "--out", tmp_path / says, "--json", *options)
        assert says in " ".join(read_report(ended)["drawing.tif"]["notes"])


def test_a_private_address_is_refused_and_the_other_files_are_restored(
    command: Command, prints: Path, tmp_path: Path
) -> None:
    photo = sorted(prints.rglob("*.jpg"))[0]
    ended = command("restore", "http://127.0.0.1:9/x.jpg", photo, "--out", tmp_path, "--json", status=1)
    refused, restored = json.loads(ended.stdout)
    assert refused["file"] == "http://127.0.0.1:9/x.jpg"
    assert "only public servers" in refused["reason"]
    assert restored["status"] == "restored"
    assert [path.name for path in tmp_path.iterdir()] == [photo.name]


def test_preview_shows_a_photo_by_several_networks_and_settings(command: Command, prints: Path, tmp_path: Path) -> None:
    photo = sorted(prints.rglob("*.jpg"))[0]
    sheet = tmp_path / "sheet.png"
    ended = command("preview", photo, "--colorizers", "compact,compact-vivid,stable", "--gains", "1,3", "--out", sheet)
    assert [line.partition(" \N{MIDDLE DOT} ")[0] for line in ended.stdout.splitlines()[:-1]] == [
        "compact, gain 1", "compact, gain 3", "compact-vivid, gain 1", "compact-vivid, gain 3",
    ]  # fmt: skip
    assert (
        "stable is left out: its weights are not installed. Get them with `retint weights fetch stable`" in ended.stderr
    )
    with Image.open(photo) as original, Image.open(sheet) as shown:
        assert shown.width >= 3 * original.width
        assert shown.height >= 2 * original.height
    for wrong, words in {
        ("--render-factors", "20"): "None of these networks has the setting render_factor",
        ("--gains", "9"): "gain of compact is between 0.1 and 4, not 9",
        ("--gains", "much"): "not a list of numbers",
        ("--colorizers", "crayons"): "There is no colorizer crayons",
    }.items():
        assert words in command("preview", photo, *wrong, "--out", tmp_path / "no.png", status=2).stderr
    assert not (tmp_path / "no.png").exists()
