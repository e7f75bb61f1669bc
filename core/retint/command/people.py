"""The commands `retint admin …` for people and their tokens: for operators, on the terminal of the server."""

import json
from typing import TYPE_CHECKING, Any, Final

import click

from retint.roles import MOST_TOKEN_DAYS, TOKEN_DAYS, Role, Scope

if TYPE_CHECKING:
    from retint.services import Services

_json: Final = click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
_dry_run: Final = click.option("--dry-run", is_flag=True, help="Say what would be done, do nothing.")
_tenant: Final = click.option(
    "--tenant", "tenant_name", default="Archive", show_default=True, help="Institution; created if missing."
)
_role: Final = click.Choice([role.value for role in Role])
_scope: Final = click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    help="What it is for; give it several times for several. By default all that the user may.",
)
_days: Final = click.option(
    "--days", type=click.IntRange(1, MOST_TOKEN_DAYS), default=TOKEN_DAYS, show_default=True, help="How long it lasts."
)


@click.command(
    "create-user",
    epilog="""\b
Examples:
  retint admin create-user jo@museum.example --role admin
  retint admin create-user ana@museum.example --role reviewer --tenant "City Museum"
""",
)
@click.argument("email")
@_tenant
@click.option("--role", type=_role, default="member", show_default=True, help="What they are in the institution.")
@click.option("--admin", "is_admin", is_flag=True, help="The same as `--role admin`.")
@_json
@click.pass_obj
def create_user(services: "Services", email: str, tenant_name: str, role: str, is_admin: bool, as_json: bool) -> None:
    """Add a user and print the one-time link to sign in with. The first administrator is the operator, too."""
    from retint import accounts

    chosen = Role.ADMIN if is_admin else Role(role)
    with services.begin() as session:
        tenant = accounts.get_or_create_tenant(session, tenant_name)
        is_operator = chosen is Role.ADMIN and not accounts.has_operator(session)
        user = accounts.create_user(session, tenant.id, email, role=chosen, is_operator=is_operator)
        link = _link(services, accounts.invite(session, user))
    _print({"email": user.email, "tenant": tenant_name, "role": chosen, "sign_in": link}, link, as_json)


@click.command(epilog='\b\nExample:\n  retint admin people --tenant "City Museum"')
@click.option("--tenant", "tenant_name", help="Only this institution's; by default everybody.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@click.pass_obj
def people(services: "Services", tenant_name: str | None, as_json: bool) -> None:
    """List people: institution, email, role, when they were last seen, whether they are disabled."""
    from retint import accounts

    with services.read() as session:
        found = accounts.list_everybody(session, tenant_name)
    for tenant, user in found:
        state = "disabled" if user.disabled_at else "active" if user.has_joined else "invited"
        if as_json:
            seen = user.seen_at.isoformat() if user.seen_at else None
            facts = {"tenant": tenant, "email": user.email, "role": user.role, "operator": user.is_operator}
            click.echo(json.dumps(facts | {"state": state, "seen_at": seen}))
        else:
            seen = f"{user.seen_at:%Y-%m-%d %H:%M}" if user.seen_at else "never seen"
            role = f"{user.role}, operator" if user.is_operator else str(user.role)
            click.echo(f"{tenant}\t{user.email}\t{role}\t{state}\t{seen}")


@click.command(
    epilog="""\b
Examples:
  retint admin operator jo@museum.example
  retint admin operator jo@museum.example --revoke
"""
)
@click.argument("email")
@click.option("--revoke", is_flag=True, help="Take the right away.")
@click.pass_obj
def operator(services: "Services", email: str, revoke: bool) -> None:
    """Let a user rule this installation: scale the workers, see hosts and queues, retry every institution's faults."""
    from retint import accounts

    with services.begin() as session:
        accounts.set_operator(session, accounts.find_user(session, email), is_operator=not revoke)
    click.echo(f"{email} is {'no longer ' if revoke else ''}an operator.")


@click.command("role", epilog="\b\nExample:\n  retint admin role jo@museum.example reviewer")
@click.argument("email")
@click.argument("role", type=_role)
@_dry_run
@click.pass_obj
def set_role(services: "Services", email: str, role: str, dry_run: bool) -> None:
    """Change what a user is in their institution. Also the last administrator's role: make another one then."""
    from retint import accounts

    with services.begin() as session:
        user = accounts.find_user(session, email)
        if dry_run:
            click.echo(f"{user.email} is {user.role.words}, and would be {Role(role).words}.")
            return
        accounts.give_role(session, user, Role(role))
        click.echo(f"{user.email} is {user.role.words} now.")


@click.command(
    epilog="""\b
Examples:
  retint admin disable jo@museum.example
  retint admin disable jo@museum.example --undo
"""
)
@click.argument("email")
@click.option("--undo", is_flag=True, help="Let them in again. What has ended stays so.")
@_dry_run
@click.pass_obj
def disable(services: "Services", email: str, undo: bool, dry_run: bool) -> None:
    """Shut a user out: their sessions, tokens and links end at once."""
    from retint import accounts

    with services.begin() as session:
        user = accounts.find_user(session, email)
        if not dry_run:
            (accounts.let_in if undo else accounts.shut_out)(session, user)
    done = "may sign in again" if undo else "is disabled. Their sessions and tokens have ended"
    would = "would be let in again" if undo else "would be disabled"
    click.echo(f"{user.email} {would if dry_run else done}.")


@click.command("sign-in-link")
@click.argument("email")
@click.option(
    "--hours", default=24.0, show_default=True, type=click.FloatRange(0.1, 24 * 30), help="How long the link is valid."
)
@click.option("--reset", is_flag=True, help="Take the password and all sessions away: they choose a new password.")
@_json
@click.pass_obj
def sign_in_link(services: "Services", email: str, hours: float, reset: bool, as_json: bool) -> None:
    """Print a new one-time sign-in link; the earlier one becomes invalid."""
    from retint import accounts

    with services.begin() as session:
        user = accounts.find_user(session, email)
        if reset:
            accounts.take_password(session, user)
        secret = accounts.invite(session, user, hours)
    link = _link(services, secret) + ("?choose=password" if reset else "")
    _print({"sign_in": link}, link, as_json)


@click.command(
    "create-token",
    epilog="""\b
Examples:
  retint admin create-token jo@museum.example --name scanner-2
  retint admin create-token jo@museum.example --name scanner-2 --scope deposit --scope read --days 90
""",
)
@click.argument("email")
@click.option("--name", default="command line", show_default=True, help="What it is for.")
@_scope
@_days
@_json
@click.pass_obj
def create_token(
    services: "Services", email: str, name: str, scopes: tuple[str, ...], days: int, as_json: bool
) -> None:
    """Print a new API token of a user. It cannot be shown again."""
    from retint import accounts

    chosen = {Scope(scope) for scope in scopes} or None
    with services.begin() as session:
        user = accounts.find_user(session, email)
        token = accounts.issue_token(session, user, name, scopes=chosen, days=days)
    _print({"token": token}, token, as_json)


COMMANDS: Final = (create_user, people, operator, set_role, disable, sign_in_link, create_token)


def _link(services: "Services", secret: str) -> str:
    return f"{services.settings.portal_url}/sign-in/{secret}"


def _print(values: dict[str, Any], sentence: str, as_json: bool) -> None:
    click.echo(json.dumps(values) if as_json else sentence)
