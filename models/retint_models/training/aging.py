"""What old photographs look like to a colorizer: luma, changed at random."""

import torch
from torch import Tensor
from torch.nn import functional

from retint_models.networks.color import rec709_luma


def age_luma(rgb: Tensor, rng: torch.Generator) -> Tensor:
    """Return the luma (B, 1, h, w) that the network sees: unchanged, or changed at random as in old photographs.

    Film before about 1920 was blind to red, which changes the luma of skies and lips; prints are flat, dark, blurred or
    grainy. torchvision's transforms do none of this: they draw from torch's global random state (see `crops`), and
    apply one strength to the whole batch.
    """
    count = len(rgb)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=rng).to(rgb.device)

    def happens(probability: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=rng).to(rgb.device) < probability

    red = uniform(0.0, 0.15)
    blue = uniform(0.3, 0.6)
    blind_to_red = red * rgb[:, :1] + (1 - red - blue) * rgb[:, 1:2] + blue * rgb[:, 2:]
    luma = torch.where(happens(0.2), blind_to_red, rec709_luma(rgb))
    gamma = torch.exp(0.2 * torch.randn(count, 1, 1, 1, generator=rng)).to(rgb.device)
    contrast, lift = uniform(0.7, 1.1), uniform(-0.1, 0.1)
    toned = (luma.clamp(1e-3, 1) ** gamma - 0.5) * contrast + 0.5 + lift
    luma = torch.where(happens(0.5), toned, luma)
    blurred = functional.avg_pool2d(functional.pad(luma, (1, 1, 1, 1), mode="replicate"), 3, 1)
    luma = torch.where(happens(0.2), blurred, luma)
    grain = uniform(0.0, 0.04) * torch.randn(luma.shape, generator=rng).to(rgb.device)
    return torch.where(happens(0.4), luma + grain, luma).clamp(0, 1)
