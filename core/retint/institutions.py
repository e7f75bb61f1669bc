"""Institutions as the operator sees them: how many people, how much is kept, what waits; never photographs.

Also what an institution sees of itself: its use of its quotas.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint import accounts, audit, database, quotas
from retint.accounts import Identity
from retint.columns import now
from retint.errors import IllegalMove, InvalidRequest, NotFound
from retint.jobs import tallies
from retint.quota_tables import Quota
from retint.quotas import Kind, Limits, format_bytes
from retint.roles import Role
from retint.tables import Photo, Tenant, Upload, User

MOST_WEIGHT: Final = 100
WARNINGS: Final = (0.95, 0.8)
"""From which share of a quota on its people are warned, the later one first."""


@dataclass(frozen=True)
class Institution:
    """An institution, its limits and its use."""

    id: UUID
    name: str
    weight: int
    created_at: datetime
    disabled_at: datetime | None
    people: int
    """Who may sign in."""
    photos: int
    """Originals that are kept."""
    kept_bytes: int
    reserved_bytes: int
    in_flight: int
    """Photos that wait or run."""
    oldest_s: float
    """Seconds that its oldest waiting photo has waited; 0 where none waits."""
    limits: Limits = field(default_factory=Limits)

    @property
    def used_bytes(self) -> int:
        """Bytes that count against the quota."""
        return self.kept_bytes + self.reserved_bytes

    @property
    def shares(self) -> dict[Kind, float]:
        """How much of each quota that is set is used, 1 for all of it; a quota of zero is used up."""
        pairs = {
            Kind.BYTES: (self.used_bytes, self.limits.most_bytes),
            Kind.IN_FLIGHT: (self.in_flight, self.limits.most_in_flight),
        }
        return {kind: used / limit if limit else 1.0 for kind, (used, limit) in pairs.items() if limit is not None}

    @property
    def warnings(self) -> list[str]:
        """A sentence for each quota of which most is used."""
        return [self._warn(kind, share) for kind, share in self.shares.items() if share >= min(WARNINGS)]

    def _warn(self, kind: Kind, share: float) -> str:
        if kind is Kind.BYTES:
            used, most = format_bytes(self.used_bytes), format_bytes(self.limits.most_bytes or 0)
            said = f"{self.name} has used {share:.0%} of its room for originals: {used} of {most}."
            advice = " Ask the operator of this portal for more before you deposit much."
        else:
            most = f"{self.limits.most_in_flight or 0:,}"
            said = f"{self.in_flight:,} photos of {self.name} wait or run; it may have {most} at a time."
            advice = " More can be deposited when some have ended."
        return said + (advice if share >= max(WARNINGS) else "")


def list_all(session: Session) -> list[Institution]:
    """List all institutions, by name; the cost grows with them and with their active batches, not with their photos."""
    return _load(session, select(Tenant).order_by(func.lower(Tenant.name)))


def get(session: Session, tenant_id: UUID) -> Institution:
    """Fetch an institution.

    Raises:
        NotFound: there is none.
    """
    found = _load(session, select(Tenant).where(Tenant.id == tenant_id))
    if not found:
        raise NotFound("There is no such institution.")
    return found[0]


def find(session: Session, name: str) -> Institution:
    """Fetch an institution by its name.

    Raises:
        NotFound: there is none.
    """
    found = _load(session, select(Tenant).where(Tenant.name == name))
    if not found:
        raise NotFound(f"There is no institution {name}.")
    return found[0]


def _load(session: Session, chosen: Select[Tenant]) -> list[Institution]:
    tenants = session.scalars(chosen.execution_options(populate_existing=True)).all()
    ids = [tenant.id for tenant in tenants]
    found = session.scalars(select(Quota).where(Quota.tenant_id.in_(ids)).execution_options(populate_existing=True))
    by_tenant = {quota.tenant_id: quota for quota in found}
    counted = select(User.tenant_id, func.count()).where(User.tenant_id.in_(ids), User.disabled_at.is_(None))
    people = {row[0]: row[1] for row in session.execute(counted.group_by(User.tenant_id))}
    in_flight = Counter[UUID]()
    for load in tallies.list_loads(session):
        in_flight[load.tenant_id] += load.n
    oldest = tallies.measure_oldest(session)
    return [
        Institution(
            id=tenant.id,
            name=tenant.name,
            weight=tenant.weight,
            created_at=tenant.created_at,
            disabled_at=tenant.disabled_at,
            people=people.get(tenant.id, 0),
            in_flight=in_flight[tenant.id],
            oldest_s=oldest.get(tenant.id, 0.0),
            **_read_quota(by_tenant.get(tenant.id)),
        )
        for tenant in tenants
    ]


def _read_quota(quota: Quota | None) -> dict[str, Any]:
    if quota is None:
        return {"photos": 0, "kept_bytes": 0, "reserved_bytes": 0}
    return {
        "photos": quota.photos,
        "kept_bytes": quota.kept_bytes,
        "reserved_bytes": quota.reserved_bytes,
        "limits": Limits(**{name: getattr(quota, name) for name in quotas.RANGES}),
    }


def describe_share(institution: Institution, everybody: Sequence[Institution]) -> str:
    """Say what an institution's weight does, in a sentence."""
    if institution.disabled_at is not None:
        return "It is disabled: none of its photos starts."
    others = [each for each in everybody if each.disabled_at is None and each.id != institution.id]
    if not others:
        return "It is the only institution: every photo that starts is its own, whatever its weight."
    waiting = [each for each in others if each.in_flight]
    share = institution.weight / (institution.weight + sum(each.weight for each in others))
    said = f"While all institutions have photos waiting, {share * 100:.0f} of 100 that start are of this one"
    if not waiting:
        return f"{said}; now no other one has, so nothing of its own waits for others."
    present = institution.weight / (institution.weight + sum(each.weight for each in waiting))
    return f"{said}; with those that have photos in flight now, {present * 100:.0f} of 100."


