"""`compact-defade`: a small network that decides how the tone of a faded photograph is repaired.

It sees the photograph at 128 x 128 and decides one density layer (`layers.DensityLayer`), which can then be applied at
any size. Global tone comes from quantiles and from the mean densities of pixels ordered by lightness (fading shows in
what should be neutral: the blacks and the whites), local tone from a 16 x 16 x 8 bilateral grid (after Chen et al.,
Bilateral Guided Upsampling, 2016, and Gharbi et al., HDRNet, arXiv:1707.02880). A truncated ImageNet encoder, which
sees the photograph with its levels stretched, knows which objects have which color. A gate closes on clean photographs,
and on repairs that nobody would notice (`close_gate_if_invisible`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
from retint_models.networks.proxies import choose_batch, decision_record
from retint_models.weights.cards import Card
from retint_models.weights.loading import fill_network, load_tensors

SIDE = 128
"""Height and width of the network's input; the photograph is reduced to it, its aspect ratio ignored."""

DEPTH = 5
"""Stages of the encoder: up to stride 16, 112 channels."""

INVISIBLE, VISIBLE = 2.0, 4.0
"""Mean CIELAB distances over a photograph, below and above the just noticeable one (2.3: Mahy et al., 1994)."""

QUANTILES = (0.002, 0.01, 0.03, 0.07, 0.13, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.87, 0.93, 0.97, 0.99, 0.998)


@dataclass(frozen=True)
class DefadeConfig:
    """The network's shape.

    Attributes:
        widths: Channels of the three halving convolutions and of the mixed map.
        vector: Size of the vector that describes the whole photograph.
        knots: Of each curve.
        cells: Rows and columns of the bilateral grid.
        bins: Of luma in the bilateral grid.
    """

    widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    vector: int = 144
    knots: int = 9
    cells: int = 16
    bins: int = 8


class DefadeDecision(NamedTuple):
    """The network's output for B photographs: the tensors of B `DensityLayer`s.

    Attributes:
        matrix: (B, 3, 3).
        shift: (B, 3).
        curves: (B, 3, knots).
        grid: (B, 6, bins, cells, cells).
        gate: (B,) in [0, 1].
        gate_logit: (B,), the gate before its sigmoid, for training.
    """

    matrix: Tensor
    shift: Tensor
    curves: Tensor
    grid: Tensor
    gate: Tensor
    gate_logit: Tensor


