"""The spectral norm, in evaluation and in training."""

import pytest
import torch

from retint_models.networks.spectral import SpectralConv


def test_the_spectral_norm_divides_by_what_the_stored_vectors_say() -> None:
    conv = SpectralConv(2, 3, (1, 1)).eval()
    conv.weight_orig.data.fill_(2.0)
    conv.weight_u.copy_(torch.tensor([1.0, 0.0, 0.0]))
    conv.weight_v.copy_(torch.tensor([0.0, 0.25]))
    assert torch.equal(conv(torch.ones(1, 2, 1, 1)), torch.full((1, 3, 1, 1), 8.0))


def test_training_finds_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    conv = SpectralConv(6, 12)
    for _ in range(50):
        conv(torch.zeros(1, 6, 4, 4))
    sigma = conv.weight_u @ conv.weight_orig.flatten(1) @ conv.weight_v
    assert sigma.item() == pytest.approx(torch.linalg.matrix_norm(conv.weight_orig.flatten(1), 2).item(), rel=1e-3)
    kept = conv.weight_u.clone()
    conv.eval()(torch.zeros(1, 6, 4, 4))
    assert torch.equal(conv.weight_u, kept)


def test_a_plain_convolution_gives_the_same() -> None:
    torch.manual_seed(0)
    conv = SpectralConv(3, 5, bias=True, stride=2).eval()
    x = torch.randn(1, 3, 8, 9)
    with torch.no_grad():
        assert torch.equal(conv.to_plain()(x), conv(x))
