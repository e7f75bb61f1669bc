"""Who gets in through a sign-in provider, as whom, and in which role.

A person is known by the provider's issuer and the subject there, and by nothing else. The institution is the one whose
provider it is. An e-mail address never finds a person, except where the institution asks for it: then the provider must
have verified it, its domain must be one that the institution listed for this provider, and the person must be of the
same institution and no operator. The role is read anew at each sign-in; an administrator who has a password keeps
theirs, so that a wrong mapping locks nobody out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint import accounts, audit, sealing
from retint.accounts import Identity
from retint.columns import now
from retint.errors import IllegalMove, NotAllowed, NotFound, Refused
from retint.openid import Answer, find_claim
from retint.provider_tables import Provider, ProviderIdentity
from retint.roles import Role
from retint.settings import Settings
from retint.tables import Tenant, User
from retint.tenancy import get_owned, select_owned

if TYPE_CHECKING:
    from retint.services import Services

SEALED_FOR: Final = "sign-out"


class NotAdmitted(NotAllowed):
    """The provider knows the person, but they do not get in."""

    code = "not_admitted"


class _LostRole(NotAdmitted):
    """A person who was let in before is in none of the groups any more."""

    def __init__(self, message: str, user_id: UUID) -> None:
        super().__init__(message)
        self.user_id = user_id


@dataclass(frozen=True)
class Person:
    """What a provider says of a person."""

    subject: str
    email: str | None
    """In lower case."""
    is_verified: bool | None
    """Whether the provider verified the address; None where it does not say."""
    groups: frozenset[str]
    role: Role | None
    """What the groups give; None: they do not get in."""

    @property
    def domain(self) -> str:
        """The domain of the address; empty without one."""
        return (self.email or "").rpartition("@")[2]


def describe(provider: Provider, claims: Mapping[str, Any]) -> Person:
    """Read of a provider's claims what counts here."""
    email = claims.get("email")
    verified = claims.get("email_verified")
    found = find_claim(claims, provider.groups_claim)
    names = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    groups = frozenset(name for name in names if isinstance(name, str))
    given = [Role(role) for group, role in provider.roles.items() if group in groups]
    return Person(
        subject=str(claims["sub"]),
        email=email.strip().lower() if isinstance(email, str) and email.strip() else None,
        # Some write it as text, against the standard.
        is_verified=None if verified is None else verified is True or verified == "true",
        groups=groups,
        role=max(given, key=list(Role).index) if given else provider.default_role,
    )


def sign_in(services: "Services", provider: Provider, answer: Answer) -> Identity:
    """Let a person in whom a provider has signed in; make or link them where the institution wants that.

    Args:
        services: what the process works with.
        provider: an active one.
        answer: as `openid.finish` returned it.

    Raises:
        NotAdmitted: they do not get in; the sentence says why, and what to do.
    """
    person = describe(provider, answer.claims)
    try:
        with services.begin() as session:
            if session.get_one(Tenant, provider.tenant_id).disabled_at is not None:
                raise NotAdmitted("Your institution is disabled here. Ask an operator of this installation.")
            known = _find(session, provider, person.subject)
            user = _check_known(session, provider, person, known) if known else _make(session, provider, person)
            _set_role(session, user, person.role or user.role)
            _note(session, services.settings, provider, answer, person, user)
            identity = accounts.identify(user)
            audit.record(session, "signed_in", f"by {provider.slug}", identity)
            return identity
    except _LostRole as refusal:
        with services.begin() as session:
            _shut_out(session, refusal.user_id)
        raise
    except IntegrityError as error:
        raise NotAdmitted("You were signing in twice at the same time. Try again.") from error


@dataclass(frozen=True)
class Rehearsal:
    """What an administrator sees who tries a provider."""

    person: Person
    sentence: str
    is_admitted: bool


class _Rehearsed(Exception):
    """Rolls back what a rehearsal did."""


def rehearse(services: "Services", provider: Provider, answer: Answer) -> Rehearsal:
    """Say what would become of a sign-in; nothing is changed."""
    person = describe(provider, answer.claims)
    sentence, is_admitted = "", True
    try:
        with services.begin() as session:
            if session.get_one(Tenant, provider.tenant_id).disabled_at is not None:
                raise NotAdmitted("Your institution is disabled here. Ask an operator of this installation.")
            known = _find(session, provider, person.subject)
            user = _check_known(session, provider, person, known) if known else _make(session, provider, person)
            _set_role(session, user, person.role or user.role)
            sentence = f"You would get in as {user.email}, {user.role.words}."
            raise _Rehearsed
    except _Rehearsed:
        pass
    except Refused as refusal:
        sentence, is_admitted = refusal.message, False
    return Rehearsal(person, sentence, is_admitted)


