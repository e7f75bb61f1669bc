"""The record of what made a result: as JSON beside it, and as XMP inside it.

Sources: XMP specification part 1 (ISO 16684-1:2019); IPTC Photo Metadata Standard 2025.1, Digital Source Type, and its
vocabulary at http://cv.iptc.org/newscodes/digitalsourcetype/.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

import retint
from retint.recipes import Recipe
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.containers import xmp

IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
RETINT = "urn:retint:provenance:1:"
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
INVENTED = VOCABULARY + "compositeWithTrainedAlgorithmicMedia"
ENHANCED = VOCABULARY + "algorithmicallyEnhanced"
SOURCE_TYPE = "DigitalSourceType"
COLOR_STATEMENT = "The colors are conjecture by a neural network; they are not evidence of what was photographed."
TONE_STATEMENT = "The tone was repaired by a neural network; no color was invented."
NAMESPACE = uuid.UUID("6ff2bd2a-5b4a-5b0c-9c33-8d3c1f1f7a51")
"""Of the identifiers of results."""
PICTURE_FACTS = ("kind", "region", "inverted")
"""What a picture is, which part of the page, and whether it is inverted."""
WATERMARK = "A painter's palette is drawn into the lower left corner."


@dataclass(frozen=True)
class Provenance:
    """The record of what made a result; the same layers always give the same record.

    Attributes:
        original: SHA-256 of the original, in hex.
        recipe: what was asked for.
        networks: the layers' records by kind of layer: network, weights, settings, `decided_at`. Those of further pages
            have the page's number behind the kind: `color-2`.
        pictures: what of the original is restored, likewise (`picture`, `picture-2`): see `describe_picture`. Empty for
            films, and for results from before there were regions.
    """

    original: str
    recipe: Recipe
    networks: dict[str, dict[str, Any]]
    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def from_layers(
        cls,
        original: str,
        recipe: Recipe,
        color: ColorLayer | None,
        density: DensityLayer | None,
        facts: Mapping[str, Any] | None = None,
    ) -> "Provenance":
        """Make the record of a result from the layers that are applied, and the facts of ingest."""
        layers = {"color": color, "density": density}
        networks = {name: layer.record for name, layer in layers.items() if layer is not None}
        picture = describe_picture(facts or {})
        return cls(original, recipe, networks, {"picture": picture} if picture else {})

    @property
    def has_watermark(self) -> bool:
        """Whether a watermark is drawn: nobody marks what passes untouched."""
        kinds = [picture["kind"] for picture in self.pictures.values()]
        return self.recipe.watermark and (not kinds or any(map(self.recipe.changes, kinds)))

    @property
    def source_type(self) -> str | None:
        """The IPTC term for the kind of picture; None where no network changed it."""
        if self.is_colored:
            return INVENTED
        return ENHANCED if self.networks else None

    @property
    def statement(self) -> str | None:
        """The sentence that people must read before they trust the picture; None where no network changed it."""
        if self.is_colored:
            return COLOR_STATEMENT
        return TONE_STATEMENT if self.networks else None

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values."""
        record = {
            "original_sha256": self.original,
            "recipe": json.loads(self.recipe.canonical),
            "recipe_sha256": self.recipe.hash,
            "networks": self.networks,
            "software": f"Retint {retint.__version__}",
            "digital_source_type": self.source_type,
            "statement": self.statement,
        }
        record |= {"pictures": self.pictures} if self.pictures else {}
        return record | ({"watermark": WATERMARK} if self.has_watermark else {})

    def to_json(self, notes: Sequence[str] = ()) -> bytes:
        """The record as a JSON file, with a sentence for each thing that is not as in the original."""
        values = self.to_dict() | ({"notes": list(notes)} if notes else {})
        return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    @property
    def is_colored(self) -> bool:
        """Whether color was added, so that the result is RGB whatever the original is."""
        return any(name.partition("-")[0] == "color" for name in self.networks)

    def derive_uuid(self) -> uuid.UUID:
        """Return an identifier of the result: another for other layers or another recipe, else the same again."""
        return uuid.uuid5(NAMESPACE, self.original + self.to_json().decode())

    def to_xmp(self) -> bytes:
        """The record as XMP."""
        root = xmp.make_empty()
        self.add_to(root)
        return xmp.serialize(root)

    def add_to(self, root: xmp.Tree) -> None:
        """Add the record to the tree of an original's XMP.

        An earlier record is replaced. The original's Digital Source Type moves to `retint:FormerDigitalSourceType`.
        """
        former = xmp.find(root, IPTC, SOURCE_TYPE)
        xmp.remove(root, IPTC, SOURCE_TYPE)
        for name in PROPERTIES:
            xmp.remove(root, RETINT, name)
        properties = {name: value for name, value in self._xmp_properties(former).items() if value}
        names = {"Iptc4xmpExt": IPTC, "retint": RETINT}
        description = etree.SubElement(xmp.find_rdf(root), f"{{{xmp.RDF}}}Description", nsmap=names)
        description.set(f"{{{xmp.RDF}}}about", "")
        if self.source_type:
            etree.SubElement(description, f"{{{IPTC}}}{SOURCE_TYPE}").text = self.source_type
        for name, value in properties.items():
            etree.SubElement(description, f"{{{RETINT}}}{name}").text = value

    def _xmp_properties(self, former: str | None) -> dict[str, str | None]:
        record = self.to_dict()
        return {
            "OriginalSHA256": self.original,
            "RecipeSHA256": record["recipe_sha256"],
            "Recipe": self.recipe.canonical,
            "Networks": json.dumps(self.networks, sort_keys=True, ensure_ascii=False),
            "Pictures": json.dumps(self.pictures, sort_keys=True) if self.pictures else None,
            "Software": record["software"],
            "Statement": self.statement,
            "Watermark": record.get("watermark"),
            "FormerDigitalSourceType": former if former not in (None, INVENTED, ENHANCED) else None,
        }


PROPERTIES = (
    "OriginalSHA256", "RecipeSHA256", "Recipe", "Networks", "Pictures", "Software", "Statement", "Watermark",
    "FormerDigitalSourceType",
)  # fmt: skip


def describe_picture(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ingest found of a picture: `kind`, `region`, `inverted`; empty from before there were regions."""
    return {name: facts[name] for name in PICTURE_FACTS if name in facts} if "region" in facts else {}


def read_xmp(packet: bytes) -> dict[str, str]:
    """Read a result's XMP: Retint's properties and `DigitalSourceType`, by name; empty where there are none."""
    try:
        root, _ = xmp.parse(packet)
    except xmp.Unreadable:
        return {}
    values = {name: xmp.find(root, RETINT, name) for name in PROPERTIES}
    values[SOURCE_TYPE] = xmp.find(root, IPTC, SOURCE_TYPE)
    return {name: value for name, value in values.items() if value is not None}
