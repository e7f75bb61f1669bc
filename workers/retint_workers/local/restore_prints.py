"""Simulated prints through the stages, as `retint restore` runs them: what `retint evaluate` scores."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.evaluation.pictures import Pixels
from retint_models.evaluation.restoration import RestorationSample
from retint_models.layers.types import Order
from retint_workers import scratch
from retint_workers.local.restore import run_stages


@dataclass(frozen=True)
class Run:
    """One way to restore.

    Attributes:
        colorizer: Its name, or `keep`.
        defader: Its name, or `keep`.
        order: In which tone and color are applied.
    """

    colorizer: str
    defader: str
    order: Order

    @property
    def title(self) -> str:
        """The run in words, such as `compact, compact-defade, tone-first`."""
        return ", ".join(name for name in (self.colorizer, self.defader, str(self.order)) if name != "keep")


def restore_print(sample: RestorationSample, run: Run, settings: Settings) -> Pixels:
    """Restore a print as a file, and return the result's file as pixels, uint8 (h, w, 3).

    Raises:
        RetintError: it cannot be restored.
    """
    recipe = Recipe(colorizer=run.colorizer, defader=run.defader)
    with scratch.open_folder() as folder:
        file = folder / "print.png"
        Image.fromarray(sample.print).save(file, compress_level=1)
        made, _ = run_stages(file, folder, recipe, settings, run.order)
        with Image.open(made["result"]) as result:
            return np.asarray(result.convert("RGB"))
