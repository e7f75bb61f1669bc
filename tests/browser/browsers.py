"""A real Chromium, and what a page may not do in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}


def program() -> str | None:
    """Where Chromium is; None where it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), headless=True, args=FLAGS)
        yield browser
        browser.close()


def sign_in(context: BrowserContext, link: str) -> None:
    """Use a one-time link in a browser's context."""
    page = context.new_page()
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Batches").wait_for()
    page.close()


def watch(page: Page) -> list[str]:
    """Note down what a page complains about from now on: script errors, refused styles and scripts, lost files."""
    complaints: list[str] = []

    def hear(said: ConsoleMessage) -> None:
        # htmx complains about requests that end because the page is left; a lost connection has a test of its own.
        if said.type in ("error", "warning") and not said.text.startswith("htmx:"):
            complaints.append(f"{said.type}: {said.text}")

    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("console", hear)
    return complaints
