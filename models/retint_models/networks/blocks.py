"""Shared by several networks: the EfficientNet-Lite0 encoder, self-attention, up blocks, checks of inputs."""

import torch
from torch import Tensor, nn
from torch.nn import functional

#         expand, channels, repeats, stride, kernel of each stage (Liu, "EfficientNet-Lite", TensorFlow blog, 2020)
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
TOP = 1280
"""Channels of the eighth stage, a 1x1 convolution: ImageNet's classes are told from the mean of its maps."""
TAPS = {2: 24, 3: 40, 5: 112, 7: 320, 8: TOP}
"""Stages whose maps a decoder reads, at strides 4, 8, 16, 32 and 32, and their channels."""


def expect_batch(x: Tensor, channels: int, dtype: torch.dtype = torch.float32) -> None:
    """Refuse anything but (N, channels, H, W) of a type.

    Raises:
        ValueError: says what was expected.
    """
    if x.dtype != dtype:
        raise ValueError(f"expected a {str(dtype).removeprefix('torch.')} tensor, not {x.dtype}")
    if x.dim() != 4 or x.shape[1] != channels or 0 in x.shape:
        raise ValueError(f"expected the shape (N, {channels}, H, W), not {tuple(x.shape)}")


def expect_values(x: Tensor, least: float, most: float, meaning: str) -> None:
    """Refuse values out of a range, and NaN.

    Raises:
        ValueError: says what was expected, and what such values mean.
    """
    lowest, highest = (edge.item() for edge in x.aminmax())
    if not (lowest >= least and highest <= most):
        raise ValueError(
            f"expected values between {least:g} and {most:g} ({meaning}), not between {lowest:.4g} and {highest:.4g}"
        )


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: at stride 2 the odd pixel is added right and below."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, h, w) to (B, out, ceil(h / stride), ceil(w / stride))."""
        pads: list[int] = []
        for size, kernel, stride in zip(reversed(x.shape[-2:]), reversed(self.kernel_size), self.stride, strict=True):
            pad = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [pad // 2, pad - pad // 2]
        return functional.conv2d(functional.pad(x, pads), self.weight, self.bias, self.stride, 0, 1, self.groups)


def conv_and_norm(inside: int, outside: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution and its batch norm, as the encoder's weights name them."""
    return [
        SameConv2d(inside, outside, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(outside, eps=1e-3, momentum=0.01),
    ]


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; with a shortcut where the shape stays (MobileNetV2, arXiv:1801.04381)."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inside * expand
        steps = [nn.Sequential(*conv_and_norm(inside, wide), nn.ReLU6(inplace=True))] if expand > 1 else []
        steps.append(nn.Sequential(*conv_and_norm(wide, wide, kernel, stride, wide), nn.ReLU6(inplace=True)))
        steps.append(nn.Sequential(*conv_and_norm(wide, outside)))
        self.block = nn.Sequential(*steps)
        self.has_shortcut = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inside, h, w) to (B, outside, h / stride, w / stride)."""
        y: Tensor = self.block(x)
        return x + y if self.has_shortcut else y


class Encoder(nn.Module):
    """EfficientNet-Lite0 (no squeeze-excitation, ReLU6) without its classifier.

    Args:
        channels: 1 for gray, 3 for sRGB.
        depth: How many stages it has besides the stem.
    """

    def __init__(self, channels: int = 1, depth: int = len(STAGES) + 1) -> None:
        super().__init__()
        stages: list[nn.Module] = [nn.Sequential(*conv_and_norm(channels, 32, 3, 2), nn.ReLU6(inplace=True))]
        inside = 32
        for expand, outside, repeats, stride, kernel in STAGES[:depth]:
            blocks = [
                InvertedResidual(inside if n == 0 else outside, outside, kernel, stride if n == 0 else 1, expand)
                for n in range(repeats)
            ]
            stages.append(nn.Sequential(*blocks))
            inside = outside
        if depth > len(STAGES):
            stages.append(nn.Sequential(*conv_and_norm(inside, TOP), nn.ReLU6(inplace=True)))
        self.features = nn.ModuleList(stages)

    def forward(self, seen: Tensor) -> list[Tensor]:
        """Map pictures (B, channels, h, w) in [0, 1] to maps at strides 4 to 32; `TAPS` tells channels."""
        x = (255 * seen - 127) / 128
        maps = []
        for number, stage in enumerate(self.features):
            x = stage(x)
            if number in TAPS:
                maps.append(x)
        return maps

    def load_imagenet(self, imagenet: dict[str, Tensor]) -> None:
        """Load the weights of a network that may be deeper; for gray input, sum the stem's kernels over their channels.

        Raises:
            ValueError: they are not those of EfficientNet-Lite0.
        """
        expected = self.state_dict()
        counters = {name: value for name, value in expected.items() if name.endswith("num_batches_tracked")}
        ours = counters | {name: value.float() for name, value in imagenet.items() if name in expected}
        if missing := sorted(expected.keys() - ours.keys()):
            raise ValueError(f"these are not the weights of EfficientNet-Lite0: {missing[0]} is missing")
        stem = "features.0.0.weight"
        if expected[stem].shape[1] == 1:
            ours[stem] = ours[stem].sum(1, keepdim=True)
        self.load_state_dict(ours)


class Attention(nn.Module):
    """Self-attention over the pixels of a map, added with a gain that starts at 0 (SAGAN, arXiv:1805.08318)."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(1, channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape."""
        batch, channels, height, width = x.shape
        split: Tensor = self.query_key_value(self.norm(x)).view(
            batch, 3, self.heads, channels // self.heads, height * width
        )
        query, key, value = split.transpose(-1, -2).unbind(1)
        attended = functional.scaled_dot_product_attention(query, key, value)
        y: Tensor = self.out(attended.transpose(-1, -2).reshape(batch, channels, height, width))
        return x + self.gain * y


class Up(nn.Module):
    """Double a map by pixel shuffle, join it with the encoder's map of that size (after U-Net, arXiv:1505.04597)."""

    def __init__(self, inside: int, skip: int, outside: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Conv2d(inside, 4 * outside, 1)
        start_as_nearest(self.expand)
        self.skip = nn.Sequential(
            nn.Conv2d(skip, outside, 1, bias=False), nn.BatchNorm2d(outside), nn.Dropout2d(dropout)
        )
        self.join = nn.Sequential(
            nn.Conv2d(2 * outside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU6(inplace=True)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Map (B, inside, h, w) and (B, skip, 2 h, 2 w) to (B, outside, 2 h, 2 w)."""
        larger = functional.relu(functional.pixel_shuffle(self.expand(x), 2))
        joined: Tensor = self.join(torch.cat([larger, self.skip(skip)], 1))
        return joined


def start_as_nearest(conv: nn.Conv2d) -> None:
    """Give the four sub-pixels before a pixel shuffle the same kernel: no checkerboard at first (arXiv:1707.02937)."""
    with torch.no_grad():
        conv.weight.copy_(conv.weight[::4].repeat_interleave(4, 0))
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
