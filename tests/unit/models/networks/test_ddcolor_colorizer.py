"""How DDColor is applied to a picture, with a stand-in for its network; what it makes of photos is in `references`."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from retint_models.networks.ddcolor_colorizer import colorize_picture, gray_square, merge_ab


class Halves(nn.Module):
    """Colors the left half of a square red and leaves the right half gray."""

    def forward(self, x: Tensor) -> Tensor:
        ab = torch.zeros(len(x), 2, *x.shape[2:])
        ab[..., : x.shape[-1] // 2] = 60
        return ab


def test_a_pictures_own_colors_do_not_reach_the_network() -> None:
    red, green = np.array([[[200, 0, 0]]], np.uint8), np.array([[[0, 100, 0]]], np.uint8)
    for picture in (red, green):
        square = gray_square(picture, 32)
        assert square.shape == (1, 3, 32, 32)
        assert torch.equal(square[:, 0], square[:, 1])
    # By hand: the luminance of red 200 is .2127 x .5776, whose sRGB is .386.
    assert gray_square(red, 32)[0, 0, 0, 0].item() == pytest.approx(0.386, abs=1e-3)


def test_only_a_proxys_square_is_filtered_against_aliasing() -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[::4] = 255
    filtered = gray_square(stripes, 32, antialias=True)
    assert filtered.std() < 0.05
    # By hand: a quarter of the rows is white, and the mean of codes is a code of .25.
    assert filtered.mean().item() == pytest.approx(0.25, abs=0.01)
    assert gray_square(stripes, 32).max() == 0, "the original looks between two black rows"


def test_white_black_and_gray_keep_their_codes() -> None:
    grays = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, 2)
    assert np.array_equal(merge_ab(grays, torch.zeros(1, 2, 32, 32)), grays)


def test_colors_are_repeated_not_blended_as_in_the_original() -> None:
    picture = np.full((10, 101, 3), 128, np.uint8)
    colored = colorize_picture(Halves(), picture, 32)
    assert colored.shape == picture.shape
    assert len(np.unique(colored.reshape(-1, 3), axis=0)) == 2
    assert (colored[:, 51:] == 128).all()
    assert (colored[:, :50, 0] > colored[:, :50, 2]).all()


@pytest.mark.parametrize("side", [0, 31, 100, -32])
def test_a_side_that_is_no_multiple_of_32_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match="a multiple of 32, not"):
        colorize_picture(Halves(), np.zeros((4, 4, 3), np.uint8), side)


@pytest.mark.parametrize("picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(h, w, 3\)"):
        colorize_picture(Halves(), picture, 64)
