"""The page of a photo: the slider, deep zoom, what it says, what it gives."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect
from tests import films
from tests.browser import browsers

RESTORED_MS = 120_000
ZOOM_MS = 60_000


@pytest.fixture
def open_restored(
    open_page: Callable[..., Page], make_print: Callable[..., Path], deposit: Callable[..., str]
) -> Callable[..., Page]:
    """Open the page of a restored photo."""

    def open_(side: int = 256, **options: object) -> Page:
        page = open_page(deposit("One print", [make_print(side=side)]), **options)
        expect(page.locator("#progress strong")).to_have_text("1 of 1 restored", timeout=RESTORED_MS)
        page.locator(".card .name").click()
        return page

    return open_


def share_before(page: Page) -> float:
    """Share of the picture's width that the original covers, 0 to 1, from the computed clip path."""
    before = page.locator(".compare .before")
    expect(before).to_have_css("clip-path", re.compile(r"inset\("))  # the script may run after the page is shown
    return float(before.evaluate("img => 1 - parseFloat(getComputedStyle(img).clipPath.split(' ')[1]) / 100"))


def test_the_slider_moves_by_keyboard_and_by_mouse(open_restored: Callable[..., Page]) -> None:
    page = open_restored()
    slider = page.get_by_role("slider")
    assert share_before(page) == pytest.approx(0.5)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert 0.5 < share_before(page) < 0.6
    page.keyboard.press("Home")
    assert share_before(page) == 0
    expect(slider).to_have_attribute("aria-valuetext", "0 % before, 100 % after")
    page.keyboard.press("End")
    assert share_before(page) == 1
    box = page.locator(".compare").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert share_before(page) == pytest.approx(0.25, abs=0.02)


def test_the_pictures_before_and_after_lie_on_each_other(open_restored: Callable[..., Page]) -> None:
    page = open_restored()
    for which in ("before", "after"):
        expect(page.locator(f".compare .{which}")).to_have_js_property("complete", True)
        assert page.locator(f".compare .{which}").evaluate("img => img.naturalWidth") > 0
    boxes = [page.locator(f".compare .{which}").bounding_box() for which in ("before", "after")]
    assert boxes[0] == boxes[1]


