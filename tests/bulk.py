"""Deposits a large folder from Chromium while everything is killed once: `python -m tests.bulk [--files N]`.

The folder goes into a paused batch. On the way the tab, the portal and the store are killed. It prints what the page
costs, and ends with 1 unless receipt, report and folder are the same.
"""

import argparse
import csv
import hashlib
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect
from tests import platforms, servers
from tests.browser import browsers
from tests.platforms import PlatformUnderTest
from tests.servers import Server

from retint.settings import Settings

IN_A_FOLDER: Final = 1000
PAUSE_MS: Final = 500
LIMIT_S: Final = 6 * 3600
NOBODY_ANSWERS: Final = "FileSystemHandle.prototype.requestPermission = async () => 'denied';"
"""What the browser answers for a person: without one, its question whether a page may read a folder stays open."""

Listing = dict[str, tuple[str, str]]
"""Of each file, by its path: bytes and SHA-256."""


@dataclass
class Costs:
    """The most that the page needed."""

    rows: int = 0
    heap: int = 0
    process: int = 0

    def note(self, page: Page) -> None:
        """Look at a page as it is now."""
        self.rows = max(self.rows, page.locator(".sending li").count())
        self.heap = max(self.heap, page.evaluate("performance.memory.usedJSHeapSize"))
        self.process = max(self.process, *measure_renderers(), 0)

    def __str__(self) -> str:
        memory = f"{self.heap / 1e6:.0f} MB of heap in the page, {self.process / 1e6:.0f} MB of its whole process"
        return f"at most {self.rows} rows, {memory}"


def measure_renderers() -> Iterator[int]:
    """Yield the memory of each process of the browser that runs pages and their workers, in bytes."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # one that ended this moment
            if "--type=renderer" in process.cmdline():
                yield process.memory_info().rss


def write_photos(folder: Path, count: int) -> Listing:
    """Write small photos, each of other bytes, a thousand a folder."""
    listing: Listing = {}
    for number in range(count):
        path = folder / f"box-{number // IN_A_FOLDER:03}" / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.linear_gradient("L").resize((24, 16)).convert("RGB")
        for place in range(4):
            picture.putpixel((place, 0), (number >> (6 * place) & 63, 0, 0))
        picture.save(path)
        data = path.read_bytes()
        name = path.relative_to(folder.parent).as_posix()
        listing[name] = (str(len(data)), hashlib.sha256(data).hexdigest())
    return listing


@contextmanager
def run_portal(folder: Path) -> Iterator[tuple[PlatformUnderTest, Server]]:
    """Run a platform on an S3 store, without workers."""
    (folder / "s3").mkdir()
    store = servers.start_seaweedfs(folder / "s3")
    settings = Settings(
        data=folder / "platform",
        store_url="s3://bulk",
        s3_endpoint=f"http://127.0.0.1:{store.port}",
        s3_key=servers.S3_KEY,
        s3_secret=servers.S3_SECRET,
    )
    try:
        with platforms.run_platform(settings) as platform:
            platform.scale(cpu=0, gpu=0)
            yield platform, store
    finally:
        store.kill()


def open_paused_batch(platform: PlatformUnderTest) -> str:
    """Open a batch that nobody works at; return its id."""
    with platform.client() as client:
        batch_id = str(client.open_batch("Bulk", key="bulk")["id"])
    headers = {"Authorization": f"Bearer {platform.token}"}
    httpx.post(f"{platform.url}/api/v1/batches/{batch_id}/pause", headers=headers).raise_for_status()
    return batch_id


def drop(page: Page, folder: Path) -> None:
    """Drop a real folder, as from a file manager."""
    page.locator(".drop").scroll_into_view_if_needed()
    box = page.locator(".drop").bounding_box()
    assert box
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 20}
    dragged = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": dragged})


def wait_until_sent(page: Page, count: int, costs: Costs) -> None:
    """Wait until the page says that so many files were sent."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        costs.note(page)
        text = page.locator("[data-total]").text_content() or ""
        if " of " in text and int(text.split(" of ")[0].replace(",", "")) >= count:
            return
        assert time.monotonic() < deadline, text
        page.wait_for_timeout(PAUSE_MS)


def deposit(
    platform: PlatformUnderTest, store: Server, context: BrowserContext, batch_id: str, folder: Path, count: int
) -> Costs:
    """Deposit the folder; kill tab, portal and store on the way."""
    costs, started = Costs(), time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {what}", flush=True)

    page = context.new_page()
    page.goto(f"/deposit?batch={batch_id}")
    drop(page, folder)
    page.get_by_role("button", name=f"Deposit {count:,} photos").wait_for(timeout=LIMIT_S * 1000)
    say("listed")
    page.get_by_role("button", name=f"Deposit {count:,} photos").click()
    wait_until_sent(page, count // 4, costs)
    page.close()
    say(f"the tab was killed; {costs}")
    page = context.new_page()
    page.goto(f"/deposit?batch={batch_id}")
    page.get_by_role("button", name="Go on", exact=True).click()
    page.get_by_text("Drop it again").wait_for()
    drop(page, folder)
    wait_until_sent(page, count // 2, costs)
    platform.kill("portal")
    say("the portal was killed")
    wait_until_sent(page, count * 3 // 4, costs)
    store.kill()
    expect(page.locator("[data-waits]")).to_be_visible(timeout=120_000)
    say(f"the store was killed: {page.locator('[data-waits]').inner_text()}")
    store.start()
    page.wait_for_url(f"**/batches/{batch_id}", timeout=LIMIT_S * 1000)
    say("all sent")
    print(f"{count:,} files in {(time.monotonic() - started) / 60:.1f} minutes; {costs}")
    return costs


def read_table(platform: PlatformUnderTest, path: str, *columns: str) -> Listing:
    """Read a table of the batch as a listing; a file that stands there twice is a fault."""
    rows = list(csv.DictReader(io.StringIO(platform.get(path).text)))
    listing = {row[columns[0]]: (row[columns[1]], row[columns[2]]) for row in rows}
    assert len(listing) == len(rows), f"{path} names files twice"
    return listing


def main(count: int) -> int:
    """Make the photos, deposit them, compare."""
    with tempfile.TemporaryDirectory() as temporary:
        expected = write_photos(Path(temporary) / "estate", count)
        with run_portal(Path(temporary)) as (platform, store), browsers.chromium() as browser:
            context = browser.new_context(base_url=platform.url, **browsers.DESKTOP)
            context.add_init_script(NOBODY_ANSWERS)
            browsers.sign_in(context, platform.sign_in_link)
            batch_id = open_paused_batch(platform)
            costs = deposit(platform, store, context, batch_id, Path(temporary) / "estate", count)
            address = f"/api/v1/batches/{batch_id}"
            receipt = read_table(platform, f"{address}/receipt.csv", "path", "bytes", "sha256")
            report = read_table(platform, f"{address}/report.csv", "file", "original_bytes", "original_sha256")
    is_whole = receipt == report == expected
    print("receipt = report = folder" if is_whole else "receipt, report and folder differ")
    return 0 if is_whole and costs.rows <= 100 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000, help="how many files")
    sys.exit(main(parser.parse_args().files))
