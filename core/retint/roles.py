"""What a person may do: the roles in an institution, the operator beside them, and the scopes of tokens."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from retint.errors import InvalidRequest


class Role(StrEnum):
    """What a person is in their institution. Each may all that the ones before it may."""

    MEMBER = "member"
    """Deposits, looks, takes results home."""
    REVIEWER = "reviewer"
    """Judges results, too."""
    ADMIN = "admin"
    """Rules the institution, too: its people, tokens and settings."""

    @property
    def words(self) -> str:
        """The role in a sentence."""
        return {Role.MEMBER: "a member", Role.REVIEWER: "a reviewer", Role.ADMIN: "an administrator"}[self]

    def may(self, needed: "Role") -> bool:
        """Whether this role may what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


OPERATOR: Final = "operator"
"""Rules the house: fleets, hosts, every institution's faults. A flag of a person, beside the role."""

Duty: TypeAlias = Role | Literal["operator"]
"""What a page or an operation asks of a person: a role or more, or to be an operator."""


class Scope(StrEnum):
    """What a token is for. A token never may more than its person."""

    READ = "read"
    """See batches, photos and results."""
    DEPOSIT = "deposit"
    """Deposit photos; pause, cancel and run them again."""
    REVIEW = "review"
    """Judge results."""
    HANDOVER = "handover"
    """Take originals and results home."""
    ADMIN = "admin"
    """What administrators and operators do."""


ALL_SCOPES: Final = frozenset(Scope)
TOKEN_DAYS: Final = 365
"""How long a token lasts, unless chosen otherwise."""
MOST_TOKEN_DAYS: Final = 3660
_ROLE_OF: Final = {Scope.REVIEW: Role.REVIEWER, Scope.ADMIN: Role.ADMIN}


def scopes_of(role: Role, *, is_operator: bool = False) -> frozenset[Scope]:
    """Return the scopes that are of use to a role."""
    useful = {scope for scope in Scope if role.may(_ROLE_OF.get(scope, Role.MEMBER))}
    return frozenset(useful | ({Scope.ADMIN} if is_operator else set()))


def role_of(scopes: Iterable[Scope]) -> Role:
    """Return the role that a token without a person acts in: the least that its scopes need."""
    needed = {_ROLE_OF.get(scope, Role.MEMBER) for scope in scopes}
    return next((role for role in reversed(Role) if role in needed), Role.MEMBER)


def parse_role(text: str) -> Role:
    """Return the role of this name.

    Raises:
        InvalidRequest: there is none.
    """
    try:
        return Role(text.strip().lower())
    except ValueError as error:
        raise InvalidRequest(f"There is no role of that name. Choose {_either(Role)}.", code="unknown_role") from error


def parse_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes of these names.

    Raises:
        InvalidRequest: there is no such scope, or none is named.
    """
    try:
        found = frozenset(Scope(name.strip().lower()) for name in names)
    except ValueError as error:
        raise InvalidRequest(f"There is no such scope. Choose of {_either(Scope)}.", code="unknown_scope") from error
    if not found:
        raise InvalidRequest(f"Choose at least one scope: {_either(Scope)}.", code="unknown_scope")
    return found


def write_scopes(scopes: Iterable[Scope]) -> str:
    """Return scopes as text, in their order, as OAuth writes them."""
    chosen = set(scopes)
    return " ".join(scope for scope in Scope if scope in chosen)


def _either(kinds: type[StrEnum]) -> str:
    *names, last = kinds
    return f"{', '.join(names)} or {last}"
