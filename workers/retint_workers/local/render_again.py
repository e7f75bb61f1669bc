"""Makes a result again from the layers that were kept beside it, without any network: `retint render`."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from retint import recipes
from retint.errors import InvalidRequest
from retint.pages import Page, find_entry, list_photographs
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.types import ColorLayer, DensityLayer, Layers
from retint_workers import scratch
from retint_workers.films import decoder, frame_renderer
from retint_workers.films import ingest as film_ingest
from retint_workers.films import render as film_render
from retint_workers.imaging import ingest, render
from retint_workers.imaging.provenance import PICTURE_FACTS
from retint_workers.local.sources import provide_file, refuse_original

Layer = TypeVar("Layer", ColorLayer, DensityLayer)


def render_again(file: Path, provenance: Path, output: Path, settings: Settings) -> list[str]:
    """Make a result again from the layers beside its provenance.

    Args:
        file: the original.
        provenance: the JSON file that `retint restore --layers` wrote; the layers lie beside it.
        output: the result.
        settings: limits.

    Returns:
        A sentence for each thing that is not as in the original.

    Raises:
        InvalidRequest: the provenance or its layers cannot be read, or belong to another file; or the original would be
            written over.
    """
    refuse_original(file, output)
    with provide_file(file, settings, output.parent) as named:
        return _render_again(named, provenance, output, settings)


def _render_again(file: Path, provenance: Path, output: Path, settings: Settings) -> list[str]:
    try:
        record = json.loads(provenance.read_text())
        recipe = recipes.parse(record["recipe"])
        original = record["original_sha256"]
        if decoder.is_film(file):
            return _render_film_again(file, provenance, output, recipe, original, settings)
        facts = ingest.ingest(file, recipe, settings).facts
        _refuse_other_file(facts["sha256"], original, file, provenance)
        _recall_pictures(facts, record.get("pictures", {}))
        read = partial(read_layers, find=lambda name: provenance.with_suffix(f".{name}.safetensors"))
        color, density = read(list_photographs(facts)[0])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InvalidRequest(f"{provenance} and the layers beside it cannot be read: {error}.") from error
    with scratch.open_folder(output.parent) as folder:
        request = render.RenderRequest(
            original=file,
            folder=folder,
            facts=facts,
            recipe=recipe,
            color=color,
            density=density,
            read_layers=read,
        )
        rendered = render.render(request, settings)
        rendered.files["result"].replace(output)
    return list(rendered.facts["notes"])


def _render_film_again(
    file: Path, provenance: Path, output: Path, recipe: Recipe, original: str, settings: Settings
) -> list[str]:
    facts = film_ingest.ingest(file, recipe, settings).facts
    _refuse_other_file(facts["sha256"], original, file, provenance)
    color, density = (
        path.resolve() if (path := provenance.with_suffix(suffix)).exists() else None
        for suffix in (".color.mkv", ".density.zip")
    )
    with scratch.open_folder(output.parent) as folder:
        request = frame_renderer.RenderRequest(file, folder, facts, recipe, color, density)
        rendered = film_render.render(request, settings, with_previews=False)
        rendered.files["result"].replace(output)
    return list(rendered.facts["notes"])


def _recall_pictures(facts: dict[str, Any], pictures: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace what ingest finds of pictures by what the provenance says: a newer version may find something else."""
    for page in list_photographs(facts):
        entries = [facts] if page.is_first else []
        entries += [find_entry(facts, page.number)] if facts.get("pages") else []
        for entry in entries:
            found = {name: entry.pop(name, None) for name in PICTURE_FACTS}
            entry |= {"kind": found["kind"]} | dict(pictures.get(page.spell("picture"), {}))


def _refuse_other_file(sha256: str, original: str, file: Path, provenance: Path) -> None:
    """Check that a provenance belongs to a file.

    Raises:
        InvalidRequest: it does not.
    """
    if sha256 != original:
        raise InvalidRequest(f"{provenance} belongs to another file than {file}.")


def read_layers(page: Page, find: Callable[[str], Path]) -> Layers:
    """Read both layers of a page, as far as they are there.

    Args:
        page: the page.
        find: returns the path of a layer by its name, such as `color-2`.

    Raises:
        OSError, ValueError: a layer cannot be read.
    """
    color = _read_layer(find(page.spell("color")), ColorLayer.from_bytes)
    return color, _read_layer(find(page.spell("density")), DensityLayer.from_bytes)


def _read_layer(path: Path, read: Callable[[bytes], Layer]) -> Layer | None:
    return read(path.read_bytes()) if path.exists() else None
