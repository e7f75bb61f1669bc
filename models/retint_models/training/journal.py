"""What a run leaves to be read: `log.jsonl`, TensorBoard's event files, sample sheets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retint_models.training.events import Events

Tell = Callable[[dict[str, Any]], None]


class Journal:
    """The journal of a run that begins, or goes on, at a step.

    Lines and sheets after that step are dropped: a run that was killed repeats the steps after its last checkpoint.
    """

    def __init__(self, folder: Path, step: int, tell: Tell) -> None:
        self.folder, self.tell = folder, tell
        self.log = folder / "log.jsonl"
        if self.log.exists():
            kept = [line for line in self.log.read_text().splitlines(keepends=True) if holds(line, step)]
            self.log.write_text("".join(kept))
        for sheet in (folder / "sheets").glob("*.png"):
            if int(sheet.stem) > step:
                sheet.unlink()
        self.events = Events(folder / "events", step)

    def note(self, **entry: Any) -> None:
        """Append one line of JSON to the log, and its numbers to the events."""
        with self.log.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        numbers = {name: value for name, value in entry.items() if isinstance(value, float)}
        if "step" in entry and numbers:
            group = entry.get("event", "training")
            self.events.scalars(entry["step"], {f"{group}/{name}": value for name, value in numbers.items()})
        self.tell(entry)

    def show(self, step: int, sheet: NDArray[np.uint8]) -> None:
        """Keep a sample sheet, uint8 (h, w, 3)."""
        (self.folder / "sheets").mkdir(exist_ok=True)
        Image.fromarray(sheet).save(self.folder / "sheets" / f"{step:06}.png")
        self.events.picture(step, "samples", sheet)


def holds(line: str, step: int) -> bool:
    """Say whether a line of the log is whole and not about a later step."""
    try:
        return bool(json.loads(line).get("step", 0) <= step)
    except ValueError:
        return False
