"""How keys are spelled: what is built is taken apart again."""

from uuid import UUID

import pytest

from retint.lifecycle import Stage
from retint.stores import keys
from retint.stores.keys import ParsedKey

TENANT, PHOTO, JOB = (UUID(int=number) for number in (1, 2, 3))


def test_the_key_of_an_original_names_its_photo_and_no_job() -> None:
    assert keys.original(TENANT, PHOTO) == f"tenants/{TENANT}/photos/{PHOTO}/original"
    assert keys.parse(keys.original(TENANT, PHOTO)) == ParsedKey(PHOTO)


def test_the_key_of_a_rest_names_the_photo_that_an_upload_becomes() -> None:
    key = f"{keys.rests(keys.original(TENANT, PHOTO))}12"
    assert keys.parse(key) == ParsedKey(PHOTO, is_rest=True)
    assert keys.validate_key(key) == key


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("name", ["proxy.png", "segments/0.nut"])
def test_the_key_of_a_file_names_the_attempt_that_wrote_it(stage: Stage, name: str) -> None:
    key = keys.attempt_file(TENANT, PHOTO, JOB, stage, 12, name)
    assert key == f"tenants/{TENANT}/photos/{PHOTO}/jobs/{JOB}/{stage}-12/{name}"
    assert key.startswith(keys.stage_prefix(TENANT, PHOTO, JOB, stage))
    assert key.startswith(keys.ROOT)
    assert keys.parse(key) == ParsedKey(PHOTO, JOB, stage)
    assert keys.validate_key(key) == key


def test_a_zoom_lies_beside_the_result_that_it_shows() -> None:
    result = keys.attempt_file(TENANT, PHOTO, JOB, Stage.RENDER, 4, "result.tif")
    for name in ("zoom", "zoom-2"):
        key = keys.zoom(result, name)
        assert key == keys.attempt_file(TENANT, PHOTO, JOB, Stage.RENDER, 4, f"{name}.szi")
        assert keys.parse(key) == ParsedKey(PHOTO, JOB, Stage.RENDER)
        assert keys.is_zoom(key)
        assert keys.folder(key) == keys.folder(result)
    assert not any(map(keys.is_zoom, (result, f"{result}/zoom-2.szi.txt", keys.zoom(result, "zoom-x"), "")))


@pytest.mark.parametrize(
    "key", ["", "checks/1", f"tenants/{TENANT}/photos/{PHOTO}", f"tenants/{TENANT}/photos/{PHOTO}/jobs/{JOB}/paint-1/a"]
)
def test_a_key_of_another_form_is_nobodys(key: str) -> None:
    assert keys.parse(key) is None
