"""Views that colorizers are trained on: they follow from their numbers, and are kept as they are drawn."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests import photographs

from retint_models.datasets.photographs import Photos, open_photos
from retint_models.networks.blocks import Encoder
from retint_models.networks.color import rec709_luma
from retint_models.networks.compact_defade import load_compact_defader
from retint_models.networks.registry import card
from retint_models.training import views as kept_views
from retint_models.training.views import ViewDrawer, Views

SIDE = 64


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        Image.fromarray(photographs.color_photo(number, side=90)).save(folder / f"{number}.png")
    return open_photos(folder, folder / "cache")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(1)
    return Encoder().eval()


def open_views(photos: Photos, encoder: Encoder, folder: Path, each: int = 2, gray_share: float = 0.5) -> Views:
    return Views(ViewDrawer(photos, None, gray_share), encoder, folder, each)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_view_follows_from_its_numbers(photos: Photos) -> None:
    drawer = ViewDrawer(photos, load_compact_defader(card("compact-defade")), 0.25)
    for subject in range(drawer.subjects):
        one, same, other = (drawer.draw(subject, SIDE, number) for number in (7, 7, 8))
        assert torch.equal(one.luma, same.luma)
        assert torch.equal(one.rgb, same.rgb)
        assert not torch.equal(one.luma, other.luma)
        assert one.luma.shape == (1, SIDE, SIDE)
        assert one.rgb.shape == (3, SIDE // 4, SIDE // 4)
        assert 0 <= float(one.luma.min()) <= float(one.luma.max()) <= 1


def test_what_is_no_photograph_is_gray_and_as_frequent_as_its_share(photos: Photos) -> None:
    drawer = ViewDrawer(photos, None, 0.25)
    assert drawer.subjects == 4
    weights = drawer.weights / drawer.weights.sum()
    assert float(weights[3]) == pytest.approx(0.25)
    colors = [bool((view.rgb != view.rgb[:1]).any()) for view in (drawer.draw(n, SIDE, 1) for n in range(4))]
    assert colors == [True, True, True, False]


def test_some_views_are_prints_that_the_defader_repaired(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_views, "REPAIRED", 1.0)
    plain, repaired = (
        ViewDrawer(photos, defader, 0.0).draw(0, SIDE, 3)
        for defader in (None, load_compact_defader(card("compact-defade")))
    )
    assert torch.equal(plain.rgb, repaired.rgb)
    assert not torch.equal(plain.luma, repaired.luma)
    both = torch.stack([plain.luma.flatten(), repaired.luma.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.7, "it is the same picture"


def test_kept_views_are_the_encoders_maps_and_true_colors(photos: Photos, encoder: Encoder, tmp_path: Path) -> None:
    views = open_views(photos, encoder, tmp_path, each=1)
    batch = views.draw(5, SIDE, generator())
    subjects = torch.multinomial(views.drawer.weights, 5, replacement=True, generator=generator()).tolist()
    for place, subject in enumerate(subjects):
        view = views.drawer.draw(subject, SIDE, 0)
        assert torch.allclose(batch.rgb[place], view.rgb, atol=1e-3)
        with torch.no_grad():
            for ours, true in zip(batch.maps, encoder(view.luma[None]), strict=True):
                assert torch.allclose(ours[place], true[0], rtol=2e-3, atol=2e-3)


def test_a_view_is_made_once_whoever_asks(
    photos: Photos, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_views(photos, encoder, tmp_path).draw(40, SIDE, generator())
    monkeypatch.setattr(ViewDrawer, "draw", lambda *_: pytest.fail("it was kept"))
    again = open_views(photos, encoder, tmp_path).draw(40, SIDE, generator())
    assert all(torch.equal(one, two) for one, two in zip(first.maps, again.maps, strict=True))
    assert torch.equal(first.rgb, again.rgb)


@pytest.mark.parametrize("other", ["number", "share", "encoder"])
def test_other_views_are_kept_apart(photos: Photos, encoder: Encoder, tmp_path: Path, other: str) -> None:
    open_views(photos, encoder, tmp_path).draw(4, SIDE, generator())
    changes: dict[str, dict[str, Any]] = {"number": {"each": 3}, "share": {"gray_share": 0.2}, "encoder": {}}
    encoder = Encoder().eval() if other == "encoder" else encoder
    open_views(photos, encoder, tmp_path, **changes[other]).draw(4, SIDE, generator())
    assert len(list(tmp_path.glob("*.views"))) == 2


def test_a_view_that_was_cut_off_is_made_again(photos: Photos, encoder: Encoder, tmp_path: Path) -> None:
    views = open_views(photos, encoder, tmp_path)
    whole = views.draw(12, SIDE, generator())
    (file,) = tmp_path.glob("*.views")
    (marks,) = tmp_path.glob("*.kept")
    size = file.stat().st_size
    file.write_bytes(bytes(size))
    marks.write_bytes(bytes(marks.stat().st_size))  # as a killed process leaves them: written, but not marked
    again = views.draw(12, SIDE, generator())
    assert torch.equal(whole.rgb, again.rgb)


def test_a_full_disk_is_said(photos: Photos, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, start: len(data) // 2)
    with pytest.raises(OSError, match="No space left") as full:
        open_views(photos, encoder, tmp_path).draw(2, SIDE, generator())
    assert full.value.errno == errno.ENOSPC


def test_new_views_are_what_is_seen(photos: Photos, encoder: Encoder, tmp_path: Path) -> None:
    views = open_views(photos, encoder, tmp_path, gray_share=0.0)
    luma, true = views.draw_new(4, SIDE, generator())
    assert luma.shape == (4, 1, SIDE, SIDE)
    small = torch.nn.functional.avg_pool2d(luma, 4)
    alike = [
        float(torch.corrcoef(torch.stack([one.flatten(), rec709_luma(rgb).flatten()]))[0, 1])
        for one, rgb in zip(small, true, strict=True)
    ]
    assert min(alike) > 0.7
    assert not list(tmp_path.iterdir())
