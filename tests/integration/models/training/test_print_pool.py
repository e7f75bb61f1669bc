"""The pool of prints: numbered, made once, continued where it was interrupted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from retint_models.command.run_training import read_imagenet_encoder
from retint_models.datasets.fading import Pair, as_bytes, simulate
from retint_models.networks.compact_defade import DefadeNet
from retint_models.training.print_pool import (
    PRINT,
    DrawPair,
    as_pictures,
    is_of,
    make_folded_copy,
    make_prints,
    open_print_pool,
)


@pytest.fixture(scope="module")
def network() -> DefadeNet:
    network = DefadeNet()
    network.encoder.load_imagenet(read_imagenet_encoder(None, "compact-defade"))
    return network.eval()


def draw(rng: np.random.Generator) -> Pair:
    """Age a colored slope."""
    columns = np.linspace(0.1, 0.9, 128, dtype=np.float32)
    slope = np.stack(np.broadcast_arrays(columns, columns[:, None], rng.uniform(0, 1)), -1).astype(np.float32)
    return simulate(slope, rng, "dark")


def test_a_larger_pool_begins_with_a_smaller_one_which_is_not_made_again(network: DefadeNet, tmp_path: Path) -> None:
    made = []

    def draw_counted(rng: np.random.Generator) -> Pair:
        made.append(rng)
        return draw(rng)

    first = open_print_pool(tmp_path, network, draw_counted, 20, seed=1).copy()
    made.clear()
    more = open_print_pool(tmp_path, network, draw_counted, 30, seed=1)
    assert len(made) == 16 + 10, "16 tell whether it is the same pool"
    assert len(more) == 30
    assert more[:20].tobytes() == first.tobytes()
    assert len(open_print_pool(tmp_path, network, draw, 5, seed=1)) == 5
    assert len(list(tmp_path.iterdir())) == 1


def test_a_pool_that_was_interrupted_is_continued_with_the_same_prints(network: DefadeNet, tmp_path: Path) -> None:
    whole = open_print_pool(tmp_path, network, draw, 24, seed=1).copy()
    (file,) = tmp_path.iterdir()
    file.write_bytes(whole.tobytes()[: 20 * PRINT.itemsize + 1000])
    again = open_print_pool(tmp_path, network, draw, 24, seed=1)
    assert (again["print"] == whole["print"]).all()
    assert (again["truth"] == whole["truth"]).all()
    assert np.allclose(again["features"], whole["features"], atol=0.02)


@pytest.mark.parametrize("change", ["seed", "simulator"])
def test_other_prints_are_another_pool(network: DefadeNet, tmp_path: Path, change: str) -> None:
    def draw_otherwise(rng: np.random.Generator) -> Pair:
        pair = draw(rng)
        return pair._replace(print=pair.print * np.float32(0.9))

    other: DrawPair = draw_otherwise if change == "simulator" else draw
    one = open_print_pool(tmp_path, network, draw, 4, seed=1)
    two = open_print_pool(tmp_path, network, other, 4, seed=2 if change == "seed" else 1)
    assert len(list(tmp_path.iterdir())) == 2
    assert not np.array_equal(one["print"], two["print"])


def test_a_print_holds_its_pixels_and_what_the_network_recognizes_in_it(network: DefadeNet) -> None:
    prints = make_prints(range(3), make_folded_copy(network), draw, seed=7)
    assert (prints["print"][2] == as_bytes(draw(np.random.default_rng((7, 2))).print)).all()
    assert is_of("dark", prints).all()
    assert not is_of("clean", prints).any()
    with torch.inference_mode():
        expected = network.recognize(as_pictures(prints["print"])).permute(0, 2, 3, 1)
    assert np.allclose(prints["features"], expected, atol=0.02, rtol=1e-3)
    assert float(expected.abs().max()) > 1