def connect(services: "Services", who: Identity, provider: Provider, answer: Answer) -> None:
    """Link the provider's account to a person who is signed in here and asked for it.

    Raises:
        NotFound: the provider is another institution's.
        IllegalMove: the account there is another person's here.
    """
    if provider.tenant_id != who.tenant_id:
        raise NotFound("There is no such provider.")
    person = describe(provider, answer.claims)
    with services.begin() as session:
        user = get_owned(session, User, who.tenant_id, who.person_id)
        known = _find(session, provider, person.subject)
        if known is not None and known.user_id != user.id:
            raise IllegalMove(f"This account at {provider.name} is connected with another person here.")
        _note(session, services.settings, provider, answer, person, user)
        audit.record(session, "identity_connected", user.email, who, after={"provider": provider.slug})


def disconnect(session: Session, who: Identity, identity_id: UUID) -> None:
    """Unlink one of the person's own accounts at providers.

    Raises:
        NotFound: it is not theirs.
        IllegalMove: they have no password, so they could not sign in any more.
    """
    mine = get_owned(session, ProviderIdentity, who.tenant_id, identity_id)
    if mine.user_id != who.user_id:
        raise NotFound("There is no such connection.")
    if get_owned(session, User, who.tenant_id, mine.user_id).password_hash is None:
        raise IllegalMove("Without a password you could not sign in any more, so this connection stays.")
    session.execute(delete(ProviderIdentity).where(ProviderIdentity.id == mine.id))
    audit.record(session, "identity_disconnected", who.email, who, before={"issuer": mine.issuer})


@dataclass(frozen=True)
class Connections:
    """How a person may sign in."""

    identities: Sequence[ProviderIdentity]
    """Who they are at providers."""
    providers: Sequence[Provider]
    """Providers of the institution with which they are not connected yet."""
    names: Mapping[str, str]
    """What the issuers are called."""
    has_password: bool
    is_governed: bool


def list_connections(session: Session, who: Identity) -> Connections:
    """List how a person may sign in beside a password."""
    user = get_owned(session, User, who.tenant_id, who.person_id)
    mine = select_owned(ProviderIdentity, who.tenant_id).where(ProviderIdentity.user_id == user.id)
    identities = session.scalars(mine.order_by(ProviderIdentity.id)).all()
    active = select_owned(Provider, who.tenant_id).where(Provider.is_active).order_by(Provider.name, Provider.id)
    found = session.scalars(active).all()
    known = {identity.issuer for identity in identities}
    return Connections(
        identities=identities,
        providers=[provider for provider in found if provider.issuer not in known],
        names={provider.issuer: provider.name for provider in found},
        has_password=user.password_hash is not None,
        is_governed=is_governed(session, user),
    )


def find_sign_out(session: Session, settings: Settings, who: Identity, slug: str) -> tuple[Provider, str] | None:
    """Return the provider by which a browser was signed in, and where the person is signed out there, if anywhere."""
    own = Provider.slug == slug, Provider.tenant_id == who.tenant_id, Provider.is_active
    provider = session.scalar(select(Provider).where(*own))
    mine = provider and session.scalar(
        select_owned(ProviderIdentity, who.tenant_id)
        .where(ProviderIdentity.user_id == who.user_id, ProviderIdentity.issuer == provider.issuer)
        .order_by(ProviderIdentity.seen_at.desc())
        .limit(1)
    )
    if not provider or not mine or not mine.sign_out_url:
        return None
    try:
        return provider, sealing.unseal(settings, SEALED_FOR, mine.sign_out_url)
    except sealing.SealBroken:  # by a secret that is forgotten: signed out here all the same
        return None


def is_governed(session: Session, user: User) -> bool:
    """Whether a person gets in by a provider only: they have no password, and an active provider knows them.

    They cannot set a password: they would still get in after the provider stopped letting them.
    """
    if user.password_hash is not None:
        return False
    by = select(ProviderIdentity.id).join(
        Provider, (Provider.tenant_id == ProviderIdentity.tenant_id) & (Provider.issuer == ProviderIdentity.issuer)
    )
    return session.scalar(by.where(ProviderIdentity.user_id == user.id, Provider.is_active).limit(1)) is not None


def refuse_password(session: Session, who: Identity) -> None:
    """Refuse a password to a person whom a provider governs.

    Raises:
        IllegalMove: a provider decides whether they get in.
    """
    if is_governed(session, get_owned(session, User, who.tenant_id, who.person_id)):
        raise IllegalMove("You sign in by your institution's provider, so there is no password here.")


