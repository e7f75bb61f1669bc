"""What an operator does after RETINT_SECRET has changed: `retint admin reseal`."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from retint.services import Services


@click.command(
    epilog="""\b
To change RETINT_SECRET:
  1. set the new one, and the old one as RETINT_FORMER_SECRETS; restart portals and dispatchers
  2. retint admin reseal
  3. a week later, when all sessions of before are over, remove RETINT_FORMER_SECRETS and restart
"""
)
@click.pass_obj
def reseal(services: "Services") -> None:
    """Seal the secrets in the database again with the present RETINT_SECRET, so that the former one can go."""
    from retint import audit, providers
    from retint.notifications import webhooks

    with services.begin() as session:
        n = webhooks.reseal(session, services.settings)
        m = providers.reseal(session, services.settings)
        audit.record(session, "secrets_resealed", f"{n + m} in the database")
    click.echo(f"{n} {'webhook is' if n == 1 else 'webhooks are'} sealed with the present secret.")
    click.echo(f"{m} sign-in {'provider is' if m == 1 else 'providers are'} sealed with the present secret.")
