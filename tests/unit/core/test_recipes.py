"""What a recipe is called, and what may stand in one."""

import json

import pytest

from retint import recipes
from retint.errors import InvalidRequest
from retint.recipes import Recipe

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


def test_a_field_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="palette"):
        recipes.parse({"palette": True})
