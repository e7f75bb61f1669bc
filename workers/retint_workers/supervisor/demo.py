"""The demonstration: starts a platform, deposits sample photographs through its API, and downloads the results."""

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from retint import accounts
from retint.command.client import Client
from retint.errors import InvalidRequest, Refused, explain
from retint.filetypes import PHOTO_SUFFIXES
from retint.folders import list_files
from retint.names import escape_surrogates, show_name, unique_path
from retint.recipes import Recipe
from retint.services import Services
from retint.settings import Settings
from retint_models.datasets import fading
from retint_workers.supervisor.up import ADMIN, NotStarted

SAMPLES = {
    "astronaut.jpg": ("skimage", "data/astronaut.png"),  # NASA, public domain
    "cat.jpg": ("skimage", "data/chelsea.png"),  # Stéfan van der Walt, CC0
    "coffee.png": ("skimage", "data/coffee.png"),  # Rachel Michetti, CC0
    "rocket.webp": ("skimage", "data/rocket.jpg"),  # SpaceX, CC0
    "palace.tif": ("sklearn", "datasets/images/china.jpg"),  # danielbuechele, CC BY 2.0
    "flower.jpg": ("sklearn", "datasets/images/flower.jpg"),  # vultilion, CC BY 2.0
}
"""Photographs inside installed packages: the print's file name, the package, the file in it."""


@dataclass(frozen=True)
class StartedPlatform:
    """A platform that runs as `retint up` in a child process."""

    process: subprocess.Popen[str]
    url: str
    sign_in_link: str
    token: str


def run(data: Path, photos: Path | None, port: int | None, recipe: Recipe, *, once: bool) -> int:
    """Start a platform, restore photographs with it, and print where the results are.

    Args:
        data: folder of everything that the demo keeps.
        photos: folder of photographs; None for the samples.
        port: the portal's port; None for a free one.
        recipe: what to do.
        once: end when the photos are done, instead of serving until Ctrl-C.

    Returns:
        The exit status: 0 if every photo was restored, 1 if any was not.

    Raises:
        InvalidRequest: there are no photographs in the folder.
        NotStarted: the platform did not start.
    """
    console = Console()
    files = list_files(photos).files if photos else _make_prints(data / "samples")
    if not files:
        raise InvalidRequest(f"There are no photographs in {photos}.")
    with _start_platform(data, port) as platform, Client(platform.url, platform.token) as client:
        name, key = f"Demo: {show_name((photos or Path('old prints')).name)}", secrets.token_urlsafe(12)
        batch = client.open_batch(name, key=key, recipe=recipe)
        deposited = _deposit_files(client, batch["id"], files, console)
        console.print(
            f"Deposited {deposited} photos. Watch them at {platform.url}/batches/{batch['id']}", soft_wrap=True
        )
        console.print(f"Sign in with {platform.sign_in_link}", soft_wrap=True)
        _wait_for_batch(client, batch["id"], deposited, console)
        failed = len(files) - deposited
        failed += _download_results(client, batch["id"], data / "results" / batch["id"], console)
        console.print(f"See before and after at {batch['url']}", soft_wrap=True)
        if not once:
            console.print("Ctrl-C ends the portal.")
            _wait_for_interrupt(platform.process)
    return 1 if failed else 0


def _make_prints(folder: Path) -> list[Path]:
    """Make old prints, gray and faded, from the sample photographs."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for seed, (name, (package, inside)) in enumerate(SAMPLES.items()):
        path = folder / name
        files.append(path)
        found = find_spec(package)
        if not found or not found.origin:
            raise InvalidRequest(f"The sample photographs are in the package {package}: install retint[local].")
        color = np.asarray(Image.open(Path(found.origin).parent / inside).convert("RGB"))
        faded = Image.fromarray(fading.make_old_print(color, seed=seed))
        faded.save(path, quality=92)
    return files


@contextmanager
def _start_platform(data: Path, port: int | None) -> Iterator[StartedPlatform]:
    """Run `retint up` in a child process; it is drained when the block ends."""
    data.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "retint", "up", "--json", "--data", str(data), "--port", str(port or 0)]
    log_file = data / "logs" / "up.log"
    log_file.parent.mkdir(exist_ok=True)
    with log_file.open("ab") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as up:
        try:
            line = up.stdout.readline() if up.stdout else ""
            if not line:
                reasons = log_file.read_text().strip().splitlines()
                raise NotStarted(reasons[-1] if reasons else f"The platform did not start; see {log_file}.")
            announced = json.loads(line)
            services = Services.connect(Settings().model_copy(update={"data": data}))
            with services.begin() as session:
                administrator = accounts.find_user(session, ADMIN)
                token = accounts.issue_token(session, administrator, "demo")
                url, link = announced["url"], announced["sign_in"]
                link = link or f"{url}/sign-in/{accounts.invite(session, administrator)}"
            yield StartedPlatform(up, url, link, token)
        finally:
            up.send_signal(signal.SIGTERM)


def _deposit_files(client: Client, batch_id: str, files: Sequence[Path], console: Console) -> int:
    """Deposit files and print a line for each that is refused; return how many were not."""
    deposited = 0
    for file in files:
        try:
            client.upload(batch_id, show_name(file.name), file, lambda _: None)
            deposited += 1
        except (Refused, OSError) as error:
            sentence = f"{show_name(file.name)} was not sent: {escape_surrogates(explain(error))}"
            console.print(sentence, soft_wrap=True, style="bold", markup=False)
    return deposited


def _wait_for_batch(client: Client, batch_id: str, total: int, console: Console) -> None:
    """Show progress until every photo has ended or is quarantined."""
    with Progress(console=console) as progress:
        bar = progress.add_task("Restoring", total=total)
        while True:
            counts = client.batch(batch_id)["counts"]
            progress.update(bar, completed=counts["ended"] + counts["quarantined"])
            if counts["ended"] + counts["quarantined"] >= total:
                return
            time.sleep(0.5)


def _download_results(client: Client, batch_id: str, folder: Path, console: Console) -> int:
    """Download the results and print a line for each photo; return how many were not restored."""
    failed, taken = 0, set[int]()
    for row in client.jobs(batch_id):
        job = client.job(row["id"])
        outcome, seconds = job["state"], f"{job['seconds']:.1f} s"
        if outcome == "restored":
            path = folder / unique_path(job["name"], PHOTO_SUFFIXES[job["facts"]["render"]["format"]], taken)
            client.download(job["id"], "result", path)
            console.print(f"{job['name']} {outcome} in {seconds}: {path}", soft_wrap=True, highlight=False)
        else:
            failed += 1
            console.print(f"{job['name']} {outcome} after {seconds}: {job['reason']}", soft_wrap=True, style="bold")
    return failed


def _wait_for_interrupt(process: "subprocess.Popen[str]") -> None:
    try:
        process.wait()
    except KeyboardInterrupt:
        return
