"""Networks that others trained on ImageNet: encoders to start from, and backbones of the feature loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from retint_models.training.losses import Backbone, EfficientNetFeatures, VggFeatures, batch_counters
from retint_models.weights import checkpoints

NO_BACKBONE = (
    "No --backbone given: the loss compares only pixels, and colors will be duller. Give VGG16-bn (torchvision's"
    " vgg16_bn-6c64b313.pth) or EfficientNet-Lite0 (safetensors)."
)
NO_ENCODER = (
    "No --encoder given: the ResNet starts from random weights and needs far more photographs. Give a ResNet as"
    " torchvision saves it (resnet34-b627a593.pth, resnet101-63fe2227.pth)."
)
BACKBONE_NAMES: dict[type[Backbone] | type[None], str] = {
    VggFeatures: "Vgg",
    EfficientNetFeatures: "Lite",
    type(None): "NoneType",
}
"""How logs and checkpoints name a backbone."""


@dataclass(frozen=True)
class Pretrained:
    """What a run takes over from networks that others trained.

    Attributes:
        encoder: Weights of a ResNet (`read_resnet`); empty to start from random weights.
        backbone: Features for the feature loss (`read_backbone`); None to compare only pixels.
    """

    encoder: Mapping[str, Tensor]
    backbone: Backbone | None

    @property
    def settings(self) -> dict[str, str | bool]:
        """The facts for the settings of a run."""
        return {"pretrained": bool(self.encoder), "backbone": BACKBONE_NAMES[type(self.backbone)]}


def read_backbone(file: Path | None, layers: Sequence[int]) -> Backbone | None:
    """Read the backbone of the feature loss.

    Args:
        file: PyTorch's format or safetensors; None for no backbone.
        layers: Layers of VGG16 to compare (from `LAYERS_BEFORE_POOLS`); those of EfficientNet-Lite0 are fixed.

    Raises:
        ValueError: the file holds neither network.
    """
    if file is None:
        return None
    state = checkpoints.read(file).tensors
    try:
        if "features.40.weight" in state:
            return VggFeatures(state, layers)
        return EfficientNetFeatures(state)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{file} holds neither VGG16 with batch norms nor EfficientNet-Lite0: {error}") from error


def read_resnet(file: Path | None) -> dict[str, Tensor]:
    """Read a ResNet as torchvision names it; return its weights under the numbers of `resnet.resnet_encoder`.

    Returns:
        The weights without the classifier; none without a file.

    Raises:
        ValueError: the file holds something else.
    """
    if file is None:
        return {}
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    state = {}
    for name, value in checkpoints.read(file).tensors.items():
        first, _, rest = name.partition(".")
        if first in numbers:
            state[f"{numbers[first]}.{rest}"] = value.float() if value.is_floating_point() else value
        elif first != "fc":
            raise ValueError(f"{file} holds no ResNet as torchvision names it: {name} is unknown")
    return state


def load_encoder(body: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a trained ResNet into a body that has all its modules or the first of them.

    Where the body sees gray, the first kernels are summed over the three colors.

    Args:
        body: The ResNet of a network, as a sequence of modules.
        state: Weights from `read_resnet`; if empty, the body keeps its random weights.

    Raises:
        ValueError: the weights are of another ResNet.
    """
    if not state:
        return
    expected = body.state_dict()
    weights = {name: value for name, value in state.items() if name in expected}
    if "0.weight" in weights and expected["0.weight"].shape[1] == 1:
        weights["0.weight"] = weights["0.weight"].sum(1, keepdim=True)
    try:
        body.load_state_dict(batch_counters(body) | weights)
    except RuntimeError as error:
        raise ValueError(f"the encoder does not fit this network: {str(error).splitlines()[-1].strip()}") from error
