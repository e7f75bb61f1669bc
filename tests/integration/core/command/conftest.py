"""A portal, and `retint push` in the process of the test."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import platforms
from tests.platforms import PlatformUnderTest

from retint.command import cli, client
from retint.settings import Settings


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformUnderTest]:
    """One embedded platform without workers: what is pushed stays ready."""
    settings = Settings(data=tmp_path_factory.mktemp("platform"))
    with platforms.run_platform(settings) as running:
        running.scale(cpu=0, gpu=0)
        yield running


@pytest.fixture
def push(
    platform: PlatformUnderTest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Run `retint push --json` on a folder, with short waits between tries; return what it prints."""
    monkeypatch.setattr(client, "BACKOFF_S", (0.1, 0.2))

    def run(folder: Path, *more: str, status: int = 0) -> dict[str, Any]:
        arguments = ["retint", "push", str(folder), "--json", *more]
        for option, value in (("--server", platform.url), ("--token", platform.token)):
            arguments += [] if option in more else [option, value]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert ended.value.code == status, printed.err
        return dict(json.loads(printed.out))

    return run
