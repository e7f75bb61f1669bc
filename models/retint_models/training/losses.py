"""The feature loss: the difference of two pictures as a trained network sees them.

After Johnson et al. (arXiv:1603.08155), in the form that DeOldify has from fastai's lessons. The features come from a
backbone: VGG16 with batch norms or EfficientNet-Lite0 (`pretrained.read_backbone`). Without one only pixels are
compared, and colors are duller.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.networks.blocks import Encoder
from retint_models.networks.color import IMAGENET_MEAN, IMAGENET_STD
from retint_models.vision import models

LAYERS_BEFORE_POOLS = (5, 12, 22, 32, 42)
"""Layers of VGG16 with batch norms whose output is max-pooled next."""


class VggFeatures(nn.Module):
    """Outputs of three layers of torchvision's VGG16 with batch norms.

    Args:
        state: Weights under torchvision's names (`features.0.weight` …); those of the classifier are ignored.
        layers: Numbers of the layers, from `LAYERS_BEFORE_POOLS`.

    Raises:
        RuntimeError: the weights are not those of VGG16 with batch norms.
    """

    def __init__(self, state: Mapping[str, Tensor], layers: Sequence[int]) -> None:
        super().__init__()
        with torch.device("meta"):  # 134 million parameters, of which 15 million are used
            self.features = models.vgg16_bn(init_weights=False).features
        weights = {name: value for name, value in state.items() if name.startswith("features.")}
        floats = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
        self.load_state_dict(batch_counters(self) | floats, assign=True)
        self.layers = tuple(layers)
        del self.features[max(layers) + 1 :]
        self.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1))

    def train(self, mode: bool = True) -> "VggFeatures":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Map sRGB (B, 3, h, w) in [0, 1] to the outputs of the layers."""
        x, outputs = (rgb - self.get_buffer("mean")) / self.get_buffer("std"), []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.layers:
                outputs.append(x)
        return outputs

    @staticmethod
    def distance(one: Tensor, two: Tensor) -> Tensor:
        """Return the mean absolute difference of two outputs."""
        return functional.l1_loss(one.float(), two.float())


class EfficientNetFeatures(nn.Module):
    """Outputs of EfficientNet-Lite0 at strides 4, 8 and 16, normalised to length 1 at each place.

    They are compared by squared differences (LPIPS, arXiv:1801.03924, without its learned weights). Divided by 100,
    distances are of the same order as those of VGG16.

    Args:
        state: Weights as `Encoder` names them.

    Raises:
        ValueError: a weight is missing.
        RuntimeError: a weight has another shape.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.encoder = Encoder(channels=3, depth=5)
        self.encoder.load_imagenet(dict(state))
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "EfficientNetFeatures":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Map sRGB (B, 3, h, w) in [0, 1] to the three outputs."""
        return [functional.normalize(x.float(), dim=1, eps=1e-6) for x in self.encoder(rgb)[:3]]

    @staticmethod
    def distance(one: Tensor, two: Tensor) -> Tensor:
        """Return a hundredth of the squared difference, summed over channels, averaged over places."""
        return (one - two).square().sum(1).mean() / 100


Backbone = VggFeatures | EfficientNetFeatures


class FeatureLoss(nn.Module):
    """Mean absolute difference of pixels plus weighted differences of features.

    Args:
        backbone: Returns one output a weight; None to compare only pixels.
        weights: Weights of the outputs' differences.
    """

    def __init__(self, backbone: Backbone | None, weights: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.weights = tuple(weights)

    def forward(self, generated: Tensor, truth: Tensor, scale: float) -> Tensor:
        """Compare pictures.

        Args:
            generated: (B, 3, h, w), sRGB; may leave [0, 1].
            truth: (B, 3, h, w), sRGB in [0, 1].
            scale: Factor of the pixels' difference: 1 over the deviation that the network's pictures are normalised by.
        """
        loss = scale * functional.l1_loss(generated, truth)
        if self.backbone is None:
            return loss
        with torch.no_grad():
            true_features = self.backbone(truth)
        for weight, ours, theirs in zip(self.weights, self.backbone(generated), true_features, strict=True):
            loss = loss + weight * self.backbone.distance(ours, theirs)
        return loss


def batch_counters(network: nn.Module) -> dict[str, Tensor]:
    """Return batch norms' counters of batches at zero; published weights files may lack them."""
    names = [name for name in network.state_dict() if name.endswith("num_batches_tracked")]
    return {name: torch.zeros((), dtype=torch.long) for name in names}
