"""The defader as it is shipped: what it promises on photographs that it was not trained on."""

import numpy as np
import pytest
from numpy.typing import NDArray
from tests import photographs

from retint_models.datasets import fading
from retint_models.evaluation.defade import repair_with
from retint_models.evaluation.metrics import delta_e_2000
from retint_models.evaluation.pictures import to_tensor
from retint_models.evaluation.prints import age_photograph
from retint_models.layers import rendering
from retint_models.layers.color import rec709_chroma, rec709_luma
from retint_models.networks import registry
from retint_models.networks.registry import Defader

COUNT = 16


@pytest.fixture(scope="module")
def defader() -> Defader:
    return registry.load_defader("compact-defade")


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return delta_e_2000(to_tensor(one), to_tensor(other))


def test_clean_photographs_are_left_alone(defader: Defader) -> None:
    repair = repair_with(defader)
    moved = [difference(repair(photo), photo) for photo in (photographs.color_photo(n, 192) for n in range(COUNT))]
    assert np.mean(moved) < 1.2
    assert np.median(moved) < 1.0


@pytest.mark.parametrize("family", ["dark", "light", "silver"])
def test_faded_prints_come_nearer_to_what_they_were_and_a_second_pass_moves_little(
    defader: Defader, family: fading.Family
) -> None:
    repair, faded, repaired, again = repair_with(defader), [], [], []
    for number in range(COUNT):
        clean = fading.as_floats(photographs.color_photo(number, 192))
        pair = age_photograph(clean, family, np.random.default_rng((3, number)))
        print_, truth = fading.as_bytes(pair.print), fading.as_bytes(pair.truth)
        once = repair(print_)
        faded.append(difference(print_, truth))
        repaired.append(difference(once, truth))
        again.append(difference(repair(once), once))
    assert np.mean(repaired) < 0.8 * np.mean(faded)
    assert np.mean(again) < 1.5


def test_old_prints_get_their_contrast_and_neutral_gray_back(defader: Defader) -> None:
    spread, cast = [], []
    for number in range(8):
        clean = photographs.color_photo(number, 192)
        old = fading.make_old_print(clean, seed=number)
        true, *pictures = [fading.as_floats(pixels) for pixels in (clean, old, repair_with(defader)(old))]
        spread.append([abs(contrast(pixels) - contrast(true)) for pixels in pictures])
        cast.append([np.abs(rec709_chroma(pixels)).mean() for pixels in pictures])
    before, after = np.mean(spread, axis=0)
    assert after < 0.8 * before
    before, after = np.mean(cast, axis=0)
    assert after < 0.5 * before


def contrast(pixels: fading.Floats) -> float:
    """How far dark and light lie apart."""
    return float(np.ptp(np.percentile(rec709_luma(pixels), (2, 98))))


def test_a_gray_photograph_stays_gray(defader: Defader) -> None:
    clean = photographs.color_photo(0, 160)
    gray = fading.make_old_print(clean, seed=5)[..., :1].repeat(3, -1)
    restored = rendering.apply(gray, 0, gray.shape[:2], None, defader([gray])[0])
    assert np.ptp(restored.astype(int), axis=-1).max() <= 1
    truth = fading.as_bytes(np.repeat(rec709_luma(fading.as_floats(clean)), 3, axis=-1))
    assert difference(restored, truth) < difference(gray, truth)  # it is repaired, too, not only left as it is


def test_the_weights_are_small_and_the_layer_names_them(defader: Defader) -> None:
    card = registry.card("compact-defade")
    assert card.path.stat().st_size < 2_000_000
    record = defader([photographs.color_photo(0, 160)])[0].record
    assert record["defader"] == "compact-defade"
    assert record["weights"] == card.sha256
