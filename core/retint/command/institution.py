"""What an operator does with institutions: `retint admin institution …`."""

import json
import re
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from retint.institutions import Institution
    from retint.services import Services

SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB)?", re.IGNORECASE)
FACTORS: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
NONE: Final = "none"


class Size(click.ParamType[Any]):
    """A number of bytes with a unit, such as `500GB`, or `none`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return bytes, or `NONE`."""
        if not isinstance(value, str) or value == NONE:
            return value
        found = SIZE.fullmatch(value.strip())
        if not found:
            self.fail(f"{value} is no size: give a number with B, kB, MB, GB or TB, such as 500GB, or none.")
        return round(float(found[1]) * FACTORS[(found[2] or "").upper()])


class Number(click.ParamType[Any]):
    """A whole number, or `none`."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or `NONE`."""
        if value == NONE or isinstance(value, int):
            return value
        if not (str(value).isascii() and str(value).isdigit()):
            self.fail(f"{value} is no whole number; give one, or none.")
        return int(value)


def limit_options(command: "Callable[..., Any]") -> "Callable[..., Any]":
    """Add the options that set limits; what is not named stays."""
    for option, name, kind, text in (
        ("--per-second", "per_second", Number(), "API requests in a second, at most."),
        ("--per-minute", "per_minute", Number(), "API requests in a minute."),
        ("--priority", "highest_priority", Number(), "Highest priority that its people may ask for, 0 to 9."),
        ("--in-flight", "most_in_flight", Number(), "Photos that may wait or run."),
        ("--room", "most_bytes", Size(), "Originals that it may keep, such as 500GB."),
    ):
        command = click.option(option, name, type=kind, help=f"{text} `none` takes the limit away.")(command)
    weight = click.option("--weight", type=click.IntRange(1, 100), help="Share of the workers under load.")
    return weight(command)


@click.group()
def institution() -> None:
    """List, add, change and disable institutions, and check what is counted of them."""


@institution.command("list", epilog="\b\nExample:\n  retint admin institution list --json")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_obj
def list_(services: "Services", as_json: bool) -> None:
    """List the institutions with their use and their limits."""
    from retint import institutions

    with services.read() as session:
        found = institutions.list_all(session)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], default=str, indent=2))
        return
    for each in found:
        click.echo(_describe(each))


@institution.command(
    epilog="\b\nExample:\n  retint admin institution add 'City Archive' kim@archive.example --room 2TB --priority 5"
)
@click.argument("name")
@click.argument("email")
@limit_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_obj
def add(services: "Services", /, name: str, email: str, weight: int | None, as_json: bool, **given: Any) -> None:
    """Add an institution and print the one-time link with which its first administrator signs in."""
    from retint import institutions
    from retint.quotas import Limits

    with services.begin() as session:
        limits = _change(Limits(), given)
        tenant_id, secret = institutions.add(session, name, email, None, weight=weight or 1, limits=limits)
    link = f"{services.settings.portal_url}/sign-in/{secret}"
    click.echo(json.dumps({"id": str(tenant_id), "name": name, "sign_in": link}) if as_json else link)


@institution.command(
    epilog="""\b
Examples:
  retint admin institution change 'City Archive' --room 3TB --weight 2
  retint admin institution change 'City Archive' --in-flight none
"""
)
@click.argument("name")
@click.option("--name", "new_name", help="Its new name.")
@limit_options
@click.option("--dry-run", is_flag=True, help="Say what would be set, set nothing.")
@click.pass_obj
def change(
    services: "Services", /, name: str, new_name: str | None, weight: int | None, dry_run: bool, **given: Any
) -> None:
    """Change an institution; what is not named stays. A lower quota refuses only what is new."""
    from retint import institutions

    with services.begin() as session:
        before = institutions.find(session, name)
        limits = _change(before.limits, given)
        chosen = {"name": new_name or before.name, "weight": weight or before.weight, "limits": limits}
        if dry_run:
            click.echo(f"Would be: {_describe(replace(before, **chosen))}")
            return
        institutions.change(session, before.id, None, **chosen)
        click.echo(_describe(institutions.get(session, before.id)))


@institution.command(epilog="\b\nExample:\n  retint admin institution disable 'City Archive'")
@click.argument("name")
@click.pass_obj
def disable(services: "Services", name: str) -> None:
    """Shut out an institution's people, and pause its work. Nothing is deleted."""
    with services.begin() as session:
        _set_disabled(session, name, True)
    click.echo(f"{name} is disabled: its people cannot sign in, and none of its photos starts.")


@institution.command(epilog="\b\nExample:\n  retint admin institution enable 'City Archive'")
@click.argument("name")
@click.pass_obj
def enable(services: "Services", name: str) -> None:
    """Let an institution's people in again, and its work go on."""
    with services.begin() as session:
        _set_disabled(session, name, False)
    click.echo(f"{name} is enabled.")


@institution.command(
    epilog="""\b
Examples:
  retint admin institution recount          compare; exit status 1 where a count is wrong
  retint admin institution recount --mend   set wrong counts right
"""
)
@click.option("--mend", is_flag=True, help="Set wrong counts to what was found; the institution's deposits wait.")
@click.option("--json", "as_json", is_flag=True, help="Print the wrong counts as a JSON list.")
@click.pass_obj
def recount(services: "Services", mend: bool, as_json: bool) -> None:
    """Compare what is counted of each institution with a full count of its photos and open uploads."""
    from retint import institutions

    with services.read() as session:
        wrong = institutions.recount(session)
    if mend:
        for each in wrong:
            with services.begin() as session:
                institutions.mend_counts(session, each.tenant_id)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in wrong], default=str, indent=2))
    else:
        for each in wrong:
            click.echo(
                f"{each.name}: {each.photos:,} photos counted, {each.real_photos:,} found; "
                f"{each.kept_bytes:,} bytes counted, {each.real_kept_bytes:,} found; "
                f"{each.reserved_bytes:,} bytes reserved, {each.real_reserved_bytes:,} found."
            )
        click.echo("All counts are right." if not wrong else "Mended." if mend else "Set them right with --mend.")
    sys.exit(1 if wrong and not mend else 0)


def _set_disabled(session: "Session", name: str, disabled: bool) -> None:
    from retint import institutions

    institutions.set_disabled(session, institutions.find(session, name).id, None, disabled=disabled)


def _change(limits: Any, given: dict[str, Any]) -> Any:
    """Return limits with the given options set; `none` takes one away."""
    named = {name: None if value == NONE else value for name, value in given.items() if value is not None}
    return replace(limits, **named)


def _describe(each: "Institution") -> str:
    from retint.quotas import format_bytes

    limits = each.limits
    room = "" if limits.most_bytes is None else f" of {format_bytes(limits.most_bytes)}"
    flight = "" if limits.most_in_flight is None else f" of {limits.most_in_flight:,}"
    parts = [
        f"{each.people} {'person' if each.people == 1 else 'people'}",
        f"{each.photos:,} photos",
        f"{format_bytes(each.used_bytes)}{room}",
        f"{each.in_flight:,}{flight} in flight",
        f"weight {each.weight}",
    ]
    named = (
        ("priority up to", limits.highest_priority),
        ("a minute:", limits.per_minute),
        ("a second:", limits.per_second),
    )
    parts += [f"{text} {value:,}" for text, value in named if value is not None]
    disabled = " (disabled)" if each.disabled_at else ""
    return f"{each.name}{disabled}: {', '.join(parts)}"
