"""Who may what: every route and every operation of the API, asked by everybody. docs/roles.md has the outcome."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from tests.integration.web.conftest import Person, make_browser
from tests.integration.web.test_every_route import BODIES, PUBLIC, make_ids, walk
from tests.paths import ROOT
from werkzeug.routing import Rule

from retint import accounts
from retint.roles import Role, Scope
from retint.services import Services

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)

COLUMNS = ("nobody", "member", "reviewer", "admin", "operator", "disabled")
SCOPES = {scope: f"`{scope}`" for scope in Scope}
TOKENS = (*SCOPES.values(), "service account")


@dataclass(frozen=True)
class Asker:
    """Somebody who asks, by a browser and by a token."""

    name: str
    person: Person | None
    token: str = ""

    def may(self, app: Flask, rule: Rule, method: str, path: str) -> bool:
        """Whether they get past the door, whatever is behind it."""
        if rule.endpoint in PUBLIC:
            return True
        body = BODIES.get(rule.endpoint, {"json": {}} if rule.endpoint.startswith("api.") and method != "GET" else {})
        if rule.endpoint.startswith("api.") and self.token:
            headers = {"Authorization": f"Bearer {self.token}"}
            answer = app.test_client().open(path, method=method, headers=headers, buffered=True, **body)
        else:
            browser = self.person.browser() if self.person else make_browser(app)
            answer = browser.open(path, method=method, buffered=True, **body)
        assert answer.status_code < 500, f"{method} {path} as {self.name}: {answer.text}"
        is_sent_away = answer.status_code == 303 and answer.headers["Location"].startswith("/sign-in")
        if "retint=;" in answer.headers.get("Set-Cookie", ""):  # they signed out, which leads there, too
            is_sent_away = False
        return answer.status_code not in (401, 403) and not is_sent_away


@pytest.fixture
def app(app: Flask) -> Flask:
    app.config["WTF_CSRF_ENABLED"] = False
    return app


@pytest.fixture
def askers(make_person: Callable[..., Person], services: Services) -> dict[str, Asker]:
    people = {role.value: make_person("museum", role, email=f"{role}@a.example") for role in Role}
    people["operator"] = make_person("house", is_operator=True)
    people["disabled"] = make_person("museum", Role.ADMIN, is_operator=True, email="gone@a.example")
    people["all"] = make_person("museum", Role.ADMIN, is_operator=True, email="all@a.example")
    found = {name: Asker(name, person, person.token) for name, person in people.items()}
    with services.begin() as session:
        ruler = people["all"].identity
        user = accounts.find_user(session, ruler.email)
        for scope in Scope:
            found[SCOPES[scope]] = Asker(scope, None, accounts.issue_token(session, user, scope, scopes=[scope]))
        secret = accounts.issue_service_token(session, people["admin"].identity, "night", [Scope.READ, Scope.DEPOSIT])
        found["service account"] = Asker("service account", None, secret)
        accounts.disable(session, ruler, people["disabled"].identity.person_id)
    return found | {"nobody": Asker("nobody", None)}


def observe(app: Flask, askers: dict[str, Asker], ids: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, bool]]]:
    """Yield each rule with its method, and who gets past the door."""
    for rule, method, path in walk(app, ids):
        names = [*COLUMNS, *(TOKENS if rule.endpoint.startswith("api.") else ())]
        yield rule.rule, method, {name: askers[name].may(app, rule, method, path) for name in names}


def write_tables(observed: list[tuple[str, str, dict[str, bool]]]) -> list[str]:
    """Write the tables of docs/roles.md."""
    lines = ["## Pages", "", _row(["", *COLUMNS]), _row(["---"] * (len(COLUMNS) + 1))]
    of_api = [each for each in observed if each[0].startswith("/api/")]
    for rule, method, may in sorted(each for each in observed if each not in of_api):
        lines.append(_row([f"`{method} {rule}`", *("yes" if may[name] else "–" for name in COLUMNS)]))
    columns = [*COLUMNS[:-1], *TOKENS]
    lines += ["", "## API", "", _row(["", *columns]), _row(["---"] * (len(columns) + 1))]
    for rule, method, may in sorted(of_api):
        name = f"`{method} {rule.removeprefix('/api/v1')}`"
        lines.append(_row([name, *("yes" if may[column] else "–" for column in columns)]))
    return lines


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


@pytest.mark.timeout(1200)  # a request for each route and each of those who ask
def test_everybody_may_what_the_table_says_and_more_is_never_less(
    app: Flask, askers: dict[str, Asker], restore: Callable[..., None], put_zoom: Callable[..., str], services: Services
) -> None:
    ruler = askers["all"].person
    assert ruler is not None
    observed = list(observe(app, askers, make_ids(ruler, services, restore, put_zoom)))
    assert len(observed) > 100
    found = [(rule, rule.methods or set()) for rule in app.url_map.iter_rules() if rule.endpoint in PUBLIC]
    public = {(rule.rule, method) for rule, methods in found for method in methods}
    for rule, method, may in observed:
        where = f"{method} {rule}"
        assert may["nobody"] == may["disabled"] == ((rule, method) in public), where
        assert may["reviewer"] or not may["member"], where
        assert may["admin"] or not may["reviewer"], where
        if rule.startswith("/api/") and (rule, method) not in public:
            assert sum(may[name] for name in SCOPES.values()) == 1, f"{where}: one scope, and no other"
            is_for_persons = rule == "/api/v1/mail"
            served = (may["`read`"] or may["`deposit`"]) and may["member"]
            assert may["service account"] == served or is_for_persons, where
    tables = write_tables(observed)
    text = (ROOT / "docs/roles.md").read_text()
    written = text[text.index("## Pages") :].splitlines() if "## Pages" in text else []
    assert written == tables, "docs/roles.md should say:\n" + "\n".join(tables)
