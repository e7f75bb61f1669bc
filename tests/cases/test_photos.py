"""The cases that are photographs: look, header and metadata of what is restored, sentences of what is not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cases.photos import MAX_LIGHTNESS_DRIFT, Restored, restore_case
from tests.cases.report import CASES

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside the repository")

Say = Callable[[str, object], None]


def expect_nothing_lost(restored: list[Restored]) -> None:
    """Each file is restored in the tone it had; what is missing or changed in its metadata is said."""
    for one in restored:
        assert one.reason is None, one
        assert abs(one.lightness_drift) <= MAX_LIGHTNESS_DRIFT, one
        assert not one.differences or one.notes, one


def tell(restored: list[Restored]) -> str:
    """Say in a few words what became of the files."""
    done = [one for one in restored if one.reason is None]
    told = f"{len(done)} of {len(restored)} restored"
    told += "".join(f"; {one.name}: {one.reason}" for one in restored if one.reason)
    return told + "".join(f"; {one.name}: {note}" for one in done for note in one.notes)


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=pytest.mark.case(number)) for number in ("01", "02", "07", "11", "18", "19")]
)
def test_what_others_take_is_restored_and_nothing_of_it_is_lost(
    number: str, tmp_path: Path, record_property: Say
) -> None:
    restored = restore_case(number, tmp_path)
    record_property("now", tell(restored))
    expect_nothing_lost(restored)


@pytest.mark.case("04")
def test_the_thumbnail_of_a_raw_file_is_not_taken_for_the_photograph(tmp_path: Path, record_property: Say) -> None:
    restored = restore_case("04", tmp_path)
    record_property("now", tell(restored))
    assert all(one.reason and "raw data" in one.reason for one in restored)


@pytest.mark.case("05")
def test_an_infrared_channel_is_carried(tmp_path: Path, record_property: Say) -> None:
    restored = restore_case("05", tmp_path)
    record_property("now", tell(restored))
    expect_nothing_lost(restored)


@pytest.mark.case("12")
def test_a_linear_profile_is_linear_whatever_its_name(tmp_path: Path, record_property: Say) -> None:
    control, named = restore_case("12", tmp_path)
    record_property("now", f"chroma {named.chroma[1]:.1f}, the same under another name {control.chroma[1]:.1f}")
    expect_nothing_lost([control, named])
    assert abs(named.chroma[1] - control.chroma[1]) < 0.1


@pytest.mark.case("13")
def test_a_profile_with_no_way_back_is_replaced_and_said(tmp_path: Path, record_property: Say) -> None:
    restored = restore_case("13", tmp_path)
    record_property("now", tell(restored))
    (one,) = restored
    assert one.reason is None
    assert any("profile" in note for note in one.notes)
    assert abs(one.lightness_drift) <= MAX_LIGHTNESS_DRIFT


@pytest.mark.case("15")
def test_gray_scans_keep_the_tone_of_any_profile(tmp_path: Path, record_property: Say) -> None:
    restored = restore_case("15", tmp_path)
    record_property("now", tell(restored))
    expect_nothing_lost(restored)
    assert not any("damaged" in note for one in restored for note in one.notes)


@pytest.mark.case("17")
def test_tone_that_a_png_tells_by_chunks_is_kept(tmp_path: Path, record_property: Say) -> None:
    restored = restore_case("17", tmp_path)
    record_property("now", tell(restored))
    expect_nothing_lost(restored)
    assert not any("gAMA" in difference or "Gamma" in difference for one in restored for difference in one.differences)


@pytest.mark.case("21")
def test_dialects_of_jpeg_are_taken_or_named(tmp_path: Path, record_property: Say) -> None:
    restored = restore_case("21", tmp_path)
    record_property("now", tell(restored))
    by_name = {one.name: one for one in restored}
    expect_nothing_lost([by_name["jfif-2.01.jpg"], by_name["no-eoi.jpg"]])
    assert "damaged" not in (by_name["lossless-sof3.jpg"].reason or "")


@pytest.mark.case("40")
def test_xmp_is_kept_or_its_loss_is_said(tmp_path: Path, record_property: Say) -> None:
    restored = restore_case("40", tmp_path)
    record_property("now", tell(restored))
    expect_nothing_lost(restored)


@pytest.mark.case("37")
def test_a_gray_photo_beside_a_color_target_is_colorized(tmp_path: Path, record_property: Say) -> None:
    restored = restore_case("37", tmp_path)
    record_property("now", tell(restored))
    for one in restored:
        before, after = one.chroma
        assert after - before > 3, one


@pytest.mark.case("46")
def test_a_blank_picture_stays_gray(tmp_path: Path, record_property: Say) -> None:
    restored = restore_case("46", tmp_path)
    record_property("now", tell(restored))
    for one in restored:
        assert one.reason is None
        assert one.chroma[1] < 3, one
