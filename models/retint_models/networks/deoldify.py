"""DeOldify's three generators: a ResNet encoder and a U-Net decoder with pixel shuffles and one self-attention.

Jason Antic, DeOldify (2018 to 2024), https://github.com/jantic/DeOldify; code and weights MIT. Written afresh from a
description. Every tensor has the name that it has in the official files, so their state loads without a mapping.
`artistic` is the deep decoder on a ResNet-34; `stable` and `video` are one network, the wide decoder on a ResNet-101.

Four properties look like mistakes, but the trained weights need them: batch norm comes after convolution and ReLU; the
last shuffle blurs, too; attention weights sum to 1 over the queries; a bottleneck's stride is in its second
convolution.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.acceleration.folding import plain_conv
from retint_models.networks.blocks import expect_batch, expect_values
from retint_models.networks.resnet import SKIPS, resnet_encoder
from retint_models.networks.spectral import SpectralConv
from retint_models.networks.up_blocks import BlurredShuffle, BlurredUp, UpConfig, conv_relu_norm
from retint_models.weights.loading import fill_network


@dataclass(frozen=True)
class GeneratorConfig:
    """The shape of a generator.

    Attributes:
        depths: Residual blocks in the four stages of the encoder.
        bottleneck: Whether those are bottlenecks, which give four times the channels.
        ups: Up blocks, deepest first; the second one has the attention.
    """

    depths: tuple[int, int, int, int]
    bottleneck: bool
    ups: tuple[UpConfig, UpConfig, UpConfig, UpConfig]


DEEP = GeneratorConfig(
    (3, 4, 6, 3),
    False,
    (
        UpConfig(512, 256, 256, 768, 2),
        UpConfig(768, 128, 384, 768, 2),
        UpConfig(768, 64, 384, 672, 2),
        UpConfig(672, 64, 336, 300, 2),
    ),
)
WIDE = GeneratorConfig(
    (3, 4, 23, 3),
    True,
    (
        UpConfig(2048, 1024, 512, 512, 1),
        UpConfig(512, 512, 512, 512, 1),
        UpConfig(512, 256, 512, 512, 1),
        UpConfig(512, 64, 256, 256, 1),
    ),
)
CONFIGS = {"artistic": DEEP, "stable": WIDE, "video": WIDE}


class WeightNormConv(nn.Module):
    """1x1 convolution whose kernels are stored as lengths and directions (weight norm, arXiv:1602.07868)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outside))
        self.weight_g = nn.Parameter(torch.ones(outside, 1, 1, 1))
        self.weight_v = nn.Parameter(nn.init.kaiming_normal_(torch.empty(outside, inside, 1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inside, h, w) to (B, outside, h, w)."""
        return functional.conv2d(x, self.kernel(), self.bias)

    def kernel(self) -> Tensor:
        """Return the kernel, (outside, inside, 1, 1)."""
        length = torch.linalg.vector_norm(self.weight_v, dim=(1, 2, 3), keepdim=True)
        kernel: Tensor = self.weight_v * (self.weight_g / length)
        return kernel

    def to_plain(self) -> nn.Module:
        """Return a plain convolution with the same kernel."""
        return plain_conv(self.kernel(), self.bias)


class Refine(nn.Module):
    """Two convolutions at full size, added to what they are given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Sequential(SpectralConv(channels, channels, bias=True), nn.ReLU()) for _ in range(2))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape."""
        y: Tensor = self.layers(x)
        return x + y


class DeoldifyGenerator(nn.Module):
    """Maps a gray picture to the same picture in color, both normalised by ImageNet's mean and standard deviation.

    The numbers of `layers` are the official ones; steps without tensors have a number and no entry.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        deep = config.ups[0].inside
        last = config.ups[-1].outside
        self.layers = nn.ModuleDict({"0": resnet_encoder(config.depths, config.bottleneck), "1": nn.BatchNorm2d(deep)})
        self.layers["3"] = nn.Sequential(conv_relu_norm(deep, 2 * deep), conv_relu_norm(2 * deep, deep))
        for number, up in enumerate(config.ups):
            self.layers[str(4 + number)] = BlurredUp(up, attention=number == 1)
        self.layers["8"] = BlurredShuffle(WeightNormConv(last, 4 * last))
        self.layers["10"] = Refine(last + 3)
        self.layers["11"] = nn.Sequential(SpectralConv(last + 3, 3, (1, 1), bias=True))

    def forward(self, x: Tensor) -> Tensor:
        """Color a gray picture.

        Args:
            x: (B, 3, h, w), float32, normalised; h and w are even, at least 2.

        Returns:
            (B, 3, h, w), normalised RGB in [-3, 3]; after denormalising it must be clamped to [0, 1].

        Raises:
            ValueError: not such a tensor.
        """
        self.check(x)
        return self.decide(x)

    @staticmethod
    def check(x: Tensor) -> None:
        """Refuse anything but a batch of normalised pictures of even size.

        Raises:
            ValueError: says what was expected.
        """
        expect_batch(x, 3)
        if x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(f"expected an even height and width, not {x.shape[2]} x {x.shape[3]}")
        expect_values(x, -2.12, 2.65, "pictures in 0..1, minus ImageNet's mean, over its deviation")

    def decide(self, x: Tensor) -> Tensor:
        """Do the same as `forward` without the check, in the precision of the weights; the output is float32."""
        y, skips = self.encode(x)
        for number in range(4, 8):
            y = self.layers[str(number)](y, skips.pop())
        y = torch.cat([self.layers["8"](y), x], 1)
        return 6 * torch.sigmoid(self.layers["11"](self.layers["10"](y)).float()) - 3

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the deepest map, (B, deep, h / 32, w / 32), and the encoder's maps for the decoder, deepest last."""
        y, skips = x, []
        for number, step in enumerate(self.layers["0"].children()):
            y = step(y)
            if number in SKIPS:
                skips.append(y)
        return self.layers["3"](functional.relu(self.layers["1"](y))), skips

    def to_cpu_form(self, dtype: torch.dtype) -> nn.Module:
        """Return the same network in the form that is fastest on a CPU; this one is taken apart."""
        from retint_models.networks.deoldify_cpu import CpuGenerator  # compiles its loops: training need not load it

        return CpuGenerator(self, dtype)


def load_network(name: str, tensors: Mapping[str, Tensor]) -> DeoldifyGenerator:
    """Return a generator with its weights, ready to run.

    Args:
        name: `artistic`, `stable` or `video`.
        tensors: The official state; float32 tensors are used as they are, not copied.

    Raises:
        ValueError: no such network, or not its weights: a missing or unknown tensor, another shape, NaN or infinity.
    """
    if name not in CONFIGS:
        raise ValueError(f"DeOldify has no network {name!r}; it has {', '.join(CONFIGS)}")
    with torch.device("meta"):
        network = DeoldifyGenerator(CONFIGS[name])
    fill_network(network, tensors, name)
    return network
