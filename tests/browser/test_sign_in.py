"""Signing in by an OpenID certified provider, in a real browser: as a new person, an existing one, an intruder."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pydantic import SecretStr
from tests import servers
from tests.browser import browsers
from tests.integration.web.portals import run_portal
from tests.servers import Server, find_free_ports

from retint import accounts, database, providers, store_identity
from retint.roles import Role
from retint.services import Services
from retint.settings import Settings

PASSWORD = "a good long password"
SECRET = "a secret+/% of the tests only"
PEOPLE: dict[str, dict[str, Any]] = {
    "noor": {"email": "noor@museum.example", "email_verified": True, "groups": ["conservation"]},
    "sam": {"email": "sam@museum.example", "email_verified": True, "groups": ["readers"]},
    "stranger": {"email": "stranger@archive.example", "email_verified": True, "groups": ["archive-admins"]},
    "liar": {"email": "admin@museum.example", "email_verified": False, "groups": ["conservation"]},
    "leaver": {"email": "leaver@museum.example", "email_verified": True, "groups": ["readers"]},
}
ROLES = {"conservation": "reviewer", "readers": "member", "it": "admin"}


@dataclass(frozen=True)
class House:
    """A portal whose museum signs in by a provider."""

    url: str
    provider: Server
    admin_link: str


@pytest.fixture(scope="module")
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A portal and a provider that know each other, without workers."""
    folder = tmp_path_factory.mktemp("museum")
    [port] = find_free_ports(1)
    settings = Settings(data=folder, secret=SecretStr("a secret of the tests only"), provider_hosts=f"127.0.0.1:{port}")
    services = Services.connect(settings)
    database.migrate(services.engine)
    services.store.prepare()
    store_identity.verify(services)
    link = set_up(services, port)
    with run_portal(settings, "none", folder) as portal:
        back = f"{portal.url}/sign-in/with/museum/back"
        client: dict[str, object] = {
            "client_id": "retint",
            "client_secret": SECRET,
            "redirect_uris": [back],
            "post_logout_redirect_uris": [back],
        }
        try:
            provider = servers.start_oidc_provider(folder, port, client, PEOPLE)
        except servers.NotInstalled as error:
            (pytest.fail if request.config.getoption("--no-skips") else pytest.skip)(str(error))
        yield House(portal.url, provider, f"{portal.url}/sign-in/{link}")
        provider.stop()
    services.engine.dispose()


def set_up(services: Services, port: int) -> str:
    """Set up a museum with an administrator, a person with a password and one who left. Returns a one-time link."""
    values = {
        "name": "Museum account",
        "slug": "museum",
        "issuer": f"http://127.0.0.1:{port}",
        "client_id": "retint",
        "client_secret": SECRET,
        "scopes": "openid email profile groups",
        "roles": ROLES,
        "domains": ["museum.example"],
        "links_by_email": True,
    }
    with services.begin() as session:
        tenant = accounts.get_or_create_tenant(session, "Museum")
        make = partial(accounts.create_user, session, tenant.id)
        admin = make("admin@museum.example", role=Role.ADMIN)
        make("local@museum.example", password=PASSWORD)
        leaver = make("leaver@museum.example", password=PASSWORD)
        session.flush()
        accounts.shut_out(session, leaver)
        wanted = providers.parse(providers.NewProvider, values)
        providers.add(session, services.settings, tenant.id, wanted)
        return accounts.invite(session, admin)


