"""Recipes: which colorizer and defader a photo goes through, with which settings."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError
from pydantic_core import PydanticCustomError

from retint import __version__
from retint.errors import InvalidRequest
from retint.kinds import UNTOUCHED
from retint.region import WHOLE, Rectangle, Region
from retint_models.weights.cards import IMPORTED, Card, Kind, read_cards

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
SettingName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]

ADDED_FIELDS = ("watermark", "region", "invert")
"""Fields that the first recipes did not have."""
MOST_RECTANGLES = 32
MOST_PROXY_SIDE = 2048
"""Longest side of a proxy, in pixels."""

Numbers = tuple[float, float, float, float]
"""A rectangle: left, top, width, height, as fractions of the upright page."""


def _read_region(value: Any) -> str | tuple[Numbers, ...]:
    """Check a recipe's region, and write it in the one way that counts for the hash.

    Raises:
        PydanticCustomError: it is no region; a sentence says why.
    """
    if value in ("auto", "whole"):
        return str(value)
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MOST_RECTANGLES:
        raise _explain_region(f"It is auto, whole, or a list of 1 to {MOST_RECTANGLES} rectangles")
    try:
        given: list[Numbers] = [
            (float(left), float(top), float(width), float(height)) for left, top, width, height in value
        ]
    except (TypeError, ValueError) as error:
        raise _explain_region("A rectangle is four numbers: left, top, width, height") from error
    try:
        region = Region(tuple(Rectangle(*each) for each in dict.fromkeys(given)), found="stated")
    except ValueError as error:
        raise _explain_region(str(error).rstrip(".")) from error
    return (
        "whole" if region.is_whole else tuple((one.left, one.top, one.width, one.height) for one in region.rectangles)
    )


def _explain_region(reason: str) -> PydanticCustomError:
    return PydanticCustomError("region", "{reason}", {"reason": reason})


class ImpossibleRecipe(InvalidRequest):
    """The recipe is well-formed, but names a network or a setting that is not here."""

    code = "impossible_recipe"
    status = 422


class Recipe(BaseModel):
    """What is done to a photo. Immutable; named by the hash of its canonical JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    colorizer: Name = Field("compact", description="The colorizer's name, or `keep`.")
    colorizer_settings: dict[SettingName, FiniteFloat] = Field(
        default_factory=dict,
        max_length=32,
        description="The colorizer's own settings, such as `gain`; empty for its defaults.",
    )
    defader: Name = Field("compact-defade", description="The defader's name, or `keep`.")
    strength: float = Field(1.0, ge=0, le=1, description="How much of the defader's repair is applied.")
    insist: bool = Field(
        False,
        description="Colorize a photo that is already in color, too, and restore one of a kind that is left as it is.",
    )
    proxy_side: int = Field(
        768,
        ge=256,
        le=MOST_PROXY_SIDE,
        description="Long side of the proxy, in pixels; it is longer where a network looks at more than that.",
    )
    watermark: bool = Field(False, description="Draw a painter's palette into the result's lower left corner.")
    region: Annotated[Literal["auto", "whole"] | tuple[Numbers, ...], BeforeValidator(_read_region)] = Field(
        "auto",
        description="What of the scan is restored: `auto` for the pictures that are found in it, `whole` for the whole "
        "page, or a list of rectangles `[left, top, width, height]`, as fractions of the upright page.",
    )
    invert: bool = Field(False, description="Restore a negative: what is dark becomes light.")

    @property
    def stated_region(self) -> Region | None:
        """The region that the recipe states; None where it is to be found."""
        if self.region == "auto":
            return None
        if self.region == "whole":
            return WHOLE
        return Region(tuple(Rectangle(*each) for each in self.region), found="stated")

    def changes(self, kind: str) -> bool:
        """Whether a picture of this kind is restored; else it passes untouched."""
        return self.insist or kind not in UNTOUCHED

    @property
    def canonical(self) -> str:
        """The one JSON text of this recipe: every field, sorted keys, no spaces.

        An added field is left out while it has its default, so that recipes from before it keep their hash.
        """
        unused = {name for name in ADDED_FIELDS if getattr(self, name) == type(self).model_fields[name].default}
        return json.dumps(self.model_dump(exclude=unused), sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()


def parse(values: dict[str, object]) -> Recipe:
    """Read a recipe from a form or from JSON.

    Raises:
        InvalidRequest: a field does not fit; names the first such field.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise InvalidRequest(f"Recipe: {where}: {first['msg']}.", code="invalid_recipe") from error


def parse_region(texts: Sequence[str]) -> str | list[list[float]]:
    """Read a region from a command or a form: `auto`, `whole`, or a rectangle `x,y,w,h` in each text.

    Raises:
        InvalidRequest: it is none of these.
    """
    if len(texts) == 1 and texts[0] in ("auto", "whole"):
        return texts[0]
    try:
        rectangles = [[float(number) for number in text.replace(",", " ").split()] for text in texts]
    except ValueError as error:
        message = "A region is auto, whole, or rectangles of four numbers: left, top, width, height."
        raise InvalidRequest(message, code="invalid_recipe") from error
    return rectangles


def choose_proxy_side(recipe: Recipe, size: tuple[int, int]) -> int:
    """Return the long side of the proxy of a picture, in pixels: the recipe's, or as much as its networks look at.

    A network that squeezes a proxy into a square must not see pixels that were interpolated, so the proxy's short side
    is at least that of the square. Of a long panorama it is less: the long side has a limit.

    Args:
        recipe: names the networks and their settings.
        size: of the picture, its two sides in any order.
    """
    cards = read_cards()
    named = {recipe.colorizer: recipe.colorizer_settings, recipe.defader: {}}
    square = max((cards[name].square_side(settings) for name, settings in named.items() if name in cards), default=0)
    needed = math.ceil(square * max(size) / min(size))
    return max(recipe.proxy_side, min(needed, MOST_PROXY_SIDE))


def usable_networks(kind: Kind, imported: Path = IMPORTED) -> dict[str, Card]:
    """Return the networks that a recipe may name, by name: those whose weights are here, and `keep`, for none, last.

    Args:
        kind: which sort.
        imported: folder of imported weights (`Settings.weights`).
    """
    here = {name: card for name, card in read_cards(imported).items() if card.kind == kind and card.is_here}
    return here | {"keep": Card(name="keep", kind=kind, title="No network", license="", file="")}


def check(recipe: Recipe, imported: Path = IMPORTED) -> None:
    """Check that a recipe names networks that are here, and settings that they have, in range.

    Args:
        recipe: the recipe.
        imported: folder of imported weights (`Settings.weights`).

    Raises:
        ImpossibleRecipe: says what does not fit, and what there is instead.
    """
    named: dict[Kind, str] = {"colorizer": recipe.colorizer, "defader": recipe.defader}
    for kind, name in named.items():
        usable = usable_networks(kind, imported)
        if name not in usable:
            card = read_cards(imported).get(name)
            missing = f"There is no {kind} {name}"
            if card and card.kind == kind:
                missing = f"The weights of {name} are not installed (an administrator gets them with `{card.command}`)"
            raise ImpossibleRecipe(f"{missing}; there are {', '.join(usable)}.", code="no_network")
    settings = usable_networks("colorizer", imported)[recipe.colorizer].settings
    for name, value in recipe.colorizer_settings.items():
        if name not in settings:
            has = f"it has {', '.join(settings)}" if settings else "it has none"
            raise ImpossibleRecipe(f"The colorizer {recipe.colorizer} has no setting {name}; {has}.", code="no_setting")
        if not settings[name].allows(value):
            message = f"{name} of {recipe.colorizer} is {settings[name].range}, not {value:g}."
            raise ImpossibleRecipe(message, code="setting_range")


def find_weights(recipe: Recipe, imported: Path = IMPORTED) -> dict[str, str]:
    """Return the SHA-256 of the weights of the networks that a recipe names, by name; from the cards, without torch.

    Args:
        recipe: the recipe.
        imported: folder of imported weights (`Settings.weights`).
    """
    cards = read_cards(imported)
    return {name: cards[name].sha256 for name in (recipe.colorizer, recipe.defader) if name in cards}


def hash_making(recipe: Recipe, weights: Mapping[str, str]) -> str | None:
    """Return a hash of all that a result is made with but the photo; None where weights of a network are not known.

    That is the recipe (with its region), the weights, and the version of the pipeline. The device does not count: two
    of them may differ by the last bits of a color, as two runs on one of them do in the time that they record.

    Args:
        recipe: the recipe.
        weights: SHA-256 of the weights of its networks, by name.
    """
    used = {name: weights.get(name) for name in (recipe.colorizer, recipe.defader) if name != "keep"}
    if not all(used.values()):
        return None
    return hashlib.sha256(json.dumps([recipe.hash, used, __version__], sort_keys=True).encode()).hexdigest()
