"""The compact colorizer: a small self-attention U-Net on an ImageNet encoder, of our own design.

It is given luma and decides, at a quarter of the size, the chroma that it expects, how far off it expects to be (its
confidence), and how vivid the place should be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from retint_models.layers.types import ColorLayer
from retint_models.networks import proxies as p
from retint_models.networks.blocks import Attention, Encoder, Up
from retint_models.weights.cards import Card
from retint_models.weights.loading import fill_network, load_tensors


@dataclass(frozen=True)
class Config:
    """Channels of the decoder at strides 32, 16, 8 and 4, and the share of maps dropped in training."""

    widths: tuple[int, int, int, int] = (160, 128, 96, 64)
    dropout: float = 0.1


class Compact(nn.Module):
    """Luma in, chroma out."""

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = config or Config()
        deep, middle, shallow, last = self.config.widths
        dropout = self.config.dropout
        self.encoder = Encoder()
        self.neck = nn.Sequential(nn.Conv2d(320, deep, 1), nn.Dropout2d(dropout), Attention(deep))
        self.up16 = Up(deep, 112, middle, dropout)
        self.attention = Attention(middle)
        self.up8 = Up(middle, 40, shallow, dropout)
        self.up4 = Up(shallow, 24, last, dropout)
        self.head = nn.Conv2d(last, 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, luma: Tensor) -> "Decision":
        """Decide on luma (B, 1, h, w) in [0, 1]; h and w are multiples of 32."""
        return self.decide(self.encoder(luma))

    def decide(self, maps: list[Tensor]) -> "Decision":
        """Decide on the encoder's maps of a picture."""
        stride4, stride8, stride16, stride32 = maps
        x = self.attention(self.up16(self.neck(stride32), stride16))
        raw = self.head(self.up4(self.up8(x, stride8), stride4))
        return Decision(raw[:, :2] / 10, 10 * torch.exp(raw[:, 2:3]), 0.1 * torch.exp(raw[:, 3:4]))


@dataclass(frozen=True)
class Decision:
    """What the network says of a picture, at a quarter of its size.

    Attributes:
        chroma: (B, 2, h, w): the Cb and Cr that it expects, not limited to the gamut.
        error: (B, 1, h, w): the CIEDE2000 that it expects to be off.
        vividness: (B, 1, h, w): how far from gray it expects the place to be, whatever the hue: the mean of
            sqrt(Cb^2 + Cr^2), hence never less than the length of a well-fitted `chroma`.
    """

    chroma: Tensor
    error: Tensor
    vividness: Tensor

    def vivid(self, gain: float, limit: float) -> Tensor:
        """Return the chroma with a gain: 0 is gray, 1 what the network expects, more is more where the hue is sure.

        What is expected is a mean over all that a place might be, hence drab. How much the possible colors agree is the
        length of their mean over the mean of their lengths, in [0, 1] (the resultant length of directional statistics,
        Mardia and Jupp, 2000). Where they agree, more chroma is more true; where they do not, it is only more.

        Args:
            gain: See above.
            limit: No gain makes a place more vivid than so many times what is usual for it: skin is not to burn.
        """
        length = self.chroma.norm(dim=1, keepdim=True).clamp_min(1e-4)
        agreement = (length / self.vividness).clamp(0.05, 1)
        raised = (1 + max(gain - 1, 0) * agreement).minimum(limit / agreement).clamp_min(1)
        vivid: Tensor = self.chroma * min(gain, 1) * raised
        return vivid

    def confidence(self) -> Tensor:
        """Tell how sure it is, (B, 1, h, w) in (0, 1]: 1 where no error is expected, .37 at a CIEDE2000 of 15."""
        return torch.exp(-self.error / 15)


class CompactColorizer:
    """`compact` and `compact-vivid` with their weights loaded: proxies in, color layers out.

    Attributes:
        at_once: How many proxies pay in one call.
    """

    def __init__(self, card: Card, device: str = "cpu") -> None:
        self.card = card
        self.device = device
        self.at_once = 4 if torch.device(device).type == "cpu" else 32
        network = Compact()
        fill_network(network, load_tensors(card), card.name)
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, proxies: Sequence[NDArray[np.uint8]], settings: Mapping[str, float]) -> list[ColorLayer]:
        """Decide on proxies, uint8 (h, w, 3), sRGB, of any sizes.

        Args:
            settings: `gain` and `limit`, see `Decision.vivid`; the card has their ranges.

        Raises:
            ValueError: not a proxy, an unknown setting, or one out of range.
        """
        settings = self.card.fill_settings(settings)
        views = [p.view(proxy) for proxy in proxies]
        decided = p.grouped(views, partial(self.decide, gain=settings["gain"], limit=settings["limit"]))
        record = {
            "colorizer": self.card.name,
            "weights": self.card.sha256,
            "settings": settings,
            "decided_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        layers = []
        for view, decision in zip(views, decided, strict=True):
            large = p.enlarged(decision, view.luma)
            layers.append(p.layer(view.luma, large[:, :2], large[:, 2:], record))
        return layers

    @torch.inference_mode()
    def decide(self, seen: Tensor, gain: float, limit: float) -> Tensor:
        """Return Cb, Cr and confidence, (B, 3, h / 4, w / 4), of luma (B, 1, h, w)."""
        decision: Decision = self.network(seen.to(self.device, memory_format=torch.channels_last))
        return torch.cat([decision.vivid(gain, limit), decision.confidence()], 1).cpu()
