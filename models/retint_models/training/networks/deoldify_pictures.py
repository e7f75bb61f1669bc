"""What DeOldify's generators are given while they train, and what they make of it."""

import torch
from torch import Tensor, nn

from retint_models.networks.color import IMAGENET_MEAN, IMAGENET_STD, rec709_chroma
from retint_models.training.crops import DrawCrops
from retint_models.training.networks.deoldify_2018 import to_rec601_gray
from retint_models.training.networks.deoldify_hyperparameters import Hyperparameters
from retint_models.training.precision import autocast, device_of


class GeneratedPictures:
    """Pictures that a generator made of crops; made once, kept in memory as half floats, and drawn from."""

    def __init__(
        self, generator: nn.Module, draw_crops: DrawCrops, count: int, hyperparameters: Hyperparameters
    ) -> None:
        rng = torch.Generator().manual_seed(0)
        pictures = []
        for done in range(0, count, 8):
            crops = draw_crops(min(8, count - done), hyperparameters.side, rng)
            with torch.no_grad():
                generated = generate(generator, add_film_noise(crops, hyperparameters.noise, rng))
            pictures.append(generated.half().cpu())
        self.pictures, self.device = torch.cat(pictures), device_of(generator)

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """Draw pictures, normalised, (count, 3, side, side)."""
        indices = torch.randint(len(self.pictures), (count,), generator=rng)
        return self.pictures[indices].to(self.device).float()


def generate(network: nn.Module, rgb: Tensor) -> Tensor:
    """Run a generator on the gray of sRGB (B, 3, h, w); return its picture, normalised."""
    with autocast(rgb.device):
        generated: Tensor = network(normalise(to_rec601_gray(rgb)))
    return generated.float()


def normalise(rgb: Tensor) -> Tensor:
    """Normalise sRGB (B, 3, h, w) by ImageNet's mean and standard deviation."""
    mean, std = (torch.tensor(values, device=rgb.device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (rgb - mean) / std


def denormalise(generated: Tensor) -> Tensor:
    """Return the sRGB of a normalised picture (B, 3, h, w); it may leave [0, 1]."""
    mean, std = (
        torch.tensor(values, device=generated.device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return generated * std + mean


def add_film_noise(rgb: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Add film noise to a share of the pictures (B, 3, h, w): up to 40 % of the pixels change by up to 30 of 255.

    torchvision has Gaussian noise only, drawn from the global random state (see `crops`).
    """
    if not share:
        return rgb
    count, _, height, width = rgb.shape
    is_noisy = torch.rand(count, 1, 1, 1, generator=rng) < share
    density = 0.001 + 0.399 * torch.rand(count, 1, 1, 1, generator=rng)
    is_changed = torch.rand(count, 1, height, width, generator=rng) < density
    offset = torch.randint(-30, 30, (count, 1, height, width), generator=rng) / 255
    return (rgb + (offset * (is_changed & is_noisy)).to(rgb.device)).clamp(0, 1)


def decide_chroma(network: nn.Module, luma: Tensor) -> Tensor:
    """Run a generator on luma (B, 1, h, w) and return its Cb and Cr."""
    return rec709_chroma(denormalise(network(normalise(luma.clamp(0, 1).expand(-1, 3, -1, -1)))).clamp(0, 1))
