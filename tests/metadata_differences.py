"""What metadata a result lost, gained or changed, with exiftool as the judge.

`EXPECTED` is the one list of differences that are right, each with its reason.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

EXPECTED: Mapping[str, str] = {
    r"SourceFile|ExifTool:|System:|File:(FileSize|ExifByteOrder)|Composite:": "of the file, not of what it says",
    r"File:(EncodingProcess|ColorComponents|BitsPerSample|YCbCrSubSampling)": "how the JPEG's pixels are coded",
    r"Adobe:ColorTransform": "how the JPEG's colors are coded",
    r"IFD0:(Strip|RowsPer|Tile|Compression|Predictor|FillOrder|PlanarConf|SampleFormat|JPEGTables|YCbCr|ColorMap"
    r"|ExtraSamples|Thresh|T4Options|T6Options|ReferenceBlackWhite)": "how the TIFF's pixels are coded",
    r"IFD0:(PhotometricInterp|BitsPer|SamplesPer)|XMP-tiff:(PhotometricInterp|BitsPer|SamplesPer)": "gray became RGB",
    r"XMP-photoshop:ColorMode": "gray became RGB",
    r"PNG:(ColorType|Interlace|Compression|Filter|BitDepth|Palette|Transparency)": "how the PNG's pixels are coded",
    r"PNG:(SignificantBits|BackgroundColor)": "one value a channel: gray became RGB",
    r"RIFF:(WebP_Flags|VP8|HorizontalScale|VerticalScale|Image|AlphaIsUsed)": "how the WebP's pixels are coded",
    r"IFD1:": "the thumbnail shows the original; a note says that it is left out",
    r"XMP-iptcExt:DigitalSourceType|XMP-retint:|XMP-x:|XMP-rdf:": "the record of what made the result",
    r"IFD0:ApplicationNotes": "XMP in a BigTIFF, which exiftool shows as a whole",
    r"XMP-xmpMM:(InstanceID|DerivedFrom)": "the result is another file, made from the original",
    r"XMP-xmpNote:HasExtendedXMP": "names the second part, which is written anew",
}
GRAY_PROFILE = r"ICC[-_]"
"""Of a gray original: the result has an RGB profile with the same tone."""


@dataclass(frozen=True)
class Difference:
    """One tag that is not the same: `LOST`, `NEW` or `CHANGED`, or a new warning of exiftool (`WARN`)."""

    kind: str
    tag: str
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        return f"{self.kind} {self.tag}: {str(self.before)[:80]!r} -> {str(self.after)[:80]!r}"


def require_exiftool() -> None:
    """Skip a test where exiftool is missing."""
    if shutil.which("exiftool") is None:
        pytest.skip("needs exiftool (Debian: libimage-exiftool-perl), which `make system` installs")


def read_tags(path: Path) -> dict[str, Any]:
    """Read all metadata of a file by group and name; of what it says several times, the list."""
    require_exiftool()
    command = ["exiftool", "-j", "-G1:4", "-a", "-s", "-u", "-n", "-api", "LargeFileSupport=1", str(path)]
    done = subprocess.run(command, capture_output=True, check=False)
    found: dict[str, list[Any]] = {}
    for tag, value in json.loads(done.stdout)[0].items():
        found.setdefault(re.sub(r":Copy\d+", "", tag), []).append(value)
    return {tag: values[0] if len(values) == 1 else values for tag, values in found.items()}


def write_tags(path: Path, *arguments: str) -> None:
    """Let exiftool write metadata into a file."""
    require_exiftool()
    command = ["exiftool", "-q", "-q", "-overwrite_original", *arguments, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


def compare(original: Path, result: Path) -> list[Difference]:
    """Return what differs without being expected."""
    before, after = read_tags(original), read_tags(result)
    patterns = [*EXPECTED, *([GRAY_PROFILE] if before.get("ICC-header:ColorSpaceData") == "GRAY" else [])]
    found = [
        Difference("LOST" if tag not in after else "CHANGED", tag, value, after.get(tag))
        for tag, value in before.items()
        if after.get(tag) != value and "Warning" not in tag
    ]
    found += [
        Difference("NEW", tag, None, value)
        for tag, value in after.items()
        if tag not in before and "Warning" not in tag
    ]
    unexpected = [each for each in found if not re.match("|".join(patterns), each.tag)]
    return unexpected + [
        Difference("WARN", tag, before.get(tag), value)
        for tag, value in after.items()
        if "Warning" in tag and value != before.get(tag)
    ]
