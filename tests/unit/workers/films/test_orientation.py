"""Display matrices: which orientation each stands for, and which are refused."""

import numpy as np
import pytest

from retint.errors import InvalidPhoto
from retint_models.layers.rendering import to_stored_orientation
from retint_workers.films.orientation import orientation_of, to_upright

ONE = 1 << 16
W = 1 << 30
MATRICES = {
    1: (ONE, 0, 0, 0, ONE, 0, 0, 0, W),
    2: (-ONE, 0, 0, 0, ONE, 0, 9 * ONE, 0, W),
    3: (-ONE, 0, 0, 0, -ONE, 0, 9 * ONE, 5 * ONE, W),
    4: (ONE, 0, 0, 0, -ONE, 0, 0, 5 * ONE, W),
    5: (0, ONE, 0, ONE, 0, 0, 0, 0, W),
    6: (0, ONE, 0, -ONE, 0, 0, 5 * ONE, 0, W),
    7: (0, -ONE, 0, -ONE, 0, 0, 5 * ONE, 9 * ONE, W),
    8: (0, -ONE, 0, ONE, 0, 0, 0, 9 * ONE, W),
}


def show(picture: np.ndarray, matrix: tuple[int, ...]) -> np.ndarray:
    """Show a picture as a player does: each pixel at its place by the matrix, the whole moved to the corner."""
    a, b, c, d = (np.sign(matrix[index]) for index in (0, 1, 3, 4))
    height, width = picture.shape
    y, x = np.mgrid[:height, :width]
    column, row = a * x + c * y, b * x + d * y
    shown = np.zeros((np.ptp(row) + 1, np.ptp(column) + 1), picture.dtype)
    shown[row - row.min(), column - column.min()] = picture
    return shown


@pytest.mark.parametrize("orientation", MATRICES)
def test_a_matrix_is_the_orientation_that_shows_the_same(orientation: int) -> None:
    picture = np.arange(45).reshape(5, 9)
    matrix = MATRICES[orientation]
    assert orientation_of(matrix) == orientation
    assert (to_upright(picture, orientation) == show(picture, matrix)).all()
    assert (to_stored_orientation(show(picture, matrix), orientation) == picture).all()


def test_scale_shift_and_a_trace_of_skew_do_not_matter() -> None:
    assert orientation_of((2 * ONE, 0, 0, 0, ONE, 0, 77, 88, W)) == 1
    assert orientation_of((-87381, 300, 0, -300, 65536, 0, 0, 0, W)) == 2
    assert orientation_of(None) == 1


@pytest.mark.parametrize(
    "matrix",
    [
        (46341, 46341, 0, -46341, 46341, 0, 0, 0, W),
        (ONE, 0, 0, ONE // 4, ONE, 0, 0, 0, W),
        (ONE, 0, 5, 0, ONE, 0, 0, 0, W),
        (ONE, 0, 0, 0, 0, 0, 0, 0, W),
    ],
)
def test_what_is_no_orientation_is_refused(matrix: tuple[int, ...]) -> None:
    with pytest.raises(InvalidPhoto, match="display matrix"):
        orientation_of(matrix)
