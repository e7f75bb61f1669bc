"""Random crops: where they lie, and that a resumed run goes on with the same ones."""

import pytest
import torch
from PIL import Image
from tests import photographs
from torch.nn import functional

from retint_models.datasets.photographs import Photos, open_photos
from retint_models.training.crops import crop_box, make_crop_sampler, sampling_weight

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        Image.fromarray(photographs.color_photo(number, side=90)).save(folder / f"{number}.png")
    return open_photos(folder, folder / "cache")


def test_crops_follow_from_the_state_of_the_generator(photos: Photos) -> None:
    draw, rng = make_crop_sampler(photos, CPU), torch.Generator().manual_seed(3)
    draw(4, 32, rng)
    state = rng.get_state()
    later = draw(4, 32, rng)
    torch.manual_seed(99)  # torch's global state has no part in it
    rng.set_state(state)
    assert torch.equal(draw(4, 32, rng), later)


def test_a_crop_is_a_box_of_a_photo_resized_and_mirrored_at_random(photos: Photos) -> None:
    rng = torch.Generator().manual_seed(5)
    crops = make_crop_sampler(photos, CPU)(6, 40, rng)
    rng.manual_seed(5)
    indices = torch.multinomial(torch.ones(3), 6, replacement=True, generator=rng).tolist()
    mirrored = 0
    for crop, index, draws in zip(crops, indices, torch.rand(6, 5, generator=rng).tolist(), strict=True):
        entry = photos.entries[index]
        top, left, height, width = crop_box(entry["height"], entry["width"], 0.55, draws)
        box = torch.from_numpy(photos[index][top : top + height, left : left + width].copy())
        rgb = box.permute(2, 0, 1)[None].float() / 255
        expected = functional.interpolate(rgb, (40, 40), mode="bilinear", antialias=True)[0]
        mirrored += draws[4] < 0.5
        assert torch.equal(crop, expected.flip(2) if draws[4] < 0.5 else expected)
    assert 0 < mirrored < 6


def test_a_box_lies_inside_the_photo_and_is_nearly_square() -> None:
    for draws in torch.rand(200, 5, generator=torch.Generator().manual_seed(1)).tolist():
        top, left, height, width = crop_box(120, 300, 0.55, draws)
        assert 0 <= top <= 120 - height
        assert 0 <= left <= 300 - width
        assert 0.55 * 120 / 1.1 <= min(height, width) <= 120
        assert 1 / 1.22 < height / width < 1.22


def test_sources_of_one_kind_of_picture_are_drawn_less_often() -> None:
    assert sampling_weight("Oldpel/flower_photos") == 0.5
    assert sampling_weight("Caltech-101") == 0.7
    assert sampling_weight("COCO") == 1.0
