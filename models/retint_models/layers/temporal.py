"""Steady color for films: find scenes, smooth color layers from frame to frame, measure how steady the result is.

Everything streams: one frame in, one result out; the remembered state does not grow with the film. Needs no torch.
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
"""Pixels of a layer per cell of the grid on which motion is searched: about the resolution of a colorizer."""
REACH = 4
"""Largest motion from one frame to the next, in cells: a twentieth of the width."""
NEAR = 2
"""Cells on each side that block matching compares."""
STILL = 0.01
"""Luma, of 1, by which a motion must improve the match to be accepted, so that flat areas stay where they are."""
AGREEMENT = 0.04
"""Difference of luma, of 1 and with exposure matched, that reduces the weight of a pixel's past to a third."""
MEMORY = 12.0
"""Most frames over which a pixel's chroma is averaged."""
THUMBNAIL = (48, 36)
CUT = 0.36
"""Share of a frame's contrast that the previous frame, moved and matched in exposure, leaves unexplained at a cut. Set
on 144 pairs of photographs (3 % taken for one scene) and 144 of one, moved, brightened and grained (none taken for
two)."""
FLASH = 2
"""Longest flash or blank, in frames: if the film then goes on as before, there was no cut."""
SHORTEST_SCENE = 6
"""Frames; cuts in faster succession are a storm (lightning, say) and start no scenes."""
DISTANCES = (1, 2, 4)


def warm_up() -> None:
    """Compile what telling scenes apart needs, or load it from numba's cache, once for a process."""
    detector = SceneDetector()
    for _ in range(2):
        detector.add(np.zeros(THUMBNAIL, np.uint8))


class SceneDetector:
    """Finds the cuts of a film, frame by frame.

    A frame begins a scene if motion and a change of exposure cannot make it from the previous frame: motion-compensated
    frame differences, as surveyed by Lienhart, "Comparison of automatic shot boundary detection algorithms", 1999, and
    by Koprinska and Carrato, "Temporal video segmentation: a survey", 2001.

    Attributes:
        starts: the numbers of the frames that begin a scene; the first is 0.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []
        self._frames = 0
        self._recent: deque[Floats] = deque(maxlen=FLASH + 1)

    def add(self, luma: NDArray[np.uint8]) -> None:
        """Add the luma of the next frame, uint8 (h, w), of any size."""
        small = Image.fromarray(luma).resize(THUMBNAIL, Image.Resampling.BOX)
        thumbnail: Floats = np.asarray(small, np.float32) / np.float32(255)
        if not self.starts:
            self.starts.append(0)
        elif is_other_scene(thumbnail, self._recent[-1]):
            if self._ends_a_flash(thumbnail):
                self.starts.pop()
            elif self._frames - self.starts[-1] >= SHORTEST_SCENE or len(self.starts) == 1:
                self.starts.append(self._frames)
        self._recent.append(thumbnail)
        self._frames += 1

    def _ends_a_flash(self, thumbnail: Floats) -> bool:
        """Whether the last cut was a flash, because the film now goes on as before it."""
        since = self._frames - self.starts[-1]
        is_short = len(self.starts) > 1 and since <= FLASH and since < len(self._recent)
        return is_short and not is_other_scene(thumbnail, self._recent[-1 - since])


def is_other_scene(frame: Floats, before: Floats) -> bool:
    """Whether two thumbnails in [0, 1] show different scenes."""
    contrast = float(frame.std())
    even = match_exposure(before, frame)
    rows, columns = estimate_motion(frame, even)
    left = float(np.abs(frame - move(even, rows, columns)).mean())
    return left > CUT * max(contrast, 0.02)


class Smoother:
    """Averages a frame's chroma with that of the frames before it, where they show the same thing.

    Each pixel keeps the mean of its chroma over at most `MEMORY` frames. From frame to frame the means move with the
    picture (block matching on luma) and are weighted by how well luma agrees: what is uncovered or moves too fast
    starts anew, so that nothing smears. Flickering exposure is matched first.
    """

    def __init__(self, state: Mapping[str, NDArray[Any]] | None = None) -> None:
        self._state = {name: np.asarray(array, np.float32) for name, array in (state or {}).items()}

    @property
    def state(self) -> dict[str, NDArray[Any]]:
        """The whole memory, empty before the first frame; a `Smoother` made of it continues in the same way."""
        return dict(self._state)

    def start_scene(self) -> None:
        """Start another scene: forget the frames before."""
        self._state = {}

    def smooth(self, layer: ColorLayer) -> ColorLayer:
        """Return the next frame's layer with smoothed chroma."""
        luma, chroma = layer.luma.astype(np.float32), layer.chroma.astype(np.float32)
        ages = np.ones_like(luma)
        if self._state and self._state["luma"].shape == luma.shape:
            before = match_exposure(self._state["luma"], luma)
            size = (max(1, luma.shape[1] // CELL), max(1, luma.shape[0] // CELL))
            coarse = [np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BOX)) for each in (luma, before)]
            rows, columns = estimate_motion(*coarse)
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
    """The color distribution consistency index (CDC) of a film: how much its color histograms change; less is better.

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
        """The whole memory; a `Consistency` made of it continues in the same way."""
        histograms = np.array(self._histograms, np.float64).reshape(-1, 3, 256)
        return {"histograms": histograms, "sums": self._sums.copy(), "counts": self._counts.copy()}

    def start_scene(self) -> None:
        """Start another scene: do not compare its frames with those before."""
        self._histograms.clear()

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Add the next frame, uint8 (h, w, 3), RGB."""
        channels = picture.reshape(-1, 3).T
        histogram = np.array([np.bincount(channel, minlength=256) for channel in channels]) / len(channels[0])
        for number, distance in enumerate(DISTANCES):
            if len(self._histograms) >= distance:
                self._sums[number] += jensen_shannon_divergence(self._histograms[-distance], histogram).mean()
                self._counts[number] += 1
        self._histograms.append(histogram)

    @property
    def value(self) -> float | None:
        """The index; None until there are two frames of one scene."""
        known = self._counts > 0
        return float((self._sums[known] / self._counts[known]).mean()) if known.any() else None


