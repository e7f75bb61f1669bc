"""`retint admin …`: what an operator does with people on the terminal of the server."""

import json

import pytest
from click.testing import CliRunner
from tests.integration.conftest import Site

from retint import accounts
from retint.command.people import COMMANDS
from retint.errors import RetintError
from retint.roles import Role, Scope

EMAIL = "jo@museum.example"


def run(site: Site, name: str, *arguments: str) -> str:
    """Run a command as `retint admin` does, and return what it prints."""
    [command] = [each for each in COMMANDS if each.name == name]
    done = CliRunner().invoke(command, arguments, obj=site.services, catch_exceptions=True)
    if isinstance(done.exception, RetintError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_an_operator_adds_lists_changes_and_shuts_out(sqlite_site: Site) -> None:
    site = sqlite_site
    made = json.loads(run(site, "create-user", EMAIL, "--role", "reviewer", "--tenant", "City Museum", "--json"))
    assert (made["role"], made["sign_in"].startswith(site.settings.portal_url)) == ("reviewer", True)
    assert json.loads(run(site, "people", "--tenant", "City Museum", "--json")) == {
        "tenant": "City Museum", "email": EMAIL, "role": "reviewer", "operator": False, "state": "invited",
        "seen_at": None,
    }  # fmt: skip
    assert "would be an administrator" in run(site, "role", EMAIL, "admin", "--dry-run")
    assert "reviewer" in run(site, "people")
    assert run(site, "role", EMAIL, "admin") == f"{EMAIL} is an administrator now.\n"
    token = run(site, "create-token", EMAIL, "--scope", "read", "--scope", "admin", "--days", "7").strip()
    with site.services.begin() as session:
        found = accounts.identify_token(session, token)
        assert (found.role, found.scopes) == (Role.ADMIN, frozenset({Scope.READ, Scope.ADMIN}))
    assert "would be disabled" in run(site, "disable", EMAIL, "--dry-run")
    run(site, "disable", EMAIL)
    with site.services.begin() as session, pytest.raises(accounts.Unauthorized):
        accounts.identify_token(session, token)
    assert "disabled" in run(site, "people")
    run(site, "disable", EMAIL, "--undo")
    assert "disabled" not in run(site, "people")


def test_a_reset_takes_the_password_and_the_sessions(sqlite_site: Site) -> None:
    site = sqlite_site
    with site.services.begin() as session:
        tenant = accounts.get_or_create_tenant(session, "City Museum")
        user = accounts.create_user(session, tenant.id, EMAIL, password="a good long password")
        begun = accounts.begin_session(session, accounts.identify(user), "192.0.2.7", "Firefox on Linux")
    assert begun.session_id is not None
    run(site, "sign-in-link", EMAIL)
    with site.services.begin() as session:
        assert accounts.identify_session(session, begun.session_id, begun.stamp) is not None
    link = run(site, "sign-in-link", EMAIL, "--reset").strip()
    assert link.endswith("?choose=password")
    with site.services.begin() as session:
        assert accounts.identify_session(session, begun.session_id, begun.stamp) is None
        secret = link.partition("/sign-in/")[2].partition("?")[0]
        assert accounts.redeem(session, secret).email == EMAIL


def test_a_token_may_not_more_than_its_person(sqlite_site: Site) -> None:
    run(sqlite_site, "create-user", EMAIL)
    with pytest.raises(RetintError, match="You cannot give a token more than you have yourself: admin"):
        run(sqlite_site, "create-token", EMAIL, "--scope", "admin")
