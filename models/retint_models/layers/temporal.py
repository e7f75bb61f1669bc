"""Color that holds still: where a film is cut, one color decision from frame to frame, and how steady the result is.

All of it streams: one frame in, one answer out, and what is remembered does not grow with the film. Needs no torch.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from PIL import Image

from retint_models.layers.types import ColorLayer
from retint_models.layers.upsampling import box_mean

Floats = NDArray[np.float32]

CELL = 4
"""Pixels of a layer to one cell of the grid on which motion is searched: about what a colorizer decides on."""
REACH = 4
"""Cells that a place may move from one frame to the next: a twentieth of the width."""
NEAR = 2
"""Cells to each side that are compared."""
STILL = 0.01
"""What a cell of motion must gain in luma (of 1) to be believed: flat places do not wander."""
AGREEMENT = 0.04
"""Difference of luma (of 1), exposure evened out, at which a place counts for a third of what it did."""
MEMORY = 12.0
"""Frames that a place remembers at most."""
THUMBNAIL = (48, 36)
CUT = 0.36
"""How much of a frame's contrast the frame before cannot explain, moved as it may be, where there is a cut. Set on 144
pairs of photographs (3 % taken for one scene) and 144 of one, moved, brightened and grained (none taken for two)."""
FLASH = 2
"""Frames after which a film that goes on as before a cut had none: a flash, or a blank frame."""
SHORTEST_SCENE = 6
"""Frames: cuts in faster sequence are a storm, and not taken for scenes."""
DISTANCES = (1, 2, 4)


class Scenes:
    """Finds the cuts of a film, frame by frame.

    A frame begins a scene where it cannot be made of the frame before by moving its parts and by changing exposure:
    motion-compensated frame differences, as surveyed by Lienhart, "Comparison of automatic shot boundary detection
    algorithms", 1999, and by Koprinska and Carrato, "Temporal video segmentation: a survey", 2001.

    Attributes:
        starts: the numbers of the frames that begin a scene; the first is 0.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []
        self._frames = 0
        self._recent: deque[Floats] = deque(maxlen=FLASH + 1)

    def add(self, luma: NDArray[np.uint8]) -> None:
        """Look at the next frame: its luma, uint8 (h, w), of any size."""
        small = Image.fromarray(luma).resize(THUMBNAIL, Image.Resampling.BOX)
        thumbnail: Floats = np.asarray(small, np.float32) / np.float32(255)
        if not self.starts:
            self.starts.append(0)
        elif differs(thumbnail, self._recent[-1]):
            if self._is_back(thumbnail):
                self.starts.pop()
            elif self._frames - self.starts[-1] >= SHORTEST_SCENE or len(self.starts) == 1:
                self.starts.append(self._frames)
        self._recent.append(thumbnail)
        self._frames += 1

    def _is_back(self, thumbnail: Floats) -> bool:
        """Whether the last cut was none, because the film now goes on as before it."""
        since = self._frames - self.starts[-1]
        is_short = len(self.starts) > 1 and since <= FLASH and since < len(self._recent)
        return is_short and not differs(thumbnail, self._recent[-1 - since])


def differs(frame: Floats, before: Floats) -> bool:
    """Whether two thumbnails in [0, 1] show different scenes."""
    contrast = float(frame.std())
    even = exposed(before, frame)
    rows, columns = displacement(frame, even)
    left = float(np.abs(frame - moved(even, rows, columns)).mean())
    return left > CUT * max(contrast, 0.02)


