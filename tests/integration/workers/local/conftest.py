"""Old prints, and the command `retint` in the process of the test."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.workers.local.commands import Command
from tests.photographs import write_old_prints

from retint.command import cli


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in this process, which has loaded torch once."""
    monkeypatch.setenv("RETINT_WEIGHTS", "nowhere")

    def run(*arguments: object, status: int = 0) -> "subprocess.CompletedProcess[str]":
        monkeypatch.setattr(sys, "argv", ["retint", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert (ended.value.code or 0) == status, printed.err
        return subprocess.CompletedProcess(list(map(str, arguments)), status, printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def prints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_old_prints(tmp_path_factory.mktemp("prints"), 2, side=320)
