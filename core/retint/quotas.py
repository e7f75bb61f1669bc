"""Quotas: how much an institution may keep and have in flight, and which priority its people may ask for.

What is counted is the bytes of originals: results can be made again, and how large they are is the house's choice.
`Quota` says how it is counted. A quota that is lowered below the use refuses only what is new.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from retint.errors import InvalidRequest, Refused
from retint.quota_tables import Quota
from retint.tables import Photo, Upload, User

UNITS: Final = ("B", "kB", "MB", "GB", "TB")
MOST_NAMED: Final = 2
"""Most operators whom a refusal names."""


class Kind(StrEnum):
    """What a quota limits."""

    BYTES = "bytes"
    IN_FLIGHT = "photos_in_flight"
    PRIORITY = "priority"


STATUSES: Final = {Kind.BYTES: 413, Kind.IN_FLIGHT: 409, Kind.PRIORITY: 403}
"""A full store answers 413 and not 507: clients of tus and curl send again what was answered by 5xx."""


@dataclass(frozen=True)
class Shortage:
    """How far a request is beyond a quota."""

    kind: Kind
    limit: int
    used: int
    """Counted already, by others and before."""
    needs: int
    """What the request would add; the priority that it asks for."""
    ask: tuple[str, ...] = ()
    """Email addresses of operators, who can raise the quota."""
    left_out: int = 0
    """Files of the request that were left out."""

    @property
    def sentence(self) -> str:
        """What is over, by how much, and what to do."""
        more = f"Ask the operator of this portal for more: {' or '.join(self.ask)}." if self.ask else ""
        left = f" {self.left_out:,} of these files are left out." if self.left_out else ""
        match self.kind:
            case Kind.BYTES:
                said = (
                    f"The quota of your institution is reached: it may keep {format_bytes(self.limit)} of originals,"
                    f" {format_bytes(self.used)} are kept or reserved, and this needs {format_bytes(self.needs)}."
                )
            case Kind.IN_FLIGHT:
                said = (
                    f"Your institution may have {self.limit:,} photos in flight, and {self.used:,} wait or run already."
                    f"{left} Deposit the rest when some have ended."
                )
            case Kind.PRIORITY:
                said = f"Your institution may ask for priorities up to {self.limit}, not for {self.needs}."
        return f"{said} {more}".rstrip()


class QuotaExceeded(Refused):
    """A request is beyond a quota of its institution."""

    code = "quota_exceeded"

    def __init__(self, shortage: Shortage) -> None:
        super().__init__(shortage.sentence)
        self.shortage, self.status = shortage, STATUSES[shortage.kind]

    def __reduce__(self) -> tuple[object, ...]:
        return QuotaExceeded, (self.shortage,)

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers for programs."""
        shortage = self.shortage
        return {
            "name": shortage.kind.value,
            "limit": shortage.limit,
            "used": shortage.used,
            "needs": shortage.needs,
            "left_out": shortage.left_out,
            "ask": list(shortage.ask),
        }


def read(session: Session, tenant_id: UUID) -> Quota:
    """Read an institution's quotas and what it uses; one without a row has no quotas, and keeps nothing."""
    found = session.get(Quota, tenant_id, populate_existing=True)
    return found or Quota(tenant_id=tenant_id, photos=0, kept_bytes=0, reserved_bytes=0)


def check_bytes(session: Session, tenant_id: UUID, needs: int, *, counted: bool = False) -> None:
    """Refuse originals that would be beyond the quota.

    Args:
        session: the transaction.
        tenant_id: the institution.
        needs: bytes that are to be kept.
        counted: this transaction has written the rows that they count by, and so holds the quota's row: the check is
            exact, whoever else deposits at the same time. Otherwise it only saves sending what has no room.

    Raises:
        QuotaExceeded: says how much is used.
    """
    quota = read(session, tenant_id)
    used = quota.used_bytes - (needs if counted else 0)
    if quota.most_bytes is not None and used + needs > quota.most_bytes:
        raise QuotaExceeded(name_operators(session, Shortage(Kind.BYTES, quota.most_bytes, used, needs)))


