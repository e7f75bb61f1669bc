"""Color profiles stay, and pictures look the same whatever the profile."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image, ImageCms
from tests import photo_files, photographs, sample_layers
from tests.integration.workers.imaging.sample_renders import DENSITY, PHOTO, open_picture, render_file


def test_a_wide_gamut_profile_stays_and_the_colors_are_those_of_the_layer(tmp_path: Path) -> None:
    profile = photo_files.make_icc_profile("Wide", 1.8, photo_files.PROPHOTO_PRIMARIES)
    truth = np.asarray(photo_files.convert_to_profile(Image.fromarray(PHOTO), profile))
    gray = np.repeat(photographs.to_gray(truth)[..., None], 3, axis=2)
    Image.fromarray(gray).save(tmp_path / "gray.png", icc_profile=profile)
    rendered = render_file(tmp_path / "gray.png", sample_layers.color_layer(PHOTO))
    result = open_picture(rendered.files["result"])
    assert result.info["icc_profile"] == profile
    assert np.abs(np.asarray(result).astype(int) - truth).mean() < 4
    assert np.abs(np.asarray(open_picture(rendered.files["preview"])).astype(int) - PHOTO).mean() < 8


def test_a_gray_profile_is_replaced_by_an_rgb_profile_with_the_same_tone_curve(tmp_path: Path) -> None:
    profile = photo_files.make_icc_profile("Gray 1.8", 1.8)
    gray = photographs.to_gray(PHOTO)
    Image.fromarray(gray).save(tmp_path / "gray.tif", icc_profile=profile)
    result = open_picture(render_file(tmp_path / "gray.tif").files["result"])
    made = ImageCms.ImageCmsProfile(io.BytesIO(result.info["icc_profile"]))
    assert made.profile.xcolor_space == "RGB "
    ramp = np.arange(256, dtype=np.uint8)[None]
    shown = [
        pyvips.Image.new_from_array(pixels).copy(interpretation=meaning)
        for pixels, meaning in ((ramp, "b-w"), (np.repeat(ramp[..., None], 3, axis=2), "srgb"))
    ]
    for image, each in zip(shown, (profile, result.info["icc_profile"]), strict=True):
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", each)
    lab = [image.icc_import(embedded=True, pcs="lab").numpy() for image in shown]
    assert np.abs(lab[0] - lab[1]).max() < 0.3
    kept = open_picture(render_file(tmp_path / "gray.tif", None, DENSITY).files["result"])
    assert kept.mode == "L"
    assert kept.info["icc_profile"] == profile


def test_tone_repair_looks_the_same_in_every_profile(tmp_path: Path) -> None:
    profile = photo_files.make_icc_profile("Wide", 1.8, photo_files.PROPHOTO_PRIMARIES)
    even = replace(  # one that keeps gray gray: a tint would lie in the profile's own primaries
        DENSITY, matrix=np.eye(3, dtype=np.float32), shift=DENSITY.shift[[0, 0, 0]], curves=DENSITY.curves[[0, 0, 0]],
        grid=DENSITY.grid[[0, 0, 0, 3, 3, 3]],
    )  # fmt: skip
    gray = np.repeat(photographs.to_gray(PHOTO)[..., None], 3, axis=2)
    Image.fromarray(gray).save(tmp_path / "plain.png")
    photo_files.convert_to_profile(Image.fromarray(gray), profile).save(tmp_path / "wide.png", icc_profile=profile)
    plain, wide = (
        np.asarray(open_picture(render_file(tmp_path / name, None, even).files["preview"])).astype(int)
        for name in ("plain.png", "wide.png")
    )
    assert np.abs(plain - gray).mean() > 5
    assert np.abs(plain - wide).mean() < 1.5
