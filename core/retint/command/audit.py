"""What an operator does with the audit record: `retint admin audit`."""

import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

    from retint.services import Services


@click.group()
def audit() -> None:
    """Verify and export the audit record, and delete addresses that are no longer to be kept."""


@audit.command(
    epilog="""\b
Examples:
  retint admin audit verify
  retint admin audit verify --knows 5f1c…   a hash that an earlier run printed, kept elsewhere

Exit status: 0 when every chain is whole, 1 when an entry was changed, removed or inserted.
"""
)
@click.option("--tenant", help="Only this institution's chain; `house` for the house's.")
@click.option("--knows", metavar="HASH", help="Also check that an entry with this hash is still there.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_obj
def verify(services: "Services", tenant: str | None, knows: str | None, as_json: bool) -> None:
    """Check every entry of the audit record against the chain, and name those that do not fit.

    Somebody who rules the database can write a whole chain anew. Keep the hashes that this prints, or an export, where
    that person cannot: `--knows` finds out.
    """
    from retint.audit import chain

    with services.read() as session:
        chain.see_one_moment(session)
        names = _list_names(session)
        chosen = [_find_chain(names, tenant)] if tenant else chain.list_chains(session)
        found = [chain.verify(session, each) for each in chosen]
        is_known = knows is None or _has_hash(session, knows)
    broken = [each for one in found for each in one.broken]
    if as_json:
        values = [
            {
                "institution": names.get(one.tenant_id, str(one.tenant_id)),
                "entries": one.entries,
                "hash": one.hash,
                "broken": [{"number": each.number, "reason": each.reason} for each in one.broken],
            }
            for one in found
        ]
        click.echo(json.dumps(values, indent=2))
    else:
        for one in found:
            state = f"{len(one.broken)} faults" if one.broken else "whole"
            click.echo(f"{names.get(one.tenant_id, one.tenant_id)}: {one.entries:,} entries, {state}; last {one.hash}")
            for each in one.broken:
                click.echo(f"  {each.reason}", err=True)
    if not is_known:
        click.echo(f"No entry has the hash {knows}: a chain was written anew, or it is of another database.", err=True)
    sys.exit(1 if broken or not is_known else 0)


@audit.command(
    epilog="""\b
Examples:
  retint admin audit export --tenant museum > audit.jsonl
  retint admin audit export --tenant house
"""
)
@click.option("--tenant", default="house", show_default=True, help="The institution; `house` for the house.")
@click.pass_obj
def export(services: "Services", tenant: str) -> None:
    """Print a chain as JSON lines, the oldest entry first, with the hashes that prove it."""
    from retint.audit import reading

    with services.read() as session:
        tenant_id = _find_chain(_list_names(session), tenant)
    for line in reading.export(services, tenant_id):
        click.echo(line, nl=False)


@audit.command("forget-addresses", epilog="\b\nExample, once a day:\n  retint admin audit forget-addresses")
@click.option("--days", type=click.IntRange(0), help="Older ones go; by default RETINT_AUDIT_ADDRESS_DAYS.")
@click.option("--dry-run", is_flag=True, help="Say how many would be deleted, delete none.")
@click.pass_obj
def forget_addresses(services: "Services", days: int | None, dry_run: bool) -> None:
    """Delete the network addresses of old entries. The entries stay, and the chains are still whole."""
    from retint.audit import reading

    days = services.settings.audit_address_days if days is None else days
    with services.begin() as session:
        act = reading.count_old_addresses if dry_run else reading.forget_addresses
        n = act(session, days)
    click.echo(f"{n:,} addresses of entries older than {days} days {'would be' if dry_run else 'were'} deleted.")


def _list_names(session: "Session") -> "dict[UUID, str]":
    from sqlalchemy import select

    from retint.audit import HOUSE
    from retint.tables import Tenant

    return {HOUSE: "house"} | {row.id: row.name for row in session.execute(select(Tenant.id, Tenant.name))}


def _find_chain(names: "dict[UUID, str]", tenant: str) -> "UUID":
    found = [tenant_id for tenant_id, name in names.items() if name == tenant]
    if not found:
        known = ", ".join(names.values())
        raise click.BadParameter(f"There is no institution {tenant!r}. There are: {known}.", param_hint="--tenant")
    return found[0]


def _has_hash(session: "Session", hash_: str) -> bool:
    from sqlalchemy import select

    from retint.audit_tables import AuditEntry

    return session.scalar(select(AuditEntry.number).where(AuditEntry.hash == hash_).limit(1)) is not None
