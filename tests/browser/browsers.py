"""A real Chromium for tests and pictures, and the errors that pages log in it."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

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


UPLOADS = "**/deposit/uploads"
"""Where the deposit page opens uploads."""


def name_of_upload(request: Request) -> str:
    """Return the file's name that an upload is opened with."""
    pairs = (pair.split(" ") for pair in request.headers["upload-metadata"].split(","))
    return base64.b64decode(dict(pairs)["filename"]).decode()


def find_program() -> str | None:
    """Return the path of Chromium; None if it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_program(), headless=True, args=FLAGS)
        yield browser
        browser.close()


def sign_in(context: BrowserContext, link: str) -> None:
    """Sign a browser's context in with a one-time link."""
    page = context.new_page()
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Batches").wait_for()
    page.close()


def collect_complaints(page: Page) -> list[str]:
    """Collect what a page complains about from now on: script errors, blocked styles and scripts, missing files."""
    complaints: list[str] = []

    def collect(message: ConsoleMessage) -> None:
        # htmx logs requests that are aborted because the page is left; a lost connection has a test of its own.
        if message.type in ("error", "warning") and not message.text.startswith("htmx:"):
            complaints.append(f"{message.type}: {message.text}")

    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("console", collect)
    return complaints
