"""`compact-defade`: a small network that decides how the tone of a faded photograph is repaired.

It sees the photograph at 128 x 128 and decides one density layer (`layers.DensityLayer`), which is then applied at any
size. Global tone comes from quantiles and from the mean densities of pixels ordered by lightness (fading is read from
what should be neutral: the blacks and the whites), local tone from a 16 x 16 x 8 bilateral grid (after Chen et al.,
Bilateral Guided Upsampling, 2016, and Gharbi et al., HDRNet, arXiv:1707.02880). What should have which color is known
by a truncated ImageNet encoder, that is shown the photograph with its levels stretched. A gate closes on clean ones,
and what would hardly be seen is not done at all (`calmed`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from retint_models.layers.color import LUMA
from retint_models.layers.types import DENSITY_RANGE, DensityLayer
from retint_models.networks.blocks import TAPS, Encoder
from retint_models.networks.color import density_to_srgb, rgb_to_lab, srgb_to_density
from retint_models.weights.cards import Card
from retint_models.weights.loading import fill_network, load_tensors

SIDE = 128
"""Height and width of what the network sees; the photograph is squeezed to it."""

DEPTH = 5
"""Stages of the encoder: up to stride 16, 112 channels."""

HARDLY, CLEARLY = 2.0, 4.0
"""CIELAB distances, means over a photograph, on both sides of the one that is just noticed (2.3: Mahy et al., 1994)."""

QUANTILES = (0.002, 0.01, 0.03, 0.07, 0.13, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.87, 0.93, 0.97, 0.99, 0.998)


@dataclass(frozen=True)
class DefadeConfig:
    """Sizes of the network: channels of the three halving convolutions and of the mixed map, vector, knots, grid."""

    widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    vector: int = 144
    knots: int = 9
    cells: int = 16
    bins: int = 8


class Decision(NamedTuple):
    """What the network decides for B photographs; the tensors of as many `DensityLayer`s.

    Attributes:
        matrix: (B, 3, 3).
        shift: (B, 3).
        curves: (B, 3, knots).
        grid: (B, 6, bins, cells, cells).
        gate: (B,) in [0, 1].
        gate_logit: (B,), what the gate is made of, for training.
    """

    matrix: Tensor
    shift: Tensor
    curves: Tensor
    grid: Tensor
    gate: Tensor
    gate_logit: Tensor


class DefadeNet(nn.Module):
    """From a photograph at 128 x 128 to a `Decision`; it starts as the identity with the gate nearly closed.

    The encoder is never trained, and its batch norms stay as they are in training, too.
    """

    def __init__(self, config: DefadeConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DefadeConfig()
        first, second, third, last = config.widths
        self.encoder = Encoder(channels=3, depth=DEPTH).requires_grad_(False)
        self.fine = nn.Sequential(halve(6, first), halve(first, second), halve(second, third))
        self.coarse = nn.Sequential(
            nn.Conv2d(TAPS[DEPTH] + third, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU()
        )
        count = 6 * len(QUANTILES) + 3 * 16 + 2 * 16
        # Quantiles rise and fall together; what tells a cast is the little by which they differ.
        self.tone = nn.Sequential(nn.BatchNorm1d(count), nn.Linear(count, 128), nn.BatchNorm1d(128), nn.ReLU())
        self.vector = nn.Sequential(
            nn.Linear(2 * last + 128, config.vector, bias=False),
            nn.BatchNorm1d(config.vector),
            nn.ReLU(),
            nn.Linear(config.vector, config.vector),
            nn.ReLU(),
        )
        self.head = nn.Linear(config.vector, 9 + 3 + 3 * (config.knots - 1) + 1)
        self.local = nn.Conv2d(third + last + 2, 64, 3, padding=1)
        self.globally = nn.Linear(config.vector, 64)
        self.grid = nn.Conv2d(64, 6 * config.bins, 1)
        for layer in (self.head, self.grid):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the encoder."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, rgb: Tensor) -> Decision:
        """Decide for (B, 3, 128, 128), gamma-coded sRGB in [0, 1]."""
        config = self.config
        densities = srgb_to_density(rgb)
        fine = self.fine(torch.cat([rgb * 2 - 1, densities / 1.3 - 1], 1))
        coarse = self.coarse(torch.cat([self.encoder(leveled(rgb))[-1], F.avg_pool2d(fine, 2)], 1))
        vector = self.vector(torch.cat([coarse.mean((2, 3)), coarse.amax((2, 3)), self.tone(tones(densities))], 1))
        matrix, shift, steps, gate = self.head(vector).split([9, 3, 3 * (config.knots - 1), 1], 1)

        size = (config.cells, config.cells)
        maps = [F.adaptive_avg_pool2d(fine, size), F.interpolate(coarse, size, mode="bilinear"), edges(rgb, size)]
        mixed = F.relu(self.local(torch.cat(maps, 1)) + self.globally(vector)[:, :, None, None])
        gate_logit = gate[:, 0] - 1
        return Decision(
            matrix=torch.eye(3).to(rgb) + 0.3 * matrix.unflatten(1, (3, 3)),
            shift=0.3 * shift,
            curves=rising(steps.unflatten(1, (3, config.knots - 1))),
            grid=0.4 * self.grid(mixed).unflatten(1, (6, config.bins)),
            gate=(1.2 * torch.sigmoid(gate_logit) - 0.1).clamp(0, 1),
            gate_logit=gate_logit,
        )


def halve(channels: int, out: int) -> nn.Sequential:
    """A 3 x 3 convolution that halves height and width."""
    return nn.Sequential(nn.Conv2d(channels, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def leveled(rgb: Tensor) -> Tensor:
    """Stretch each channel of (B, 3, h, w) from its 1 % to its 99 % quantile: the encoder knows no faded photos."""
    ordered = F.avg_pool2d(rgb, 2, stride=4).flatten(2).sort(-1).values
    last = ordered.shape[-1] - 1
    low, high = (ordered[..., round(share * last), None, None] for share in (0.01, 0.99))
    return ((rgb - low) / (high - low).clamp_min(0.1)).clamp(0, 1)


def rising(steps: Tensor) -> Tensor:
    """Values of a curve that never falls, from unbounded steps (..., n) to (..., n + 1); steps 0 give the identity."""
    heights = F.softplus(steps + 0.5413) * (DENSITY_RANGE / steps.shape[-1])  # softplus(.5413) = 1
    return F.pad(heights.cumsum(-1), (1, 0))


def tones(densities: Tensor) -> Tensor:
    """Describe how densities (B, 3, 128, 128) are distributed, (B, n).

    Quantiles of the channels, of their differences and of their mean; and over sixteenths of the photograph, from light
    to dark, each channel's mean and how much hues vary (hardly in a toned print, which should become gray).
    """
    pixels = F.avg_pool2d(densities, 2, stride=4).flatten(2)  # sorting more of them costs more than the convolutions
    red, green, blue = pixels.unbind(1)
    mean = pixels.mean(1)
    ordered = torch.stack([red, green, blue, red - green, blue - green, mean], 1).sort(-1).values
    at = (torch.tensor(QUANTILES) * (pixels.shape[-1] - 1)).round().long().to(pixels.device)
    light_to_dark = pixels.gather(-1, mean.argsort(-1)[:, None].expand_as(pixels)).view(*pixels.shape[:2], 16, -1)
    hues = light_to_dark[:, ::2] - light_to_dark[:, 1:2]
    return torch.cat([ordered[..., at].flatten(1), light_to_dark.mean(-1).flatten(1), hues.std(-1).flatten(1)], 1)


def edges(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """How far each cell lies from the middle, (B, 2, h, w) in [0, 1]: prints fade and stain from the rim."""
    rows, columns = (((torch.arange(n).to(rgb) + 0.5) / n * 2 - 1).abs() for n in size)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(rgb), -1, -1, -1)


# --- the density layer's formula, differentiable ----------------------------------------------------------------------


def repair(decision: Decision, rgb: Tensor, places: Tensor) -> Tensor:
    """Apply density layers: the formula of `layers.DensityLayer` with strength 1.

    Args:
        decision: For B photographs.
        rgb: (B, 3, N) pixels, gamma-coded sRGB in [0, 1].
        places: (N, 2) column and row of the pixels in [-1, 1], where -1 and 1 are the photograph's edges.

    Returns:
        (B, 3, N), gamma-coded sRGB in [0, 1].
    """
    before = srgb_to_density(rgb)
    d = decision.matrix @ before + decision.shift[:, :, None]
    d = along(decision.curves, d)
    luma = torch.einsum("bcn,c->bn", rgb, torch.tensor(LUMA).to(rgb)) * 2 - 1
    at = torch.cat([places.expand(len(rgb), -1, -1), luma[:, :, None]], 2)[:, None, None]
    sliced = F.grid_sample(decision.grid, at, padding_mode="border", align_corners=False)[:, :, 0, 0]
    gain, offset = sliced[:, :3], sliced[:, 3:]
    return density_to_srgb(before + decision.gate[:, None, None] * (d * gain.exp() + offset - before))


def along(curves: Tensor, d: Tensor) -> Tensor:
    """Read curves (B, 3, knots) at densities (B, 3, N); beyond the ends the last segment goes on."""
    segments = curves.shape[-1] - 1
    t = d * (segments / DENSITY_RANGE)
    index = t.detach().floor().clamp(0, segments - 1).long()
    low, high = curves.gather(2, index), curves.gather(2, index + 1)
    return low + (high - low) * (t - index)


def places(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Column and row of every pixel's middle in [-1, 1], (height * width, 2), row by row."""
    rows, columns = ((torch.arange(n, device=device) + 0.5) / n * 2 - 1 for n in (height, width))
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1).flatten(0, 1)


