"""The record of what made a result: as JSON beside it, and as XMP inside it.

Sources: XMP specification part 1 (ISO 16684-1:2019); IPTC Photo Metadata Standard 2025.1, Digital Source Type, and its
vocabulary at http://cv.iptc.org/newscodes/digitalsourcetype/.
"""

import json
from dataclasses import dataclass
from typing import Any

from lxml import etree

import retint
from retint.recipes import Recipe
from retint_models.layers.types import ColorLayer, DensityLayer

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XMP_META = "adobe:ns:meta/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
RETINT = "urn:retint:provenance:1:"
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
INVENTED = VOCABULARY + "compositeWithTrainedAlgorithmicMedia"
ENHANCED = VOCABULARY + "algorithmicallyEnhanced"
SOURCE_TYPE = "DigitalSourceType"
COLOR_STATEMENT = "The colors are conjecture by a neural network; they are not evidence of what was photographed."
TONE_STATEMENT = "The tone was repaired by a neural network; no color was invented."
WATERMARK = "A painter's palette is drawn into the lower left corner."
EMPTY_XMP = f'<x:xmpmeta xmlns:x="{XMP_META}"><rdf:RDF xmlns:rdf="{RDF}"/></x:xmpmeta>'.encode()


@dataclass(frozen=True)
class Provenance:
    """The record of what made a result; the same layers always give the same record.

    Attributes:
        original: SHA-256 of the original, in hex.
        recipe: what was asked for.
        networks: the layers' records by kind of layer: network, weights, settings, `decided_at`.
    """

    original: str
    recipe: Recipe
    networks: dict[str, dict[str, Any]]

    @classmethod
    def from_layers(
        cls, original: str, recipe: Recipe, color: ColorLayer | None, density: DensityLayer | None
    ) -> "Provenance":
        """Make the record of a result from the layers that are applied."""
        layers = {"color": color, "density": density}
        return cls(original, recipe, {name: layer.record for name, layer in layers.items() if layer is not None})

    @property
    def source_type(self) -> str | None:
        """The IPTC term for the kind of picture; None where no network changed it."""
        if "color" in self.networks:
            return INVENTED
        return ENHANCED if self.networks else None

    @property
    def statement(self) -> str | None:
        """The sentence that people must read before they trust the picture; None where no network changed it."""
        if "color" in self.networks:
            return COLOR_STATEMENT
        return TONE_STATEMENT if self.networks else None

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values."""
        return {
            "original_sha256": self.original,
            "recipe": json.loads(self.recipe.canonical),
            "recipe_sha256": self.recipe.hash,
            "networks": self.networks,
            "software": f"Retint {retint.__version__}",
            "digital_source_type": self.source_type,
            "statement": self.statement,
        } | ({"watermark": WATERMARK} if self.recipe.watermark else {})

    def to_json(self) -> bytes:
        """The record as a JSON file."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    def to_xmp(self, original: bytes | None = None) -> bytes:
        """The record as XMP, added to the original's XMP.

        An earlier record is replaced. The original's Digital Source Type moves to `retint:FormerDigitalSourceType`.
        An original's XMP that cannot be parsed is left out.
        """
        tree = _parse_xmp(original) if original else None
        root = tree if tree is not None else etree.fromstring(EMPTY_XMP, _parser())
        rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")
        former = _remove_property(rdf, IPTC, SOURCE_TYPE)
        for name in PROPERTIES:
            _remove_property(rdf, RETINT, name)
        properties = {name: value for name, value in self._xmp_properties(former).items() if value}
        description = etree.SubElement(rdf, f"{{{RDF}}}Description", nsmap={"Iptc4xmpExt": IPTC, "retint": RETINT})
        description.set(f"{{{RDF}}}about", "")
        if self.source_type:
            etree.SubElement(description, f"{{{IPTC}}}{SOURCE_TYPE}").text = self.source_type
        for name, value in properties.items():
            etree.SubElement(description, f"{{{RETINT}}}{name}").text = value
        body = etree.tostring(root, encoding="unicode")
        return f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{body}<?xpacket end="w"?>'.encode()

    def _xmp_properties(self, former: str | None) -> dict[str, str | None]:
        record = self.to_dict()
        return {
            "OriginalSHA256": self.original,
            "RecipeSHA256": record["recipe_sha256"],
            "Recipe": self.recipe.canonical,
            "Networks": json.dumps(self.networks, sort_keys=True, ensure_ascii=False),
            "Software": record["software"],
            "Statement": self.statement,
            "Watermark": record.get("watermark"),
            "FormerDigitalSourceType": former if former not in (None, INVENTED, ENHANCED) else None,
        }


PROPERTIES = (
    "OriginalSHA256", "RecipeSHA256", "Recipe", "Networks", "Software", "Statement", "Watermark",
    "FormerDigitalSourceType",
)  # fmt: skip


def read_xmp(xmp: bytes) -> dict[str, str]:
    """Read a result's XMP: Retint's properties and `DigitalSourceType`, by name; empty where there are none."""
    root = _parse_xmp(xmp)
    if root is None:
        return {}
    values = {name: _find_property(root, RETINT, name) for name in PROPERTIES}
    values[SOURCE_TYPE] = _find_property(root, IPTC, SOURCE_TYPE)
    return {name: value for name, value in values.items() if value is not None}


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


def _parse_xmp(xmp: bytes) -> Any:
    """Parse XMP into a tree that is or has an rdf:RDF; None where it is damaged or declares entities."""
    try:
        root = etree.fromstring(xmp.strip(b"\0 \r\n\t"), _parser())
    except (etree.XMLSyntaxError, ValueError):
        return None
    if root.getroottree().docinfo.doctype:
        return None
    is_rdf = root.tag == f"{{{RDF}}}RDF"
    return root if is_rdf or root.find(f"{{{RDF}}}RDF") is not None else None


def _find_property(root: Any, namespace: str, name: str) -> str | None:
    """Return the text of a property, written as an element or as an attribute; None where it is missing."""
    tag = f"{{{namespace}}}{name}"
    for description in root.iter(f"{{{RDF}}}Description"):
        if tag in description.attrib:
            return str(description.attrib[tag])
        element = description.find(tag)
        if element is not None:
            return str(element.text or element.get(f"{{{RDF}}}resource") or "")
    return None


def _remove_property(root: Any, namespace: str, name: str) -> str | None:
    """Remove a property wherever it stands; return its text."""
    text = _find_property(root, namespace, name)
    tag = f"{{{namespace}}}{name}"
    for description in list(root.iter(f"{{{RDF}}}Description")):
        description.attrib.pop(tag, None)
        for element in description.findall(tag):
            description.remove(element)
    return text
