"""How a player turns and mirrors a film: the display matrix of its track, and the EXIF orientation that it stands for.

A matrix is nine integers as FFmpeg and QuickTime order them: `a b u c d v x y w`. A pixel (x, y) is shown at
(a·x + c·y + tx, b·x + d·y + ty). QuickTime File Format, "Matrices"; ISO/IEC 14496-12, 8.3.2.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint.errors import InvalidPhoto

Matrix = tuple[int, ...]

SKEW = 0.02
"""How far a matrix may be from one of the eight orientations, as a share of its main terms: about one degree."""
ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
"""EXIF orientation by the signs of a, b, c, d."""
TO_UPRIGHT = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


def read_matrix(frame: Any) -> Matrix | None:
    """Return the display matrix that a decoded frame carries; None where it has none, or one that says nothing."""
    found = [data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"]
    if not found:
        return None
    matrix = tuple(int(value) for value in np.frombuffer(memoryview(found[0]), np.int32))
    return matrix if len(matrix) == 9 and any(matrix[index] for index in (0, 1, 3, 4)) else None


def orientation_of(matrix: Sequence[int] | None) -> int:
    """Return the EXIF orientation of a display matrix, 1 without one. Its scale and its shift do not matter.

    Raises:
        InvalidPhoto: it turns by another angle than quarters of a circle, shears, or bends to perspective.
    """
    if matrix is None:
        return 1
    a, b, c, d = (matrix[index] for index in (0, 1, 3, 4))
    limit = SKEW * max(abs(a), abs(b), abs(c), abs(d))
    signs = tuple(0 if abs(value) <= limit else 1 if value > 0 else -1 for value in (a, b, c, d))
    if signs not in ORIENTATIONS or matrix[2] or matrix[5]:
        raise InvalidPhoto(
            "The film's display matrix turns its frames by an angle that is no quarter of a circle, or shears them: "
            "save it with its frames upright.",
            code="display_matrix",
        )
    return ORIENTATIONS[signs]


def to_upright(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror a picture (h, w, …), as it is stored, to how it is shown."""
    return np.ascontiguousarray(TO_UPRIGHT.get(orientation, np.asarray)(stored))
