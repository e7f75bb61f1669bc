"""The hash of a recipe, and which networks and settings it may name."""

import json
from pathlib import Path

import pytest

from retint import recipes
from retint.errors import InvalidRequest
from retint.recipes import Recipe
from retint.region import WHOLE, Rectangle, Region

BEFORE_WATERMARKS = (
    '{"colorizer":"compact","colorizer_settings":{},"defader":"compact-defade","insist":false,'
    '"proxy_side":768,"strength":1.0}',
    "ab511986061b1cf5d171d37501ba4d5db0ce58e0f8f1f2e210b09eabd79d0d1f",
)
"""The default recipe's canonical JSON and hash, as batches of the first version keep them."""


def test_a_field_that_came_later_does_not_rename_the_recipes_that_are_there() -> None:
    text, _ = BEFORE_WATERMARKS
    recipe = recipes.parse(json.loads(text))
    assert not recipe.watermark
    assert (recipe.canonical, recipe.hash) == BEFORE_WATERMARKS
    assert recipe == Recipe() == recipes.parse(recipe.model_dump())


def test_a_watermark_makes_another_recipe_that_is_read_again() -> None:
    marked = Recipe(watermark=True)
    assert marked.hash != Recipe().hash
    assert recipes.parse(json.loads(marked.canonical)) == marked


def test_a_region_makes_another_recipe_whatever_order_its_rectangles_are_told_in() -> None:
    left, right = [0.1, 0.2, 0.3, 0.5], [0.5, 0.2, 0.4, 0.5]
    stated = recipes.parse({"region": [right, left, right]})
    assert stated.hash == recipes.parse({"region": [left, right]}).hash
    assert len({stated.hash, Recipe().hash, Recipe(region="whole").hash, Recipe(invert=True).hash}) == 4
    assert recipes.parse(json.loads(stated.canonical)) == stated
    assert stated.stated_region == Region((Rectangle(*left), Rectangle(*right)), found="stated")
    assert (Recipe().stated_region, Recipe(region="whole").stated_region) == (None, WHOLE)
    assert recipes.parse({"region": [[0, 0, 1, 1]]}) == Recipe(region="whole")


@pytest.mark.parametrize(
    ("region", "says"),
    [
        ("most", "It is auto, whole, or a list of 1 to 32 rectangles."),
        ([], "It is auto, whole, or a list of 1 to 32 rectangles."),
        ([[0, 0, 0.1, 0.1]] * 33, "It is auto, whole, or a list of 1 to 32 rectangles."),
        ([0.1, 0.1, 0.8, 0.8], "A rectangle is four numbers: left, top, width, height."),
        ([[0.1, "a", 0.8, 0.8]], "A rectangle is four numbers: left, top, width, height."),
        ([[0.1, 0.1, 0, 0.8]], "A rectangle has a width and a height above 0."),
        ([[0.5, 0.1, 0.6, 0.8]], "A rectangle does not reach beyond the page."),
        ([[-0.1, -0.1, 1.2, 1.2]], "A rectangle's left, top, width and height are fractions of the page, from 0 to 1."),
    ],
)
def test_what_is_no_region_is_refused_in_a_sentence(region: object, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        recipes.parse({"region": region})
    assert refused.value.message == f"Recipe: region: {says}"


def test_a_region_is_read_from_a_command() -> None:
    assert [recipes.parse_region([word]) for word in ("auto", "whole")] == ["auto", "whole"]
    assert recipes.parse_region(["0.1, .2,.3,.4", "0,0,1,1"]) == [[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]]
    for texts in (["whole", "0,0,1,1"], ["everything"]):
        with pytest.raises(InvalidRequest, match=r"A region is auto, whole, or rectangles"):
            recipes.parse_region(texts)


def test_blank_pictures_and_documents_pass_untouched_unless_a_recipe_insists() -> None:
    kinds = ["neutral", "toned", "color", "blank", "document"]
    assert [kind for kind in kinds if not Recipe(invert=True).changes(kind)] == ["blank", "document"]
    assert all(Recipe(insist=True).changes(kind) for kind in kinds)


def test_a_field_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="palette"):
        recipes.parse({"palette": True})


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """A folder that holds weights of `artistic`, and of `stable` with a record that cannot be read."""
    for name, record in {"artistic": f'sha256 = "{"a" * 64}"\n', "stable": "sha256 ="}.items():
        (tmp_path / f"{name}.safetensors").write_bytes(b"weights")
        (tmp_path / f"{name}.toml").write_text(record)
    return tmp_path