def test_the_preview_is_shown_until_the_tiles_of_the_full_size_are_made(open_restored: Callable[..., Page]) -> None:
    page = open_restored(side=2100)
    asked: list[str] = []
    tiles: list[str] = []

    def keep_waiting(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(status=202, headers={"Retry-After": "1"}, json={"detail": "It is being prepared."})

    page.clock.install()
    page.route("**/zoom.dzi", keep_waiting)
    page.on("response", lambda answer: tiles.append(answer.url) if "zoom_files" in answer.url and answer.ok else None)
    page.get_by_role("button", name="Look closer").focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog .picture[data-drawn]")).to_have_count(1)
    status = page.locator("dialog").get_by_role("status")
    expect(status).to_have_text("Preparing full zoom …")
    page.clock.fast_forward("10:00")
    expect(status).to_have_text("The full zoom is not ready yet.")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    page.keyboard.press("Enter")  # the focus is back on the button
    expect(status).to_have_text("Preparing full zoom …")
    asked.clear()
    page.wait_for_timeout(3000)
    assert 1 <= len(asked) <= 3, "ever less often, and not twice at a time"
    page.unroute("**/zoom.dzi")
    expect(page.locator("dialog .picture[data-full]")).to_have_count(1, timeout=ZOOM_MS)
    expect(status).to_have_text("")
    first = {int(tile.split("/")[-2]) for tile in tiles}
    for _ in range(6):
        page.get_by_role("button", name="Zoom in").click()
    page.wait_for_timeout(1500)
    assert max(int(tile.split("/")[-2]) for tile in tiles) > max(first)
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()


def test_a_small_photo_can_be_looked_at_closely_too(open_restored: Callable[..., Page]) -> None:
    page = open_restored()
    page.get_by_role("button", name="Look closer").click()
    expect(page.locator("dialog .picture[data-drawn]")).to_have_count(1)
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("dialog")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_veil_shows_where_the_network_guesses_and_is_switched_by_keyboard(
    scheme: str, open_restored: Callable[..., Page]
) -> None:
    page = open_restored(**browsers.PHONE, color_scheme=scheme)
    veil, legend = page.locator(".guesses"), page.locator("#guesses")
    expect(veil).to_be_hidden()
    switch = page.get_by_label("Where the network guesses").and_(page.get_by_role("checkbox"))
    switch.focus()
    with page.expect_response("**/confidence.png") as painted:
        page.keyboard.press("Space")
    assert min(Image.open(io.BytesIO(painted.value.body())).size) == 256
    expect(veil).to_be_visible()
    expect(legend).to_contain_text("of this picture is a guess")
    expect(legend).to_have_attribute("role", "status")
    expect(switch).to_have_accessible_description(re.compile("a guess"))
    assert veil.bounding_box() == page.locator(".compare .after").bounding_box()
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    page.get_by_role("button", name="Look closer").click()
    expect(page.locator("dialog [data-veil]")).to_be_visible()
    page.keyboard.press("Escape")
    switch.focus()
    page.keyboard.press("Space")
    expect(veil).to_be_hidden()
    expect(legend).to_be_hidden()


def test_a_veil_that_cannot_be_loaded_says_so_and_can_be_asked_for_again(
    open_page: Callable[..., Page], make_print: Callable[..., Path], deposit: Callable[..., str]
) -> None:
    page = open_page(deposit("One print", [make_print()]), forgive="ERR_FAILED")
    expect(page.locator("#progress strong")).to_have_text("1 of 1 restored", timeout=RESTORED_MS)
    page.locator(".card .name").click()
    page.route("**/guesses", lambda route: route.abort())
    switch = page.get_by_label("Where the network guesses").and_(page.get_by_role("checkbox"))
    switch.check()
    expect(page.locator("#guesses")).to_contain_text("could not be loaded")
    page.unroute("**/guesses")
    switch.uncheck()
    switch.check()
    expect(page.locator("#guesses")).to_contain_text("is a guess")


def test_it_says_what_was_done_and_gives_the_files(open_restored: Callable[..., Page]) -> None:
    page = open_restored()
    expect(page.locator(".story")).to_contain_text("The colors are conjecture.")
    for stage in ("ingest", "colorize", "defade", "render"):
        expect(page.locator(".way li", has_text=stage)).to_contain_text("done")
        expect(page.locator(".way li", has_text=stage)).to_contain_text("1 attempt")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download result").click()
    assert Path(download.value.path()).read_bytes()[:2] == b"\xff\xd8"
    for name in ("Original", "Provenance record", "Color layer", "Density layer"):
        with page.expect_download() as download:
            page.locator(".files").get_by_role("link", name=name).click()
        assert Path(download.value.path()).stat().st_size > 0


def test_a_film_plays_before_and_after_in_step(
    open_page: Callable[..., Page], deposit: Callable[..., str], tmp_path: Path
) -> None:
    film = films.write(tmp_path / "street.mp4", films.two_scenes(12))
    page = open_page(deposit("A film", [film]))
    expect(page.locator("#progress strong")).to_have_text("1 of 1 restored", timeout=RESTORED_MS)
    expect(page.locator(".card")).to_contain_text("film")
    page.locator(".card .name").click()
    before, after = (page.get_by_label(label, exact=True) for label in ("street.mp4, before", "street.mp4, restored"))
    for player in (before, after):
        expect(player).to_have_js_property("readyState", 4)
        assert player.evaluate("video => video.error") is None
        assert player.evaluate("video => video.duration") == pytest.approx(0.5, abs=0.1)
    after.evaluate("video => { video.currentTime = 0.25; }")
    expect(before).to_have_js_property("currentTime", 0.25)
    before.evaluate("video => video.play()")
    expect(after).to_have_js_property("ended", True)
    expect(page.get_by_text("12 frames at 24 a second")).to_be_visible()
    expect(page.get_by_role("button", name="Look closer")).to_have_count(0)


@pytest.fixture
def open_album(
    open_page: Callable[..., Page], make_print: Callable[..., Path], deposit: Callable[..., str], tmp_path: Path
) -> Callable[..., Page]:
    """Open the page of a restored photo of two pages."""

    def open_(**options: object) -> Page:
        album = tmp_path / "album.tif"
        sides = [Image.open(make_print(side=side)) for side in (2600, 200)]
        sides[0].save(album, save_all=True, append_images=sides[1:], compression="jpeg")
        page = open_page(deposit("Both sides", [album]))
        expect(page.locator("#progress strong")).to_have_text("1 of 1 restored", timeout=RESTORED_MS)
        return open_page(str(page.locator(".card .name").get_attribute("href")), **options)

    return open_


@pytest.mark.parametrize(
    "options",
    [{}, {"viewport": {"width": 360, "height": 740}}, {"java_script_enabled": False}],
    ids=["desktop", "phone", "without script"],
)
def test_each_page_of_a_photo_is_shown_before_and_after(
    open_album: Callable[..., Page], options: dict[str, object]
) -> None:
    page = open_album(**options)
    pages = page.get_by_role("navigation", name="Pages of the file")
    expect(pages.get_by_role("link")).to_have_text([re.compile("page *1"), "2"])
    expect(pages.get_by_role("link", name="Page 1")).to_have_attribute("aria-current", "page")
    expect(page.get_by_text("2 photographs")).to_be_visible()
    pages.get_by_role("link", name="Page 2").focus()
    page.keyboard.press("Enter")
    expect(pages.get_by_role("link", name="Page 2")).to_have_attribute("aria-current", "page")
    for which in ("before", "after"):
        expect(page.locator(f".compare .{which}")).to_have_js_property("naturalWidth", 200)
    expect(page.get_by_text("200 × 200 pixels")).to_be_visible()
    expect(page.get_by_role("link", name="Color layer")).to_have_attribute("href", re.compile("/color-2[?]"))
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_deep_zoom_shows_the_page_that_was_chosen(open_album: Callable[..., Page]) -> None:
    page = open_album()
    tiles: list[str] = []
    page.on("response", lambda answer: tiles.append(answer.url) if "zoom_files" in answer.url and answer.ok else None)
    page.get_by_role("button", name="Look closer").click()
    expect(page.locator("dialog .picture[data-full]")).to_have_count(1, timeout=ZOOM_MS)
    assert tiles


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_outline_of_the_picture_lies_on_it_and_is_switched_off_by_keyboard(
    scheme: str,
    open_page: Callable[..., Page],
    make_print: Callable[..., Path],
    deposit: Callable[..., str],
    tmp_path: Path,
) -> None:
    mount = Image.new("RGB", (400, 500), (120, 84, 50))
    with Image.open(make_print(side=240)) as picture:
        mount.paste(picture.convert("RGB"), (80, 100))
    mount.save(tmp_path / f"{scheme}.png")
    page = open_page(deposit("Album", [tmp_path / f"{scheme}.png"]), **browsers.PHONE, color_scheme=scheme)
    expect(page.locator("#progress strong")).to_have_text("1 of 1 restored", timeout=RESTORED_MS)
    page.locator(".card .name").click()
    outline, whole = page.locator(".outline rect").first, page.locator(".compare .before")
    expect(outline).to_be_visible()
    drawn, shown = outline.bounding_box(), whole.bounding_box()
    assert drawn
    assert shown
    scale = shown["width"] / 400
    corners = (drawn["x"] - shown["x"], drawn["y"] - shown["y"], drawn["width"], drawn["height"])
    assert corners == pytest.approx((80 * scale, 100 * scale, 240 * scale, 240 * scale), abs=6)
    switch = page.get_by_label("Outline of the picture")
    switch.focus()
    page.keyboard.press("Space")
    expect(outline).to_be_hidden()
    page.keyboard.press("Space")
    expect(outline).to_be_visible()
    page.get_by_text("Restore another part of the scan").click()
    page.get_by_label("The whole page").check()
    page.get_by_role("button", name="Restore again").click()
    page.wait_for_url("**/trials/*")