def is_reserved(session: Session, upload_id: UUID) -> bool:
    """Whether an open upload reserves the bytes of the photo that has its id; it stays open until the transaction ends.

    What was let in when the upload was opened is not refused when it ends.
    """
    still_open = select(Upload.id).where(Upload.id == upload_id, Upload.photo_id.is_(None)).with_for_update(read=True)
    return session.scalar(still_open) is not None


def add_photo(session: Session, photo: Photo) -> None:
    """Insert a photo, if there is room for its bytes.

    Raises:
        QuotaExceeded: there is none.
        IntegrityError: the photo is there.
    """
    reserved = is_reserved(session, photo.id)
    session.add(photo)
    session.flush()
    if not reserved:
        check_bytes(session, photo.tenant_id, photo.size, counted=True)


def check_priority(session: Session, tenant_id: UUID, priority: int) -> None:
    """Refuse a priority that the institution's people may not ask for.

    Raises:
        QuotaExceeded: says which one they may.
    """
    if cap_priority(session, tenant_id, priority) < priority:
        limit = read(session, tenant_id).highest_priority or 0
        raise QuotaExceeded(name_operators(session, Shortage(Kind.PRIORITY, limit, 0, priority)))


def cap_priority(session: Session, tenant_id: UUID, priority: int) -> int:
    """Return the priority of what the portal itself gives one, such as a trial: at most the institution's highest."""
    highest = read(session, tenant_id).highest_priority
    return priority if highest is None else min(priority, highest)


def lock(session: Session, tenant_id: UUID) -> int | None:
    """Return how many photos may be in flight, None for any number; if limited, nobody else adds one meanwhile."""
    limited = select(Quota).where(Quota.tenant_id == tenant_id, Quota.most_in_flight.is_not(None))
    quota = session.scalar(limited.with_for_update().execution_options(populate_existing=True))
    return None if quota is None else quota.most_in_flight


def name_operators(session: Session, shortage: Shortage) -> Shortage:
    """Add whom to ask."""
    operators = select(User.email).where(User.is_operator, User.disabled_at.is_(None)).order_by(User.id)
    return replace(shortage, ask=tuple(session.scalars(operators.limit(MOST_NAMED))))


@dataclass(frozen=True)
class Limits:
    """The quotas and rate limits of an institution, as an operator sets them; None where nothing limits it."""

    most_bytes: int | None = None
    most_in_flight: int | None = None
    highest_priority: int | None = None
    per_minute: int | None = None
    per_second: int | None = None


RANGES: Final = {
    "most_bytes": (0, 1 << 60),
    "most_in_flight": (0, 1 << 30),
    "highest_priority": (0, 9),
    "per_minute": (1, 10_000_000),
    "per_second": (1, 1_000_000),
}
"""The least and the largest value of each limit."""


def set_limits(session: Session, tenant_id: UUID, limits: Limits) -> None:
    """Set all quotas and rate limits of an institution; what it has is kept, also where that is more.

    Raises:
        InvalidRequest: a number is out of its range.
    """
    for name, (least, most) in RANGES.items():
        value = getattr(limits, name)
        if value is not None and not least <= value <= most:
            raise InvalidRequest(f"{name.replace('_', ' ')}: a number from {least} to {most:,}, or none.")
    quota = session.scalar(select(Quota).where(Quota.tenant_id == tenant_id).with_for_update())
    if quota is None:
        quota = Quota(tenant_id=tenant_id)
        session.add(quota)
    for name in RANGES:
        setattr(quota, name, getattr(limits, name))
    session.flush()


def format_bytes(n: int) -> str:
    """Format a number of bytes so that a small difference shows: `1,499.8 GB`."""
    unit = 0
    value = float(n)
    while value >= 10_000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:,.1f} {UNITS[unit]}" if unit else f"{n:,} B"
