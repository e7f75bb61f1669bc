"""What documents tell developers of clients to type works: every example runs, in order, against a real portal."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.integration.web.api.conftest import LivingPortal, make_print

from retint.lifecycle import State
from retint.tables import Job

EMBEDDED = pytest.mark.parametrize("backends", ["embedded"], indirect=True)

DOCS = Path(__file__).parents[4] / "docs"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = ("clients.md",)
"""Those whose examples are run. One with examples of the API must stand here."""


def read_blocks(name: str, language: str) -> list[str]:
    return [source for kind, source in BLOCK.findall((DOCS / name).read_text()) if kind == language]


@contextmanager
def workers(portal: LivingPortal) -> Iterator[None]:
    """Restore what is deposited, as workers would, until the block ends."""
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(0.1):
            with portal.services.read() as session:
                ready = [str(job_id) for job_id in session.scalars(select(Job.id).where(Job.state == State.READY))]
            if ready:
                portal.restore(ready)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that the examples are run in."""
    folder = tmp_path / "reader"
    (folder / "scans").mkdir(parents=True)
    for number in range(3):
        (folder / "scans" / f"{number}.jpg").write_bytes(make_print(number))
    (folder / "harbour.jpg").write_bytes(make_print(7))
    return folder


def run(portal: LivingPortal, command: list[str], source: str, folder: Path) -> None:
    token = portal.http.headers["Authorization"].removeprefix("Bearer ")
    variables = os.environ | {"RETINT": portal.api, "TOKEN": token}
    with workers(portal):
        done = subprocess.run(
            [*command, source], cwd=folder, env=variables, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stdout + done.stderr


@EMBEDDED
@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_examples_in_curl_work(living_portal: LivingPortal, document: str, folder: Path) -> None:
    blocks = read_blocks(document, "sh")
    assert blocks
    run(living_portal, ["bash", "-euo", "pipefail", "-c"], "\n".join(blocks), folder)
    assert (folder / "restored.jpg").read_bytes() == b"the result"


@EMBEDDED
@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_examples_in_python_work(living_portal: LivingPortal, document: str, folder: Path) -> None:
    blocks = read_blocks(document, "python")
    assert blocks
    run(living_portal, [sys.executable, "-W", "error", "-c"], "\n".join(blocks), folder)
    assert sorted(path.name for path in (folder / "restored").iterdir()) == ["0.jpg", "1.jpg", "2.jpg"]
    assert (folder / "report.csv").read_text().count("approved") == 3
    batches = living_portal.call("GET", "/batches")["items"]
    deposited = {batch["name"]: batch["counts"]["total"] for batch in batches}
    assert deposited == {"scans": 4, "Again": 3}, "what is sent in parts is in the batch, too"


def test_no_example_of_the_api_is_left_out() -> None:
    for path in DOCS.glob("*.md"):
        blocks = [source for _, source in BLOCK.findall(path.read_text())]
        calls = [
            source for source in blocks if "import httpx" in source or "/api/v1/" in source or "$RETINT/" in source
        ]
        assert not calls or path.name in DOCUMENTS, f"{path.name} has examples that no test runs"
