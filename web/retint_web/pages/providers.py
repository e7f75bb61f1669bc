"""The page Sign-in: an administrator sets up how the institution's people sign in."""

from uuid import UUID

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from retint import providers
from retint.errors import InvalidRequest, Refused
from retint.provider_tables import Provider
from retint.providers import Configuration, NewProvider
from retint.roles import Role
from retint.tenancy import get_owned
from retint_web import services
from retint_web.links import portal_url
from retint_web.security import only

TEXTS = ("name", "issuer", "client_id", "client_secret", "scopes", "groups_claim")
SWITCHES = ("creates_people", "links_by_email", "is_active", "is_listed")

blueprint = Blueprint("providers", __name__, url_prefix="/admin/sign-in")


@blueprint.get("/")
@only(Role.ADMIN)
def index() -> ResponseReturnValue:
    """List the institution's providers."""
    with services().read() as session:
        found = providers.list_all(session, g.identity.tenant_id)
    return render_template("providers/index.html", providers=found, portal=portal_url())


@blueprint.route("/new", methods=["GET", "POST"])
@only(Role.ADMIN)
def new() -> ResponseReturnValue:
    """Set up a provider."""
    if request.method == "GET":
        return _render_form(None, _FRESH)
    try:
        wanted = providers.parse(NewProvider, _read_form() | {"slug": request.form.get("slug", "").strip() or None})
        with services().begin() as session:
            made = providers.add(session, services().settings, g.identity.tenant_id, wanted, g.identity)
    except Refused as error:
        return _render_form(None, request.form, error)
    flash(f"{made.name} is set up. Enter the address below there, then try it.")
    return redirect(url_for("providers.show", provider_id=made.id), code=303)


@blueprint.route("/<uuid:provider_id>", methods=["GET", "POST"])
@only(Role.ADMIN)
def show(provider_id: UUID) -> ResponseReturnValue:
    """Show and change how a provider is used."""
    with services().read() as session:
        provider = get_owned(session, Provider, g.identity.tenant_id, provider_id)
    if request.method == "GET":
        return _render_form(provider, _write_form(provider))
    try:
        wanted = providers.parse(Configuration, _read_form())
        with services().begin() as session:
            providers.change(session, services().settings, g.identity.tenant_id, provider_id, wanted, g.identity)
    except Refused as error:
        return _render_form(provider, request.form, error)
    flash("Saved.")
    return redirect(url_for("providers.show", provider_id=provider_id), code=303)


@blueprint.route("/<uuid:provider_id>/remove", methods=["GET", "POST"])
@only(Role.ADMIN)
def remove(provider_id: UUID) -> ResponseReturnValue:
    """Ask, then remove a provider."""
    with services().read() as session:
        provider = get_owned(session, Provider, g.identity.tenant_id, provider_id)
    if request.method == "GET":
        return render_template("providers/remove.html", provider=provider)
    with services().begin() as session:
        providers.remove(session, g.identity.tenant_id, provider_id, g.identity)
    flash(f"{provider.name} is removed.")
    return redirect(url_for("providers.index"), code=303)


_FRESH = {
    "scopes": "openid email profile",
    "groups_claim": "groups",
    "creates_people": "on",
    "is_active": "on",
    "is_listed": "on",
}
"""What an empty form says."""


def _read_form() -> dict[str, object]:
    """Read the form into what a configuration is made of."""
    form = request.form
    values: dict[str, object] = {name: form.get(name, "") for name in TEXTS}
    values |= {name: name in form for name in SWITCHES}
    values["roles"] = _parse_roles(form.get("roles", ""))
    values["default_role"] = form.get("default_role") or None
    values["domains"] = form.get("domains", "").replace(",", " ").split()
    return values


def _parse_roles(text: str) -> dict[str, str]:
    """Read one `group = role` a line; the name of a group may hold equals signs, as in a directory.

    Raises:
        InvalidRequest: a line is something else.
    """
    roles = {}
    for line in filter(str.strip, text.splitlines()):
        group, equals, role = (part.strip() for part in line.rpartition("="))
        if not (group and equals and role.lower() in list(Role)):
            raise InvalidRequest(
                f"“{line.strip()[:80]}” is no line such as “conservation = reviewer”: a group, =, and member, "
                "reviewer or admin."
            )
        roles[group] = role.lower()
    return roles


def _write_form(provider: Provider) -> dict[str, object]:
    """Return what the form says of a provider. The secret is not shown."""
    values: dict[str, object] = {name: getattr(provider, name) for name in TEXTS if name != "client_secret"}
    values |= {name: "on" for name in SWITCHES if getattr(provider, name)}
    values["roles"] = "\n".join(f"{group} = {role}" for group, role in provider.roles.items())
    return values | {"default_role": provider.default_role or "", "domains": " ".join(provider.domains)}


def _render_form(provider: Provider | None, values: object, error: Refused | None = None) -> ResponseReturnValue:
    address = provider and providers.redirect_uri(provider.slug, portal_url())
    page = render_template(
        "providers/edit.html",
        provider=provider,
        values=values,
        problem=error and error.message,
        redirect_uri=address,
        portal=portal_url(),
    )
    return page, error.status if error else 200
