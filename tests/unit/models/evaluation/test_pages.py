"""Pages to judge colorizers on: always the same, of three groups, and unlike those that networks are trained on."""

import ast
import inspect

import numpy as np

from retint_models.evaluation import pages


def test_pages_are_the_same_again_and_each_is_another() -> None:
    made, again = pages.make_pages(), pages.make_pages()
    assert [name for name, _ in made] == [name for name, _ in again]
    assert all(np.array_equal(one, other) for (_, one), (_, other) in zip(made, again, strict=True))
    assert len({name for name, _ in made}) == len({gray.tobytes() for _, gray in made}) == len(made)


def test_pages_are_gray_bytes_in_groups() -> None:
    made = pages.make_pages()
    assert {name.split(":")[0] for name, _ in made} == {"blank", "text", "drawing"}
    assert all(gray.dtype == np.uint8 and gray.shape == pages.SIZE for _, gray in made)
    assert all(np.ptp(gray) == 0 for name, gray in made if "uniform" in name)
    assert all(gray.std() > 5 for name, gray in made if not name.startswith("blank"))


def test_a_negative_is_reversed_and_has_neither_black_nor_white() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    negative = pages.invert(ramp).astype(int)
    assert (np.diff(negative) <= 0).all()
    assert 0 < negative.min() < 20 < 230 < negative.max() < 250


def test_the_judge_shares_no_code_with_what_networks_are_trained_on() -> None:
    tree = ast.parse(inspect.getsource(pages))
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [module for module in imported if module.startswith("retint_models.datasets")]
