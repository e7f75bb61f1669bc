"""Pages of networks: their cards, for those who choose one and for those who want to know exactly."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from retint.errors import NotFound
from retint_models.weights.cards import Card, read_cards
from retint_web import services
from retint_web.pages import recipe_form, words
from retint_web.security import login_required

blueprint = Blueprint("networks", __name__)

SCORES: Final = {
    "photos": "Photographs measured",
    "delta_e2000": "Color difference (CIEDE2000; less is nearer to the truth)",
    "interval": "95 % interval of it",
    "colorfulness_ratio": "Colorfulness, as a share of the truth's",
    "swd_set": "Distance of all colors (sliced Wasserstein; less is nearer)",
    "gray_beaten_in_strata": "Kinds of picture in which it beats gray",
    "clear_license": "Clear licenses only",
    "unseen": "Without photographs that the encoder may have seen",
    "psnr": "PSNR, in dB",
    "ssim": "SSIM",
    "neutral": "Distance of what should be gray from gray",
    "worse": "Share of prints that ended farther from the truth",
    "harm": "Change of pictures that were not faded, CIEDE2000",
    "second_pass": "Change when its result is repaired again, CIEDE2000",
    "families": "By kind of fading, CIEDE2000",
    "faded": "For comparison: nothing done",
    "auto_levels": "For comparison: automatic levels",
}


@blueprint.get("/networks")
@login_required
def index() -> ResponseReturnValue:
    """Show all networks, those first that can be chosen."""
    cards = sorted(read_cards(services().settings.weights).values(), key=lambda card: not card.is_here)
    kinds = {
        "Color": [card for card in cards if card.kind == "colorizer"],
        "Fading": [card for card in cards if card.kind == "defader"],
    }
    return render_template("networks/index.html", kinds=kinds, title=recipe_form.title)


@blueprint.get("/networks/<network>")
@login_required
def show(network: str) -> ResponseReturnValue:
    """Show one network's card."""
    card = read_cards(services().settings.weights).get(network)
    if card is None:
        raise NotFound("There is no such network.")
    return render_template(
        "networks/show.html",
        card=card,
        title=recipe_form.title,
        facts=dict(_facts(card)),
        scores=list(_scores(card.scores)),
        preprocessing={name.replace("_", " "): words.listed(value) for name, value in card.preprocessing.items()},
    )


def _facts(card: Card) -> Iterator[tuple[str, str]]:
    yield "Name in recipes", card.name
    yield "Made by", card.source
    yield "License", card.license
    if card.parameters:
        yield "Parameters", f"{card.parameters:,}"
    if card.is_here:
        yield "Weights", words.size(card.size)
        yield "SHA-256 of the weights", card.sha256
    if card.official is None:
        return
    bytes_ = f", {words.size(card.official.bytes)}" if card.official.bytes else ""
    yield "Official file", f"{card.official.file}{bytes_}"
    if card.official.address:
        yield "Its address", card.official.address
    if card.official.sha256:
        yield "Its SHA-256", card.official.sha256


def _scores(scores: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Tell scores line by line; a group's lines after its name."""
    for name, value in scores.items():
        word = SCORES.get(name, name.replace("_", " "))
        if isinstance(value, Mapping):
            yield from _scores(value, f"{word}: ")
        else:
            yield f"{within}{word}", words.listed(value)
