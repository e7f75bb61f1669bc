"""The compact colorizer: a small self-attention U-Net on an ImageNet encoder, of our own design.

From luma it predicts, at a quarter of the size, the expected chroma, the expected error of that chroma (hence its
confidence), and how vivid each pixel should be.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retint_models.layers.types import CONFIDENCE_SCALE, ColorLayer
from retint_models.networks import proxies as p
from retint_models.networks.blocks import TOP, Attention, Encoder, Up
from retint_models.weights.cards import Card
from retint_models.weights.loading import fill_network, load_tensors

VIVID = 0.14
"""Length of a chroma, sqrt(Cb^2 + Cr^2), that a gain multiplies by itself; skin has about .06."""
SKIN = math.radians(125)
"""Hue of skin, the angle of (Cb, Cr): 121 to 130 degrees in half of what `evaluation.skin` finds on dev."""
CALM = 0.85
"""Share of a gain that is kept from colors like skin."""


@dataclass(frozen=True)
class CompactConfig:
    """The network's shape.

    Attributes:
        widths: Channels of the decoder at strides 32, 16, 8 and 4.
        dropout: Share of maps dropped in training.
    """

    widths: tuple[int, int, int, int] = (160, 128, 96, 64)
    dropout: float = 0.1


class Compact(nn.Module):
    """Maps luma to chroma."""

    def __init__(self, config: CompactConfig | None = None) -> None:
        super().__init__()
        self.config = config or CompactConfig()
        deep, middle, shallow, last = self.config.widths
        dropout = self.config.dropout
        self.encoder = Encoder()
        self.neck = nn.Conv2d(320 + TOP, deep, 1)
        self.scene = nn.Sequential(nn.Dropout(2 * dropout), nn.Linear(TOP, deep))
        self.deep = nn.Sequential(nn.Dropout2d(dropout), Attention(deep))
        self.up16 = Up(deep, 112, middle, dropout)
        self.attention = Attention(middle)
        self.up8 = Up(middle, 40, shallow, dropout)
        self.up4 = Up(shallow, 24, last, dropout)
        self.head = nn.Conv2d(last, 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, luma: Tensor) -> "ColorDecision":
        """Decide on luma (B, 1, h, w) in [0, 1]; h and w are multiples of 32."""
        return self.decide(self.encoder(luma))

    def decide(self, maps: list[Tensor]) -> "ColorDecision":
        """Decide on the maps that the encoder gives for a picture."""
        stride4, stride8, stride16, stride32, top = maps
        scene: Tensor = self.scene(top.mean((2, 3)))
        x = self.deep(self.neck(torch.cat([stride32, top], 1)) + scene[:, :, None, None])
        x = self.attention(self.up16(x, stride16))
        raw = self.head(self.up4(self.up8(x, stride8), stride4))
        return ColorDecision(raw[:, :2] / 10, 10 * torch.exp(raw[:, 2:3]), 0.1 * torch.exp(raw[:, 3:4]))


def likeness_to_skin(chroma: Tensor) -> Tensor:
    """Return how much chroma (B, 2, h, w) has the hue of skin, (B, 1, h, w): 1 up to 20 degrees off, 0 from 35 on."""
    blue, red = chroma[:, :1], chroma[:, 1:]
    off = torch.rad2deg((torch.atan2(red, blue) - SKIN).abs())
    return ((35 - off) / 15).clamp(0, 1)


class Calibration(NamedTuple):
    """How the error that the network expects becomes the one that is found on photographs it was not trained on.

    The network learns what error to expect of its own colors on the photographs of training, where it is better than
    elsewhere, and before a gain moves them. The expected color is a mean, and squared errors about a mean add: its own,
    and the distance from it. So a calibration holds for every gain and limit. `training.confidence` fits it.

    Attributes:
        error: Factor of the expected error.
        chroma: CIEDE2000 of a color that is moved by 1 in chroma.
    """

    error: float | Tensor = 1.0
    chroma: float | Tensor = 0.0

    def expect(self, error: Tensor, moved: Tensor) -> Tensor:
        """Return the CIEDE2000 error to expect.

        Args:
            error: That of the expected color, as the network says.
            moved: How far the color is from the expected one, in chroma.
        """
        return ((self.error * error) ** 2 + (self.chroma * moved) ** 2).sqrt()


@dataclass(frozen=True)
class ColorDecision:
    """The network's output for a picture, at a quarter of its size.

    Attributes:
        chroma: (B, 2, h, w): expected Cb and Cr, not limited to the gamut.
        error: (B, 1, h, w): expected CIEDE2000 error of that chroma.
        vividness: (B, 1, h, w): expected distance from gray, whatever the hue: the mean of sqrt(Cb^2 + Cr^2), hence
            never less than the length of a well-fitted `chroma`.
    """

    chroma: Tensor
    error: Tensor
    vividness: Tensor

    def apply_gain(self, gain: float, limit: float) -> Tensor:
        """Return the chroma with a gain: 0 gives gray, 1 the expected chroma, more raises it where the hue is certain.

        The expected chroma is a mean over all colors that a pixel might have, hence drab. It is long where they agree;
        there more chroma is closer to the truth, elsewhere it is not. So the factor grows with the length: it is the
        gain itself at `VIVID`, and a little more beyond. Colors like skin get little of it: they are right without, and
        a wrong one is seen there first (docs/study.md compares this gain with others).

        Args:
            gain: See above.
            limit: The gain makes no pixel more vivid than this multiple of its expected vividness, so that skin does
                not become orange.
        """
        length = self.chroma.norm(dim=1, keepdim=True).clamp_min(1e-4)
        more = max(gain - 1, 0) * (1 - CALM * likeness_to_skin(self.chroma))
        wanted = 1 + more * (length / VIVID).clamp_max(1.25)
        raised = wanted.minimum(limit * self.vividness / length).clamp_min(1)
        vivid: Tensor = self.chroma * min(gain, 1) * raised
        return vivid

    def confidence(self, chroma: Tensor, calibration: Calibration) -> Tensor:
        """Return the confidence in chroma (B, 2, h, w), (B, 1, h, w) in (0, 1]: see `CONFIDENCE_SCALE`."""
        moved = (chroma - self.chroma).norm(dim=1, keepdim=True)
        return torch.exp(-calibration.expect(self.error, moved) / CONFIDENCE_SCALE)


class CompactColorizer:
    """`compact` and `compact-vivid` with their weights loaded: proxies in, color layers out.

    Attributes:
        at_once: How many proxies run through the network together.
    """

    def __init__(self, card: Card, device: str = "cpu") -> None:
        self.card = card
        self.device = device
        self.calibration = Calibration(**card.calibration)
        self.at_once = p.choose_batch(device, gpu=32)
        network = Compact()
        fill_network(network, load_tensors(card), card.name)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, proxies: Sequence[NDArray[np.uint8]], settings: Mapping[str, float]) -> list[ColorLayer]:
        """Decide on proxies, uint8 (h, w, 3), sRGB, of any sizes.

        Args:
            settings: `gain` and `limit`, see `ColorDecision.apply_gain`; the card has their ranges.

        Raises:
            ValueError: not a proxy, an unknown setting, or one out of range.
        """
        settings = self.card.fill_settings(settings)
        views = [p.make_view(proxy) for proxy in proxies]
        decide = partial(self.decide, gain=settings["gain"], limit=settings["limit"])
        decided = p.run_by_size(views, decide, self.at_once)
        record = p.decision_record(self.card, settings, "float32")
        layers = []
        for view, decision in zip(views, decided, strict=True):
            large = p.enlarge(decision, view.luma)
            layers.append(p.make_layer(view.luma, large[:, :2], large[:, 2:], record))
        return layers

    @torch.inference_mode()
    def decide(self, seen: Tensor, gain: float, limit: float) -> Tensor:
        """Return Cb, Cr and confidence, (B, 3, h / 4, w / 4), of luma (B, 1, h, w)."""
        decision: ColorDecision = self.network(seen.to(self.device, memory_format=torch.channels_last))
        chroma = decision.apply_gain(gain, limit)
        return torch.cat([chroma, decision.confidence(chroma, self.calibration)], 1).cpu()
