"""Prepare a proxy as the input of a colorizer, and turn its small output into a color layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from retint_models.layers.types import ColorLayer, Order
from retint_models.layers.upsampling import detail_slopes
from retint_models.networks.color import rec709_luma
from retint_models.weights.cards import Card

SHORT_SIDE = 256
"""Short side of a color layer and of a network's input; a layer is smaller where the proxy is."""
LONG_SIDE = 640
"""Longest side of both, so that panoramas are reduced further."""
UNKNOWN_CONFIDENCE = 0.5
"""Confidence of a network that gives none: neither sure nor a guess."""


@dataclass(frozen=True)
class View:
    """A proxy prepared as the input of a network.

    Attributes:
        luma: (1, 1, h, w), the proxy's luma in [0, 1] at the layer's size.
        seen: (1, 1, H, W), the network's input: the same with its tone normalised and with sides of multiples of 32.
    """

    luma: Tensor
    seen: Tensor


def make_view(proxy: NDArray[np.uint8]) -> View:
    """Prepare a proxy, uint8 (h, w, 3) of any size from one pixel on.

    Raises:
        ValueError: not a proxy.
    """
    check_proxy(proxy)
    height, width = proxy.shape[:2]
    scale = min(1.0, SHORT_SIDE / min(height, width), LONG_SIDE / max(height, width))
    luma = rec709_luma(resize_proxy(proxy, max(1, round(height * scale)), max(1, round(width * scale))))
    scale = min(SHORT_SIDE / min(height, width), LONG_SIDE / max(height, width))
    sides = [max(32, round(side * scale / 32) * 32) for side in (height, width)]
    return View(luma, normalise_tone(rec709_luma(resize_proxy(proxy, *sides))))


def check_proxy(proxy: NDArray[Any]) -> None:
    """Refuse anything but a proxy.

    Raises:
        ValueError: says what was expected.
    """
    if proxy.ndim != 3 or proxy.shape[2] != 3 or proxy.dtype != np.uint8 or proxy.size == 0:
        raise ValueError(f"a proxy is uint8 (h, w, 3), not {proxy.dtype} {proxy.shape}")


def resize_proxy(proxy: NDArray[np.uint8], height: int, width: int) -> Tensor:
    """Resize a proxy without aliasing; return sRGB (1, 3, height, width) in [0, 1]."""
    resized = np.array(Image.fromarray(proxy).resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(resized).permute(2, 0, 1)[None].float() / 255


def stretch_to_aspect(proxy: NDArray[np.uint8], square: Tensor) -> tuple[Tensor, Tensor]:
    """Stretch what a network decided on a square to a proxy's aspect ratio.

    Args:
        proxy: uint8 (h, w, 3).
        square: (n, side, side).

    Returns:
        Luma (1, 1, h', w') of the proxy, and the planes (1, n, h', w') of the square; the shorter of h' and w' is the
        square's side, or the proxy's if that is shorter.
    """
    height, width, _ = proxy.shape
    scale = min(1.0, square.shape[-1] / min(height, width))
    size = round(height * scale), round(width * scale)
    # antialias=True filters as PIL does, which DeOldify uses.
    planes = functional.interpolate(square[None], size, mode="bilinear", antialias=True)
    return rec709_luma(resize_proxy(proxy, *size)), planes


def normalise_tone(luma: Tensor) -> Tensor:
    """Stretch a flat or dark picture's luma most of the way to the full range.

    Networks are trained on modern photographs, which contain black and white; faded prints contain neither. A picture
    of one tone is returned unchanged: stretching it would only amplify its noise.
    """
    low, high = torch.quantile(luma.flatten(), torch.tensor([0.005, 0.995]))
    if high - low < 0.05:
        return luma
    black, white = 0.8 * low, 1 - 0.8 * (1 - high)
    stretched: Tensor = (luma - black) / (white - black)
    return stretched.clamp(0, 1)


def choose_batch(device: str, gpu: int) -> int:
    """Return how many pictures run through a network together: one on a CPU, and on a GPU as many as are given.

    On a CPU the algorithms of convolutions and matrix products depend on the number of pictures, and with them the last
    bits of each picture's decision. One at a time costs `compact` no speed, and `compact-defade` 4 ms a picture.
    """
    return 1 if torch.device(device).type == "cpu" else gpu


def run_by_size(views: Sequence[View], decide: Callable[[Tensor], Tensor], batch: int) -> list[Tensor]:
    """Run a network on views of one size together, at most `batch`; return its outputs (1, channels, h, w) in order."""
    outputs: dict[int, Tensor] = {}
    for shape in {view.seen.shape for view in views}:
        members = [number for number, view in enumerate(views) if view.seen.shape == shape]
        for first in range(0, len(members), batch):
            group = members[first : first + batch]
            together = decide(torch.cat([views[number].seen for number in group]))
            outputs |= {number: output[None] for number, output in zip(group, together, strict=True)}
    return [outputs[number] for number in range(len(views))]


def enlarge(decision: Tensor, luma: Tensor) -> Tensor:
    """Enlarge a decision (1, channels, h, w) to the size of luma (1, 1, H, W), following its detail: `upsampling`."""
    size = luma.shape[-2:]
    if decision.shape[-2] > size[0] or decision.shape[-1] > size[1]:
        return functional.interpolate(decision, size=size, mode="bilinear", antialias=True)
    small = functional.interpolate(luma, size=decision.shape[-2:], mode="bilinear", antialias=True)
    slope = torch.from_numpy(detail_slopes(small[0, 0].numpy(), decision[0].numpy())).to(luma)[None]
    large = [functional.interpolate(part, size=size, mode="bilinear") for part in (decision, slope, small)]
    return large[0] + large[1] * (luma - large[2])


def layer_without_confidence(luma: Tensor, chroma: Tensor, record: dict[str, Any]) -> ColorLayer:
    """Make a color layer of luma (1, 1, h, w) and chroma (1, 2, h, w) of a network that gives no confidence."""
    return make_layer(luma, chroma, torch.full_like(luma, UNKNOWN_CONFIDENCE), record)


def decision_record(card: Card, settings: Mapping[str, float], precision: str) -> dict[str, Any]:
    """Return the record of a layer: which network decided it, with which settings and precision, when, and for which
    order of the layers: a colorizer is shown what tone repair makes of a photo.
    """
    return {
        card.kind: card.name,
        "weights": card.sha256,
        "settings": dict(settings),
        "precision": precision,
        "order": Order.TONE_FIRST,
        "decided_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def make_layer(luma: Tensor, chroma: Tensor, confidence: Tensor, record: dict[str, Any]) -> ColorLayer:
    """Make a color layer of luma (1, 1, h, w), chroma (1, 2, h, w) and confidence (1, 1, h, w) in [0, 1]."""
    return ColorLayer(
        chroma=chroma[0].clamp(-0.5, 0.5).numpy().astype(np.float16),
        luma=luma[0, 0].numpy().astype(np.float16),
        confidence=(255 * confidence[0, 0].clamp(0, 1)).round().byte().numpy(),
        record=record,
    )
