"""Losses that compare pictures as a trained network sees them.

After Johnson et al. (arXiv:1603.08155), in the form that DeOldify has from fastai's lessons. The backbone is read from
a file: VGG16 with batch norms, as torchvision names it, or EfficientNet-Lite0. Without one, pixels alone are compared,
which is duller.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.networks.blocks import Encoder, SameConv2d
from retint_models.networks.deoldify import MEAN, STD
from retint_models.weights import checkpoints

VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
"""Channels of VGG16's convolutions; 0 is a max-pool (arXiv:1409.1556)."""
BEFORE_POOLS = (5, 12, 22, 32, 42)
"""Steps of VGG16 with batch norms after which the map is halved."""
NO_BACKBONE = (
    "No --backbone given: the loss compares pixels only, and colors will be duller. It takes VGG16-bn (torchvision's"
    " vgg16_bn-6c64b313.pth) or EfficientNet-Lite0 (safetensors)."
)
NO_ENCODER = (
    "No --encoder given: the ResNet starts from nothing and learns all from these photographs. That takes far more of"
    " them. It takes a ResNet as torchvision saves it (resnet34-b627a593.pth, resnet101-63fe2227.pth)."
)


class FeatureLoss(nn.Module):
    """Mean absolute difference of pixels, plus that of features, weighted.

    Args:
        backbone: Features of sRGB in [0, 1], one map a weight; None to compare pixels only.
        weights: Of the features' differences.
    """

    def __init__(self, backbone: "Vgg | Lite | None", weights: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.weights = tuple(weights)

    def forward(self, ours: Tensor, truth: Tensor, scale: float) -> Tensor:
        """Compare pictures.

        Args:
            ours: (B, 3, h, w), sRGB, may leave [0, 1].
            truth: The same, in [0, 1].
            scale: Of the pixels' difference: 1 over the deviation that the network's pictures are normalised by.
        """
        loss = scale * functional.l1_loss(ours, truth)
        if self.backbone is None:
            return loss
        with torch.no_grad():
            wanted = self.backbone(truth)
        for weight, mine, theirs in zip(self.weights, self.backbone(ours), wanted, strict=True):
            loss = loss + weight * self.backbone.distance(mine, theirs)
        return loss


class Vgg(nn.Module):
    """Three maps of VGG16 with batch norms: those before three of its max-pools."""

    def __init__(self, state: Mapping[str, Tensor], taps: Sequence[int]) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        inside = 3
        for outside in VGG:
            if outside == 0:
                steps.append(nn.MaxPool2d(2))
                continue
            steps += [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
            inside = outside
        self.features = nn.Sequential(*steps)
        ours = {name: value for name, value in state.items() if name.startswith("features.")}
        self.load_state_dict(counters(self) | ours)
        self.taps = tuple(taps)
        del self.features[max(taps) + 1 :]
        self.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))

    def train(self, mode: bool = True) -> "Vgg":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Map (B, 3, h, w), sRGB, to maps."""
        x, maps = (rgb - self.get_buffer("mean")) / self.get_buffer("std"), []
        for number, step in enumerate(self.features):
            x = step(x)
            if number in self.taps:
                maps.append(x)
        return maps

    @staticmethod
    def distance(one: Tensor, two: Tensor) -> Tensor:
        """Return the mean absolute difference."""
        return functional.l1_loss(one.float(), two.float())


class Lite(nn.Module):
    """Three maps of EfficientNet-Lite0, at strides 4, 8 and 16, each place's features of length 1.

    Compared by squared differences (LPIPS, arXiv:1801.03924, without its learned weights); a hundredth of VGG's weights
    brings both to the same order.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.encoder.features[0].register_module("0", SameConv2d(3, 32, 3, 2, bias=False))
        ours = {name: value.float() for name, value in state.items() if name.startswith("features.")}
        ours = {name: value for name, value in ours.items() if not name.startswith("features.8.")}
        self.encoder.load_state_dict(counters(self.encoder) | ours)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "Lite":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Map (B, 3, h, w), sRGB, to maps."""
        return [functional.normalize(x.float(), dim=1, eps=1e-6) for x in self.encoder(rgb)[:3]]

    @staticmethod
    def distance(one: Tensor, two: Tensor) -> Tensor:
        """Return the mean over places of the squared difference."""
        return (one - two).square().sum(1).mean() / 100


def counters(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's counters of batches, which files of others lack."""
    return {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}


def backbone(file: Path | None, taps: Sequence[int]) -> Vgg | Lite | None:
    """Read the network that features are taken from.

    Args:
        file: PyTorch's or safetensors; None for none.
        taps: Which of VGG16's maps are wanted (of `BEFORE_POOLS`); EfficientNet-Lite0 has its own.

    Raises:
        ValueError: the file holds neither network.
    """
    if file is None:
        return None
    state = checkpoints.read(file)
    try:
        if "features.40.weight" in state:
            return Vgg(state, taps)
        return Lite(state)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{file} holds neither VGG16 with batch norms nor EfficientNet-Lite0: {error}") from error


def resnet(file: Path | None) -> dict[str, Tensor]:
    """Read a ResNet as torchvision names it, under the numbers of `resnet.resnet_encoder`; nothing for no file.

    Raises:
        ValueError: the file holds something else.
    """
    if file is None:
        return {}
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    state = {}
    for name, value in checkpoints.read(file).items():
        first, _, rest = name.partition(".")
        if first in numbers:
            state[f"{numbers[first]}.{rest}"] = value.float() if value.is_floating_point() else value
        elif first != "fc":
            raise ValueError(f"{file} holds no ResNet as torchvision names it: {name} is unknown")
    return state


def adopt(body: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Start a body, or its first steps, from a trained ResNet; kernels for color are summed where it sees gray.

    Raises:
        ValueError: the state is of another ResNet.
    """
    ours = body.state_dict()
    kept = {name: value for name, value in state.items() if name in ours}
    if kept and ours["0.weight"].shape[1] == 1:
        kept["0.weight"] = kept["0.weight"].sum(1, keepdim=True)
    try:
        body.load_state_dict(counters(body) | kept, strict=bool(state))
    except RuntimeError as error:
        raise ValueError(f"the encoder does not fit this network: {str(error).splitlines()[-1].strip()}") from error
