"""RETINT_SECRET is changed while people are signed in."""

from dataclasses import replace

from pydantic import SecretStr
from tests.integration.web.conftest import Person, make_browser

from retint.services import Services
from retint_web.app import create_app


def test_a_session_outlives_a_change_of_the_secret_as_long_as_the_former_one_is_named(
    member: Person, services: Services
) -> None:
    cookie = member.browser().get_cookie("retint")
    assert cookie
    assert services.settings.secret
    former = services.settings.secret.get_secret_value()

    def look(**secrets: str) -> int:
        """Look at the first page with the same cookie, at a portal with other secrets."""
        values = {name: SecretStr(value) for name, value in secrets.items()}
        settings = services.settings.model_copy(update=values)
        browser = make_browser(create_app(replace(services, settings=settings)))
        browser.set_cookie("retint", cookie.value)
        return int(browser.get("/").status_code)

    assert look() == 200
    assert look(secret="a new one", former_secrets=f"another, {former}") == 200
    assert look(secret="a new one", former_secrets="another") in (302, 303)
    assert look(secret="a new one") in (302, 303)
