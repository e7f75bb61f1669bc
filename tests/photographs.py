"""Real photographs for tests, from packages that every checkout installs."""

from pathlib import Path

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from retint_models.datasets import fading

NAMES = ("astronaut", "chelsea", "coffee", "rocket")


def color(number: int, side: int = 256) -> NDArray[np.uint8]:
    """A color photograph, uint8 (side, side, 3): a crop of its own for every number."""
    whole = getattr(skimage.data, NAMES[number % len(NAMES)])()
    random = np.random.default_rng(number)
    crop = int(random.integers(220, min(whole.shape[:2])))
    top, left = (int(random.integers(0, extent - crop + 1)) for extent in whole.shape[:2])
    picture = Image.fromarray(whole[top : top + crop, left : left + crop])
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))


def old_prints(folder: Path, count: int, side: int = 256) -> Path:
    """A folder of gray, faded prints, JPEG, in two folders, all different."""
    for number in range(count):
        path = folder / ("attic" if number % 2 else "cellar") / f"print {number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(fading.old_print(color(number, side), seed=number)).save(path, quality=90)
    return folder
