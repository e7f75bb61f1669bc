"""Pictures of every page, phone and desktop, light and dark: `python -m tests.browser.pictures FOLDER`.

Runs a platform of its own, deposits old prints of public-domain photographs, waits until they are restored.
`portal-batch.jpg` and `portal-photo.jpg` are those of docs/. Text is drawn in this machine's system font.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import numpy as np
import skimage.data
from PIL import Image
from playwright.sync_api import Browser, Page
from tests import films, platforms
from tests.browser import browsers

from retint.command.client import Client
from retint.settings import Settings
from retint_models.datasets import fading

Box = tuple[float, float, float, float]

PRINTS: dict[str, tuple[str, Box]] = {
    "portrait.jpg": ("astronaut", (0, 0, 1, 1)),
    "breakfast.jpg": ("coffee", (0, 0, 1, 1)),
    "the cat.jpg": ("chelsea", (0, 0, 1, 1)),
    "launch.jpg": ("rocket", (0, 0, 1, 1)),
    "portrait, nearer.jpg": ("astronaut", (0.2, 0, 0.75, 0.55)),
    "launch, tower.jpg": ("rocket", (0.3, 0.1, 0.8, 1)),
    "the cat, asleep.jpg": ("chelsea", (0.05, 0.1, 0.75, 1)),
    "breakfast, cup.jpg": ("coffee", (0.1, 0.1, 0.75, 0.95)),
}
"""A print's name: the photograph in scikit-image that it is made of, and which part, as left, top, right, bottom."""

WIDTH = 1400
"""Pixels of the prints' long side: old prints are scanned, not enlarged thumbnails."""

DEVICES = {"desktop": browsers.DESKTOP, "phone": browsers.PHONE}


def make_prints(folder: Path) -> list[Path]:
    """Make the gray and faded prints; return their paths."""
    paths = []
    for seed, (name, (photograph, box)) in enumerate(PRINTS.items()):
        whole = Image.fromarray(getattr(skimage.data, photograph)())
        edges = [round(edge * whole.size[axis % 2]) for axis, edge in enumerate(box)]
        part = whole.crop((edges[0], edges[1], edges[2], edges[3]))
        scale = WIDTH / max(part.size)
        part = part.resize((round(part.width * scale), round(part.height * scale)), Image.Resampling.LANCZOS)
        paths.append(folder / name)
        Image.fromarray(fading.make_old_print(np.asarray(part), seed=seed)).save(paths[-1], quality=92)
    return paths


def deposit(client: Client, name: str, files: list[Path]) -> str:
    """Deposit a batch; return its id."""
    batch = client.open_batch(name, key=name)
    for file in files:
        client.upload(batch["id"], f"album/{file.name}", file, lambda _: None)
    return str(batch["id"])


def wait(client: Client, batch_id: str) -> None:
    """Wait until no job of a batch waits or runs."""
    while (counts := client.batch(batch_id)["counts"])["ended"] + counts["quarantined"] < counts["total"]:
        sleep(0.5)


def find_pages(client: Client, batch_id: str) -> dict[str, str]:
    """Return the path of each page by name."""
    found = {"batches": "/", "batch": f"/batches/{batch_id}", "deposit": "/deposit", "workers": "/admin/"}
    for job in client.jobs(batch_id):
        kind = "film" if job["name"].endswith(".mp4") else "photo"
        found.setdefault(kind if job["state"] == "restored" else str(job["state"]), f"/jobs/{job['id']}")
    return found | {
        "networks": "/networks",
        "network": "/networks/compact",
        "not-here": "/networks/stable",
        "try": "/trials/new",
        "account": "/account",
        "catalogue": f"/batches/{batch_id}/catalogue",
        "search": "/search?q=cat",
        "light-table": f"/batches/{batch_id}/light-table",
        "again": f"/batches/{batch_id}/again",
    }


def try_photo(browser: Browser, url: str, state: object, photo: str) -> dict[str, str]:
    """Try a photo of a batch and wait for the results; return the paths of the trial and of the deposit form."""
    context = browser.new_context(base_url=url, storage_state=state)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(photo)
    page.get_by_role("button", name="Try other networks").click()
    page.locator("#progress:not([hx-get])").wait_for(timeout=120_000)
    use = page.get_by_role("link", name="Use this").first.get_attribute("href")
    found = {"trial": page.url.removeprefix(url), "use": str(use)}
    context.close()
    return found


