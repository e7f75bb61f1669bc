"""Restores the photographs of a case and compares results and originals, as `check_photo.py` does."""

import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

from tests.cases.report import CASES
from tests.paths import SHARED

from retint import recipes
from retint.settings import Settings
from retint_workers.local.destinations import Options
from retint_workers.local.restore import restore

EXPECTED: Final = re.compile(r"\w+ (ICC_Profile|ICC-header|XMP-xmpNote:HasExtendedXMP)")
"""What a result has of its own: a gray profile becomes an RGB one of the same tone; an extension of XMP has the hash of
its bytes for a name. The look is compared through the profiles."""
MAX_LIGHTNESS_DRIFT: Final = 0.6
"""Mean change of L* that color alone may cause: luma stays, and L* of a colored pixel of the same luma differs."""


@cache
def load_judge() -> ModuleType:
    """Load the tool that compares results and originals."""
    spec = importlib.util.spec_from_file_location("check_photo", SHARED / "tools" / "check_photo.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Restored:
    """What became of one photograph.

    Attributes:
        name: of the file.
        reason: why it was refused; None where it was restored.
        notes: what was said of the result.
        output: the result.
        lightness_drift: mean change of L*, through the profiles.
        chroma: mean chroma in Lab before and after.
        differences: in all metadata, as exiftool reads it, apart from what every result says of itself.
    """

    name: str
    reason: str | None
    notes: tuple[str, ...] = ()
    output: Path | None = None
    lightness_drift: float = 0
    chroma: tuple[float, float] = (0, 0)
    differences: tuple[str, ...] = ()


def find_files(number: str) -> list[Path]:
    """List the files of a case."""
    (folder,) = CASES.glob(f"{number}-*")
    return sorted(path for path in folder.iterdir() if path.name != "case.md")


def restore_case(number: str, out: Path) -> list[Restored]:
    """Restore the photographs of a case without fading repair."""
    options = Options(recipe=recipes.parse({"defader": "keep"}))
    restored = []
    for report in restore(find_files(number), out, options, Settings(data=out)):
        file = Path(str(report.file))
        if report.output is None:
            restored.append(Restored(file.name, report.reason))
            continue
        judge = load_judge()
        numbers = re.findall(r"[-+]?\d+\.\d+", judge.look(file, report.output))
        drift, _, before, after = map(float, numbers)
        differences = tuple(each for each in judge.differences(file, report.output) if not EXPECTED.match(each))
        restored.append(Restored(file.name, None, report.notes, report.output, drift, (before, after), differences))
    return restored
