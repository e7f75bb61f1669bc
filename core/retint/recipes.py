"""What is to be done to a photo: which colorizer and defader, with which settings."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from retint.errors import InvalidRequest
from retint_models.weights.cards import FOLDER, IMPORTED

Kind = Literal["colorizer", "defader"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
SettingName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]

CAME_LATER = ("watermark",)
"""Fields that recipes in the world do not have."""


class Recipe(BaseModel):
    """Immutable; named by the hash of its canonical JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    colorizer: Name = Field("compact", description="The colorizer's name, or `keep`.")
    colorizer_settings: dict[SettingName, FiniteFloat] = Field(
        default_factory=dict,
        max_length=32,
        description="The colorizer's own settings, such as `gain`; empty for its defaults.",
    )
    defader: Name = Field("compact-defade", description="The defader's name, or `keep`.")
    strength: float = Field(1.0, ge=0, le=1, description="How much of the defader's repair is applied.")
    insist: bool = Field(False, description="Colorize a photo that is already in color, too.")
    proxy_side: int = Field(768, ge=256, le=2048, description="Long side of the proxy, in pixels.")
    watermark: bool = Field(False, description="Draw a painter's palette into the result's lower left corner.")

    @property
    def canonical(self) -> str:
        """The one JSON text of this recipe: every field, sorted keys, no spaces.

        A field that came later is left out while it says nothing: recipes keep the names that they were given before.
        """
        silent = {name for name in CAME_LATER if getattr(self, name) == type(self).model_fields[name].default}
        return json.dumps(self.model_dump(exclude=silent), sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()


def parse(values: dict[str, object]) -> Recipe:
    """Read a recipe from a form or from JSON.

    Raises:
        InvalidRequest: names the first field that does not fit.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise InvalidRequest(f"Recipe: {where}: {first['msg']}.", code="invalid_recipe") from error


@dataclass(frozen=True)
class Setting:
    """A number that a recipe may set for a network; `step` 1 means that only whole numbers are allowed."""

    default: float
    least: float
    most: float
    step: float
    title: str

    def holds(self, value: float) -> bool:
        """Say whether a value is allowed."""
        return self.least <= value <= self.most and not (self.step == 1 and value % 1)


@dataclass(frozen=True)
class Network:
    """What its card tells of a network, for those who choose (see `retint_models.weights.cards.Card`)."""

    name: str
    kind: Kind
    title: str = ""
    good_at: str = ""
    weaknesses: tuple[str, ...] = ()
    parameters: int = 0
    license: str = ""
    source: str = ""
    data: tuple[str, ...] = ()
    settings: Mapping[str, Setting] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    official: Mapping[str, Any] = field(default_factory=dict)
    """The file that its authors published: its name, address, bytes, SHA-256; empty for our own."""
    size: int = 0
    """Bytes of the weights; 0 where they are not here."""
    sha256: str = ""
    path: Path = Path()
    """Where the weights are to lie."""

    @property
    def is_here(self) -> bool:
        """Whether it can be chosen."""
        return self.size > 0

    @property
    def command(self) -> str:
        """What gets the weights."""
        if not self.official:
            return "install Retint again"
        has_address = bool(self.official.get("address"))
        return f"retint weights fetch {self.name}" if has_address else f"retint weights import FILE --as {self.name}"


def networks(kind: Kind, imported: Path = IMPORTED) -> dict[str, Network]:
    """Tell which networks a recipe may name: those whose weights are here; `keep`, for none, is the last.

    Reads the cards alone: those who ask have no torch.

    Args:
        kind: which sort.
        imported: folder of imported weights (`Settings.weights`).
    """
    found = {name: network for name, network in cards(imported).items() if network.kind == kind and network.is_here}
    return found | {"keep": Network("keep", kind)}


def cards(imported: Path = IMPORTED) -> dict[str, Network]:
    """Tell of every network, also of those whose weights are not here.

    Args:
        imported: folder of imported weights (`Settings.weights`).
    """
    return {name: _network(name, card, imported) for name, card in _cards().items()}


@cache
def _cards() -> dict[str, dict[str, Any]]:
    return tomllib.loads((FOLDER / "weights.toml").read_text())


def _network(name: str, card: Mapping[str, Any], imported: Path) -> Network:
    """Read a card, and the record of an import."""
    path = imported / f"{name}.safetensors" if "official" in card else FOLDER / card["file"]
    try:
        record = tomllib.loads(path.with_suffix(".toml").read_text()) if "official" in card else card
        sha256, size = record["sha256"], path.stat().st_size
    except (OSError, ValueError, KeyError):
        size, sha256 = 0, ""
    return Network(
        name,
        card["kind"],
        title=card["title"],
        good_at=card["good_at"],
        weaknesses=tuple(card["weaknesses"]),
        parameters=card.get("parameters", 0),
        license=card["license"],
        source=card["source"],
        data=tuple(card.get("data", ())),
        settings={key: Setting(**facts) for key, facts in card.get("settings", {}).items()},
        scores=card.get("scores", {}),
        preprocessing=card.get("preprocessing", {}),
        official=card.get("official", {}),
        size=size,
        sha256=sha256,
        path=path,
    )


def check(recipe: Recipe, imported: Path = IMPORTED) -> None:
    """See that a recipe names networks that are here, and settings that they have, in range.

    Raises:
        InvalidRequest: says which is not, and what there is.
    """
    named: dict[Kind, str] = {"colorizer": recipe.colorizer, "defader": recipe.defader}
    for kind, name in named.items():
        here = networks(kind, imported)
        if name not in here:
            known = cards(imported).get(name)
            lost = f"There is no {kind} {name}"
            if known and known.kind == kind:
                lost = f"The weights of {name} are not here (an administrator gets them with `{known.command}`)"
            raise InvalidRequest(f"{lost}; there are {', '.join(here)}.", code="no_network")
    settings = networks("colorizer", imported)[recipe.colorizer].settings
    for name, value in recipe.colorizer_settings.items():
        if name not in settings:
            has = f"it has {', '.join(settings)}" if settings else "it has none"
            raise InvalidRequest(f"The colorizer {recipe.colorizer} has no setting {name}; {has}.", code="no_setting")
        setting = settings[name]
        if not setting.holds(value):
            whole = "a whole number " if setting.step == 1 else ""
            between = f"{whole}between {setting.least:g} and {setting.most:g}"
            raise InvalidRequest(f"{name} of {recipe.colorizer} is {between}, not {value:g}.", code="setting_range")
