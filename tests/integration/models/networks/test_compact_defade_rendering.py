"""The defader's decision, applied by torch in training and by the renderer to photographs."""

import numpy as np
import torch
from tests import photographs

from retint_models.layers import rendering
from retint_models.networks import compact_defade
from retint_models.networks.compact_defade import DefadeNet


def test_the_renderer_applies_what_training_meant() -> None:
    torch.manual_seed(3)
    net = DefadeNet()
    torch.nn.init.normal_(net.head.weight, std=0.3)
    torch.nn.init.normal_(net.grid.weight, std=0.3)
    for number in range(2):
        photo = photographs.color_photo(number, side=160)[:, :120]
        rgb = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            decision = net.eval()(compact_defade.reduce_proxy(photo)[None])._replace(gate=torch.tensor([0.9]))
            meant = (
                compact_defade.repair(decision, rgb.flatten(2), compact_defade.pixel_positions(160, 120))
                .view(3, 160, 120)
                .permute(1, 2, 0)
            )
        rendered = rendering.apply(photo, 0, (160, 120), None, compact_defade.make_layers(decision, {})[0])
        assert np.abs(rendered.astype(float) - photo).mean() > 4, "the layer does something"
        off = np.abs(rendered - 255 * meant.numpy())
        assert off.max() <= 1, "one code value: half for rounding, half for the renderer's tables"