class Smoother:
    """Makes the color decision of a frame agree with those before it, as far as they saw the same thing.

    Every place keeps the mean of what was decided for it, over at most `MEMORY` frames. From frame to frame the means
    move with the picture (block matching on luma), and count as much as luma agrees there: what is uncovered, and what
    moves too fast, is decided afresh, so that nothing smears. Exposure that flickers is evened out before.
    """

    def __init__(self, state: Mapping[str, NDArray[Any]] | None = None) -> None:
        self._state = {name: np.asarray(array, np.float32) for name, array in (state or {}).items()}

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All that is remembered; a `Smoother` of it goes on in the same way. Empty before the first frame."""
        return dict(self._state)

    def cut(self) -> None:
        """Forget: what comes is another scene."""
        self._state = {}

    def smooth(self, layer: ColorLayer) -> ColorLayer:
        """Return the next frame's layer with the chroma of all that is known."""
        luma, chroma = layer.luma.astype(np.float32), layer.chroma.astype(np.float32)
        ages = np.ones_like(luma)
        if self._state and self._state["luma"].shape == luma.shape:
            before = exposed(self._state["luma"], luma)
            size = (max(1, luma.shape[1] // CELL), max(1, luma.shape[0] // CELL))
            coarse = [np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BOX)) for each in (luma, before)]
            rows, columns = displacement(*coarse)
            _blend(
                box_mean(luma),
                box_mean(before),
                rows,
                columns,
                self._state["chroma"],
                self._state["ages"],
                chroma,
                ages,
            )
        self._state = {"luma": luma, "chroma": chroma, "ages": ages}
        smoothed = np.clip(chroma, -0.5, 0.5).astype(np.float16)
        return ColorLayer(smoothed, layer.luma, layer.confidence, layer.record)


class Consistency:
    """The color distribution consistency index (CDC) of a film: how much its colors' histograms change; less is better.

    The mean over t = 1, 2, 4 of the mean Jensen-Shannon divergence (natural logarithm) between the histograms (256
    bins) of a channel in frames that are t apart, over all such frames and the three channels: Liu et al., "Temporally
    Consistent Video Colorization with Deep Feature Propagation and Self-regularization Learning", arXiv:2110.04562.
    The paper's clips have no cuts; here pairs of frames across a cut do not count.
    """

    def __init__(self, state: Mapping[str, NDArray[Any]] | None = None) -> None:
        state = state or {"histograms": np.zeros((0, 3, 256)), "sums": np.zeros(3), "counts": np.zeros(3)}
        self._histograms = deque(state["histograms"], maxlen=max(DISTANCES))
        self._sums, self._counts = state["sums"].copy(), state["counts"].copy()

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """All that is remembered; a `Consistency` of it goes on in the same way."""
        histograms = np.array(self._histograms, np.float64).reshape(-1, 3, 256)
        return {"histograms": histograms, "sums": self._sums.copy(), "counts": self._counts.copy()}

    def cut(self) -> None:
        """Compare no frame so far with those that come."""
        self._histograms.clear()

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Take the next frame, uint8 (h, w, 3), RGB."""
        channels = picture.reshape(-1, 3).T
        histogram = np.array([np.bincount(channel, minlength=256) for channel in channels]) / len(channels[0])
        for number, distance in enumerate(DISTANCES):
            if len(self._histograms) >= distance:
                self._sums[number] += divergence(self._histograms[-distance], histogram).mean()
                self._counts[number] += 1
        self._histograms.append(histogram)

    @property
    def value(self) -> float | None:
        """The index; none before there are two frames of one scene."""
        known = self._counts > 0
        return float((self._sums[known] / self._counts[known]).mean()) if known.any() else None


def divergence(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jensen-Shannon divergence along the last axis of distributions, in nats: 0 to ln 2."""
    middle = (one + two) / 2
    parts = [each * np.log(np.where(each > 0, each / np.where(middle > 0, middle, 1), 1)) for each in (one, two)]
    return np.asarray((parts[0] + parts[1]).sum(-1) / 2)


def exposed(before: Floats, after: Floats) -> Floats:
    """Give a frame the mean and the contrast of another: old films flicker."""
    gain = float(np.clip((after.std() + 0.02) / (before.std() + 0.02), 0.5, 2))
    return np.asarray((before - before.mean()) * gain + after.mean(), np.float32)


def displacement(after: Floats, before: Floats) -> tuple[Floats, Floats]:
    """Where each place of a frame was in the frame before: rows and columns to add, float32 (h, w), by block matching.

    To parts of a cell, by the parabola through the costs around the best one.
    """
    rows, columns = np.empty_like(after), np.empty_like(after)
    edge = REACH + NEAR + 1
    _match(np.pad(after, edge, mode="edge"), np.pad(before, edge, mode="edge"), rows, columns)
    return rows, columns