def add(
    session: Session, name: str, email: str, identity: Identity | None, *, weight: int = 1, limits: Limits | None = None
) -> tuple[UUID, str]:
    """Add an institution with its first administrator.

    Args:
        session: the transaction.
        name: of the institution, which no other one has.
        email: of the administrator.
        identity: who adds it; None for the command.
        weight: its share of the workers, 1 to `MOST_WEIGHT`.
        limits: its quotas; by default none.

    Returns:
        The institution's id, and the secret of the administrator's one-time sign-in link.

    Raises:
        InvalidRequest: no name, no email address, or a number out of its range.
        IllegalMove: an institution of this name, or a user with this email, is there.
    """
    tenant = Tenant(name=_clean_name(name), weight=_check_weight(weight))
    try:
        with session.begin_nested():
            session.add(tenant)
    except IntegrityError as error:
        raise IllegalMove(f"There is already an institution {tenant.name}.", code="name_taken") from error
    if limits is not None:
        quotas.set_limits(session, tenant.id, limits)
    user = accounts.create_user(session, tenant.id, email, role=Role.ADMIN)
    audit.record(session, "institution_added", tenant.name, identity)
    return tenant.id, accounts.invite(session, user)


def change(
    session: Session, tenant_id: UUID, identity: Identity | None, *, name: str, weight: int, limits: Limits
) -> None:
    """Change an institution's name, weight and limits: all of them.

    Raises:
        NotFound: there is no such institution.
        InvalidRequest: no name, or a number out of its range.
        IllegalMove: another institution has the name.
    """
    before = get(session, tenant_id)
    tenant = session.get_one(Tenant, tenant_id)
    try:
        with session.begin_nested():
            tenant.name, tenant.weight = _clean_name(name), _check_weight(weight)
    except IntegrityError as error:
        raise IllegalMove(f"There is already an institution {name}.", code="name_taken") from error
    quotas.set_limits(session, tenant_id, limits)
    was = _list_values(before.name, before.weight, before.limits)
    became = _list_values(tenant.name, tenant.weight, limits)
    audit.record(session, "institution_changed", before.name, identity, before=was, after=became)


def _list_values(name: str, weight: int, limits: Limits) -> dict[str, object]:
    return {"name": name, "weight": weight} | {each: getattr(limits, each) for each in quotas.RANGES}


