"""Every network against what the original gives, under weights that follow from the tensors' names.

`pytest -s` on this file prints a table of how near they come.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tests import named_weights, references
from tests.paths import REFERENCE
from tests.references import REFERENCES, load_tensor
from torch import Tensor
from torch.nn import functional

from retint_models.acceleration.prepare import Precision
from retint_models.layers.color import LUMA
from retint_models.layers.rendering import colorize_proxy
from retint_models.networks import ddcolor_colorizer, deoldify, proxies, yuv_gan
from retint_models.networks.color import rec709_chroma
from retint_models.networks.deoldify_colorizer import (
    color_square,
    colorize_picture,
    gray_square,
    merge_chroma,
)
from retint_models.weights.loading import fill_network

pytestmark = pytest.mark.skipif(not REFERENCE.exists(), reason=f"needs the original's outputs at {REFERENCE}")
SIZES = ["1x{}x64x64", "2x{}x96x80"]

Row = tuple[str, str, float, float]
"""Network, what was compared, largest and mean difference."""


@pytest.fixture(scope="module")
def table() -> Iterator[list[Row]]:
    rows: list[Row] = []
    yield rows
    print(f"\n{'network':<26} {'what':<28} {'largest difference':>18} {'mean':>10}")
    for name, what, largest, mean in rows:
        print(f"{name:<26} {what:<28} {largest:>18.3g} {mean:>10.3g}")


def compare(table: list[Row], name: str, what: str, ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Note how two arrays compare; return the largest difference."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    differs = np.abs(ours.astype(np.float64) - theirs)
    table.append((name, what, differs.max(), differs.mean()))
    return float(differs.max())


def picture(name: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(REFERENCE / name))


@pytest.fixture(scope="module", params=deoldify.CONFIGS)
def network(request: pytest.FixtureRequest) -> tuple[str, deoldify.DeoldifyGenerator]:
    return request.param, deoldify.load_network(request.param, named_weights.reference_tensors(request.param))


@pytest.mark.parametrize("name", REFERENCES)
def test_a_network_gives_what_its_original_gives(name: str, table: list[Row]) -> None:
    reference = REFERENCES[name]
    differs = reference.compare(reference.load_plain())
    table.append((name, "plain", differs.largest, differs.mean))
    assert differs.is_within(reference.limits["float32"])


@pytest.mark.parametrize(("name", "place", "precision"), references.list_runs())
def test_prepared_to_run_fast_it_gives_the_same(name: str, place: str, precision: Precision, table: list[Row]) -> None:
    reference = REFERENCES[name]
    differs = reference.compare(references.prepare_in(place, reference.load_plain(), precision))
    table.append((name, f"fast, {place}, {precision}", differs.largest, differs.mean))
    assert differs.is_within(reference.limits[precision])


def test_a_photo_gets_the_colors_that_the_original_gives_it(
    network: tuple[str, deoldify.DeoldifyGenerator], table: list[Row]
) -> None:
    name, run = network
    kept = "stable" if name == "video" else name  # one network, and here the same weights
    square = color_square(run, gray_square(picture("photo.png"), 10))
    theirs = picture(f"photo.{kept}.rf10.square.png")
    assert compare(table, name, "photo, square, rf 10", square, theirs) <= 3
    assert (square == theirs).mean() >= 0.995
    whole, theirs = colorize_picture(run, picture("photo.png"), 10), picture(f"photo.{kept}.rf10.png")
    assert compare(table, name, "photo, whole, rf 10", whole, theirs) <= 3
    assert (whole == theirs).mean() >= 0.995


@pytest.mark.parametrize("name", ["artistic", "stable"])
def test_a_layer_has_the_colors_of_the_original_at_the_proxys_luma(name: str) -> None:
    gray = np.repeat(np.asarray(Image.open(REFERENCE / "photo.png").convert("L"))[..., None], 3, 2)
    square = torch.from_numpy(picture(f"photo.{name}.rf10.square.png").copy()).permute(2, 0, 1) / 255
    luma, chroma = proxies.stretch_to_aspect(gray, rec709_chroma(square))
    ours = colorize_proxy(gray, proxies.layer_without_confidence(luma, chroma, {}))
    assert np.abs(rec709(ours) - gray[..., 0]).max() <= 1

    joined = joined_in_floats(gray, square)
    moved = rec709(joined)[..., None] - gray  # the original keeps Rec. 601 luma
    inside = ((joined > 0) & (joined < 255) & (joined - moved > 0) & (joined - moved < 255)).all(-1)
    assert inside.mean() > 0.9
    assert np.abs(joined - moved - ours)[inside].max() <= 1

    theirs = merge_chroma(gray, picture(f"photo.{name}.rf10.raw.png"))
    rounded = np.abs(theirs - rec709(theirs)[..., None] + gray - ours)[inside]
    print(
        f"\n{name}, layer beside the original, unclipped: luma moved by the original {np.abs(moved).mean():.2f}"
        f" (mean) to {np.abs(moved).max():.1f}, the rest differs by {rounded.mean():.2f} to {rounded.max():.1f}"
    )
    assert rounded.mean() <= 1, "the original rounds to 8 bits twice on its way"


def joined_in_floats(gray: NDArray[np.uint8], square: Tensor) -> NDArray[np.float64]:
    """The original's picture, (h, w, 3) in 0..255, if it had no 8-bit steps: OpenCV's YUV and back."""
    large = functional.interpolate(square[None], gray.shape[:2], mode="bilinear", antialias=True)[0]
    red, green, blue = 255 * large.double().numpy()
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    u, v = 8061 / 16384 * (blue - luma), 14369 / 16384 * (red - luma)
    return gray + np.stack([18678 * v, -9519 * v - 6472 * u, 33292 * u], -1) / 16384


def rec709(rgb: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(rgb @ np.array(LUMA))


@pytest.mark.parametrize("name", ["ddcolor-tiny", "ddcolor"])
def test_a_photo_gets_the_colors_that_ddcolor_gives_it(name: str, table: list[Row]) -> None:
    """Of a quarter of the values one differs by up to 2: OpenCV's CIELAB is a coarse table, this one is exact."""
    reference = REFERENCES[name]
    ours = ddcolor_colorizer.colorize_picture(reference.load_plain(), picture("photo.png"), 256)
    theirs = picture(f"photo.{reference.weights}.256.png")
    assert compare(table, name, "photo, side 256", ours, theirs) <= 2
    assert (ours == theirs).mean() >= 0.7


