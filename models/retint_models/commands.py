"""What the networks' part adds to the command `retint`."""

import json
from dataclasses import asdict
from typing import Any

import click

from retint_models.arguments import refusing
from retint_models.evaluation.commands import evaluate
from retint_models.training.commands import train


@click.group()
def commands() -> None:
    """Commands of the networks."""


@commands.group()
def weights() -> None:
    """Show and check the weights that come with Retint."""


@weights.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print all cards as one JSON object.")
def list_cards(as_json: bool) -> None:
    """List the networks that have weights."""
    from retint_models.weights import cards

    with refusing():
        found = cards()
    if as_json:
        click.echo(json.dumps({name: shown(card) for name, card in found.items()}, indent=2))
        return
    for card in found.values():
        state = f"{card.size / 1e6:.1f} MB" if card.is_here else "missing"
        click.echo(f"{card.name:<16} {card.kind:<10} {state:>8}  {card.title}")


@weights.command()
@click.argument("name")
def show(name: str) -> None:
    """Print all that is known of a network, as JSON."""
    from retint_models.registry import card

    with refusing():
        click.echo(json.dumps(shown(card(name)), indent=2))


@weights.command()
@click.pass_context
def verify(ctx: click.Context) -> None:
    """Check every file against its card; exit status 1 if one is missing or another."""
    from retint_models.weights import cards

    with refusing():
        found = cards()
    failed = False
    for card in (card for card in found.values() if card.is_shipped or card.path.exists()):
        try:
            card.check()
            click.echo(f"{card.name}: as its card says")
        except (ValueError, OSError) as error:
            failed = True
            click.echo(f"{card.name}: {error}", err=True)
    ctx.exit(1 if failed else 0)


def shown(card: Any) -> dict[str, Any]:
    """Return a card as JSON values."""
    return json.loads(json.dumps(asdict(card), default=str))  # type: ignore[no-any-return]


commands.add_command(train)
commands.add_command(evaluate)
