"""One platform and one browser for all browser tests; each test has its own page and its own batches."""

import uuid
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from tests import photographs, platforms
from tests.browser import browsers
from tests.platforms import PlatformUnderTest

from retint import accounts
from retint.services import Services
from retint.settings import Settings
from retint_models.datasets import fading

expect.set_options(timeout=20_000)  # other programs may want the machine, too


@pytest.fixture(scope="session")
def running_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformUnderTest]:
    """A platform as `retint up` runs it on one machine."""
    settings = Settings(data=tmp_path_factory.mktemp("platform"), requeue_s=3, tick_s=0.1, backoff_s=0.5)
    with platforms.run_platform(settings) as running:
        yield running


@pytest.fixture(scope="session")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    if browsers.find_program() is None:
        missing = "no Chromium here: apt-get install chromium"
        (pytest.fail if request.config.getoption("--no-skips") else pytest.skip)(missing)
    with browsers.chromium() as running:
        yield running


@pytest.fixture(scope="session")
def signed_in(running_platform: PlatformUnderTest, browser: Browser) -> Any:
    """The cookies of the administrator's session."""
    context = browser.new_context()
    browsers.sign_in(context, running_platform.sign_in_link)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_page(running_platform: PlatformUnderTest, browser: Browser, signed_in: Any) -> Iterator[Callable[..., Page]]:
    """Open pages as the administrator. At the end, no page may have logged errors, except those with `forgive`."""
    contexts, watched = [], []

    def open_(path: str = "/", *, forgive: str = "", **options: Any) -> Page:
        context = browser.new_context(
            base_url=running_platform.url, storage_state=signed_in, **browsers.DESKTOP | options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        watched.append((browsers.collect_complaints(page), forgive))
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    complaints_made = [(complaint, forgive) for complaints, forgive in watched for complaint in complaints]
    assert [complaint for complaint, forgive in complaints_made if not forgive or forgive not in complaint] == []


@pytest.fixture
def new_link(running_platform: PlatformUnderTest) -> Callable[[], str]:
    """Make a new one-time link."""

    def make() -> str:
        services = Services.connect(running_platform.settings)
        with services.begin() as session:
            secret = accounts.invite(session, accounts.find_user(session, platforms.ADMIN))
        services.engine.dispose()
        return f"{running_platform.url}/sign-in/{secret}"

    return make


@pytest.fixture
def make_print(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Make a gray and faded print that was not deposited before; a test gets the same ones whatever runs before it."""
    seeds = count(zlib.crc32(request.node.nodeid.encode()))

    def make(name: str = "", side: int = 256) -> Path:
        seed = next(seeds)
        path = tmp_path / (name or f"print-{seed}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(fading.make_old_print(photographs.color_photo(seed, side), seed=seed)).save(path, quality=88)
        return path

    return make


@pytest.fixture
def deposit(running_platform: PlatformUnderTest) -> Callable[..., str]:
    """Deposit files by the API; return the address of the batch's page."""

    def deposit_files(name: str, files: list[Path]) -> str:
        with running_platform.client() as client:
            batch = client.open_batch(name, key=str(uuid.uuid4()))
            for file in files:
                client.upload(batch["id"], file.name, file, lambda _: None)
        return f"/batches/{batch['id']}"

    return deposit_files
