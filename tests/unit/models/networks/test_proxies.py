"""Proxies as inputs of networks, and what networks decided as layers; views are in `test_colorizers`."""

import numpy as np
import pytest
import torch

from retint_models.networks.proxies import stretch_to_aspect


@pytest.mark.parametrize(
    ("picture", "side", "layer"),
    [
        ((512, 768), 560, (512, 768)),
        ((512, 768), 336, (336, 504)),
        ((768, 512), 112, (168, 112)),
        ((60, 40), 112, (60, 40)),
        ((1, 768), 112, (1, 768)),
    ],
)
def test_a_layer_is_as_small_as_keeps_all_that_the_square_says(
    picture: tuple[int, int], side: int, layer: tuple[int, int]
) -> None:
    luma, planes = stretch_to_aspect(np.zeros((*picture, 3), np.uint8), torch.zeros(2, side, side))
    assert luma.shape == (1, 1, *layer)
    assert planes.shape == (1, 2, *layer)
