"""API operations on institutions, for operators; and what an institution uses of its quotas, for its people."""

from typing import Final
from uuid import UUID

from flask import g
from sqlalchemy.orm import Session

from retint import institutions
from retint.institutions import Institution
from retint.quotas import Limits
from retint.roles import OPERATOR, Duty, Scope
from retint_web import house, links, services
from retint_web.api import administration_responses as answers
from retint_web.api import requests
from retint_web.api.blueprint import api

OPERATOR_ONLY: Final[tuple[Duty, ...]] = (OPERATOR,)


@api.operation("GET", "/usage", answers.Usage, scope=Scope.READ)
def show_usage() -> answers.Usage:
    """Get what your institution keeps and has in flight, and its quotas."""
    with services().read() as session:
        mine = institutions.get(session, g.identity.tenant_id)
    return answers.Usage(**_use(mine), limits=_limits(mine), warnings=mine.warnings)


@api.operation("GET", "/institutions", answers.Institutions, roles=OPERATOR_ONLY, scope=Scope.ADMIN)
def list_institutions() -> answers.Institutions:
    """List the institutions with their use and their limits, by name."""
    with house().read() as session:
        return answers.Institutions(items=[_institution(each) for each in institutions.list_all(session)])


@api.operation(
    "POST",
    "/institutions",
    answers.NewInstitution,
    status=201,
    body=requests.NewInstitution,
    roles=OPERATOR_ONLY,
    scope=Scope.ADMIN,
    errors={409: "The name or the address is taken."},
)
def add_institution(body: requests.NewInstitution) -> answers.NewInstitution:
    """Add an institution with its first administrator, who signs in by the one-time link of the answer."""
    with house().begin() as session:
        tenant_id, secret = institutions.add(
            session, body.name, body.email, g.identity, weight=body.weight, limits=Limits(**body.limits.model_dump())
        )
        added = _institution(institutions.get(session, tenant_id))
    return answers.NewInstitution(**added.model_dump(), sign_in=links.sign_in_url(secret))


@api.operation("GET", "/institutions/<uuid:tenant_id>", answers.Institution, roles=OPERATOR_ONLY, scope=Scope.ADMIN)
def show_institution(tenant_id: UUID) -> answers.Institution:
    """Get an institution, its use and its limits."""
    with house().read() as session:
        return _institution(institutions.get(session, tenant_id))


@api.operation(
    "PUT",
    "/institutions/<uuid:tenant_id>",
    answers.Institution,
    body=requests.InstitutionSettings,
    roles=OPERATOR_ONLY,
    scope=Scope.ADMIN,
    errors={409: "Another institution has the name."},
)
def change_institution(tenant_id: UUID, body: requests.InstitutionSettings) -> answers.Institution:
    """Set an institution's name, weight and limits; a limit that is not given is none."""
    with house().begin() as session:
        limits = Limits(**body.limits.model_dump())
        institutions.change(session, tenant_id, g.identity, name=body.name, weight=body.weight, limits=limits)
        return _institution(institutions.get(session, tenant_id))


@api.operation(
    "POST",
    "/institutions/<uuid:tenant_id>/disable",
    answers.Institution,
    roles=OPERATOR_ONLY,
    scope=Scope.ADMIN,
    errors={409: "It is your own."},
)
def disable_institution(tenant_id: UUID) -> answers.Institution:
    """Disable an institution: its people cannot sign in, its work is paused, nothing is deleted."""
    with house().begin() as session:
        return _set_disabled(session, tenant_id, True)


@api.operation(
    "POST", "/institutions/<uuid:tenant_id>/enable", answers.Institution, roles=OPERATOR_ONLY, scope=Scope.ADMIN
)
def enable_institution(tenant_id: UUID) -> answers.Institution:
    """Enable an institution again: its work goes on."""
    with house().begin() as session:
        return _set_disabled(session, tenant_id, False)


def _set_disabled(session: Session, tenant_id: UUID, disabled: bool) -> answers.Institution:
    institutions.set_disabled(session, tenant_id, g.identity, disabled=disabled)
    return _institution(institutions.get(session, tenant_id))


def _use(institution: Institution) -> dict[str, int]:
    names = ("photos", "kept_bytes", "reserved_bytes", "in_flight")
    return {name: getattr(institution, name) for name in names}


def _limits(institution: Institution) -> answers.Limits:
    return answers.Limits(**vars(institution.limits))


def _institution(institution: Institution) -> answers.Institution:
    return answers.Institution(
        id=institution.id,
        name=institution.name,
        weight=institution.weight,
        created_at=institution.created_at,
        disabled=institution.disabled_at is not None,
        people=institution.people,
        oldest_s=institution.oldest_s,
        limits=_limits(institution),
        **_use(institution),
    )
