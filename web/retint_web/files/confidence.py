"""Where the network guesses: the confidence of a color layer, as a picture to lay over the result.

A layer is a safetensors file: the length of its header, the header (JSON), the tensors' bytes. Only the header and the
confidence are read, and a PNG with a palette takes the confidence as it is: the portal needs no library of pictures.
"""

import json
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from flask import Blueprint, Response, g, request
from flask.typing import ResponseReturnValue

from retint import photos
from retint.errors import NotFound
from retint.lifecycle import Stage
from retint.pages import Page, list_photographs
from retint.photos import PhotoDetails
from retint.stores import BlobStore
from retint_models.weights.cards import read_cards
from retint_web import services
from retint_web.security import moves_bytes

blueprint = Blueprint("confidence", __name__)

PNG: Final = "image/png"
SCALE: Final = 15.0
"""A confidence c of 0 to 255 expects a CIEDE2000 error of -15 ln(c / 255), as `retint_models.layers.types` says."""
CLEAR, DENSE = 9.0, 14.0
"""Expected errors up to which the veil is clear, and from which it is dense."""
GUESSED: Final = 12.0
"""Expected error from which a color is called a guess: photographs that are left gray have it (models/README.md)."""
VEIL: Final = (208, 0, 160)
"""Color of the veil in sRGB: one that photographs hardly have."""
MOST_OPAQUE: Final = 0.65
LONGEST_HEADER: Final = 1 << 20


@dataclass(frozen=True)
class Confidence:
    """How sure a network is of the color of each place, row by row: 0 (a guess) to 255 (sure)."""

    width: int
    height: int
    values: bytes

    @property
    def guessed(self) -> float:
        """Share of the picture whose color is a guess."""
        surest_guess = math.floor(255 * math.exp(-GUESSED / SCALE))
        return len(self.values.translate(None, bytes(range(surest_guess + 1, 256)))) / len(self.values)

    def to_png(self) -> bytes:
        """Draw the veil: the less sure the network is, the more opaque (PNG, 3rd edition, sections 5 and 11)."""
        rows = (self.values[start : start + self.width] for start in range(0, len(self.values), self.width))
        chunks = {
            b"IHDR": struct.pack(">IIBBBBB", self.width, self.height, 8, 3, 0, 0, 0),
            b"PLTE": bytes(VEIL) * 256,
            b"tRNS": bytes(_opacities()),
            b"IDAT": zlib.compress(b"".join(b"\0" + row for row in rows)),
            b"IEND": b"",
        }
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks.items()
        )


def _opacities() -> Iterator[int]:
    for value in range(256):
        expected = -SCALE * math.log(max(value, 0.5) / 255)
        yield round(255 * MOST_OPAQUE * min(1, max(0, (expected - CLEAR) / (DENSE - CLEAR))))


# --- addresses --------------------------------------------------------------------------------------------------------


def is_told(shown: PhotoDetails, page: Page) -> bool:
    """Whether a page of a photo has colors of which their network says how sure it is; of films nobody keeps it."""
    colorizer = shown.recipe.colorizer
    card = read_cards(services().settings.weights).get(colorizer)
    is_colored = page.spell("color") in shown.files and not page.facts.get("film")
    return is_colored and card is not None and bool(card.calibration)


@blueprint.get("/jobs/<uuid:job_id>/confidence.png")
@moves_bytes
def picture(job_id: UUID) -> ResponseReturnValue:
    """Send the veil of a photo, or of the page of it that the address asks for."""
    return send_picture(job_id, request.args.get("page", type=int))


def send_picture(job_id: UUID, page: int | None) -> Response:
    """Answer with the veil as a PNG.

    Raises:
        NotFound: see `find`.
    """
    response = Response(find(job_id, page).to_png(), content_type=PNG)
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response


def find(job_id: UUID, number: int | None) -> Confidence:
    """Read the confidence of a photo's colors: of one of its pages, by default of the first photograph.

    Raises:
        NotFound: there is no such job or page, it has no color layer, or its network does not say how sure it is.
    """
    with services().read() as session:
        shown = photos.load_details(session, g.identity.tenant_id, job_id)
    for page in list_photographs(shown.facts.get(Stage.INGEST, {})):
        if page.number == number or (number is None and page.is_first):
            key = shown.files.get(page.spell("color"))
            found = read_confidence(services().store, key) if key else None
            if found:
                return found
    raise NotFound("Nothing is known of where the network guessed.", code="no_confidence")


# --- the layer --------------------------------------------------------------------------------------------------------


def read_confidence(store: BlobStore, key: str) -> Confidence | None:
    """Read the confidence of a color layer; None where it is the same everywhere, or the blob is no such layer."""
    with store.open(key, 0, 8) as blob:
        length = int.from_bytes(blob.read(8), "little")
    if length > LONGEST_HEADER:  # a film's colors are a film
        return None
    with store.open(key, 8, 8 + length) as blob:
        header = blob.read()
    try:
        tensor = json.loads(header)["confidence"]
        (height, width), (start, stop) = tensor["shape"], tensor["data_offsets"]
        is_readable = tensor["dtype"] == "U8" and stop - start == width * height > 0 <= start
    except (ValueError, KeyError, TypeError):
        return None
    if not is_readable:
        return None
    with store.open(key, 8 + length + start, 8 + length + stop) as blob:
        values = blob.read()
    return Confidence(width, height, values) if len(values) == width * height and len(set(values)) > 1 else None