def jensen_shannon_divergence(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Jensen-Shannon divergence of distributions along the last axis, in nats: 0 to ln 2."""
    middle = (one + two) / 2
    parts = [each * np.log(np.where(each > 0, each / np.where(middle > 0, middle, 1), 1)) for each in (one, two)]
    return np.asarray((parts[0] + parts[1]).sum(-1) / 2)


def match_exposure(before: Floats, after: Floats) -> Floats:
    """Return the first frame with the mean and the contrast of the second: old films flicker."""
    gain = float(np.clip((after.std() + 0.02) / (before.std() + 0.02), 0.5, 2))
    return np.asarray((before - before.mean()) * gain + after.mean(), np.float32)


def estimate_motion(after: Floats, before: Floats) -> tuple[Floats, Floats]:
    """Estimate where each cell of a frame was in the frame before: rows and columns to add, float32 (h, w).

    Block matching, refined to fractions of a cell by a parabola through the costs around the best match.
    """
    rows, columns = np.empty_like(after), np.empty_like(after)
    edge = REACH + NEAR + 1
    _match_blocks(np.pad(after, edge, mode="edge"), np.pad(before, edge, mode="edge"), rows, columns)
    return rows, columns


def move(before: Floats, rows: Floats, columns: Floats) -> Floats:
    """Move the frame before by rows and columns, all (h, w), as `estimate_motion` returns them."""
    out = np.empty_like(before)
    _sample_all(before, rows, columns, out)
    return out


# --- compiled ---------------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")
def _matching_cost(after, before, y, x, dy, dx):  # type: ignore[no-untyped-def]
    """Mean difference of luma around a cell that was moved, plus a small cost of the motion."""
    total = np.float32(0)
    for j in range(-NEAR, NEAR + 1):
        for i in range(-NEAR, NEAR + 1):
            total += abs(after[y + j, x + i] - before[y + dy + j, x + dx + i])
    return total / np.float32((2 * NEAR + 1) ** 2) + np.float32(STILL) * np.float32(np.sqrt(dy * dy + dx * dx)) / REACH


@njit(cache=True, nogil=True, error_model="numpy")
def _parabola_minimum(low, middle, high):  # type: ignore[no-untyped-def]
    """Position of the minimum of a parabola through three costs, in [-.5, .5]."""
    bend = low - 2 * middle + high
    if bend <= np.float32(1e-6):
        return np.float32(0)
    return min(max((low - high) / (2 * bend), np.float32(-0.5)), np.float32(0.5))


@njit(cache=True, nogil=True, error_model="numpy")
def _match_blocks(after, before, rows, columns):  # type: ignore[no-untyped-def]
    edge = REACH + NEAR + 1
    for row in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            y, x = row + edge, column + edge
            best, best_y, best_x = _matching_cost(after, before, y, x, 0, 0), 0, 0
            for dy in range(-REACH, REACH + 1):
                for dx in range(-REACH, REACH + 1):
                    cost = _matching_cost(after, before, y, x, dy, dx)
                    if cost < best:
                        best, best_y, best_x = cost, dy, dx
            up = _matching_cost(after, before, y, x, best_y - 1, best_x)
            down = _matching_cost(after, before, y, x, best_y + 1, best_x)
            left = _matching_cost(after, before, y, x, best_y, best_x - 1)
            right = _matching_cost(after, before, y, x, best_y, best_x + 1)
            rows[row, column] = best_y + _parabola_minimum(up, best, down)
            columns[row, column] = best_x + _parabola_minimum(left, best, right)


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
