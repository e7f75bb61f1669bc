"""Suffixes and content types."""

import pytest

from retint.filetypes import CONTENT_TYPES, FILM_SUFFIXES, OCTETS, PHOTO_SUFFIXES, content_type_for


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("tenants/1/photos/2/jobs/3/render-1/result.tif", "image/tiff"),
        ("a.JPEG", "image/jpeg"),
        ("zoom.szi", "application/zip"),
        ("tenants/1/photos/2/original", OCTETS),
        ("layer.safetensors", OCTETS),
        ("", OCTETS),
    ],
)
def test_a_name_tells_its_content_type_by_the_suffix(name: str, content_type: str) -> None:
    assert content_type_for(name) == content_type


def test_every_format_of_a_result_has_a_content_type() -> None:
    assert {*PHOTO_SUFFIXES.values(), *FILM_SUFFIXES.values()} <= CONTENT_TYPES.keys()
