"""An institution's sign-in providers: what its administrator or the operator sets up."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, Self, TypeVar
from uuid import UUID

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint import audit, openid, sealing
from retint.accounts import Identity
from retint.errors import IllegalMove, InvalidRequest, NotFound
from retint.provider_tables import Provider
from retint.remote import AccessPolicy
from retint.roles import Role
from retint.settings import Settings
from retint.tables import Tenant
from retint.tenancy import get_owned, select_owned

SEALED_FOR: Final = "provider"
SLUG: Final = r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$"
DOMAIN: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)+[a-z0-9-]{2,}")

Group = Annotated[str, Field(min_length=1, max_length=255)]


Wanted = TypeVar("Wanted", bound="Configuration")


EXAMPLE: Final[dict[str, Any]] = {
    "name": "Museum account",
    "issuer": "https://login.museum.example",
    "client_id": "retint",
    "roles": {"conservation": "reviewer"},
}


class Configuration(BaseModel):
    """How a provider is used."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, json_schema_extra={"examples": [EXAMPLE]})

    name: str = Field(min_length=1, max_length=60, description="What people call it: the text of its button.")
    issuer: str = Field(
        max_length=255, description="Its address, as it spells it itself, such as `https://login.museum.example`."
    )
    client_id: str = Field(min_length=1, max_length=255, description="The name that it gave this installation.")
    client_secret: SecretStr | None = Field(
        None, description="The secret that it gave, if any. Where it is missing in a change, the present one stays."
    )
    scopes: str = Field(
        "openid email profile", max_length=255, description="What it is asked for; some want `groups`, too."
    )
    groups_claim: str = Field(
        "groups", min_length=1, max_length=255, description="Where it names groups, such as `realm_access.roles`."
    )
    roles: dict[Group, Role] = Field(
        default_factory=dict, max_length=500, description="The role that a group gives; of several, the highest."
    )
    default_role: Literal[Role.MEMBER, Role.REVIEWER] | None = Field(
        None, description="The role of those in none of these groups; if null, they do not get in."
    )
    domains: list[str] = Field(
        default_factory=list, max_length=100, description="New people have an e-mail address of one of these domains."
    )
    creates_people: bool = Field(True, description="Whether people who are not known yet become people here.")
    links_by_email: bool = Field(
        False,
        description="Whether a verified e-mail address of these domains links a person of the institution. "
        "Otherwise they connect on their account page, signed in.",
    )
    is_active: bool = Field(True, description="Whether people may sign in by it.")
    is_listed: bool | None = Field(
        None,
        description="Whether the sign-in page shows a button for it; by default only if this is the only institution.",
    )

    @field_validator("issuer")
    @classmethod
    def _is_address(cls, text: str) -> str:
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in ("https", "http") or not url.host or url.userinfo or url.query or url.fragment:
            raise ValueError("an issuer is an address such as https://login.museum.example")
        return text

    @field_validator("client_secret", mode="before")
    @classmethod
    def _is_there(cls, secret: object) -> object:
        return None if secret == "" else secret

    @field_validator("scopes")
    @classmethod
    def _has_openid(cls, text: str) -> str:
        return " ".join(dict.fromkeys(["openid", *text.split()]))

    @field_validator("domains")
    @classmethod
    def _are_domains(cls, domains: list[str]) -> list[str]:
        plain = [domain.strip().lower().removeprefix("@") for domain in domains]
        for domain in plain:
            if not DOMAIN.fullmatch(domain):
                raise ValueError(f"{domain[:100]!r} is no domain, such as museum.example")
        return list(dict.fromkeys(plain))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.roles and self.default_role is None:
            raise ValueError("nobody would get in: give a group a role, or everybody")
        if self.default_role and self.creates_people and not self.domains:
            raise ValueError(
                "name the e-mail domains of your people: otherwise everybody who has an account there gets in"
            )
        if self.links_by_email and not self.domains:
            raise ValueError("name the e-mail domains whose addresses link people")
        return self


class NewProvider(Configuration):
    """A provider that is set up."""

    slug: str | None = Field(
        None, pattern=SLUG, description="Its name in addresses, which stays; by default made from the name."
    )


