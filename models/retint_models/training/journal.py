"""The journal of a run: `log.jsonl`, TensorBoard's event files and contact sheets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retint_models.evaluation.report import make_plain
from retint_models.training.events import EventWriter
from retint_models.training.run_files import LOG

OnEntry = Callable[[dict[str, Any]], None]
"""Called with each entry of the log."""


class Journal:
    """The journal of a run that begins, or is resumed, at a step.

    Log lines and contact sheets of later steps are deleted: a run that was killed repeats the steps after its last
    checkpoint.
    """

    def __init__(self, folder: Path, step: int, on_entry: OnEntry) -> None:
        self.folder, self.on_entry = folder, on_entry
        self.path = folder / LOG
        if self.path.exists():
            lines = self.path.read_text().splitlines(keepends=True)
            self.path.write_text("".join(line for line in lines if is_up_to(line, step)))
        for sheet in (folder / "sheets").glob("*.png"):
            if int(sheet.stem) > step:
                sheet.unlink()
        self.events = EventWriter(folder / "events", step)

    def log(self, **entry: Any) -> None:
        """Append an entry to the log as a line of JSON (null for NaN and infinity), its numbers to the event file."""
        with self.path.open("a") as file:
            file.write(json.dumps(make_plain(entry), allow_nan=False) + "\n")
        numbers = {name: value for name, value in entry.items() if isinstance(value, float)}
        if "step" in entry and numbers:
            group = entry.get("event", "training")
            self.events.write_scalars(entry["step"], {f"{group}/{name}": value for name, value in numbers.items()})
        self.on_entry(entry)

    def write_sheet(self, step: int, sheet: NDArray[np.uint8]) -> None:
        """Write a contact sheet, uint8 (h, w, 3), to `sheets/` and to the event file."""
        (self.folder / "sheets").mkdir(exist_ok=True)
        Image.fromarray(sheet).save(self.folder / "sheets" / f"{step:06}.png")
        self.events.write_image(step, "samples", sheet)


def is_up_to(line: str, step: int) -> bool:
    """Return whether a line of the log is complete and its step is not later than the given one."""
    try:
        return bool(json.loads(line).get("step", 0) <= step)
    except ValueError:
        return False
