"""`deoldify-2018` and `defade-deoldify`: the first DeOldify, a U-Net on a ResNet-34, trained at 64 to 256 pixels.

Jason Antic, DeOldify, October and November 2018, https://github.com/jantic/DeOldify (MIT); written afresh from a
description. Every tensor has the name that it has in the files of that time (`colorize_gen_192.h5`). Weights of the
defader were never published. The U-Net in short: spectral norms with biases, pixel shuffles without blur, skips padded
with zeros to the right and below, attention in the third up block, pictures in -1..1.

Four mistakes of `fasterai/filters.py` and `fasterai/transforms.py` of that time are not copied: gray was made with the
weights of blue and red exchanged (here Rec. 601's); chroma was joined as if red were blue (here as today's DeOldify
does, see `deoldify_colorizer`); OpenCV's INTER_AREA, which repeats pixels when it enlarges, changed sizes (here
bilinear); an output larger than its input, whose sides are no multiple of 32, was squeezed to its size (here cropped,
as from 2018-11-14 on).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from retint_models.acceleration.prepare import prepare
from retint_models.layers import fitting
from retint_models.layers.types import DensityLayer
from retint_models.networks import deoldify_colorizer, proxies
from retint_models.networks.blocks import expect_batch, expect_values
from retint_models.networks.color import rec709_luma
from retint_models.networks.resnet import SKIPS, resnet_encoder
from retint_models.networks.spectral import SpectralAttention, SpectralConv
from retint_models.weights.cards import Card
from retint_models.weights.loading import fill_network, load_tensors

HALF = (0.5, 0.5, 0.5)
"""Mean and deviation that pictures are normalised by."""
KEYS_PER_STEP = 512
"""Keys per step of the attention: at 576 pixels the whole matrix of keys and queries would take gigabytes."""


class Attention2018(SpectralAttention):
    """`SpectralAttention` with biases and a scalar gain."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.gamma = nn.Parameter(torch.zeros(()))
        for part in (self.query, self.key, self.value):
            part.bias = nn.Parameter(torch.zeros(len(part.weight_u)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape; the softmax runs over the queries, some keys at a time."""
        flat = x.flatten(2)
        query, key, value = (part(flat).transpose(1, 2) for part in (self.query, self.key, self.value))
        attended = [torch.softmax(keys @ query.transpose(1, 2), -1) @ value for keys in key.split(KEYS_PER_STEP, 1)]
        return x + self.gamma * torch.cat(attended, 1).transpose(1, 2).reshape(x.shape)


class Block2018(nn.Module):
    """Steps under the name that they have in the files."""

    def __init__(self, *steps: nn.Module) -> None:
        super().__init__()
        self.seq = nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        """Do the steps."""
        y: Tensor = self.seq(x)
        return y


class Shuffle2018(nn.Module):
    """Double a map by pixel shuffle (arXiv:1609.05158)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        wide = Block2018(SpectralConv(inside, 4 * outside, bias=True), nn.BatchNorm2d(4 * outside))
        self.sequence = nn.Sequential(nn.Sequential(wide), nn.PixelShuffle(2), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inside, h, w) to (B, outside, 2 h, 2 w)."""
        y: Tensor = self.sequence(x)
        return y


class Up2018(nn.Module):
    """Double a map and join it with the encoder's map of about that size (after U-Net, arXiv:1505.04597)."""

    def __init__(self, inside: int, skip: int, outside: int, attention: bool = False) -> None:
        super().__init__()
        self.x_conv = Block2018(SpectralConv(skip, outside // 2, (1, 1), bias=True))
        self.tr_conv = Shuffle2018(inside, outside // 2)
        self.out = nn.Sequential(nn.BatchNorm2d(outside), *([Attention2018(outside)] if attention else []))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, inside, h, w) and (B, skip, H, W), H and W at most 2 h and 2 w, to (B, outside, 2 h, 2 w)."""
        large = self.tr_conv(x)
        lacks = (0, large.shape[3] - skip.shape[3], 0, large.shape[2] - skip.shape[2])
        joined = torch.cat([large, self.x_conv(functional.pad(skip, lacks))], 1)
        y: Tensor = self.out(functional.relu(joined))
        return y


class Generator2018(nn.Module):
    """Maps a gray picture to the repaired picture: 80,681,860 parameters with 1024 channels in the decoder."""

    def __init__(self, channels: int = 1024, depths: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.rn = resnet_encoder(depths)
        self.up1 = Up2018(512, 256, channels)
        self.up2 = Up2018(channels, 128, channels)
        self.up3 = Up2018(channels, 64, channels, attention=True)
        self.up4 = Up2018(channels, 64, channels // 2)
        self.up5 = Shuffle2018(channels // 2, 64)
        self.out = nn.Sequential(Block2018(SpectralConv(64, 3, bias=True)), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """Repair a picture.

        Args:
            x: (B, 3, h, w), in the precision of the weights, gray in [-1, 1].

        Returns:
            (B, 3, h, w), RGB in [-1, 1].

        Raises:
            ValueError: not such a tensor.
        """
        check_input(x, next(self.parameters()).dtype)
        y, skips = x, []
        for number, step in enumerate(self.rn.children()):
            y = step(y)
            if number in SKIPS:
                skips.append(y)
        # The original has another ReLU here, without effect: a ResNet's block ends with one.
        for up in (self.up1, self.up2, self.up3, self.up4):
            y = up(y, skips.pop())
        repaired: Tensor = self.out(self.up5(y))
        return repaired[:, :, : x.shape[2], : x.shape[3]]


def check_input(x: Tensor, dtype: torch.dtype) -> None:
    """Refuse anything but a batch of pictures in -1..1.

    Raises:
        ValueError: says what was expected.
    """
    expect_batch(x, 3, dtype)
    expect_values(x, -1, 1, "pictures in 0..1, times 2, minus 1")


def load_network(name: str, tensors: Mapping[str, Tensor]) -> Generator2018:
    """Return the generator with its weights, ready to run.

    Args:
        name: Of the network, for error messages.
        tensors: The official state; float32 tensors are used as they are, not copied. Files of PyTorch before 1.0 hold
            the divided kernel instead of the second vector of a spectral norm; they are accepted as well.

    Raises:
        ValueError: not its weights: a missing or unknown tensor, another shape, NaN or infinity.
    """
    with torch.device("meta"):
        network = Generator2018()
    fill_network(network, with_second_vectors(tensors), name)
    return network


def with_second_vectors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each divided kernel W / sigma by a second vector v, parallel to u W, such that u W v is sigma."""
    state = dict(tensors)
    for key, kernel in tensors.items():
        stem = key.removesuffix("_orig")
        if stem == key or f"{stem}_v" in tensors or not {stem, f"{stem}_u"} <= tensors.keys():
            continue
        divided, kernels = state.pop(stem).flatten().double(), kernel.flatten(1).double()
        if divided.numel() == kernels.numel() and tensors[f"{stem}_u"].shape == kernels.shape[:1]:
            sigma = kernels.flatten().dot(divided) / divided.dot(divided)
            along = tensors[f"{stem}_u"].double() @ kernels
            state[f"{stem}_v"] = (along * (sigma / along.dot(along))).to(kernel.dtype)
    return state


class Colorizer2018(deoldify_colorizer.DeoldifyColorizer):
    """`deoldify-2018` with its weights loaded: proxies in, color layers out."""

    mean = std = HALF

    def load_plain(self) -> nn.Module:
        """Load the network as it was trained, not yet prepared."""
        return load_network(self.card.name, load_tensors(self.card))


class Defader2018:
    """`defade-deoldify` with its weights loaded: proxies in, density layers out.

    The authors' filter returns a gray picture, enlarged from a square. Here a density layer is fitted to the network's
    output, so that the original keeps its detail and its color.

    Attributes:
        at_once: How many proxies run through the network together.
        render_factor: Side of the square in units of 16 pixels, as its authors chose it.
    """

    render_factor = 36

    def __init__(self, card: Card, device: str = "cpu") -> None:
        self.card = card
        self.network = prepare(load_network(card.name, load_tensors(card)), device)
        self.at_once = proxies.choose_batch(device, gpu=8)

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> list[DensityLayer]:
        """Decide how to repair each proxy, uint8 (h, w, 3), sRGB, of any size.

        Raises:
            ValueError: not a proxy.
        """
        for picture in pictures:
            proxies.check_proxy(picture)
        record = proxies.decision_record(self.card, self.card.fill_settings({}), self.network.precision)
        layers = []
        for first in range(0, len(pictures), self.at_once):
            group = pictures[first : first + self.at_once]
            grays = np.stack([deoldify_colorizer.gray_square(picture, self.render_factor) for picture in group])
            repaired = rec709_luma(deoldify_colorizer.run_on_squares(self.network, grays, HALF, HALF))[:, 0].numpy()
            layers += [fitting.fit_layer(gray / 255, tone, record) for gray, tone in zip(grays, repaired, strict=True)]
        return layers
