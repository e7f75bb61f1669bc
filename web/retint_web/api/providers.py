"""API operations for administrators: how the institution's people sign in."""

from uuid import UUID

from flask import Response, g
from flask.typing import ResponseReturnValue

from retint import providers
from retint.provider_tables import Provider
from retint.providers import Configuration, NewProvider
from retint.roles import Role, Scope
from retint.tenancy import get_owned
from retint_web import provider_requests, services
from retint_web.api import provider_responses as answers
from retint_web.api.blueprint import api
from retint_web.links import portal_url


@api.operation("GET", "/providers", answers.Providers, roles=(Role.ADMIN,), scope=Scope.ADMIN)
def list_providers() -> answers.Providers:
    """List the institution's sign-in providers."""
    with services().read() as session:
        return answers.Providers(items=[_describe(each) for each in providers.list_all(session, g.identity.tenant_id)])


@api.operation(
    "POST",
    "/providers",
    answers.Provider,
    status=201,
    body=NewProvider,
    roles=(Role.ADMIN,),
    scope=Scope.ADMIN,
    errors={409: "The name in addresses is taken."},
)
def add_provider(body: NewProvider) -> answers.Provider:
    """Set up a sign-in provider."""
    with services().begin() as session:
        made = providers.add(session, services().settings, g.identity.tenant_id, body, g.identity)
        session.refresh(made)
        return _describe(made)


@api.operation("GET", "/providers/<uuid:provider_id>", answers.Provider, roles=(Role.ADMIN,), scope=Scope.ADMIN)
def show_provider(provider_id: UUID) -> answers.Provider:
    """Get how a sign-in provider is used."""
    with services().read() as session:
        return _describe(get_owned(session, Provider, g.identity.tenant_id, provider_id))


@api.operation(
    "PUT",
    "/providers/<uuid:provider_id>",
    answers.Provider,
    body=Configuration,
    roles=(Role.ADMIN,),
    scope=Scope.ADMIN,
)
def change_provider(provider_id: UUID, body: Configuration) -> answers.Provider:
    """Replace how a sign-in provider is used; a client secret that is not given stays."""
    with services().begin() as session:
        tenant_id = g.identity.tenant_id
        return _describe(providers.change(session, services().settings, tenant_id, provider_id, body, g.identity))


@api.operation("DELETE", "/providers/<uuid:provider_id>", None, status=204, roles=(Role.ADMIN,), scope=Scope.ADMIN)
def remove_provider(provider_id: UUID) -> ResponseReturnValue:
    """Remove a sign-in provider; its people stay."""
    with services().begin() as session:
        providers.remove(session, g.identity.tenant_id, provider_id, g.identity)
    return Response(status=204)


@api.operation(
    "POST",
    "/providers/<uuid:provider_id>/check",
    answers.ProviderCheck,
    roles=(Role.ADMIN,),
    scope=Scope.ADMIN,
    errors={502: "The provider cannot be used: `detail` says why."},
)
def check_provider(provider_id: UUID) -> answers.ProviderCheck:
    """Ask a sign-in provider for what it says of itself; nobody is signed in."""
    with services().read() as session:
        provider = get_owned(session, Provider, g.identity.tenant_id, provider_id)
    found = provider_requests.discover(provider_requests.client_of(provider))
    return answers.ProviderCheck(
        authorization_endpoint=found.authorization,
        token_endpoint=found.token,
        end_session_endpoint=found.sign_out,
    )


def _describe(provider: Provider) -> answers.Provider:
    names = set(answers.Provider.model_fields) - {"has_secret", "redirect_uri", "sign_in_url"}
    values = {name: getattr(provider, name) for name in names}
    portal = portal_url()
    return answers.Provider(
        **values,
        has_secret=provider.client_secret is not None,
        redirect_uri=providers.redirect_uri(provider.slug, portal),
        sign_in_url=f"{portal}/sign-in/with/{provider.slug}",
    )
