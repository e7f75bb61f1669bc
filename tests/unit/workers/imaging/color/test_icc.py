"""Curves and primaries of ICC profiles are read and written as lcms reads them; damaged ones are refused."""

import struct

import numpy as np
import pytest
from tests import icc_profiles, photo_files

from retint_models.layers.encodings import to_unit_range
from retint_workers.imaging.color import icc, profiles, spaces

CURVES = {
    "identity": b"curv" + bytes(8),
    "gamma": icc.pack_gamma(1.8),
    "table": icc_profiles.pack_curve(np.linspace(0, 1, 256) ** 2.2),
    "coarse table": icc_profiles.pack_curve(np.linspace(0, 1, 5) ** 2),
    **{
        f"type {kind}": icc_profiles.pack_parametric(kind, *numbers)
        for kind, numbers in enumerate(
            (
                (2.2,),
                (2.2, 1.1, -0.1),
                (2.2, 1.2, -0.2, 0.0),
                (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
                (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0.0, 0.0),
            )
        )
    },
}


@pytest.mark.parametrize("name", CURVES)
def test_curves_of_every_type_are_read_as_lcms_reads_them(name: str) -> None:
    profile = icc_profiles.make_matrix("any", CURVES[name], spaces.ADOBE_PRIMARIES)
    encoding = spaces.from_curves(*icc.read_curves_and_primaries(icc.parse(profile)))
    codes = np.repeat(np.linspace(0, 65535, 511).astype(np.uint16)[None, :, None], 3, axis=2)
    ours = profiles.linear_to_lab(encoding.decode(to_unit_range(codes)))
    assert np.abs(ours - profiles.to_lab(codes, profile)).max() < 0.5  # lcms is coarse in the shadows


def test_primaries_are_adapted_to_the_white_of_the_connection_space() -> None:
    adobe = icc.adapt_primaries(spaces.ADOBE_PRIMARIES, icc.D65).T
    assert np.abs(adobe - photo_files.ADOBE_PRIMARIES).max() < 2e-4
    assert icc.SRGB_D50.sum(axis=1) == pytest.approx(np.array(icc.WHITE_D50), abs=1e-4)
    for bad in (((0.64, 0.0), (0.3, 0.6), (0.15, 0.06)), ((0.64, 0.33), (0.64, 0.33), (0.15, 0.06))):
        with pytest.raises(ValueError, match="primar"):
            icc.adapt_primaries(bad, icc.D65)


@pytest.mark.parametrize("seed", range(4))
def test_no_damage_to_a_profile_raises_anything_but_a_refusal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    good = [icc_profiles.make_matrix("any", curve) for curve in CURVES.values()]
    for number in range(500):
        data = bytearray(good[number % len(good)])
        for at in rng.integers(0, len(data), rng.integers(1, 9)):
            data[at] = rng.integers(0, 256)
        data = data[: int(rng.integers(1, len(data)))] if number % 3 == 0 else data
        try:
            curves, primaries = icc.read_curves_and_primaries(icc.parse(bytes(data)))
        except ValueError:
            continue
        assert np.isfinite(curves).all()
        assert np.isfinite(primaries).all()


def test_a_table_of_tags_that_is_too_long_is_refused() -> None:
    data = bytearray(photo_files.SRGB_PROFILE)
    data[128:132] = struct.pack(">I", 5000)
    with pytest.raises(ValueError, match="tags"):
        icc.parse(bytes(data))
