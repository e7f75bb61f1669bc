"""`lab-resnet18`: the first half of a ResNet-18 and a small decoder that regress a and b of CIELAB.

Luke Melas-Kyriazi (lukemelas), tutorial of May 2018 and the repository beside it; after Iizuka et al. (ACM Transactions
on Graphics 35(4), 2016). No license is known for either, so it is written afresh from a description of names and
shapes, and the weights are not ours to pass on. Every tensor has the name that it has in the published checkpoints.
There are two versions, which their keys tell apart: the tutorial's (`upsample`) and the repository's
(`fusion_and_colorization_net`), which also has a second half of the ResNet and a fusion that it never uses.

One mistake is not copied: the tutorial uses the network's gamma-coded gray as L*, which shifts every lightness. Here L*
is computed from the luminance of that gray; with a and b it gives a color, and the layer stores the color's Cb and Cr,
so that luma stays the proxy's.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from retint_models.acceleration.prepare import prepare
from retint_models.layers.types import ColorLayer
from retint_models.networks import proxies
from retint_models.networks.blocks import expect_batch, expect_values
from retint_models.networks.color import ab_to_chroma, rec709_luma
from retint_models.networks.resnet import resnet_encoder
from retint_models.weights.cards import Card
from retint_models.weights.loading import fill_network, load_tensors

SIDE = 256
"""Short side of the network's input, at which its authors validated it."""


def gray_resnet18() -> nn.Sequential:
    """Return a ResNet-18 for one channel, without its classifier."""
    steps = resnet_encoder((2, 2, 2, 2))
    steps[0] = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    return steps


class TutorialNetwork(nn.Module):
    """The version of the tutorial: 954,722 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.midlevel_resnet = gray_resnet18()[:6]
        self.upsample = nn.Sequential(
            *(nn.Conv2d(128, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(), nn.Upsample(scale_factor=2)),
            *(nn.Conv2d(128, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
            *(nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Upsample(scale_factor=2)),
            *(nn.Conv2d(64, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 2, 3, padding=1), nn.Upsample(scale_factor=2)),
        )

    def forward(self, gray: Tensor) -> Tensor:
        """Decide a and b.

        Args:
            gray: (B, 1, h, w), float32, luma in [0, 1].

        Returns:
            (B, 2, H, W): a and b plus 128, over 255, not limited; H and W are h and w rounded up to multiples of 8,
            the surplus lies right and below.

        Raises:
            ValueError: not such a tensor.
        """
        check_gray(gray)
        decided: Tensor = self.upsample(self.midlevel_resnet(gray))
        return decided


class FusionDecoder(nn.Module):
    """The decoder of the repository's version; half of its parts exist only for their names in the state."""

    def __init__(self) -> None:
        super().__init__()
        self.fusion = nn.Linear(640, 128)
        self.bn1 = nn.BatchNorm2d(128)
        self.deconv1_new = nn.ConvTranspose2d(128, 128, 4, 2, 1)
        widths = (128, 128, 64, 64, 32, 2)
        for number, (inside, outside) in enumerate(pairwise(widths), 1):
            self.add_module(f"conv{number}", nn.Conv2d(inside, outside, 3, padding=1))
            if outside > 2:
                self.add_module(f"bn{number + 1}", nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 128, h, w) to (B, 2, 8 h, 8 w)."""
        step = self.get_submodule
        x = double(functional.relu(step("bn2")(step("conv1")(x))))
        x = functional.relu(step("bn3")(step("conv2")(x)))
        x = double(functional.relu(step("conv3")(x)))
        return double(step("conv5")(torch.sigmoid(step("conv4")(x))))


def double(x: Tensor) -> Tensor:
    """Map (B, channels, h, w) to (B, channels, 2 h, 2 w), each value four times."""
    return functional.interpolate(x, scale_factor=2.0)


class RepositoryNetwork(nn.Module):
    """The version of the repository; the first steps of `global_resnet` are those of `midlevel_resnet`."""

    def __init__(self) -> None:
        super().__init__()
        whole = gray_resnet18()
        self.midlevel_resnet = whole[:6]
        self.global_resnet = whole
        self.fusion_and_colorization_net = FusionDecoder()

    def forward(self, gray: Tensor) -> Tensor:
        """Decide a and b, as `Tutorial.forward` does."""
        check_gray(gray)
        decided: Tensor = self.fusion_and_colorization_net(self.midlevel_resnet(gray))
        return decided


def check_gray(gray: Tensor) -> None:
    """Refuse anything but a batch of gray pictures.

    Raises:
        ValueError: says what was expected.
    """
    expect_batch(gray, 1)
    expect_values(gray, 0, 1, "gray")


def load_network(name: str, tensors: Mapping[str, Tensor]) -> TutorialNetwork | RepositoryNetwork:
    """Return the network with its weights, ready to run; the keys say which version it is.

    Args:
        name: Of the network, for error messages.
        tensors: The published state; float32 tensors are used as they are, not copied.

    Raises:
        ValueError: not its weights: a missing or unknown tensor, another shape, NaN or infinity.
    """
    with torch.device("meta"):
        network = RepositoryNetwork() if any(key.startswith("fusion_") for key in tensors) else TutorialNetwork()
    fill_network(network, tensors, name)
    return network


class LabColorizer:
    """`lab-resnet18` with its weights loaded: proxies in, color layers out.

    Attributes:
        at_once: How many proxies of one size run through the network together.
    """

    def __init__(self, card: Card, device: str = "cpu") -> None:
        self.card = card
        self.at_once = proxies.choose_batch(device, gpu=8)
        # In bfloat16 one step of the output is half a unit of a or b, which shows in skies.
        self.network = prepare(load_network(card.name, load_tensors(card)), device, precision="float32")

    def __call__(self, pictures: Sequence[NDArray[np.uint8]], settings: Mapping[str, float]) -> list[ColorLayer]:
        """Decide on proxies, uint8 (h, w, 3), sRGB, of any sizes.

        Raises:
            ValueError: not a proxy, or a setting: the network has none.
        """
        record = proxies.decision_record(self.card, self.card.fill_settings(settings), self.network.precision)
        views = [make_view(picture) for picture in pictures]
        layers = []
        for seen, decided in zip(views, proxies.run_by_size(views, self.decide, self.at_once), strict=True):
            chroma = ab_to_chroma(seen.luma, proxies.enlarge(decided, seen.luma))
            layers.append(proxies.layer_without_confidence(seen.luma, chroma, record))
        return layers

    @torch.inference_mode()
    def decide(self, gray: Tensor) -> Tensor:
        """Return a and b, (B, 2, h / 2, w / 2), of gray (B, 1, h, w) in [0, 1]; the last step's doubling is undone."""
        decided: Tensor = self.network(gray).cpu()
        return 255 * decided[:, :, ::2, ::2] - 128


def make_view(picture: NDArray[np.uint8]) -> proxies.View:
    """Prepare a proxy as `proxies.make_view` does, but with its own tone and with sides that are multiples of 8."""
    proxies.check_proxy(picture)
    height, width = picture.shape[:2]
    scale = min(SIDE / min(height, width), proxies.LONG_SIDE / max(height, width))
    luma = proxies.resize_proxy(picture, *(max(1, round(side * min(1.0, scale))) for side in (height, width)))
    seen = proxies.resize_proxy(picture, *(max(8, round(side * scale / 8) * 8) for side in (height, width)))
    return proxies.View(rec709_luma(luma), rec709_luma(seen).clamp(0, 1))
