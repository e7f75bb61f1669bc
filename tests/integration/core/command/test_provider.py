"""`retint admin provider`: what an operator does with sign-in providers on the terminal of the server."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import select
from tests.integration.conftest import Site
from tests.lying_provider import run_lying_provider

from retint import providers, sealing
from retint.command.provider import provider
from retint.errors import InvalidRequest, RetintError
from retint.openid import ProviderFailed
from retint.provider_tables import Provider
from retint.services import Services

ISSUER = "https://login.museum.example"
GIVEN = ("--name", "Museum account", "--issuer", ISSUER, "--client-id", "retint", "--tenant", "City Museum")
GROUPS = ("--group", "CN=Restorers,OU=Museum=reviewer", "--group", "it=admin")


@pytest.fixture
def site(sqlite_site: Site) -> Site:
    """A site that can seal secrets."""
    settings = sqlite_site.settings.model_copy(update={"secret": SecretStr("a secret of the tests only")})
    services = Services(settings, sqlite_site.services.engine, sqlite_site.services.store)
    return replace(sqlite_site, services=services)


def run(site: Site, *arguments: str) -> str:
    """Run a command as `retint admin provider` does, and return what it prints."""
    environment = {"RETINT_CLIENT_SECRET": "s3cret"}
    done = CliRunner().invoke(provider, arguments, obj=site.services, env=environment)
    if isinstance(done.exception, RetintError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def find(site: Site) -> Provider | None:
    with site.services.read() as session:
        return session.scalar(select(Provider))


def test_an_operator_adds_changes_and_removes_a_provider(site: Site) -> None:
    assert "would be set up" in run(site, "add", "museum", *GIVEN, *GROUPS, "--dry-run")
    assert find(site) is None
    printed = run(site, "add", "museum", *GIVEN, *GROUPS)
    assert f"{site.settings.portal_url}/sign-in/with/museum/back" in printed
    made = find(site)
    assert made
    assert made.roles == {"CN=Restorers,OU=Museum": "reviewer", "it": "admin"}
    assert made.client_secret
    assert "s3cret" not in made.client_secret
    assert sealing.unseal(site.settings, providers.SEALED_FOR, made.client_secret) == "s3cret"
    run(site, "change", "museum", "--inactive", "--domain", "museum.example", "--link-by-email")
    [listed] = json.loads(run(site, "list", "--json"))
    assert (listed["tenant"], listed["is_active"], listed["links_by_email"]) == ("City Museum", False, True)
    assert listed["roles"] == made.roles
    assert "s3cret" not in json.dumps(listed)
    assert "not in use" in run(site, "list")
    run(site, "remove", "museum", "--dry-run")
    assert find(site)
    run(site, "remove", "museum")
    assert find(site) is None


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ((), "Nobody would get in"),
        (("--default-role", "member"), "Name the e-mail domains of your people"),
        (("--group", "it=admin", "--link-by-email"), "Name the e-mail domains whose addresses link people"),
        (("--group", "it=emperor"), "Roles it"),
        (("--group", "it"), "it is no group and role"),
        (("--group", "it=admin", "--domain", "museum"), "is no domain"),
        (("--group", "it=admin", "--issuer", "museum"), "an issuer is an address"),
        (("--group", "it=admin", "--issuer", "https://a:b@museum.example"), "an issuer is an address"),
    ],
)
def test_values_that_contradict_each_other_are_refused(site: Site, more: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        run(site, "add", "museum", *GIVEN, *more)
    assert sentence in refusal.value.message
    assert find(site) is None


def test_a_secret_does_not_go_to_another_provider(site: Site) -> None:
    run(site, "add", "museum", *GIVEN, *GROUPS)
    made = find(site)
    assert made
    values = {"name": "x", "issuer": "https://evil.example", "client_id": "retint", "roles": {"it": "admin"}}
    wanted = providers.parse(providers.Configuration, values)
    with site.services.begin() as session, pytest.raises(InvalidRequest, match="client secret again"):
        providers.change(session, site.settings, made.tenant_id, made.id, wanted)


def test_check_says_whether_a_provider_answers(site: Site) -> None:
    with run_lying_provider() as running:
        run(site, "add", "museum", *GIVEN, *GROUPS, "--issuer", running.issuer)
        with pytest.raises(ProviderFailed, match="begin with https"):
            run(site, "check", "museum")
        settings = site.settings.model_copy(update={"provider_hosts": running.host})
        allowed = Services(settings, site.services.engine, site.services.store)
        done = CliRunner().invoke(provider, ["check", "museum"], obj=allowed)
        assert f"{running.issuer} answers" in done.output


def test_a_secret_outlives_a_change_of_the_installations_secret(site: Site) -> None:
    run(site, "add", "museum", *GIVEN, *GROUPS)
    both = {"secret": SecretStr("another secret"), "former_secrets": site.settings.secret}
    during = site.settings.model_copy(update=both)
    with site.services.begin() as session:
        assert providers.reseal(session, during) == 1
    after = site.settings.model_copy(update={"secret": SecretStr("another secret")})
    with site.services.begin() as session:
        assert providers.client_of(after, providers.find(session, "museum"), "https://x").client_secret == "s3cret"