def moved(before: Floats, rows: Floats, columns: Floats) -> Floats:
    """Make a frame of the frame before and where each place was, all (h, w)."""
    out = np.empty_like(before)
    _sample_all(before, rows, columns, out)
    return out


# --- compiled ---------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")
def _cost(after, before, y, x, dy, dx):  # type: ignore[no-untyped-def]
    """Mean difference of luma around a place, moved; moving costs a little."""
    total = np.float32(0)
    for j in range(-NEAR, NEAR + 1):
        for i in range(-NEAR, NEAR + 1):
            total += abs(after[y + j, x + i] - before[y + dy + j, x + dx + i])
    return total / np.float32((2 * NEAR + 1) ** 2) + np.float32(STILL) * np.float32(np.sqrt(dy * dy + dx * dx)) / REACH


@njit(cache=True, nogil=True, error_model="numpy")
def _between(low, middle, high):  # type: ignore[no-untyped-def]
    """Where a parabola through three costs is lowest, in [-.5, .5]."""
    bend = low - 2 * middle + high
    if bend <= np.float32(1e-6):
        return np.float32(0)
    return min(max((low - high) / (2 * bend), np.float32(-0.5)), np.float32(0.5))


@njit(cache=True, nogil=True, error_model="numpy")
def _match(after, before, rows, columns):  # type: ignore[no-untyped-def]
    edge = REACH + NEAR + 1
    for row in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            y, x = row + edge, column + edge
            best, best_y, best_x = _cost(after, before, y, x, 0, 0), 0, 0
            for dy in range(-REACH, REACH + 1):
                for dx in range(-REACH, REACH + 1):
                    cost = _cost(after, before, y, x, dy, dx)
                    if cost < best:
                        best, best_y, best_x = cost, dy, dx
            up = _cost(after, before, y, x, best_y - 1, best_x)
            down = _cost(after, before, y, x, best_y + 1, best_x)
            left = _cost(after, before, y, x, best_y, best_x - 1)
            right = _cost(after, before, y, x, best_y, best_x + 1)
            rows[row, column] = best_y + _between(up, best, down)
            columns[row, column] = best_x + _between(left, best, right)


@njit(cache=True, nogil=True, error_model="numpy")
def _sample(values, y, x):  # type: ignore[no-untyped-def]
    """Read (h, w) between four samples; edges repeat."""
    y = min(max(y, np.float32(0)), np.float32(values.shape[0] - 1))
    x = min(max(x, np.float32(0)), np.float32(values.shape[1] - 1))
    top, left = int(y), int(x)
    bottom, right = min(top + 1, values.shape[0] - 1), min(left + 1, values.shape[1] - 1)
    down, across = y - np.float32(top), x - np.float32(left)
    above = values[top, left] + (values[top, right] - values[top, left]) * across
    below = values[bottom, left] + (values[bottom, right] - values[bottom, left]) * across
    return above + (below - above) * down


@njit(cache=True, nogil=True, error_model="numpy")
def _sample_all(values, rows, columns, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = _sample(values, np.float32(y) + rows[y, x], np.float32(x) + columns[y, x])


@njit(cache=True, nogil=True, error_model="numpy")
def _blend(luma, before, rows, columns, old_chroma, old_ages, chroma, ages):  # type: ignore[no-untyped-def]
    """Take the means so far, moved, into chroma (2, h, w) and ages (h, w), each as far as luma agrees."""
    height, width = luma.shape
    down, across = np.float32(rows.shape[0] / height), np.float32(rows.shape[1] / width)
    half = np.float32(0.5)
    for y in range(height):
        for x in range(width):
            cell_y, cell_x = (y + half) * down - half, (x + half) * across - half
            from_y = y + _sample(rows, cell_y, cell_x) / down
            from_x = x + _sample(columns, cell_y, cell_x) / across
            off = (luma[y, x] - _sample(before, from_y, from_x)) / np.float32(AGREEMENT)
            age = np.exp(-off * off) * _sample(old_ages, from_y, from_x)
            for c in range(2):
                old = _sample(old_chroma[c], from_y, from_x)
                chroma[c, y, x] = (chroma[c, y, x] + age * old) / (1 + age)
            ages[y, x] = min(age + 1, np.float32(MEMORY))
