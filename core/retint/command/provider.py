"""`retint admin provider`: how an institution's people sign in elsewhere."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from retint.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from retint.provider_tables import Provider
    from retint.services import Services


@click.group()
def provider() -> None:
    """Let an institution's people sign in by an OpenID Connect provider: Entra ID, Keycloak, Authentik and others."""


OPTIONS = (
    click.option("--name", help="What people call it: the text of its button."),
    click.option("--issuer", help="The address by which it calls itself, letter by letter."),
    click.option("--client-id", help="How it knows this installation."),
    click.option(
        "--client-secret",
        envvar="RETINT_CLIENT_SECRET",
        help="The secret that it gave, if any [env: RETINT_CLIENT_SECRET]; it is kept sealed.",
    ),
    click.option("--scopes", help="What it is asked for; by default `openid email profile`."),
    click.option("--groups-claim", help="Where it names groups, such as `realm_access.roles`; by default `groups`."),
    click.option("--group", "groups", multiple=True, metavar="GROUP=ROLE", help="The role of a group; repeatable."),
    click.option(
        "--default-role",
        type=click.Choice(["member", "reviewer", "none"]),
        help="The role of those in none of these groups; by default they do not get in.",
    ),
    click.option("--domain", "domains", multiple=True, help="E-mail domain of new people; repeatable."),
    click.option("--create-people/--invited-only", "creates_people", default=None, help="Whether new people may come."),
    click.option(
        "--link-by-email/--no-link-by-email",
        "links_by_email",
        default=None,
        help="Whether a verified address of these domains links a person of the institution; by default not.",
    ),
    click.option("--listed/--unlisted", "is_listed", default=None, help="Whether the sign-in page shows a button."),
    click.option("--active/--inactive", "is_active", default=None, help="Whether people may sign in by it."),
    click.option("--dry-run", is_flag=True, help="Check what is given, change nothing."),
)


def _provider_options(command: "Callable[..., None]") -> "Callable[..., None]":
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@provider.command(
    epilog="""\b
Example:
  retint admin provider add museum --tenant "City Museum" --name "Museum account"
    --issuer https://login.museum.example --client-id retint
    --group conservation=reviewer --group it=admin --domain museum.example
"""
)
@click.argument("slug")
@click.option("--tenant", "tenant_name", default="Archive", show_default=True, help="Institution.")
@_provider_options
@click.pass_obj
def add(services: "Services", /, slug: str, tenant_name: str, dry_run: bool, **given: Any) -> None:
    """Set up a provider. SLUG is its name in addresses and stays as it is."""
    from retint import providers
    from retint.accounts import get_or_create_tenant

    wanted = providers.parse(providers.NewProvider, _read(given) | {"slug": slug})
    if not dry_run:
        with services.begin() as session:
            tenant = get_or_create_tenant(session, tenant_name)
            providers.add(session, services.settings, tenant.id, wanted)
    click.echo(f"{slug} {'would be' if dry_run else 'is'} set up. Enter this redirect address there:")
    click.echo(providers.redirect_uri(slug, services.settings.portal_url))


@provider.command(
    epilog="""\b
Examples:
  retint admin provider change museum --group conservation=reviewer --group it=admin
  retint admin provider change museum --inactive
"""
)
@click.argument("slug")
@_provider_options
@click.pass_obj
def change(services: "Services", /, slug: str, dry_run: bool, **given: Any) -> None:
    """Change a provider: what is not given stays. Groups and domains are given all at once."""
    from retint import providers

    with services.begin() as session:
        present = providers.find(session, slug)
        wanted = providers.parse(providers.Configuration, _values(present) | _read(given))
        if not dry_run:
            providers.change(session, services.settings, present.tenant_id, present.id, wanted)
    click.echo(f"{slug} {'would be' if dry_run else 'is'} changed.")


@provider.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_obj
def list_(services: "Services", as_json: bool) -> None:
    """List the providers of all institutions."""
    from sqlalchemy import select

    from retint import providers
    from retint.provider_tables import Provider
    from retint.tables import Tenant

    with services.read() as session:
        found = session.execute(
            select(Provider, Tenant.name).join(Tenant, Tenant.id == Provider.tenant_id).order_by(Tenant.name)
        ).all()
    portal = services.settings.portal_url
    rows: list[dict[str, Any]] = [
        {
            "slug": each.slug,
            "tenant": tenant,
            **_values(each),
            "redirect_uri": providers.redirect_uri(each.slug, portal),
        }
        for each, tenant in found
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    for row in [] if as_json else rows:
        state = "in use" if row["is_active"] else "not in use"
        click.echo(f"{row['slug']}: {row['name']} of {row['tenant']}, {row['issuer']}, {state}")


@provider.command(epilog="\b\nExample:\n  retint admin provider check museum")
@click.argument("slug")
@click.pass_obj
def check(services: "Services", slug: str) -> None:
    """Ask a provider for what it says of itself, as a sign-in does first. Nobody is signed in."""
    from retint import openid, providers
    from retint.remote import INTERNET

    with services.read() as session:
        client = providers.client_of(services.settings, providers.find(session, slug), services.settings.portal_url)

    async def ask() -> openid.Endpoints:
        policy = providers.access_policy(services.settings, INTERNET)
        async with openid.connect(client, policy) as way:
            return await openid.discover(way, client)

    found = asyncio.run(ask())
    click.echo(f"{client.issuer} answers. People sign in at {found.authorization}.")
    click.echo(f"It must know the redirect address {client.redirect_uri}.")


@provider.command(epilog="\b\nExample:\n  retint admin provider remove museum")
@click.argument("slug")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, remove nothing.")
@click.pass_obj
def remove(services: "Services", slug: str, dry_run: bool) -> None:
    """Remove a provider. Its people stay; who has no password needs a one-time link."""
    from retint import providers

    with services.begin() as session:
        found = providers.find(session, slug)
        if not dry_run:
            providers.remove(session, found.tenant_id, found.id)
    click.echo(f"{slug} {'would be' if dry_run else 'is'} removed.")


def _read(given: dict[str, Any]) -> dict[str, object]:
    """Return what the options say, without those that are not given."""
    values = {name: value for name, value in given.items() if value is not None and value != ()}
    if values.get("default_role") == "none":
        values["default_role"] = None
    if pairs := values.pop("groups", ()):
        split = [pair.rpartition("=") for pair in pairs]
        if bad := [pair for pair, (group, _, role) in zip(pairs, split, strict=True) if not (group and role)]:
            raise InvalidRequest(f"{bad[0]} is no group and role, such as conservation=reviewer.")
        values["roles"] = {group.strip(): role.strip().lower() for group, _, role in split}
    if "domains" in values:
        values["domains"] = list(values["domains"])
    return values


def _values(present: "Provider") -> dict[str, Any]:
    """Return a provider's configuration, without its secret."""
    from retint.providers import Configuration

    return {name: getattr(present, name) for name in Configuration.model_fields if name != "client_secret"}
