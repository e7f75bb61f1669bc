"""A sheet says what was done to a photo, not what was asked for."""

import pytest

from retint.recipes import parse
from retint_workers.local.sheets import describe_steps


@pytest.mark.parametrize(
    ("recipe", "made", "says"),
    [
        ({}, {"color", "density"}, "colorized by compact; defaded by compact-defade, strength 1"),
        ({}, {"density"}, "defaded by compact-defade, strength 1"),
        ({"strength": 0}, {"color", "density"}, "colorized by compact"),
        ({}, set(), "no network changed it"),
    ],
)
def test_a_sheet_names_the_networks_that_changed_the_photo(
    recipe: dict[str, object], made: set[str], says: str
) -> None:
    assert describe_steps(parse(recipe), made) == says