class DefadeNet(nn.Module):
    """Maps a photograph at 128 x 128 to a `DefadeDecision`; it starts as the identity with the gate nearly closed.

    The encoder is never trained; its batch norms keep their statistics in training, too.
    """

    def __init__(self, config: DefadeConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DefadeConfig()
        first, second, third, last = config.widths
        self.encoder = Encoder(channels=3, depth=DEPTH).requires_grad_(False)
        self.fine = nn.Sequential(halving_conv(6, first), halving_conv(first, second), halving_conv(second, third))
        self.coarse = nn.Sequential(
            nn.Conv2d(TAPS[DEPTH] + third, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU()
        )
        count = 6 * len(QUANTILES) + 3 * 16 + 2 * 16
        # Quantiles of the channels rise and fall together; their small differences reveal a color cast.
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
        """Set the training mode of everything but the encoder."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, rgb: Tensor) -> DefadeDecision:
        """Decide for (B, 3, 128, 128), gamma-coded sRGB in [0, 1]."""
        return self.decide(rgb, self.recognize(rgb))

    def recognize(self, rgb: Tensor) -> Tensor:
        """Return the encoder's features (B, 112, 8, 8) of photographs (B, 3, 128, 128)."""
        features: Tensor = self.encoder(stretch_levels(rgb))[-1]
        return features

    def decide(self, rgb: Tensor, features: Tensor) -> DefadeDecision:
        """Decide for photographs (B, 3, 128, 128) whose features, (B, 112, 8, 8), are known."""
        config = self.config
        densities = srgb_to_density(rgb)
        fine = self.fine(torch.cat([rgb * 2 - 1, densities / 1.3 - 1], 1))
        coarse = self.coarse(torch.cat([features, F.avg_pool2d(fine, 2)], 1))
        vector = self.vector(
            torch.cat([coarse.mean((2, 3)), coarse.amax((2, 3)), self.tone(tone_statistics(densities))], 1)
        )
        matrix, shift, steps, gate = self.head(vector).split([9, 3, 3 * (config.knots - 1), 1], 1)

        size = (config.cells, config.cells)
        maps = [
            F.adaptive_avg_pool2d(fine, size),
            F.interpolate(coarse, size, mode="bilinear"),
            distance_to_middle(rgb, size),
        ]
        mixed = F.relu(self.local(torch.cat(maps, 1)) + self.globally(vector)[:, :, None, None])
        gate_logit = gate[:, 0] - 1
        return DefadeDecision(
            matrix=torch.eye(3).to(rgb) + 0.3 * matrix.unflatten(1, (3, 3)),
            shift=0.3 * shift,
            curves=rising_curve(steps.unflatten(1, (3, config.knots - 1))),
            grid=0.4 * self.grid(mixed).unflatten(1, (6, config.bins)),
            gate=(1.2 * torch.sigmoid(gate_logit) - 0.1).clamp(0, 1),
            gate_logit=gate_logit,
        )


def halving_conv(channels: int, out: int) -> nn.Sequential:
    """Return a 3 x 3 convolution that halves height and width."""
    return nn.Sequential(nn.Conv2d(channels, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


def stretch_levels(rgb: Tensor) -> Tensor:
    """Stretch each channel of (B, 3, h, w) from its 1 % to its 99 % quantile: the encoder knows no faded photos."""
    ordered = F.avg_pool2d(rgb, 2, stride=4).flatten(2).sort(-1).values
    last = ordered.shape[-1] - 1
    low, high = (ordered[..., round(share * last), None, None] for share in (0.01, 0.99))
    return ((rgb - low) / (high - low).clamp_min(0.1)).clamp(0, 1)


def rising_curve(steps: Tensor) -> Tensor:
    """Return a curve (..., n + 1) that never falls from unbounded steps (..., n); steps of 0 give the identity."""
    heights = F.softplus(steps + 0.5413) * (DENSITY_RANGE / steps.shape[-1])  # softplus(.5413) = 1
    return F.pad(heights.cumsum(-1), (1, 0))


def tone_statistics(densities: Tensor) -> Tensor:
    """Return statistics (B, n) of densities (B, 3, 128, 128).

    Quantiles of the channels, of their differences and of their mean; and for each sixteenth of the pixels, ordered
    from light to dark, each channel's mean and the variation of hues (little in a toned print, which should become
    gray).
    """
    pixels = F.avg_pool2d(densities, 2, stride=4).flatten(
        2
    )  # sorting all of them would cost more than the convolutions
    red, green, blue = pixels.unbind(1)
    mean = pixels.mean(1)
    ordered = torch.stack([red, green, blue, red - green, blue - green, mean], 1).sort(-1).values
    at = (torch.tensor(QUANTILES) * (pixels.shape[-1] - 1)).round().long().to(pixels.device)
    light_to_dark = pixels.gather(-1, mean.argsort(-1)[:, None].expand_as(pixels)).view(*pixels.shape[:2], 16, -1)
    hues = light_to_dark[:, ::2] - light_to_dark[:, 1:2]
    return torch.cat([ordered[..., at].flatten(1), light_to_dark.mean(-1).flatten(1), hues.std(-1).flatten(1)], 1)


def distance_to_middle(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """Return each cell's distance from the middle, (B, 2, h, w) in [0, 1]: prints fade and stain from the edges."""
    rows, columns = (((torch.arange(n).to(rgb) + 0.5) / n * 2 - 1).abs() for n in size)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(rgb), -1, -1, -1)


# --- the density layer's formula, differentiable ----------------------------------------------------------------------


def repair(decision: DefadeDecision, rgb: Tensor, places: Tensor) -> Tensor:
    """Apply density layers: the formula of `layers.DensityLayer` with strength 1.

    Args:
        decision: For B photographs.
        rgb: (B, 3, N) pixels, gamma-coded sRGB in [0, 1].
        places: (N, 2) column and row of the pixels in [-1, 1], where -1 and 1 are the photograph's edges.

    Returns:
        (B, 3, N), gamma-coded sRGB in [0, 1].
    """
    before, change = density_change(decision, rgb, places)
    return density_to_srgb(before + decision.gate[:, None, None] * change)


def density_change(decision: DefadeDecision, rgb: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return the densities of pixels, (B, 3, N), and what they change by where the gate is open; see `repair`."""
    before = srgb_to_density(rgb)
    d = decision.matrix @ before + decision.shift[:, :, None]
    d = read_curves(decision.curves, d)
    luma = torch.einsum("bcn,c->bn", rgb, torch.tensor(LUMA).to(rgb)) * 2 - 1
    at = torch.cat([places.expand(len(rgb), -1, -1), luma[:, :, None]], 2)[:, None, None]
    sliced = F.grid_sample(decision.grid, at, padding_mode="border", align_corners=False)[:, :, 0, 0]
    gain, offset = sliced[:, :3], sliced[:, 3:]
    return before, d * gain.exp() + offset - before


def read_curves(curves: Tensor, d: Tensor) -> Tensor:
    """Read curves (B, 3, knots) at densities (B, 3, N); beyond the ends the last segment goes on."""
    segments = curves.shape[-1] - 1
    t = d * (segments / DENSITY_RANGE)
    index = t.detach().floor().clamp(0, segments - 1).long()
    low, high = curves.gather(2, index), curves.gather(2, index + 1)
    return low + (high - low) * (t - index)


def pixel_positions(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return column and row of each pixel's center in [-1, 1], (height * width, 2), row by row."""
    rows, columns = ((torch.arange(n, device=device) + 0.5) / n * 2 - 1 for n in (height, width))
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1).flatten(0, 1)


# --- the defader ------------------------------------------------------------------------------------------------------


class CompactDefader:
    """`compact-defade` with its weights loaded: proxies in, density layers out.

    Attributes:
        at_once: How many proxies run through the network together.
    """

    def __init__(self, net: DefadeNet, card: Card, device: str = "cpu") -> None:
        self.net = net.eval().to(device)
        self.card = card
        self.device = device
        self.at_once = choose_batch(device, gpu=32)

    def __call__(self, proxies: Sequence[NDArray[np.uint8]]) -> list[DensityLayer]:
        """Decide how to repair each proxy.

        A gray proxy gets a layer that keeps it gray: its three channels are treated alike.

        Args:
            proxies: uint8 (h, w, 3), sRGB, any sizes; colorized if they are to be.

        Raises:
            ValueError: a proxy of another type or shape.
        """
        seen = [reduce_proxy(proxy) for proxy in proxies]
        record = decision_record(self.card, {}, "float32")
        layers: list[DensityLayer] = []
        for first in range(0, len(seen), self.at_once):
            layers += make_layers(self.decide(torch.stack(seen[first : first + self.at_once])), record)
        return layers

    @torch.inference_mode()
    def decide(self, seen: Tensor) -> DefadeDecision:
        """Decide on proxies as the network sees them, (B, 3, 128, 128)."""
        seen = seen.to(self.device)
        return close_gate_if_invisible(tie_channels(self.net(seen), seen), seen)


def load_compact_defader(card: Card, device: str = "cpu") -> CompactDefader:
    """Load `compact-defade`.

    Raises:
        FileNotFoundError: its weights are missing; says how to get them.
        ValueError: they are not what their card says.
    """
    network = DefadeNet()
    fill_network(network, load_tensors(card), card.name)
    return CompactDefader(network, card, device)


def reduce_proxy(proxy: NDArray[np.uint8]) -> Tensor:
    """Reduce a proxy, uint8 (h, w, 3), by area to what the network sees: (3, 128, 128) in [0, 1].

    Raises:
        ValueError: another type or shape.
    """
    if proxy.dtype != np.uint8 or proxy.ndim != 3 or proxy.shape[-1] != 3 or not proxy.size:
        raise ValueError(f"expected uint8 (h, w, 3), got {proxy.dtype} {proxy.shape}")
    small = Image.fromarray(proxy).resize((SIDE, SIDE), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


def tie_channels(decision: DefadeDecision, rgb: Tensor) -> DefadeDecision:
    """Give the three channels of the gray ones among photographs (B, 3, h, w) the same repair, the mean of theirs."""
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


def close_gate_if_invisible(decision: DefadeDecision, rgb: Tensor) -> DefadeDecision:
    """Close the gate of repairs that would change a photograph less than anybody notices.

    A second repair therefore changes little, too. The gate opens linearly between a mean change of `INVISIBLE` and one
    of `VISIBLE`.

    Args:
        decision: For B photographs.
        rgb: The B photographs, (B, 3, 128, 128).
    """
    at = pixel_positions(rgb.shape[2], rgb.shape[3], rgb.device).view(*rgb.shape[2:], 2)
    some, at = rgb[:, :, 2::4, 2::4], at[2::4, 2::4].flatten(0, 1)  # a sixteenth of the pixels is accurate enough
    move = (rgb_to_lab(repair(decision, some.flatten(2), at).view_as(some)) - rgb_to_lab(some)).norm(dim=1).mean((1, 2))
    return decision._replace(gate=decision.gate * ((move - INVISIBLE) / (VISIBLE - INVISIBLE)).clamp(0, 1))


def make_layers(decision: DefadeDecision, record: dict[str, Any]) -> list[DensityLayer]:
    """Turn the decision for B photographs into B layers."""
    matrix, shift, curves, grid, gate = (tensor.float().cpu().numpy() for tensor in decision[:5])
    return [
        DensityLayer(matrix[i], shift[i], curves[i], grid[i], float(gate[i]), record=record) for i in range(len(gate))
    ]
