"""How many workers a fleet has: `retint admin scale`."""

from typing import TYPE_CHECKING

import click

from retint.lifecycle import FLEETS, MOST_WORKERS

if TYPE_CHECKING:
    from retint.services import Services

WORKERS = click.IntRange(0, MOST_WORKERS)


@click.command(
    epilog="""\b
Examples:
  retint admin scale gpu                            what is wanted, and why
  retint admin scale gpu 3                          three workers, whatever there is to do
  retint admin scale gpu --least 0 --most 8         as many as there is demand for
  retint admin scale gpu --least 0 --most 8 --wait 10    where work may wait for ten minutes
"""
)
@click.argument("fleet", type=click.Choice(FLEETS))
@click.argument("wanted", type=WORKERS, required=False)
@click.option("--least", type=WORKERS, help="Fewest workers, also where there is nothing to do.")
@click.option("--most", type=WORKERS, help="Most workers, however much there is to do.")
@click.option("--wait", "wait_min", type=click.FloatRange(1, 10_080), help="Minutes that work may wait.")
@click.pass_obj
def scale(
    services: "Services", fleet: str, wanted: int | None, least: int | None, most: int | None, wait_min: float | None
) -> None:
    """Set how many workers a fleet has, or the limits between which the demand decides; or say what is wanted.

    `retint up` and KEDA follow by themselves; where Docker Compose or a person starts the workers, they do not.
    """
    from retint import demand, fleets

    chosen_limits = (least, most) != (None, None)
    if wanted is not None and (chosen_limits or wait_min is not None):
        raise click.UsageError("Give either a number, or --least and --most.")
    if wanted is None and (None in (least, most)) and (chosen_limits or wait_min is not None):
        raise click.UsageError("Give both --least and --most.")
    if wanted is not None or chosen_limits:
        with services.begin() as session:
            if wanted is not None:
                fleets.set_wanted(session, fleet, wanted)
            else:
                fleets.set_limits(session, fleet, least or 0, most or 0, wait_min and wait_min * 60)
    with services.read() as session:
        found = demand.read(session, services.settings)[fleet]
    click.echo(f"{fleet}: {found.wanted} wanted. {found.why}")
