"""The form of a recipe: the networks and settings to choose from, and how the form is parsed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from retint import recipes
from retint.errors import InvalidRequest
from retint.recipes import Recipe
from retint.region import WHOLE, Region
from retint_models.weights.cards import Card, Setting, read_cards
from retint_web import services
from retint_web.pages import words

DEFAULT: Final = Recipe.model_validate({})

TITLES: Final = {
    "compact": "Balanced",
    "compact-vivid": "Vivid",
    "artistic": "Artistic",
    "stable": "Stable",
    "video": "Film",
    "ddcolor": "DDColor",
    "ddcolor-tiny": "DDColor, small",
    "ddcolor-artistic": "DDColor, artistic",
    "deoldify-2018": "DeOldify of 2018",
    "yuv-gan": "Small adversarial network",
    "lab-resnet18": "Plain regression",
    "compact-defade": "Faded prints",
    "defade-deoldify": "DeOldify's defader of 2018",
}
"""Titles of networks in pages, by name."""


@dataclass(frozen=True)
class SettingField:
    """A form field for one setting of a network."""

    name: str
    """The field's name: the network's and the setting's, because the form sends the settings of all networks."""
    label: str
    setting: Setting
    value: float


@dataclass(frozen=True)
class Choice:
    """A network in the form."""

    network: Card
    title: str
    is_chosen: bool
    fields: list[SettingField]


def template_values(recipe: Recipe = DEFAULT) -> dict[str, object]:
    """Return the values that the template `_recipe.html` needs to show the form with a recipe filled in."""
    imported = services().settings.weights
    colorizers = recipes.usable_networks("colorizer", imported).values()
    defaders = recipes.usable_networks("defader", imported).values()
    return {
        "recipe": recipe,
        "colorizers": [_make_choice(each, recipe.colorizer, recipe.colorizer_settings) for each in colorizers],
        "defaders": [_make_choice(each, recipe.defader, {}) for each in defaders],
        "rectangles": format_rectangles(recipe.stated_region or WHOLE),
    }


def parse(fields: Mapping[str, str]) -> Recipe:
    """Parse the form. Settings of networks that are not chosen and settings at their default are left out.

    Raises:
        InvalidRequest: a value is not valid.
    """
    colorizer = fields.get("colorizer", DEFAULT.colorizer)
    network = recipes.usable_networks("colorizer", services().settings.weights).get(colorizer)
    settings = network.settings if network else {}
    sent = {name: fields[f"{colorizer}.{name}"] for name in settings if fields.get(f"{colorizer}.{name}")}
    values = {name: _parse_number(value, f"{_label(name)} of {colorizer}") for name, value in sent.items()}
    strength = _parse_number(fields.get("strength", "1"), "strength")
    defader = fields.get("defader", DEFAULT.defader)
    return recipes.parse(
        {
            "colorizer": colorizer,
            "colorizer_settings": {name: value for name, value in values.items() if value != settings[name].default},
            "defader": defader if strength > 0 else "keep",
            "strength": strength if strength > 0 and defader != "keep" else 1.0,
            "insist": "insist" in fields,
            "watermark": "watermark" in fields,
            **parse_region(fields),
        }
    )


def parse_region(fields: Mapping[str, str]) -> dict[str, object]:
    """Parse the part of the form that says what of a scan is restored, as fields of a recipe.

    Raises:
        InvalidRequest: a rectangle is no four numbers.
    """
    choice = fields.get("region", DEFAULT.region)
    lines = [line for line in fields.get("rectangles", "").splitlines() if line.strip()]
    return {"region": recipes.parse_region(lines) if choice == "stated" else choice, "invert": "invert" in fields}


def format_rectangles(region: Region) -> str:
    """Format a region for the form, a line for each rectangle; empty for the whole page."""
    if region.is_whole:
        return ""
    numbers = ((each.left, each.top, each.width, each.height) for each in region.rectangles)
    return "\n".join(", ".join(f"{number:.4g}" for number in each) for each in numbers)


def network_title(name: str) -> str:
    """Return a network's title for people."""
    return TITLES.get(name, name)


def describe_settings(recipe: Recipe) -> str:
    """Describe a recipe by the settings of its colorizer, or the most important default, and by its region.

    For example `render factor 35, the whole page`.
    """
    card = read_cards(services().settings.weights).get(recipe.colorizer)
    settings = dict(recipe.colorizer_settings)
    if card and not settings and card.settings:
        name = next(iter(card.settings))
        settings = {name: card.settings[name].default}
    return ", ".join(filter(None, [words.format_settings(settings), *words.describe_region(recipe)]))


def _make_choice(network: Card, chosen: str, values: Mapping[str, float]) -> Choice:
    is_chosen = network.name == chosen
    fields = [
        SettingField(
            name=f"{network.name}.{name}",
            label=_label(name),
            setting=setting,
            value=values.get(name, setting.default) if is_chosen else setting.default,
        )
        for name, setting in network.settings.items()
    ]
    return Choice(network, network_title(network.name), is_chosen, fields)


def _label(name: str) -> str:
    return name.replace("_", " ")


def _parse_number(value: str, label: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise InvalidRequest(f"The {label} must be a number.", code="invalid_recipe") from error