def test_only_networks_whose_weights_are_here_can_be_named(imported: Path, tmp_path: Path) -> None:
    assert list(recipes.usable_networks("colorizer", imported)) == ["compact", "compact-vivid", "artistic", "keep"]
    assert list(recipes.usable_networks("defader", imported)) == ["compact-defade", "keep"]
    (imported / "artistic.safetensors").unlink()
    assert list(recipes.usable_networks("colorizer", imported)) == ["compact", "compact-vivid", "keep"]


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"colorizer": "sepia"}, "There is no colorizer sepia; there are compact, compact-vivid, artistic, keep."),
        ({"defader": "compact"}, "There is no defader compact; there are compact-defade, keep."),
        (
            {"colorizer": "video"},
            "The weights of video are not installed (an administrator gets them with `retint weights fetch video`);"
            " there are compact, compact-vivid, artistic, keep.",
        ),
        (
            {"colorizer_settings": {"render_factor": 35}},
            "The colorizer compact has no setting render_factor; it has gain, limit.",
        ),
        (
            {"colorizer": "keep", "colorizer_settings": {"gain": 1}},
            "The colorizer keep has no setting gain; it has none.",
        ),
        ({"colorizer_settings": {"gain": 4.5}}, "gain of compact is between 0.1 and 4, not 4.5."),
        (
            {"colorizer": "artistic", "colorizer_settings": {"render_factor": 46}},
            "render_factor of artistic is a whole number between 7 and 45, not 46.",
        ),
        (
            {"colorizer": "artistic", "colorizer_settings": {"render_factor": 20.5}},
            "render_factor of artistic is a whole number between 7 and 45, not 20.5.",
        ),
    ],
)
def test_what_no_network_here_can_do_is_refused_in_a_sentence(
    imported: Path, recipe: dict[str, object], says: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        recipes.check(recipes.parse(recipe), imported)
    assert refused.value.message == says


def test_what_a_network_here_can_do_is_accepted(imported: Path) -> None:
    for name in (7, 35, 45.0):
        recipes.check(recipes.parse({"colorizer": "artistic", "colorizer_settings": {"render_factor": name}}), imported)
    recipes.check(recipes.parse({"colorizer": "keep", "defader": "keep"}), imported)


@pytest.mark.parametrize(
    ("recipe", "square", "photo", "panorama"),
    [
        ({}, 768, 768, 768),
        ({"colorizer": "keep", "defader": "keep"}, 768, 768, 768),
        ({"colorizer": "stable", "colorizer_settings": {"render_factor": 32}}, 768, 768, 2048),
        ({"colorizer": "artistic"}, 768, 840, 2048),
        ({"colorizer": "deoldify-2018", "colorizer_settings": {"render_factor": 45}}, 768, 1080, 2048),
        ({"colorizer": "ddcolor-tiny"}, 768, 768, 2048),
        ({"colorizer": "ddcolor", "colorizer_settings": {"side": 1024}}, 1024, 1536, 2048),
        ({"defader": "defade-deoldify"}, 768, 864, 2048),
        ({"colorizer": "artistic", "proxy_side": 1200}, 1200, 1200, 2048),
        ({"colorizer": "not-of-this-version"}, 768, 768, 768),
    ],
    ids=str,
)
def test_a_proxy_grows_with_what_its_networks_look_at(
    recipe: dict[str, object], square: int, photo: int, panorama: int
) -> None:
    sizes = (500, 500), (3000, 2000), (100, 1000)
    assert [recipes.choose_proxy_side(recipes.parse(recipe), size) for size in sizes] == [square, photo, panorama]
