"""A recipe as a form: what there is to choose, and what was chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from retint import recipes
from retint.errors import InvalidRequest
from retint.recipes import Recipe
from retint_models.weights.cards import Card, Setting, read_cards
from retint_web import services
from retint_web.pages import words

USUAL: Final = Recipe.model_validate({})

TITLES: Final = {
    "compact": "Balanced",
    "compact-vivid": "Vivid",
    "artistic": "Artistic",
    "stable": "Stable",
    "video": "Film",
    "deoldify-2018": "DeOldify of 2018",
    "yuv-gan": "Small adversarial network",
    "lab-resnet18": "Plain regression",
    "compact-defade": "Faded prints",
    "defade-deoldify": "DeOldify's defader of 2018",
}
"""What people read beside a network's name."""


@dataclass(frozen=True)
class Knob:
    """A setting of a network in the form."""

    field: str
    """The field's name in the form: a network's name and its setting's, since every network's are sent."""
    word: str
    setting: Setting
    value: float


@dataclass(frozen=True)
class Choice:
    """A network that can be chosen."""

    network: Card
    title: str
    is_chosen: bool
    knobs: list[Knob]


def form(recipe: Recipe = USUAL) -> dict[str, object]:
    """Give what the form `_recipe.html` shows, with a recipe filled in."""
    imported = services().settings.weights
    return {
        "recipe": recipe,
        "colorizers": [
            _choice(network, recipe.colorizer, recipe.colorizer_settings)
            for network in recipes.usable_networks("colorizer", imported).values()
        ],
        "defaders": [
            _choice(network, recipe.defader, {}) for network in recipes.usable_networks("defader", imported).values()
        ],
    }


def read(fields: Mapping[str, str]) -> Recipe:
    """Read the form. Of the settings, those of the chosen colorizer count; its usual ones need not be said.

    Raises:
        InvalidRequest: a field does not fit.
    """
    colorizer = fields.get("colorizer", USUAL.colorizer)
    network = recipes.usable_networks("colorizer", services().settings.weights).get(colorizer)
    settings = network.settings if network else {}
    sent = {name: fields[f"{colorizer}.{name}"] for name in settings if fields.get(f"{colorizer}.{name}")}
    values = {name: _number(value, f"{_word(name)} of {colorizer}") for name, value in sent.items()}
    strength = _number(fields.get("strength", "1"), "strength")
    defader = fields.get("defader", USUAL.defader)
    return recipes.parse(
        {
            "colorizer": colorizer,
            "colorizer_settings": {name: value for name, value in values.items() if value != settings[name].default},
            "defader": defader if strength > 0 else "keep",
            "strength": strength if strength > 0 and defader != "keep" else 1.0,
            "insist": "insist" in fields,
            "watermark": "watermark" in fields,
        }
    )


def title(name: str) -> str:
    """Say for people what a network is called."""
    return TITLES.get(name, name)


def said(recipe: Recipe) -> str:
    """Tell a recipe's settings of its colorizer, also the usual one that matters most: `render factor 35`."""
    card = read_cards(services().settings.weights).get(recipe.colorizer)
    settings = dict(recipe.colorizer_settings)
    if card and not settings and card.settings:
        name = next(iter(card.settings))
        settings = {name: card.settings[name].default}
    return words.settings(settings)


def _choice(network: Card, chosen: str, values: Mapping[str, float]) -> Choice:
    is_chosen = network.name == chosen
    knobs = [
        Knob(
            f"{network.name}.{name}",
            _word(name),
            setting,
            values.get(name, setting.default) if is_chosen else setting.default,
        )
        for name, setting in network.settings.items()
    ]
    return Choice(network, title(network.name), is_chosen, knobs)


def _word(name: str) -> str:
    return name.replace("_", " ")


def _number(value: str, what: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise InvalidRequest(f"The {what} is a number.", code="invalid_recipe") from error
