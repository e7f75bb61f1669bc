"""The words that pages show."""

import pytest

from retint.jobs.tallies import Counts
from retint.lifecycle import Stage, State
from retint.recipes import Recipe
from retint_web.pages import words


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (0.04, "0.0 s"),
        (0.36, "0.4 s"),
        (4, "4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3580, "1 h"),
        (7530, "2 h 6 min"),
        (86400, "1 d"),
        (352800, "4 d 2 h"),
    ],
)
def test_a_duration_names_its_two_largest_units(seconds: float, expected: str) -> None:
    assert words.format_duration(seconds) == expected


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_949, "99.9 kB"), (99_950, "100 kB"), (999_600, "1.0 MB")],
)
def test_a_size_has_three_figures_at_most(amount: int, expected: str) -> None:
    assert words.format_size(amount) == expected


def test_one_photo_is_not_some_photos() -> None:
    assert words.pluralize(1, "photo") == "1 photo"
    assert words.pluralize(2000, "photo") == "2,000 photos"
    assert words.pluralize(2, "batch", "batches") == "2 batches"


def test_every_state_has_its_place_also_with_nothing_in_it() -> None:
    counts = Counts({(Stage.INGEST, State.READY): 2, (Stage.RENDER, State.RUNNING): 1})
    assert dict(words.counts_by_state(counts)) == {state: {"ready": 2, "running": 1}.get(state, 0) for state in State}
    assert words.count_unfinished(counts) == 3


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "colorized by compact, defaded by compact-defade"),
        ({"strength": 0.5}, "colorized by compact, defaded by compact-defade at 50%"),
        ({"colorizer": "keep"}, "colors kept, defaded by compact-defade"),
        ({"defader": "keep"}, "colorized by compact, fading kept"),
        ({"strength": 0.0}, "colorized by compact, fading kept"),
        ({"colorizer_settings": {"gain": 2.5}}, "colorized by compact (gain 2.5), defaded by compact-defade"),
        ({"defader": "keep", "region": "whole"}, "colorized by compact, fading kept, the whole page"),
        (
            {"defader": "keep", "invert": True, "region": [[0, 0, 0.5, 1]]},
            "colorized by compact, fading kept, inverted, a stated region",
        ),
    ],
)
def test_a_recipe_says_what_it_does(fields: dict[str, object], expected: str) -> None:
    assert words.describe_recipe(Recipe.model_validate(fields).model_dump()) == expected


@pytest.mark.parametrize(
    ("name", "shown"), [("attic/one.jpg", "one.jpg"), ("one.jpg", "one.jpg"), ("/", "/"), ("..", "..")]
)
def test_a_file_is_called_by_its_last_part(name: str, shown: str) -> None:
    assert words.file_name(name) == shown


@pytest.mark.parametrize(
    ("key", "word"),
    [("a/b/result.jpg", "JPEG"), ("result.tif", "TIFF"), ("color.safetensors", "safetensors"), ("original", "")],
)
def test_a_file_says_of_which_kind_it_is(key: str, word: str) -> None:
    assert words.file_type(key) == word


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(6.4, "6.4 s"), (720, "12 min"), (3600, "1.0 h"), (5400, "1.5 h"), (43_200, "12 h"), (4_500_000, "1,250 h")],
)
def test_the_work_of_a_fleet_is_told_in_hours_from_one_on(seconds: float, expected: str) -> None:
    assert words.format_hours(seconds) == expected
