"""What a picture is, as ingest finds it, and which kinds are left as they are."""

from collections.abc import Mapping
from typing import Final

NEUTRAL, TONED, COLOR = "neutral", "toned", "color"
"""Photographs: black and white, of a single hue such as sepia, in color."""
BLANK, DOCUMENT = "blank", "document"
"""No photographs. A negative is no kind of its own: it is not told from a positive with enough certainty."""

UNTOUCHED: Final[Mapping[str, str]] = {
    BLANK: "There is nothing to see in it, so it was left as it is.",
    DOCUMENT: "It is taken for a document (text or a drawing) and was left as it is.",
}
"""Kinds that pass untouched, unless a recipe insists, and the sentence that says so."""