# --- the defader ------------------------------------------------------------------------------------------------------


class CompactDefader:
    """`compact-defade` with its weights loaded: proxies in, density layers out.

    Attributes:
        at_once: How many proxies pay in one call.
    """

    def __init__(self, net: DefadeNet, record: dict[str, Any], device: str = "cpu") -> None:
        self.net = net.eval().to(device)
        self.record = record
        self.device = device
        self.at_once = 4 if torch.device(device).type == "cpu" else 32

    def __call__(self, proxies: Sequence[NDArray[np.uint8]]) -> list[DensityLayer]:
        """Decide how to repair each proxy.

        A gray proxy gets a layer that keeps it gray: its three channels are bound together.

        Args:
            proxies: uint8 (h, w, 3), sRGB, any sizes; colorized if they are to be.

        Raises:
            ValueError: a proxy of another type or shape.
        """
        if not proxies:
            return []
        seen = torch.stack([squeeze(proxy) for proxy in proxies]).to(self.device)
        with torch.inference_mode():
            decision = calmed(bound(self.net(seen), seen), seen)
        record = {**self.record, "decided_at": datetime.now(UTC).isoformat(timespec="seconds")}
        return layers_of(decision, record)


def compact_defader(card: Card, device: str = "cpu") -> CompactDefader:
    """Load `compact-defade`.

    Raises:
        FileNotFoundError: its weights are missing; says how to get them.
        ValueError: they are not what their card says.
    """
    network = DefadeNet()
    fill_network(network, load_tensors(card), card.name)
    return CompactDefader(network, {"defader": card.name, "weights": card.sha256}, device)


