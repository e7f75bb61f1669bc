"""DeOldify's three generators: a ResNet encoder and a U-Net decoder with pixel shuffles and one self-attention.

Jason Antic, DeOldify (2018 to 2024), https://github.com/jantic/DeOldify; code and weights MIT. Written afresh from a
description. Every tensor has the name that it has in the official files, so their state loads without a mapping.
`artistic` is the deep decoder on a ResNet-34; `stable` and `video` are one network, the wide decoder on a ResNet-101.

In evaluation spectral norms divide by what the stored vectors say; only in training these follow the weights.

What looks wrong and is so in the trained weights: convolution, ReLU and only then batch norm; the last shuffle blurs,
too; attention sums to 1 over the queries; the stride of a bottleneck is in its second convolution.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.networks.blocks import expect_batch, expect_values
from retint_models.weights.loading import fill_network

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's red, green and blue in [0, 1]."""
TAPS = (2, 4, 5, 6)
"""Steps of the encoder that the decoder reads: after the first ReLU, and three of the four stages."""


@dataclass(frozen=True)
class UpConfig:
    """An up block: channels that come in, of the skip, after the pixel shuffle, and out; one convolution or two."""

    inside: int
    skip: int
    shuffled: int
    outside: int
    convolutions: int


@dataclass(frozen=True)
class Config:
    """The shape of a generator.

    Attributes:
        depths: Residual blocks in the four stages of the encoder.
        bottleneck: Whether those are bottlenecks, which give four times the channels.
        ups: Up blocks, deepest first; the second has the attention.
    """

    depths: tuple[int, int, int, int]
    bottleneck: bool
    ups: tuple[UpConfig, UpConfig, UpConfig, UpConfig]