def prove(client: Client, files: list[Path]) -> dict[str, str]:
    """Open the proof of a paused batch and wait for its results; return the path of its page."""
    batch = client.open_batch("Glass plates", key="Glass plates", paused=True)
    address = f"/batches/{batch['id']}/proof"
    for file in files:
        client.upload(batch["id"], file.name, file, lambda _: None)
    client.call("POST", f"/api/v1{address}", status=201, json={})
    while not client.get(f"/api/v1{address}")["is_over"]:
        sleep(0.5)
    return {"proof": address}


def take_pictures(browser: Browser, url: str, state: object, paths: dict[str, str], folder: Path) -> Iterator[Path]:
    """Take a picture of every page on every device, light and dark; yield their paths."""
    for device, options in DEVICES.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(base_url=url, storage_state=state, color_scheme=scheme, **options)  # type: ignore[arg-type]
            page = context.new_page()
            for name, path in paths.items():
                page.goto(path)
                wait_for_images(page)
                yield take_picture(page, folder / f"{name}-{device}-{scheme}.jpg")
                if name == "photo":
                    veil = page.get_by_text("Where the network guesses", exact=True)
                    veil.click()
                    page.locator("#guesses .scale").wait_for()
                    page.wait_for_load_state("networkidle")
                    yield take_picture(page, folder / f"guesses-{device}-{scheme}.jpg")
                    veil.click()
                    page.get_by_role("button", name="Look closer").click()
                    page.locator("dialog .picture[data-drawn]").wait_for()
                    page.get_by_role("button", name="Zoom in").click()
                    page.wait_for_timeout(1500)
                    yield take_picture(page, folder / f"closer-{device}-{scheme}.jpg")
            context.close()


def take_picture(page: Page, target: Path) -> Path:
    """Take one picture; return its path."""
    page.screenshot(path=target, type="jpeg", quality=85)
    return target


def wait_for_images(page: Page) -> None:
    """Wait until the first screen's images are shown, and move the slider so that more of the result is seen."""
    page.wait_for_load_state("networkidle")
    for slider in page.locator(".compare input").all():
        slider.fill("34")
        slider.blur()
    shown = "[...document.images].filter(i => i.currentSrc && i.loading !== 'lazy')"
    page.evaluate(f"Promise.all({shown}.map(i => i.decode()))")
    page.wait_for_timeout(400)


def picture_unfinished(browser: Browser, url: str, state: object, batch_id: str, target: Path) -> None:
    """Take a picture of a batch while it is restored."""
    context = browser.new_context(base_url=url, storage_state=state, **browsers.DESKTOP)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"/batches/{batch_id}")
    page.locator(".card .restored").nth(2).wait_for(timeout=120_000)
    take_picture(page, target)
    context.close()


def main(folder: Path) -> None:
    """Make the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary)
        prints = make_prints(data)
        (data / "letter.jpg").write_text("Dear Sir, this is no photograph.")
        film = films.write(data / "home.mp4", films.two_scenes(48, (640, 480)))
        with (
            platforms.run_platform(Settings(data=data / "platform")) as running_platform,
            running_platform.client() as client,
            browsers.chromium() as browser,
        ):
            context = browser.new_context()
            browsers.sign_in(context, running_platform.sign_in_link)
            state = context.storage_state()
            batch_id = deposit(client, "Family albums, first box", [*prints, film, data / "letter.jpg"])
            picture_unfinished(browser, running_platform.url, state, batch_id, folder / "portal-batch.jpg")
            wait(client, batch_id)
            paths = find_pages(client, batch_id)
            paths |= prove(client, prints[:4])
            paths |= try_photo(browser, running_platform.url, state, paths["photo"])
            for picture in take_pictures(browser, running_platform.url, state, paths, folder):
                print(picture, picture.stat().st_size // 1000, "kB")
            shutil.copyfile(folder / "photo-desktop-light.jpg", folder / "portal-photo.jpg")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    main(parser.parse_args().folder)