def set_disabled(session: Session, tenant_id: UUID, identity: Identity | None, *, disabled: bool) -> None:
    """Disable an institution, or enable it again. Idempotent; nothing is deleted.

    Disabled, its people cannot sign in, its tokens are refused, and its work is paused: running photos finish their
    stage, no other one starts.

    Raises:
        NotFound: there is no such institution.
        IllegalMove: it is the operator's own, who would lock themselves out.
    """
    if disabled and identity is not None and identity.tenant_id == tenant_id:
        raise IllegalMove("This is your own institution: you could not sign in any more to enable it again.")
    institution = get(session, tenant_id)
    if (institution.disabled_at is not None) == disabled:
        return
    session.execute(
        update(Tenant).where(Tenant.id == tenant_id).values(disabled_at=now() if disabled else None),
        execution_options=database.NO_SYNC,
    )
    action = "institution_disabled" if disabled else "institution_enabled"
    audit.record(session, action, institution.name, identity)


def _clean_name(name: str) -> str:
    name = "".join(character if character.isprintable() else " " for character in name).strip()
    if not 0 < len(name) <= 200:
        raise InvalidRequest("An institution needs a name of at most 200 characters.")
    return name


def _check_weight(weight: int) -> int:
    if not 1 <= weight <= MOST_WEIGHT:
        raise InvalidRequest(f"A weight is a number from 1 to {MOST_WEIGHT}.")
    return weight


@dataclass(frozen=True)
class WrongCount:
    """Counts of an institution that are not what a full count finds."""

    tenant_id: UUID
    name: str
    photos: int
    real_photos: int
    kept_bytes: int
    real_kept_bytes: int
    reserved_bytes: int
    real_reserved_bytes: int


def recount(session: Session) -> list[WrongCount]:
    """Count all originals and open uploads, and list the institutions whose counts differ. Reads every photo's row."""
    kept = select(Photo.tenant_id, func.count().label("n"), func.sum(Photo.size).label("size"))
    kept_by = kept.group_by(Photo.tenant_id).subquery()
    is_open = (Upload.photo_id.is_(None), Upload.id.not_in(select(Photo.id).where(Photo.id == Upload.id)))
    reserved = select(Upload.tenant_id, func.sum(Upload.size).label("size")).where(*is_open)
    reserved_by = reserved.group_by(Upload.tenant_id).subquery()
    # One statement sees one state of the database: what happens meanwhile is in all of it, or in nothing.
    rows = session.execute(
        select(
            Tenant.id,
            Tenant.name,
            *(func.coalesce(column, 0) for column in (Quota.photos, kept_by.c.n)),
            *(func.coalesce(column, 0) for column in (Quota.kept_bytes, kept_by.c.size)),
            *(func.coalesce(column, 0) for column in (Quota.reserved_bytes, reserved_by.c.size)),
        )
        .outerjoin(Quota, Quota.tenant_id == Tenant.id)
        .outerjoin(kept_by, kept_by.c.tenant_id == Tenant.id)
        .outerjoin(reserved_by, reserved_by.c.tenant_id == Tenant.id)
        .order_by(Tenant.name)
    )
    counts = [WrongCount(row[0], row[1], *(int(n) for n in row[2:])) for row in rows]
    return [
        each
        for each in counts
        if (each.photos, each.kept_bytes, each.reserved_bytes)
        != (each.real_photos, each.real_kept_bytes, each.real_reserved_bytes)
    ]


def mend_counts(session: Session, tenant_id: UUID) -> None:
    """Set an institution's counts to what a full count finds; its deposits wait meanwhile."""
    session.scalar(select(Quota.tenant_id).where(Quota.tenant_id == tenant_id).with_for_update())
    for wrong in recount(session):
        if wrong.tenant_id == tenant_id:
            quota = session.get(Quota, tenant_id) or Quota(tenant_id=tenant_id)
            quota.photos, quota.kept_bytes = wrong.real_photos, wrong.real_kept_bytes
            quota.reserved_bytes = wrong.real_reserved_bytes
            session.add(quota)
            before = {name: getattr(wrong, name) for name in ("photos", "kept_bytes", "reserved_bytes")}
            after = {name: getattr(wrong, f"real_{name}") for name in before}
            audit.record(session, "counts_mended", wrong.name, before=before, after=after)
