"""A recipe as options of a command."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import click

from retint import recipes

OPTIONS: Final = (
    click.option("--colorizer", default="compact", show_default=True, help="Colorizer, or `keep` for none."),
    click.option("--gain", type=float, help="How vivid; each colorizer has its own default and range."),
    click.option("--limit", type=float, help="How much more vivid than usual a place may become (compact)."),
    click.option(
        "--render-factor", type=int, help="Size at which DeOldify's networks see the photo, in units of 16 pixels."
    ),
    click.option("--side", type=int, help="Side of the square on which DDColor's networks see the photo, in pixels."),
    click.option("--defader", default="compact-defade", show_default=True, help="Defader, or `keep` for none."),
    click.option(
        "--strength",
        type=click.FloatRange(0, 1),
        default=1,
        show_default=True,
        help="How much of the repair is applied.",
    ),
    click.option(
        "--region",
        multiple=True,
        default=("auto",),
        show_default="auto",
        metavar="auto|whole|X,Y,W,H",
        help="What of a scan is restored: the pictures that are found in it, the whole page, or a rectangle (left, "
        "top, width and height as fractions of the upright page; once for each picture).",
    ),
    click.option("--invert", is_flag=True, help="The photos are negatives: make what is dark light."),
    click.option(
        "--insist",
        is_flag=True,
        help="Colorize photos that are already in color, too, and restore what is taken for blank or a document.",
    ),
    click.option("--watermark", is_flag=True, help="Draw a painter's palette into the lower left corner."),
)
SETTINGS: Final = ("gain", "limit", "render_factor", "side")
FIELDS: Final = ("colorizer", "defader", "strength", "invert", "insist", "watermark")
"""Options that are fields of a recipe."""


def recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a recipe to a command, which is called with the `recipe`."""

    @wraps(command)
    def with_recipe(**given: Any) -> None:
        settings = {name: given.pop(name) for name in SETTINGS}
        fields = {name: given.pop(name) for name in FIELDS}
        fields["region"] = recipes.parse_region(given.pop("region"))
        fields["colorizer_settings"] = {name: value for name, value in settings.items() if value is not None}
        command(recipe=recipes.parse(fields), **given)

    for option in reversed(OPTIONS):
        with_recipe = option(with_recipe)
    return with_recipe
