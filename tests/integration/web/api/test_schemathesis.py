"""What the API answers is what its OpenAPI document says: schemathesis asks a real portal with real data.

Examples, boundary values, random values and sequences of operations are tried, good ones and bad ones, with a token
and without. `make contract` tries more of them.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.integration.web.api.conftest import LivingPortal

CONFIG = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
PHASES = {"few": "examples,coverage,stateful", "many": "examples,coverage,fuzzing,stateful"}
EXAMPLES = {"few": 2, "many": 60}


@pytest.mark.parametrize("backends", ["embedded"], indirect=True)
@pytest.mark.parametrize("amount", ["few", pytest.param("many", marks=pytest.mark.contract)])
def test_answers_are_as_the_openapi_document_says(
    run_living_portal: Callable[..., AbstractContextManager[LivingPortal]], amount: str, tmp_path: Path
) -> None:
    with run_living_portal(is_real=amount == "many") as portal:
        portal.fill()
        ask(portal, tmp_path, "--phases", PHASES[amount], "--max-examples", str(EXAMPLES[amount]))


def ask(portal: LivingPortal, folder: Path, *options: str) -> None:
    """Let schemathesis ask a portal."""
    token = portal.http.headers["Authorization"]
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    options = ("--header", f"Authorization: {token}", "--no-color", *options)
    url = f"{portal.api}/openapi.json"
    environment = os.environ | {"SCHEMATHESIS_HOOKS": str(HOOKS)}
    done = subprocess.run([*command, url, *options], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
