"""API operations that read the networks' cards."""

from dataclasses import asdict

from retint.errors import NotFound
from retint.roles import Scope
from retint_models.weights.cards import Card, read_cards
from retint_web import services
from retint_web.api import network_responses as answers
from retint_web.api.blueprint import api, portal_url


@api.operation("GET", "/networks", answers.Networks, scope=Scope.READ)
def list_networks() -> answers.Networks:
    """List all networks, also those whose weights are not installed."""
    return answers.Networks(items=[_network(card) for card in read_cards(services().settings.weights).values()])


@api.operation(
    "GET",
    "/networks/<network>",
    answers.Network,
    path_values={"network": ("compact", "compact-defade")},
    scope=Scope.READ,
)
def show_network(network: str) -> answers.Network:
    """Get a network's card."""
    card = read_cards(services().settings.weights).get(network)
    if card is None:
        raise NotFound("There is no such network.")
    return _network(card)


def _network(card: Card) -> answers.Network:
    return answers.Network(
        name=card.name,
        kind=card.kind,
        title=card.title,
        url=f"{portal_url()}/networks/{card.name}",
        is_here=card.is_here,
        good_at=card.good_at,
        weaknesses=card.weaknesses,
        parameters=card.parameters,
        size=card.size,
        sha256=card.sha256 if card.is_here else "",
        license=card.license,
        code_license=card.code_license,
        source=card.source,
        data=card.data,
        not_known=card.not_known,
        undisclosed_data=card.undisclosed_data,
        settings={name: answers.Setting(**asdict(setting)) for name, setting in card.settings.items()},
        scores=card.scores,
        published_scores=[asdict(published) for published in card.published_scores],
        preprocessing=card.preprocessing,
        official=[{name: value for name, value in asdict(each).items() if value} for each in card.official or []],
        origin=card.origin if card.is_here else "",
    )
