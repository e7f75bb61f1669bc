"""What a picture is, as ingest finds it, and which kinds are left as they are."""

from collections.abc import Mapping
from typing import Final

NEUTRAL, TONED, COLOR = "neutral", "toned", "color"
"""Photographs: black and white, of a single hue such as sepia, in color."""
BLANK, DOCUMENT, NEGATIVE = "blank", "document", "negative"

UNTOUCHED: Final[Mapping[str, str]] = {
    BLANK: "There is nothing to see in it, so it was left as it is.",
    DOCUMENT: "It is taken for a document (text or a drawing) and was left as it is.",
    NEGATIVE: "It is taken for a negative and was left as it is: a recipe that inverts it restores it.",
}
"""Kinds that pass untouched, unless a recipe insists, and the sentence that says so."""
