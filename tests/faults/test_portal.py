"""The portal"""

import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx
from sqlalchemy import func, select
from tests.faults import promises
from tests.faults.installation import Installation, count
from tests.faults.promises import Input
from tests.faults.report import fault
from tests.photographs import write_old_prints
from tests.servers import find_free_ports

from retint import accounts
from retint.digests import hash_file
from retint.tables import Batch, Job

PHOTOS = 40
HALF = 3 << 20
UPLOADS = 4
"""What `push` sends at the same time."""


@fault(
    "portal killed in an upload",
    made="SIGKILL of all its processes while `retint push` sends a folder and another file is half sent; "
    "it is started again, and so is `push` where it gave up",
    promise="what was answered with an id is there, what was not is sent again; no file is deposited twice. "
    "An original without a row may stay: originals are never swept",
)
def test_a_portal_killed_in_an_upload_loses_nothing_that_it_accepted(
    installation: Installation, tmp_path: Path
) -> None:
    [port] = find_free_ports(1)
    url, token = f"http://127.0.0.1:{port}", make_token(installation)
    portal = installation.start("portal", "--port", str(port))
    installation.start_all()
    installation.wait_until(lambda: answers(url))
    folder = write_old_prints(tmp_path / "prints", PHOTOS)
    connection = send_half(port, token)
    pushing = start_push(folder, url, token)
    installation.wait_until(lambda: count_jobs(installation) >= 4)
    portal.kill()
    accepted = count_jobs(installation)
    installation.wait_for_death(portal)
    installation.hold_until(lambda: pushing.poll() is not None)
    pushed = [pushing]
    while pushed[-1].returncode and len(pushed) < 3:
        pushed.append(start_push(folder, url, token))
        installation.hold_until(lambda: pushed[-1].poll() is not None)
    connection.close()
    note_inputs(installation, folder)
    remark = f"{accepted} of {PHOTOS} files had arrived; {count(len(pushed), 'run* of `push`')}"
    # An original that was kept as the portal died has no row: originals are never swept.
    strays = len(promises.list_strays(installation.site.services))
    assert strays <= UPLOADS
    remark += f"; {count(strays, 'original*')} without a row, kept" if strays else ""
    installation.recover(killed=1, may_have_strays=True, remark=remark)
    answer = json.loads((folder.parent / "push.json").read_text())
    assert (answer["sent"] + answer["known"], answer["refused"]) == (PHOTOS, {}), answer


def make_token(installation: Installation) -> str:
    with installation.site.services.begin() as session:
        tenant_id = accounts.get_or_create_tenant(session, "museum").id
        return accounts.issue_token(session, accounts.create_user(session, tenant_id, "jo@museum.example"), "tests")


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).is_success
    except httpx.TransportError:
        return False


def send_half(port: int, token: str) -> socket.socket:
    """Send the first half of a file into a batch of its own."""
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "half"}
    batch = httpx.post(f"http://127.0.0.1:{port}/api/v1/batches", json={"name": "half"}, headers=headers).json()
    connection = socket.create_connection(("127.0.0.1", port))
    head = (
        f"PUT /api/v1/batches/{batch['id']}/files?name=half.jpg HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {2 * HALF}\r\n\r\n"
    )
    connection.sendall(head.encode() + bytes(HALF))
    return connection


def start_push(folder: Path, url: str, token: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "retint", "push", str(folder), "--server", url, "--token", token, "--json"]
    with (folder.parent / "push.json").open("wb") as output:
        return subprocess.Popen(command, stdout=output)


def count_jobs(installation: Installation) -> int:
    with installation.site.services.read() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def note_inputs(installation: Installation, folder: Path) -> None:
    """Note the files of a folder, which was pushed as one batch."""
    with installation.site.services.read() as session:
        batch_id = session.scalars(select(Batch.id).where(Batch.name == folder.name)).one()
    files = sorted(folder.rglob("*.jpg"))
    installation.inputs += [Input(batch_id, path.relative_to(folder).as_posix(), hash_file(path)) for path in files]