DEEP = Config(
    (3, 4, 6, 3),
    False,
    (
        UpConfig(512, 256, 256, 768, 2),
        UpConfig(768, 128, 384, 768, 2),
        UpConfig(768, 64, 384, 672, 2),
        UpConfig(672, 64, 336, 300, 2),
    ),
)
WIDE = Config(
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


def kernels(*shape: int) -> nn.Parameter:
    """Return kernels as training begins with (Kaiming); none on the meta device, where torch loads 70 MB for it."""
    weight = torch.empty(shape)
    return nn.Parameter(weight if weight.is_meta else nn.init.kaiming_normal_(weight))


class SpectralConv(nn.Module):
    """Convolution under a spectral norm (arXiv:1802.05957) whose two vectors are stored; keeps the size by default."""

    weight_u: Tensor
    weight_v: Tensor

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: tuple[int, ...] = (3, 3),
        bias: bool = False,
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = (kernel[0] - 1) // 2 if padding is None else padding
        self.bias = nn.Parameter(torch.zeros(outside)) if bias else None
        self.weight_orig = kernels(outside, inside, *kernel)
        fan_in = inside * math.prod(kernel)
        self.register_buffer("weight_u", torch.full((outside,), outside**-0.5))
        self.register_buffer("weight_v", torch.full((fan_in,), fan_in**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inside, *size) to (B, outside, *size'), of as many dimensions as the kernel."""
        with torch.autocast(x.device.type, enabled=False):  # a norm in half precision would be off by percents
            if self.training:
                self.turn()
            # Training may turn the vectors again before it goes backwards through this.
            u, v = (self.weight_u.clone(), self.weight_v.clone()) if self.training else (self.weight_u, self.weight_v)
            sigma = u.dot(self.weight_orig.flatten(1).mv(v))
        convolve = functional.conv1d if self.weight_orig.dim() == 3 else functional.conv2d
        return convolve(x, self.weight_orig / sigma, self.bias, self.stride, self.padding)

    @torch.no_grad()
    def turn(self) -> None:
        """Turn the stored vectors towards the first singular ones, by one step of the power iteration."""
        kernels = self.weight_orig.flatten(1)
        self.weight_v.copy_(functional.normalize(self.weight_u @ kernels, dim=0))
        self.weight_u.copy_(functional.normalize(kernels @ self.weight_v, dim=0))


class WeightNormConv(nn.Module):
    """1x1 convolution whose kernels are stored as lengths and directions (arXiv:1602.07868)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outside))
        self.weight_g = nn.Parameter(torch.ones(outside, 1, 1, 1))
        self.weight_v = kernels(outside, inside, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inside, h, w) to (B, outside, h, w)."""
        length = torch.linalg.vector_norm(self.weight_v, dim=(1, 2, 3), keepdim=True)
        return functional.conv2d(x, self.weight_v * (self.weight_g / length), self.bias)


class Attention(nn.Module):
    """Self-attention over the places of a map (SAGAN, arXiv:1805.08318), without the scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.query = SpectralConv(channels, channels // 8, (1,))
        self.key = SpectralConv(channels, channels // 8, (1,))
        self.value = SpectralConv(channels, channels, (1,))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape."""
        flat = x.flatten(2)
        query, key, value = (part(flat).transpose(1, 2) for part in (self.query, self.key, self.value))
        # Each key chooses among the queries, so the two change places.
        seen = functional.scaled_dot_product_attention(key, query, value, scale=1.0)
        return x + self.gamma * seen.transpose(1, 2).reshape(x.shape)


class Residual(nn.Module):
    """Block of a ResNet (arXiv:1512.03385): two 3x3 convolutions, or a bottleneck of 1x1, 3x3 and 1x1."""

    def __init__(self, inside: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outside = 4 * width if bottleneck else width
        if bottleneck:
            steps = [(inside, width, 1, 1), (width, width, 3, stride), (width, outside, 1, 1)]
        else:
            steps = [(inside, width, 3, stride), (width, width, 3, 1)]
        self.count = len(steps)
        for number, (into, out, kernel, step) in enumerate(steps, 1):
            self.add_module(f"conv{number}", nn.Conv2d(into, out, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{number}", nn.BatchNorm2d(out))
        if stride > 1 or inside != outside:
            shortcut = nn.Conv2d(inside, outside, 1, stride, bias=False)
            self.downsample: nn.Module = nn.Sequential(shortcut, nn.BatchNorm2d(outside))
        else:
            self.downsample = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inside, h, w) to (B, outside, ceil(h / stride), ceil(w / stride))."""
        y = x
        for number in range(1, self.count + 1):
            y = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(y))
            if number < self.count:
                y = functional.relu(y)
        return functional.relu(y + self.downsample(x))


def encoder(depths: tuple[int, ...], bottleneck: bool) -> nn.Sequential:
    """Return a ResNet without its classifier: eight steps, of which `TAPS` are read."""
    steps: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    steps.append(nn.MaxPool2d(3, 2, 1))
    inside = 64
    for stage, depth in enumerate(depths):
        width, blocks = 64 << stage, []
        for number in range(depth):
            blocks.append(Residual(inside, width, 2 if stage > 0 and number == 0 else 1, bottleneck))
            inside = 4 * width if bottleneck else width
        steps.append(nn.Sequential(*blocks))
    return nn.Sequential(*steps)


def convolved(inside: int, outside: int, *more: nn.Module) -> nn.Sequential:
    """Return a 3x3 convolution, ReLU and batch norm, in this order."""
    return nn.Sequential(SpectralConv(inside, outside), nn.ReLU(), nn.BatchNorm2d(outside), *more)


class Shuffle(nn.Module):
    """Double a map by pixel shuffle, then blur it by half a pixel against the checkerboard (arXiv:1806.02658)."""

    def __init__(self, *conv: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Sequential(*conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inside, h, w) to (B, outside / 4, 2 h, 2 w), where the convolution has `outside` channels."""
        large = functional.pixel_shuffle(functional.relu(self.conv(x)), 2)
        return functional.avg_pool2d(functional.pad(large, (1, 0, 1, 0), mode="replicate"), 2, stride=1)


class Up(nn.Module):
    """Double a map and join it with the encoder's map of about that size (after U-Net, arXiv:1505.04597)."""

    def __init__(self, config: UpConfig, attention: bool) -> None:
        super().__init__()
        wide = 4 * config.shuffled
        self.shuf = Shuffle(SpectralConv(config.inside, wide, (1, 1)), nn.BatchNorm2d(wide))
        self.bn = nn.BatchNorm2d(config.skip)
        joined, last = config.shuffled + config.skip, [Attention(config.outside)] if attention else []
        if config.convolutions == 1:
            self.conv = convolved(joined, config.outside, *last)
        else:
            self.conv1 = convolved(joined, config.outside)
            self.conv2 = convolved(config.outside, config.outside, *last)
        self.convolutions = config.convolutions

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, inside, h, w) and (B, skip, H, W) to (B, outside, H, W)."""
        large = self.shuf(x)
        if large.shape[-2:] != skip.shape[-2:]:
            large = functional.interpolate(large, skip.shape[-2:], mode="nearest")
        joined = functional.relu(torch.cat([large, self.bn(skip)], 1))
        y: Tensor = self.conv(joined) if self.convolutions == 1 else self.conv2(self.conv1(joined))
        return y


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


class Generator(nn.Module):
    """A gray picture in, the same picture in color out, both normalised by ImageNet's mean and deviation.

    The numbers of `layers` are the official ones; steps without tensors have a number and no entry.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        deep = config.ups[0].inside
        last = config.ups[-1].outside
        self.layers = nn.ModuleDict({"0": encoder(config.depths, config.bottleneck), "1": nn.BatchNorm2d(deep)})
        self.layers["3"] = nn.Sequential(convolved(deep, 2 * deep), convolved(2 * deep, deep))
        for number, up in enumerate(config.ups):
            self.layers[str(4 + number)] = Up(up, attention=number == 1)
        self.layers["8"] = Shuffle(WeightNormConv(last, 4 * last))
        self.layers["10"] = Refine(last + 3)
        self.layers["11"] = nn.Sequential(SpectralConv(last + 3, 3, (1, 1), bias=True))

    def forward(self, x: Tensor) -> Tensor:
        """Color a gray picture.

        Args:
            x: (B, 3, h, w), float32, normalised; h and w are even, at least 2.

        Returns:
            (B, 3, h, w), normalised RGB in [-3, 3]: what lies outside of the cube is to be cut off.

        Raises:
            ValueError: not such a tensor.
        """
        check(x)
        return self.decide(x)

    def decide(self, x: Tensor) -> Tensor:
        """Do as `forward` without checking, in the precision of the weights; the answer is float32."""
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
            if number in TAPS:
                skips.append(y)
        return self.layers["3"](functional.relu(self.layers["1"](y))), skips


def check(x: Tensor) -> None:
    """Refuse what is not a batch of normalised pictures of even size.

    Raises:
        ValueError: says what was expected.
    """
    expect_batch(x, 3)
    if x.shape[2] % 2 or x.shape[3] % 2:
        raise ValueError(f"expected an even height and width, not {x.shape[2]} x {x.shape[3]}")
    expect_values(x, -2.12, 2.65, "pictures in 0..1, minus ImageNet's mean, over its deviation")


def generator(name: str, tensors: Mapping[str, Tensor]) -> Generator:
    """Return a generator with its weights, ready to run.

    Args:
        name: `artistic`, `stable` or `video`.
        tensors: The official state; float32 tensors are taken over, not copied.

    Raises:
        ValueError: no such network, or not its weights: a tensor too many, too few, of another shape, or not finite.
    """
    if name not in CONFIGS:
        raise ValueError(f"DeOldify has no network {name!r}; it has {', '.join(CONFIGS)}")
    with torch.device("meta"):
        network = Generator(CONFIGS[name])
    fill_network(network, tensors, name)
    return network
