"""A recipe as options of a command."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import click

from retint import recipes


def recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a recipe to a command, which is called with the `recipe`."""

    @click.option("--colorizer", default="compact", show_default=True, help="Colorizer, or `keep` for none.")
    @click.option("--gain", type=float, help="How vivid; each colorizer has its own default and range.")
    @click.option("--limit", type=float, help="How much more vivid than usual a place may become (compact).")
    @click.option(
        "--render-factor", type=int, help="Size at which DeOldify's networks see the photo, in units of 16 pixels."
    )
    @click.option("--defader", default="compact-defade", show_default=True, help="Defader, or `keep` for none.")
    @click.option(
        "--strength",
        type=click.FloatRange(0, 1),
        default=1,
        show_default=True,
        help="How much of the repair is applied.",
    )
    @click.option(
        "--region",
        multiple=True,
        default=("auto",),
        show_default="auto",
        metavar="auto|whole|X,Y,W,H",
        help="What of a scan is restored: the pictures found in it, the whole page, or a rectangle (left, top, width, "
        "height as fractions of the upright page; again for each picture).",
    )
    @click.option("--invert", is_flag=True, help="The photos are negatives: what is dark becomes light.")
    @click.option(
        "--insist",
        is_flag=True,
        help="Colorize photos that are already in color, too, and restore what is taken for blank, a document or a "
        "negative.",
    )
    @click.option("--watermark", is_flag=True, help="Draw a painter's palette into the lower left corner.")
    @wraps(command)
    def with_recipe(
        colorizer: str,
        gain: float | None,
        limit: float | None,
        render_factor: int | None,
        defader: str,
        strength: float,
        region: Sequence[str],
        invert: bool,
        insist: bool,
        watermark: bool,
        **others: Any,
    ) -> None:
        settings = {"gain": gain, "limit": limit, "render_factor": render_factor}
        recipe = recipes.parse(
            {
                "colorizer": colorizer,
                "colorizer_settings": {name: value for name, value in settings.items() if value is not None},
                "defader": defader,
                "strength": strength,
                "region": recipes.parse_region(region),
                "invert": invert,
                "insist": insist,
                "watermark": watermark,
            }
        )
        command(recipe=recipe, **others)

    return with_recipe
