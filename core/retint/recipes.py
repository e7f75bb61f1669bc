"""What is to be done to a photo: which colorizer and defader, with which settings."""

import hashlib
import json
import tomllib
from functools import cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from retint.errors import InvalidRequest
from retint.settings import ROOT

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Setting = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Recipe(BaseModel):
    """Immutable; named by the hash of its canonical JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    colorizer: Name = Field("compact", description="The colorizer's name, or `keep`.")
    colorizer_settings: dict[Setting, FiniteFloat] = Field(
        default_factory=dict,
        max_length=32,
        description="The colorizer's own settings, such as `gain`; empty for its defaults.",
    )
    defader: Name = Field("compact-defade", description="The defader's name, or `keep`.")
    strength: float = Field(1.0, ge=0, le=1, description="How much of the defader's repair is applied.")
    insist: bool = Field(False, description="Colorize a photo that is already in color, too.")
    proxy_side: int = Field(768, ge=256, le=2048, description="Long side of the proxy, in pixels.")

    @property
    def canonical(self) -> str:
        """The one JSON text of this recipe: every field, sorted keys, no spaces."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"))

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


@cache
def networks(kind: Literal["colorizer", "defader"]) -> dict[str, str]:
    """Tell which networks a recipe may name, each with a line from its card; `keep`, for none, is the last.

    Reads the cards alone: those who ask have no torch.
    """
    folder = ROOT / "models" / "weights"
    cards = tomllib.loads((folder / "weights.toml").read_text())
    here = {name: card for name, card in cards.items() if card["kind"] == kind and (folder / card["file"]).is_file()}
    return {name: card["title"] for name, card in here.items()} | {"keep": ""}


def check(recipe: Recipe) -> None:
    """See that a recipe names networks that are here.

    Raises:
        InvalidRequest: one is not; says which are.
    """
    named: dict[Literal["colorizer", "defader"], str] = {"colorizer": recipe.colorizer, "defader": recipe.defader}
    for kind, name in named.items():
        here = networks(kind)
        if name not in here:
            raise InvalidRequest(f"There is no {kind} {name}; there are {', '.join(here)}.", code="no_network")
