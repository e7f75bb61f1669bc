"""Winograd's convolution against the plain one."""

import pytest
import torch
from torch.nn import functional

from retint_models.acceleration.winograd import Winograd


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.bfloat16, 0.2)])
@pytest.mark.parametrize("size", [(3, 9), (4, 4), (14, 11)])
def test_winograds_convolution_is_the_convolution(size: tuple[int, int], dtype: torch.dtype, most: float) -> None:
    torch.manual_seed(1)
    weight, bias, gain, offset = torch.randn(24, 16, 3, 3) / 12, torch.randn(24), torch.rand(24), torch.randn(24)
    x = torch.randn(*size, 16)
    whole = functional.conv2d(x.permute(2, 0, 1)[None], weight, bias, padding=1)[0].relu().permute(1, 2, 0)
    expected = whole * gain + offset
    run = Winograd(weight, bias, gain, offset, dtype)
    for top, bottom in [(True, True), (True, False), (False, True), (False, False)]:
        rows = slice(0 if top else 1, len(x) if bottom else len(x) - 1)
        found = run(x.to(dtype), top, bottom)
        assert found.shape == expected[rows].shape
        assert (found - expected[rows]).abs().max() <= most