def _find(session: Session, provider: Provider, subject: str) -> ProviderIdentity | None:
    return session.scalar(
        select_owned(ProviderIdentity, provider.tenant_id).where(
            ProviderIdentity.issuer == provider.issuer, ProviderIdentity.subject == subject
        )
    )


def _check_known(session: Session, provider: Provider, person: Person, known: ProviderIdentity) -> User:
    user = get_owned(session, User, provider.tenant_id, known.user_id)
    if user.disabled_at is not None:
        raise NotAdmitted("Your account here is disabled. Ask an administrator of your institution.")
    if person.role is None:
        raise _LostRole(_say_no_role(provider), user.id)
    return user


def _make(session: Session, provider: Provider, person: Person) -> User:
    """Return the person who belongs to an account that is not known yet: linked by the address, or made."""
    if person.role is None:
        raise NotAdmitted(_say_no_role(provider))
    email = _check_address(provider, person)
    user = session.scalar(select(User).where(User.email == email))
    if user is not None:
        _check_link(provider, person, user)
        audit.record(session, "identity_linked", email, tenant_id=user.tenant_id, after={"provider": provider.slug})
        return user
    if not provider.creates_people:
        raise NotAdmitted(
            f"{provider.name} knows you, but you have no account here yet. Ask an administrator to invite you."
        )
    return accounts.create_user(session, provider.tenant_id, email, role=person.role)


def _check_address(provider: Provider, person: Person) -> str:
    """Return the address of a person who is not known yet, if it can be believed.

    Where a provider says nothing of verification, as Entra ID does, a listed domain is the institution's word for it.
    """
    if person.email is None:
        raise NotAdmitted(f"{provider.name} does not tell your e-mail address, which is needed for an account here.")
    if person.is_verified is False or (person.is_verified is None and not provider.domains):
        raise NotAdmitted(
            f"{provider.name} has not verified your e-mail address, so it makes no account here. "
            "Ask an administrator to invite you, then connect it on your account page."
        )
    if provider.domains and person.domain not in provider.domains:
        raise NotAdmitted(f"People with addresses at {person.domain} are not let in by {provider.name}.")
    return person.email


def _check_link(provider: Provider, person: Person, user: User) -> None:
    """Check that an address may stand for a person who is here already.

    Raises:
        NotAdmitted: it may not.
    """
    is_believed = person.is_verified is True and person.domain in provider.domains
    is_ours = user.tenant_id == provider.tenant_id and not user.is_operator
    if not (provider.links_by_email and is_believed and is_ours):
        raise NotAdmitted(
            f"There is an account with your e-mail address already. Sign in to it as before, then connect "
            f"{provider.name} on your account page."
        )
    if user.disabled_at is not None:
        raise NotAdmitted("Your account here is disabled. Ask an administrator of your institution.")


def _set_role(session: Session, user: User, role: Role) -> None:
    """Give a person the role that their groups give. Who may less than before is signed out everywhere."""
    is_less = not role.may(user.role)
    if role is user.role or (is_less and user.role is Role.ADMIN and user.password_hash is not None):
        return
    accounts.give_role(session, user, role)
    if is_less:
        accounts.end_sessions(session, user.id)


def _shut_out(session: Session, user_id: UUID) -> None:
    """End what a person is signed in with who lost their groups, unless they have a password of their own."""
    user = session.get_one(User, user_id)
    if user.password_hash is None:
        accounts.end_sessions(session, user.id)
        accounts.revoke_tokens(session, user.id)
        audit.record(session, "shut_out", user.email, tenant_id=user.tenant_id)


def _note(session: Session, settings: Settings, provider: Provider, answer: Answer, person: Person, user: User) -> None:
    """Keep who a person is at the provider, and where they are signed out there."""
    known = _find(session, provider, person.subject)
    if known is None:
        known = ProviderIdentity(tenant_id=provider.tenant_id, issuer=provider.issuer, subject=person.subject)
        known.user_id = user.id
        session.add(known)
    known.email = (person.email or "")[:254] or None
    known.sign_out_url = answer.sign_out_url and sealing.seal(settings, SEALED_FOR, answer.sign_out_url)
    known.seen_at = now()  # by the database's clock
    session.flush()


def _say_no_role(provider: Provider) -> str:
    return (
        f"{provider.name} knows you, but you are in none of the groups that may use Retint. "
        "Ask an administrator of your institution."
    )