def squeeze(proxy: NDArray[np.uint8]) -> Tensor:
    """Reduce a proxy, uint8 (h, w, 3), by area to what the network sees: (3, 128, 128) in [0, 1].

    Raises:
        ValueError: another type or shape.
    """
    if proxy.dtype != np.uint8 or proxy.ndim != 3 or proxy.shape[-1] != 3 or not proxy.size:
        raise ValueError(f"expected uint8 (h, w, 3), got {proxy.dtype} {proxy.shape}")
    small = Image.fromarray(proxy).resize((SIDE, SIDE), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


def bound(decision: Decision, rgb: Tensor) -> Decision:
    """Treat the three channels of gray photographs (of B, 3, h, w) alike, by their mean, so that gray stays gray."""
    gray = (rgb == rgb[:, :1]).flatten(1).all(1)

    def choose(mean: Tensor, own: Tensor) -> Tensor:
        return torch.where(gray.view(-1, *[1] * (own.dim() - 1)), mean, own)

    kinds = decision.grid.view(-1, 2, 3, *decision.grid.shape[2:])
    return decision._replace(
        matrix=choose(decision.matrix.mean(1, keepdim=True), decision.matrix),
        shift=choose(decision.shift.mean(1, keepdim=True), decision.shift),
        curves=choose(decision.curves.mean(1, keepdim=True), decision.curves),
        grid=choose(kinds.mean(2, keepdim=True), kinds).flatten(1, 2),
    )


def calmed(decision: Decision, rgb: Tensor) -> Decision:
    """Close the gate where a repair would move a photograph by less than is noticed: nearly right is left alone.

    It also makes a second repair change little. The gate opens evenly from a mean move of `HARDLY` to `CLEARLY`.

    Args:
        decision: For B photographs.
        rgb: (B, 3, 128, 128), what it was decided on.
    """
    at = places(rgb.shape[2], rgb.shape[3], rgb.device).view(*rgb.shape[2:], 2)
    some, at = rgb[:, :, 2::4, 2::4], at[2::4, 2::4].flatten(0, 1)  # a mean over a sixteenth of the pixels is as good
    move = (rgb_to_lab(repair(decision, some.flatten(2), at).view_as(some)) - rgb_to_lab(some)).norm(dim=1).mean((1, 2))
    return decision._replace(gate=decision.gate * ((move - HARDLY) / (CLEARLY - HARDLY)).clamp(0, 1))


def layers_of(decision: Decision, record: dict[str, Any]) -> list[DensityLayer]:
    """Turn the decision for B photographs into B layers."""
    matrix, shift, curves, grid, gate = (tensor.float().cpu().numpy() for tensor in decision[:5])
    return [
        DensityLayer(matrix[i], shift[i], curves[i], grid[i], float(gate[i]), record=record) for i in range(len(gate))
    ]
