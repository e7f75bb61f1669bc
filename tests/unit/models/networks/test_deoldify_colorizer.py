"""How DeOldify's colors reach a picture, and what is refused. No weights are needed."""

import numpy as np
import pytest
from torch import Tensor, nn

from retint_models.networks.deoldify import DeoldifyGenerator
from retint_models.networks.deoldify_colorizer import colorize_picture, merge_chroma


class Gray(nn.Module):
    """Colors nothing."""

    def forward(self, x: Tensor) -> Tensor:
        DeoldifyGenerator.check(x)
        return x


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (70, 50)])
def test_a_gray_answer_leaves_the_luma_as_it_was(size: tuple[int, int]) -> None:
    gray = np.random.default_rng(1).integers(0, 256, (*size, 1), dtype=np.uint8).repeat(3, 2)
    assert np.abs(colorize_picture(Gray(), gray, 7).astype(int) - gray).max() <= 2  # chroma is cut, not rounded


def test_chroma_is_merged_as_opencv_does() -> None:
    # By hand from OpenCV's integers: red has Y 76, U 91 and V 255 (285 cut); u = -37 and v = 127 are added to 128.
    gray, red = np.full((1, 1, 3), 128, np.uint8), np.array([[[255, 0, 0]]], np.uint8)
    assert merge_chroma(gray, red).tolist() == [[[255, 69, 53]]]


@pytest.mark.parametrize("factor", [6, 46, -1])
def test_a_render_factor_out_of_range_is_refused(factor: int) -> None:
    with pytest.raises(ValueError, match="from 7 to 45"):
        colorize_picture(Gray(), np.zeros((4, 4, 3), np.uint8), factor)


@pytest.mark.parametrize("picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 picture \(h, w, 3\)"):
        colorize_picture(Gray(), picture, 10)
