"""ResNets (He et al., arXiv:1512.03385) as torchvision defines them, for encoders and critics.

Importing torchvision takes seconds, so only the networks that are built on a ResNet import this module.
"""

from torch import nn

from retint_models.vision import models

SKIPS = (2, 4, 5, 6)
"""Steps of an encoder whose maps the decoder of a U-Net reads: the first ReLU and three of the four stages."""


class BasicBlock(models.resnet.BasicBlock):  # type: ignore[misc]  # torchvision has no types
    """Torchvision's block of two 3x3 convolutions; it also names the batch norms that can be folded."""

    batch_norm_after = {"conv1": "bn1", "conv2": "bn2"}


class Bottleneck(models.resnet.Bottleneck):  # type: ignore[misc]
    """Torchvision's block of 1x1, 3x3 (with the stride) and 1x1 convolutions; it names its batch norms, too."""

    batch_norm_after = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3"}


def resnet_encoder(depths: tuple[int, ...], bottleneck: bool = False) -> nn.Sequential:
    """Return a ResNet without its classifier, with random weights: conv, norm, ReLU, max-pool and four stages.

    Args:
        depths: Blocks in the four stages.
        bottleneck: Whether the blocks are bottlenecks, which give four times the channels.
    """
    resnet = models.ResNet(Bottleneck if bottleneck else BasicBlock, list(depths))
    return nn.Sequential(*list(resnet.children())[:-2])