def parse(kind: type[Wanted], values: Mapping[str, object]) -> Wanted:
    """Read a configuration from a form or a command.

    Raises:
        InvalidRequest: a value is not valid; the sentence is about the first such one.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = " ".join(str(part).replace("_", " ") for part in first["loc"])
        what = str(first["msg"]).removeprefix("Value error, ")
        raise InvalidRequest(f"{where.capitalize()}: {what}." if where else f"{what.capitalize()}.") from error


def add(
    session: Session, settings: Settings, tenant_id: UUID, wanted: NewProvider, by: Identity | None = None
) -> Provider:
    """Set up a provider of an institution.

    Raises:
        IllegalMove: its name in addresses is taken.
        sealing.SealBroken: RETINT_SECRET is not set.
    """
    provider = Provider(tenant_id=tenant_id, slug=wanted.slug or _free_slug(session, wanted.name))
    _set(session, settings, provider, wanted)
    try:
        with session.begin_nested():
            session.add(provider)
    except IntegrityError as error:
        raise IllegalMove(f"There is already a provider {provider.slug}: choose another name in addresses.") from error
    audit.record(session, "provider_added", provider.slug, by, tenant_id=tenant_id, after={"issuer": provider.issuer})
    return provider


def change(
    session: Session,
    settings: Settings,
    tenant_id: UUID,
    provider_id: UUID,
    wanted: Configuration,
    by: Identity | None = None,
) -> Provider:
    """Change how a provider is used. People who are signed in stay so.

    Raises:
        NotFound: the institution has no such provider.
        InvalidRequest: it is another provider now, so that the present secret is not its.
    """
    provider = get_owned(session, Provider, tenant_id, provider_id)
    is_another = (provider.issuer, provider.client_id) != (wanted.issuer, wanted.client_id)
    if is_another and provider.client_secret is not None and wanted.client_secret is None:
        raise InvalidRequest(
            "Enter the client secret again: the present one belongs to the issuer and the client ID before."
        )
    _set(session, settings, provider, wanted)
    audit.record(session, "provider_changed", provider.slug, by, tenant_id=tenant_id, after={"issuer": provider.issuer})
    return provider


def remove(session: Session, tenant_id: UUID, provider_id: UUID, by: Identity | None = None) -> None:
    """Remove a provider. Its people stay; who has no password needs a one-time link.

    Raises:
        NotFound: the institution has no such provider.
    """
    provider = get_owned(session, Provider, tenant_id, provider_id)
    session.delete(provider)
    audit.record(session, "provider_removed", provider.slug, by, tenant_id=tenant_id, after={"issuer": provider.issuer})


def list_all(session: Session, tenant_id: UUID) -> Sequence[Provider]:
    """List an institution's providers, in the order in which they were set up."""
    return session.scalars(select_owned(Provider, tenant_id).order_by(Provider.id)).all()


def list_for_sign_in(session: Session, remembered: str | None) -> Sequence[Provider]:
    """List the providers that the sign-in page shows: those that are listed, and the one that a browser used last."""
    shown = or_(Provider.is_listed, Provider.slug == remembered)
    found = session.scalars(select(Provider).where(Provider.is_active, shown).order_by(Provider.name, Provider.id))
    return sorted(found, key=lambda provider: provider.slug != remembered)


def find(session: Session, slug: str) -> Provider:
    """Return a provider by its name in addresses, of any institution: for the operator's commands, and to sign in by.

    Raises:
        NotFound: there is none.
    """
    is_slug = re.fullmatch(SLUG, slug) is not None  # PostgreSQL refuses a NUL with an error
    provider = session.scalar(select(Provider).where(Provider.slug == slug)) if is_slug else None
    if provider is None:
        raise NotFound("There is no sign-in provider at this address.")
    return provider


def client_of(settings: Settings, provider: Provider, portal_url: str) -> openid.Client:
    """Return how this installation is known to a provider.

    Raises:
        sealing.SealBroken: the client secret was sealed with a secret that is not known any more.
    """
    secret = provider.client_secret and sealing.unseal(settings, SEALED_FOR, provider.client_secret)
    address = redirect_uri(provider.slug, portal_url)
    return openid.Client(provider.name, provider.issuer, provider.client_id, secret, provider.scopes, address)


def redirect_uri(slug: str, portal_url: str) -> str:
    """Return the address to which a provider sends people back; it must know it before."""
    return f"{portal_url}/sign-in/with/{slug}/back"


def reseal(session: Session, settings: Settings) -> int:
    """Seal all client secrets again with the present secret of the installation. Returns how many there are.

    Raises:
        sealing.SealBroken: one was sealed with a secret that is not known any more.
    """
    found = session.scalars(select(Provider).where(Provider.client_secret.is_not(None))).all()
    for provider in found:
        provider.client_secret = sealing.reseal(settings, SEALED_FOR, provider.client_secret or "")
    return len(found)


def access_policy(settings: Settings, policy: AccessPolicy) -> AccessPolicy:
    """Add to a policy what the operator allows providers: to be inside, and to have certificates of their own."""
    hosts = {host.strip().lower() for host in (settings.provider_hosts or "").split(",")}
    trust = policy.trust
    if settings.provider_ca is not None and trust is True:
        trust = httpx.create_ssl_context()
        trust.load_verify_locations(settings.provider_ca)
    return replace(policy, inside=policy.inside | hosts - {""}, trust=trust)


def _set(session: Session, settings: Settings, provider: Provider, wanted: Configuration) -> None:
    plain = {"name", "issuer", "client_id", "scopes", "groups_claim", "domains"}
    for name in plain | {"default_role", "creates_people", "links_by_email", "is_active"}:
        setattr(provider, name, getattr(wanted, name))
    provider.roles = {group: str(role) for group, role in wanted.roles.items()}
    if wanted.is_listed is not None:
        provider.is_listed = wanted.is_listed
    elif provider.is_listed is None:
        provider.is_listed = (session.scalar(select(func.count()).select_from(Tenant)) or 0) < 2
    if wanted.client_secret is not None:
        provider.client_secret = sealing.seal(settings, SEALED_FOR, wanted.client_secret.get_secret_value())


def _free_slug(session: Session, name: str) -> str:
    """Make a name for addresses; it gets a number where it is taken."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32].strip("-") or "provider"
    taken = set(session.scalars(select(Provider.slug).where(Provider.slug.startswith(plain, autoescape=True))))
    return next(slug for n in range(len(taken) + 1) if (slug := f"{plain}-{n + 1}" if n else plain) not in taken)
