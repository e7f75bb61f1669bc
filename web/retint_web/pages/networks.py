"""Pages of the networks' cards, for curators who choose one and for researchers who want figures."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from retint.errors import NotFound
from retint_models.weights.cards import Card, read_cards
from retint_web import services
from retint_web.pages import recipe_form, words

blueprint = Blueprint("networks", __name__)

SCORES: Final = {
    "photos": "Number of photographs",
    "delta_e2000": "Color difference from the true colors (CIEDE2000; less is better)",
    "interval": "95 % confidence interval",
    "colorfulness_ratio": "Colorfulness as a share of the true picture's",
    "swd_set": "Distance of all colors from the true ones (sliced Wasserstein; less is better)",
    "gray_beaten_in_strata": "Kinds of pictures in which it is better than gray",
    "clear_license": "Only photographs with clear licenses",
    "unseen": "Without photographs that the encoder may have been trained on",
    "psnr": "PSNR, in dB",
    "ssim": "SSIM",
    "neutral": "How far gray areas are from gray",
    "worse": "Share of prints that it made worse",
    "harm": "Change of pictures that were not faded (CIEDE2000)",
    "second_pass": "Change when its result is repaired again (CIEDE2000)",
    "families": "By kind of fading (CIEDE2000)",
    "faded": "For comparison, no repair",
    "auto_levels": "For comparison, automatic levels",
    "chosen_by": "Which photographs chose its weights and settings",
    "halves": "By half",
    "choose": "The half of the photographs that chooses",
    "judge": "The half that only judges",
}


@blueprint.get("/networks")
def index() -> ResponseReturnValue:
    """Show all networks, installed ones first."""
    cards = sorted(read_cards(services().settings.weights).values(), key=lambda card: not card.is_here)
    kinds = {
        "Color": [card for card in cards if card.kind == "colorizer"],
        "Fading": [card for card in cards if card.kind == "defader"],
    }
    return render_template("networks/index.html", kinds=kinds, title=recipe_form.network_title)


@blueprint.get("/networks/<network>")
def show(network: str) -> ResponseReturnValue:
    """Show one network's card."""
    card = read_cards(services().settings.weights).get(network)
    if card is None:
        raise NotFound("There is no such network.")
    return render_template(
        "networks/show.html",
        card=card,
        title=recipe_form.network_title,
        facts=dict(_facts(card)),
        scores=list(_scores(card.scores)),
        preprocessing={name.replace("_", " "): words.format_value(value) for name, value in card.preprocessing.items()},
    )


def _facts(card: Card) -> Iterator[tuple[str, str]]:
    yield "Name in recipes", card.name
    yield "Made by", card.source
    yield "License of the weights", card.license
    if card.code_license:
        yield "License of its authors' code", card.code_license
    if card.parameters:
        yield "Parameters", f"{card.parameters:,}"
    if card.is_here:
        yield "Weights", words.format_size(card.size)
        yield "SHA-256 of the weights", card.sha256
        yield "Where they are from", card.origin


def _scores(scores: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the label and value of each score; the label of a score within a group begins with the group's."""
    for name, value in scores.items():
        label = SCORES.get(name, name.replace("_", " "))
        if isinstance(value, Mapping):
            yield from _scores(value, f"{label}: ")
        else:
            yield f"{prefix}{label}", words.format_value(value)
