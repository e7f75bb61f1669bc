"""Simulated prints through the stages, as `retint restore` runs them: what `retint evaluate` scores."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from retint.errors import RetintError
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.evaluation.candidates import KEEP, Candidate
from retint_models.evaluation.pictures import Pixels
from retint_models.evaluation.restoration import RestorationSample
from retint_models.layers.types import Order
from retint_workers import scratch
from retint_workers.local.restore import run_stages


@dataclass(frozen=True)
class Run:
    """One way to restore.

    Attributes:
        colorizer: Which one, or `candidates.KEEP`.
        defader: Which one, or `candidates.KEEP`.
        order: In which tone and color are applied.
        weights: Folder of imported weights that holds those of both.
    """

    colorizer: Candidate
    defader: Candidate
    order: Order
    weights: Path

    @property
    def title(self) -> str:
        """The run in words, such as `compact, compact-defade, tone-first`."""
        networks = [candidate.title for candidate in (self.colorizer, self.defader) if candidate is not KEEP]
        return ", ".join([*networks, str(self.order)])

    @property
    def recipe(self) -> Recipe:
        """The recipe of its networks."""
        return Recipe(
            colorizer=self.colorizer.name,
            colorizer_settings=dict(self.colorizer.settings),
            defader=self.defader.name,
        )

    def settings(self, settings: Settings) -> Settings:
        """Return settings with the folder of its weights."""
        return settings.model_copy(update={"weights": self.weights})


Report = Callable[[str], object]
"""Called with a sentence about a print that was not restored."""


def restore_print(sample: RestorationSample, run: Run, settings: Settings, report: Report) -> Pixels:
    """Restore a print, and return the result as pixels, uint8 (h, w, 3); a print that is refused stays as it is.

    So one print ends no evaluation, and a restoration gains nothing by refusing what is hard.
    """
    try:
        return _run_stages_on(sample.print, run, run.settings(settings))
    except RetintError as error:
        report(f"{sample.name} ({sample.family}; {run.title}) was not restored: {error.message}")
        return sample.print


def _run_stages_on(pixels: Pixels, run: Run, settings: Settings) -> Pixels:
    with scratch.open_folder() as folder:
        file = folder / "print.png"
        Image.fromarray(pixels).save(file, compress_level=1)
        made, _ = run_stages(file, folder, run.recipe, settings, run.order)
        with Image.open(made["result"]) as result:
            return np.asarray(result.convert("RGB"))