@pytest.fixture
def new_page(house: House, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages in browsers in which nobody is signed in, neither here nor at the provider."""
    contexts: list[BrowserContext] = []
    complaints: list[list[str]] = []

    def open_(**options: Any) -> Page:
        context = browser.new_context(base_url=house.url, **browsers.DESKTOP | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        complaints.append(browsers.collect_complaints(page))
        return page

    yield open_
    for context in contexts:
        context.close()
    # A refusal is a 403 or a 400; the provider's own pages ask for a font on the web and an icon that it lacks.
    expected = ("403", "400", "favicon", "404", "ERR_NAME_NOT_RESOLVED", "fonts.googleapis.com")
    assert [each for made in complaints for each in made if not any(text in each for text in expected)] == []


def sign_in(page: Page, name: str) -> None:
    """Sign in by the button of the portal and the form of the provider."""
    page.goto("/sign-in")
    page.get_by_role("link", name="Sign in with Museum account").click()
    fill_in_at_provider(page, name)


def fill_in_at_provider(page: Page, name: str) -> None:
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("anything")
    page.get_by_role("button", name="Sign-in").click()


def test_a_new_person_signs_in_and_out(new_page: Callable[..., Page]) -> None:
    page = new_page()
    sign_in(page, "noor")
    expect(page.get_by_role("heading", name="Batches")).to_be_visible()
    page.goto("/account")
    expect(page.locator(".title")).to_contain_text("noor@museum.example, reviewer")
    page.locator(".title").get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Yes, sign me out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("You are signed out.")
    # Signed out there, too: the provider asks again.
    page.get_by_role("link", name="Sign in with Museum account").click()
    expect(page.locator("input[name=login]")).to_be_visible()


def test_an_existing_person_connects_and_signs_in(new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.goto("/sign-in")
    page.get_by_label("Email").fill("local@museum.example")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Batches").wait_for()
    page.goto("/account")
    page.get_by_role("button", name="Connect Museum account").click()
    fill_in_at_provider(page, "sam")
    expect(page.get_by_role("status")).to_contain_text("You can sign in by Museum account now.")
    other = new_page()
    sign_in(other, "sam")
    other.get_by_role("heading", name="Batches").wait_for()
    other.goto("/account")
    expect(other.locator(".title")).to_contain_text("local@museum.example")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("stranger", "you are in none of the groups that may use Retint"),
        ("liar", "has not verified your e-mail address"),
        ("leaver", "Your account here is disabled"),
    ],
)
def test_an_intruder_stays_out(new_page: Callable[..., Page], name: str, sentence: str) -> None:
    page = new_page()
    sign_in(page, name)
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    page.goto("/account")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_lost_group_is_noticed_at_the_next_sign_in(new_page: Callable[..., Page], house: House) -> None:
    people = house.provider.folder / "people.json"
    first = new_page()
    sign_in(first, "noor")
    first.get_by_role("heading", name="Batches").wait_for()
    try:
        people.write_text(json.dumps(PEOPLE | {"noor": PEOPLE["noor"] | {"groups": ["cafeteria"]}}))
        second = new_page()
        sign_in(second, "noor")
        expect(second.get_by_role("alert")).to_contain_text("none of the groups")
        first.goto("/account")
        expect(first.get_by_role("heading", name="Sign in")).to_be_visible()
    finally:
        people.write_text(json.dumps(PEOPLE))


def test_an_administrator_sets_a_provider_up_and_tries_it(new_page: Callable[..., Page], house: House) -> None:
    page = new_page()
    page.goto(house.admin_link)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Batches").wait_for()
    page.goto("/admin/sign-in/")
    page.get_by_role("link", name="Museum account").click()
    expect(page.locator("#redirect")).to_have_text(f"{house.url}/sign-in/with/museum/back")
    expect(page.get_by_label("Client secret")).to_have_value("")
    page.get_by_role("button", name="Try it").click()
    fill_in_at_provider(page, "noor")
    expect(page.locator("#verdict")).to_contain_text("You would get in as noor@museum.example, a reviewer.")
    page.goto("/admin/sign-in/new")
    page.get_by_label("Name", exact=True).fill("Nobody")
    page.get_by_label("Issuer").fill(f"http://127.0.0.1:{house.provider.port}")
    page.get_by_label("Client ID").fill("retint")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("alert")).to_contain_text("Nobody would get in")
    expect(page.get_by_label("Issuer")).to_have_value(f"http://127.0.0.1:{house.provider.port}")
