"""Every colorizer on what people deposit: any size, one tone, drawings. Weights follow from the tensors' names."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tests import named_weights
from tests.layer_equality import assert_the_same_in_any_bundle
from tests.photographs import color_photo
from torch import nn

from retint_models.layers.color import LUMA
from retint_models.layers.rendering import colorize_proxy
from retint_models.layers.types import ColorLayer
from retint_models.networks import ddcolor, deoldify, deoldify_2018, lab_resnet18, registry, yuv_gan

LEAST = {"render_factor": 7.0}
"""The smallest square: heavy networks decide on it in a moment."""
NETWORKS: dict[str, tuple[str, Callable[[], nn.Module], dict[str, float]]] = {
    "artistic": ("artistic", lambda: deoldify.DeoldifyGenerator(deoldify.DEEP), LEAST),
    "ddcolor-tiny": ("ddcolor-tiny", lambda: ddcolor.Ddcolor(ddcolor.TINY), {"side": 256.0}),
    "deoldify-2018": ("deoldify-2018", deoldify_2018.Generator2018, LEAST),
    "yuv-gan": ("yuv-gan", yuv_gan.YuvGenerator, {}),
    "lab-resnet18, tutorial": ("lab-resnet18", lab_resnet18.TutorialNetwork, {}),
    "lab-resnet18, repository": ("lab-resnet18", lab_resnet18.RepositoryNetwork, {}),
}
Decide = Callable[..., list[ColorLayer]]


@pytest.fixture(scope="module", params=NETWORKS)
def decide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Decide:
    """A colorizer with its smallest settings, as the registry gives it after an import."""
    name, make, settings = NETWORKS[request.param]
    with torch.device("meta"):
        network = make()
    folder = tmp_path_factory.mktemp("imported")
    card = named_weights.write_card(name, named_weights.tensors_for(network), folder)
    colorizer = registry.load_colorizer(name, "cpu", folder)
    card.path.unlink()  # pytest keeps folders, and these weigh hundreds of megabytes
    return lambda pictures, **more: colorizer(pictures, settings | more)


def gray(number: int, height: int, width: int) -> NDArray[np.uint8]:
    luma = np.rint(color_photo(number, 256)[:height, :width] @ np.array(LUMA)).astype(np.uint8)
    return np.repeat(luma[..., None], 3, 2)


def drawing() -> NDArray[np.uint8]:
    """Line art: ink, and a stroke of gray chalk, on white paper."""
    sheet = Image.new("RGB", (210, 150), "white")
    pen = ImageDraw.Draw(sheet)
    pen.line([(0, 120), (210, 118)], "black", 2)
    pen.rectangle([30, 60, 100, 119], outline="black", width=2)
    pen.polygon([(25, 60), (65, 25), (105, 60)], outline="black")
    pen.ellipse([140, 20, 180, 60], outline="black", width=3)
    pen.line([(130, 75), (195, 95)], "gray", 5)
    for place in range(0, 210, 7):
        pen.line([(place, 122), (place + 4, 149)], "black")
    return np.asarray(sheet)


def assert_sound(layer: ColorLayer, proxy: NDArray[np.uint8]) -> None:
    """It can be kept, has the proxy's aspect and at most its size, and leaves luma alone."""
    assert ColorLayer.from_bytes(layer.to_bytes()).record == layer.record
    scales = [ours / theirs for ours, theirs in zip(layer.luma.shape, proxy.shape, strict=False)]
    assert max(scales) <= 1
    assert abs(scales[0] - scales[1]) <= 1 / min(proxy.shape[:2])
    moved = colorize_proxy(proxy, layer) @ np.array(LUMA) - proxy @ np.array(LUMA)
    assert np.abs(moved).max() <= 1


def test_a_proxy_of_any_size_gets_a_sound_layer(decide: Decide) -> None:
    proxies = [gray(0, 1, 1), gray(1, 1, 90), gray(2, 70, 1), gray(3, 51, 37), gray(4, 90, 241)]
    for proxy, layer in zip(proxies, decide(proxies), strict=True):
        assert_sound(layer, proxy)


def test_black_stays_black_and_white_stays_white(decide: Decide) -> None:
    proxies = [np.full((60, 40, 3), value, np.uint8) for value in (0, 255)]
    for proxy, layer in zip(proxies, decide(proxies), strict=True):
        assert np.array_equal(colorize_proxy(proxy, layer), proxy)


def test_a_drawing_is_colored_and_its_ink_stays_ink(decide: Decide) -> None:
    proxy = drawing()
    layer = decide([proxy])[0]
    assert_sound(layer, proxy)
    assert np.abs(layer.chroma).max() > 0.01
    colored = colorize_proxy(proxy, layer)
    assert np.array_equal(colored[proxy == 0], proxy[proxy == 0])


def test_different_pictures_get_different_colors(decide: Decide) -> None:
    one, other = decide([gray(0, 120, 90), gray(2, 120, 90)])
    assert np.abs(one.chroma.astype(np.float32) - other.chroma).max() > 0.01
    assert decide([]) == []


def test_a_picture_is_decided_the_same_whatever_is_beside_it(decide: Decide) -> None:
    assert_the_same_in_any_bundle(decide, gray(0, 96, 72), [gray(1, 96, 72), gray(2, 96, 72)], [gray(3, 72, 96)])


def test_a_layer_says_what_made_it_and_that_nothing_is_known_of_its_confidence(
    decide: Decide, request: pytest.FixtureRequest
) -> None:
    layer = decide([gray(0, 30, 40)])[0]
    name, _, settings = NETWORKS[request.node.callspec.params["decide"]]
    assert layer.record["colorizer"] == name
    assert len(layer.record["weights"]) == 64
    assert layer.record["settings"] == settings
    assert layer.record["precision"] in ("float32", "bfloat16")
    assert layer.record["decided_at"].endswith("+00:00")
    assert (layer.confidence == 128).all()


@pytest.mark.parametrize(
    "proxy", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)], ids=str
)
def test_what_is_no_proxy_is_refused(decide: Decide, proxy: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"a proxy is uint8 \(h, w, 3\)"):
        decide([proxy])


@pytest.mark.parametrize("setting", [{"gain": 1.0}, {"render_factor": 46}, {"render_factor": 7.5}], ids=str)
def test_what_is_no_setting_is_refused(decide: Decide, setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"has no setting|is a whole number between 7 and 45"):
        decide([gray(0, 30, 40)], **setting)