def test_ddcolor_is_shown_the_gray_that_the_original_shows_it() -> None:
    ours = 255 * ddcolor_colorizer.gray_square(picture("photo.png"), 256)[0].numpy()
    assert np.array_equal(ours[0], ours[1])
    assert np.array_equal(ours[0], ours[2])
    assert np.abs(ours[0] - picture("photo.gray256.png")).max() <= 1, "OpenCV's lightness is off by up to .2"


def test_a_and_b_are_joined_with_the_lightness_as_in_the_original() -> None:
    ours = ddcolor_colorizer.merge_ab(picture("photo.png"), load_tensor("post.ab_1x2x24x36"))
    differs = np.abs(ours.astype(np.int16) - picture("post.png"))
    assert differs.max() <= 6
    assert (differs > 0).mean() <= 0.12


def test_the_network_is_shown_the_very_gray_that_the_original_shows_it() -> None:
    assert np.array_equal(gray_square(picture("photo.png"), 10), picture("photo.rf10.input.png"))


@pytest.mark.parametrize("name", ["artistic", "stable"])
def test_chroma_is_merged_exactly_as_in_the_original(name: str) -> None:
    ours = merge_chroma(picture("photo.png"), picture(f"photo.{name}.rf10.raw.png"))
    assert np.array_equal(ours, picture(f"photo.{name}.rf10.png"))


@pytest.mark.parametrize("size", [size.format(1) for size in SIZES])
def test_the_yuv_critic_judges_as_the_original_does(size: str, table: list[Row]) -> None:
    critic = yuv_gan.YuvCritic()
    fill_network(critic, named_weights.reference_tensors("yuvgan_d"), "yuvgan_d")
    seen = torch.cat([shown("yuvgan_g", size), load_tensor(f"yuvgan_g.output_{size}")], 1)
    ours, theirs = critic(seen).numpy(), load_tensor(f"yuvgan_d.output_{size}").numpy()
    assert compare(table, "yuvgan_d", size, ours, theirs) <= 1e-4


@pytest.mark.parametrize("size", [size.format(1) for size in SIZES])
def test_the_yuv_gan_colors_in_evaluation_which_its_authors_forgot(size: str, table: list[Row]) -> None:
    run = yuv_gan.load_network("yuv-gan", named_weights.reference_tensors("yuvgan_g"))
    kept, forgotten = (load_tensor(f"yuvgan_g.{mode}output_{size}").numpy() for mode in ("", "trainmode."))
    assert np.abs(run(shown("yuvgan_g", size)).numpy() - kept).max() <= 1e-4
    assert np.abs(kept - forgotten).max() > 0.1
    # They start from the fresh statistics of a batch norm, which train mode does not read.
    with torch.no_grad():
        ours = run.train()(shown("yuvgan_g", size)).numpy()
    assert compare(table, "yuvgan_g", f"{size}, train mode", ours, forgotten) <= 1e-4


def shown(name: str, size: str) -> Tensor:
    return load_tensor(f"gray_{size}") - (0.5 if name == "yuvgan_g" else 0)
