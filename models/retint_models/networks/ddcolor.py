"""DDColor: a ConvNeXt encoder, a U-Net decoder, and a color decoder whose 100 queries look at three of its maps.

Kang et al., "DDColor: Towards Photo-Realistic Image Colorization via Dual Decoders", ICCV 2023 (arXiv:2212.11613);
https://github.com/piddnad/DDColor, code and weights Apache-2.0. Written afresh from a description. Every tensor has the
name that it has in the official files, so their state loads without a mapping. The encoder is that of Liu et al., "A
ConvNet for the 2020s" (arXiv:2201.03545), the color decoder is after Mask2Former (arXiv:2112.01527), and the decoder's
up blocks are DeOldify's.

Three properties look like mistakes, but the trained weights need them: the next stage of the encoder sees a map before
its norm, the decoder after it; keys have positions and values have none; the normalised input is joined at the end.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.networks.blocks import expect_batch, expect_values
from retint_models.networks.color import IMAGENET_MEAN, IMAGENET_STD
from retint_models.networks.spectral import SpectralConv
from retint_models.networks.up_blocks import BlurredShuffle, BlurredUp, UpConfig
from retint_models.weights.loading import fill_network

WIDTH = 256
"""Channels of a query, of a token, and of the decoder's last map."""
QUERIES = 100
HEADS = 8
LAYERS = 9
"""Layers of the color decoder; each looks at one of three maps, in turn."""
STRIDE = 32
"""Both sides of a picture are multiples of this."""
UNUSED = ("encoder.arch.head_cls.weight", "encoder.arch.head_cls.bias")
"""Tensors of a classifier that the `.pth` files still hold, though the authors took the layer out of the network."""
ENCODER_EPS = 1e-6
"""Of the encoder's layer norms; all others have PyTorch's 1e-5."""


@dataclass(frozen=True)
class DdcolorConfig:
    """The shape of the encoder; all else is the same in every network.

    Attributes:
        widths: Channels of its four stages.
        depths: Blocks of each.
    """

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]


TINY = DdcolorConfig((96, 192, 384, 768), (3, 3, 9, 3))
LARGE = DdcolorConfig((192, 384, 768, 1536), (3, 3, 27, 3))
CONFIGS = {"ddcolor": LARGE, "ddcolor-tiny": TINY, "ddcolor-artistic": LARGE}


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=ENCODER_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """A wide filter for each channel, then two linear layers for each pixel, with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=ENCODER_EPS)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape."""
        filtered = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y: Tensor = self.gamma * self.pwconv2(functional.gelu(self.pwconv1(filtered)))
        return x + y.permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """The encoder. `norm` acts on what is thrown away: it exists for its names in the files."""

    def __init__(self, config: DdcolorConfig) -> None:
        super().__init__()
        widths = config.widths
        self.downsample_layers = nn.ModuleList([nn.Sequential(nn.Conv2d(3, widths[0], 4, 4), ChannelNorm(widths[0]))])
        for inside, outside in pairwise(widths):
            self.downsample_layers.append(nn.Sequential(ChannelNorm(inside), nn.Conv2d(inside, outside, 2, 2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNextBlock(width) for _ in range(depth)))
            for width, depth in zip(widths, config.depths, strict=True)
        )
        for stage, width in enumerate(widths):
            self.add_module(f"norm{stage}", ChannelNorm(width))
        self.norm = nn.LayerNorm(widths[-1], eps=ENCODER_EPS)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map normalised pictures (B, 3, h, w) to normed maps at strides 4, 8, 16 and 32."""
        maps = []
        for number, (reduce, stage) in enumerate(zip(self.downsample_layers, self.stages, strict=True)):
            x = stage(reduce(x))
            maps.append(self.get_submodule(f"norm{number}")(x))
        return maps


class SelfAttention(nn.Module):
    """Queries look at each other."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, query: Tensor, place: Tensor) -> Tensor:
        """Map queries (B, QUERIES, WIDTH) to the same shape; `place` (QUERIES, WIDTH) tells them apart."""
        placed = query + place
        y: Tensor = self.norm(query + self.self_attn(placed, placed, query, need_weights=False)[0])
        return y


class CrossAttention(nn.Module):
    """Queries look at the pixels of a map."""

    def __init__(self) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, query: Tensor, place: Tensor, memory: Tensor, positions: Tensor) -> Tensor:
        """Map queries (B, QUERIES, WIDTH) to the same shape.

        Args:
            query: The queries.
            place: (QUERIES, WIDTH), tells queries apart.
            memory: (B, pixels, WIDTH), the map.
            positions: (pixels, WIDTH), tells pixels apart, in keys only.
        """
        seen = self.multihead_attn(query + place, memory + positions, memory, need_weights=False)[0]
        y: Tensor = self.norm(query + seen)
        return y


class FeedForward(nn.Module):
    """Two linear layers for each query."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1 = nn.Linear(WIDTH, 8 * WIDTH)
        self.linear2 = nn.Linear(8 * WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, query: Tensor) -> Tensor:
        """Map queries (B, QUERIES, WIDTH) to the same shape."""
        y: Tensor = self.norm(query + self.linear2(functional.relu(self.linear1(query))))
        return y


class ColorEmbedding(nn.Module):
    """Three linear layers that turn a query into the direction of a color."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, query: Tensor) -> Tensor:
        """Map queries (B, QUERIES, WIDTH) to the same shape."""
        first, second, third = self.layers
        y: Tensor = third(functional.relu(second(functional.relu(first(query)))))
        return y


class ColorDecoder(nn.Module):
    """The transformer of the queries."""

    def __init__(self, channels: tuple[int, int, int]) -> None:
        super().__init__()
        self.query_feat = nn.Embedding(QUERIES, WIDTH)
        self.query_embed = nn.Embedding(QUERIES, WIDTH)
        self.level_embed = nn.Embedding(len(channels), WIDTH)
        self.input_proj = nn.ModuleList(nn.Conv2d(inside, WIDTH, 1) for inside in channels)
        self.transformer_self_attention_layers = nn.ModuleList(SelfAttention() for _ in range(LAYERS))
        self.transformer_cross_attention_layers = nn.ModuleList(CrossAttention() for _ in range(LAYERS))
        self.transformer_ffn_layers = nn.ModuleList(FeedForward() for _ in range(LAYERS))
        self.decoder_norm = nn.LayerNorm(WIDTH)
        self.color_embed = ColorEmbedding()

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map three maps, coarse to fine, (B, channels, h, w) each, to colors (B, QUERIES, WIDTH)."""
        memories, positions = [], []
        for level, (project, each) in enumerate(zip(self.input_proj, maps, strict=True)):
            memories.append(project(each).flatten(2).transpose(1, 2) + self.level_embed.weight[level])
            positions.append(position_code(*each.shape[-2:]).to(each))
        query = self.query_feat.weight.expand(len(maps[0]), -1, -1)
        place = self.query_embed.weight
        layers = zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        )
        for number, (cross, attend, feed) in enumerate(layers):
            level = number % len(maps)
            query = feed(attend(cross(query, place, memories[level], positions[level]), place))
        colors: Tensor = self.color_embed(self.decoder_norm(query))
        return colors


def position_code(height: int, width: int) -> Tensor:
    """Return what tells the pixels of a map apart, (height * width, WIDTH): sines and cosines of row and column.

    Rows and columns count from 1 and go once around the circle, whatever the size of the map (after DETR,
    arXiv:2005.12872).
    """
    rows, columns = axis_code(height), axis_code(width)
    both = [rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)]
    return torch.cat(both, 2).flatten(0, 1)


def axis_code(size: int) -> Tensor:
    """Return the code of each row or column, (size, WIDTH / 2): sines and cosines in turn, of falling frequency."""
    half = WIDTH // 2
    angle = 2 * math.pi * torch.arange(1, size + 1) / (size + 1e-6)
    turned = angle[:, None] / 10000 ** (torch.arange(0, half, 2) / half)
    return torch.stack([turned.sin(), turned.cos()], 2).flatten(1)


class DualDecoder(nn.Module):
    """The decoder of pixels, and the decoder of colors, which reads its maps."""

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        ups = (
            UpConfig(widths[3], widths[2], 512, 512, 1),
            UpConfig(512, widths[1], 512, 512, 1),
            UpConfig(512, widths[0], 256, WIDTH, 1),
        )
        self.layers = nn.ModuleList(BlurredUp(up, attention=False) for up in ups)
        self.last_shuf = BlurredShuffle(SpectralConv(WIDTH, 16 * WIDTH, (1, 1), bias=True), factor=4)
        self.color_decoder = ColorDecoder((512, 512, WIDTH))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map the encoder's maps to how much of each query's color a pixel has, (B, QUERIES, h, w), no range."""
        y, decoded = maps[-1], []
        for up, skip in zip(self.layers, reversed(maps[:-1]), strict=True):
            y = up(y, skip)
            decoded.append(y)
        return torch.einsum("bqc,bchw->bqhw", self.color_decoder(decoded), self.last_shuf(y))


class Encoder(nn.Module):
    """Holds the encoder under the name that it has in the files."""

    def __init__(self, config: DdcolorConfig) -> None:
        super().__init__()
        self.arch = ConvNext(config)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map normalised pictures to maps, see `ConvNext`."""
        maps: list[Tensor] = self.arch(x)
        return maps


class Ddcolor(nn.Module):
    """Maps a gray picture to a and b of CIELAB."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: DdcolorConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.encoder = Encoder(config)
        self.decoder = DualDecoder(config.widths)
        self.refine_net = nn.Sequential(nn.Sequential(SpectralConv(QUERIES + 3, 2, (1, 1), bias=True)))

    def forward(self, x: Tensor) -> Tensor:
        """Decide the colors of gray pictures.

        Args:
            x: (B, 3, h, w), float32, sRGB in [0, 1], three equal channels; h and w are multiples of 32.

        Returns:
            (B, 2, h, w): a and b in units of CIELAB; nothing limits them to those of a color of sRGB.

        Raises:
            ValueError: not such a tensor.
        """
        self.check(x)
        return self.decide(x)

    @staticmethod
    def check(x: Tensor) -> None:
        """Refuse anything but a batch of pictures whose sides are multiples of 32.

        Raises:
            ValueError: says what was expected.
        """
        expect_batch(x, 3)
        if x.shape[2] % STRIDE or x.shape[3] % STRIDE:
            raise ValueError(f"expected a height and width that are multiples of 32, not {x.shape[2]} x {x.shape[3]}")
        expect_values(x, 0, 1, "sRGB")

    def decide(self, x: Tensor) -> Tensor:
        """Do the same as `forward` without the check, in the precision of the weights."""
        x = (x - self.mean) / self.std
        y: Tensor = self.refine_net(torch.cat([self.decoder(self.encoder(x)), x], 1))
        return y

    def to_cpu_form(self, dtype: torch.dtype) -> nn.Module:
        """Return the same network in the form that is fastest on a CPU; this one is taken apart."""
        from retint_models.networks.ddcolor_cpu import CpuDdcolor  # compiles its loops: training need not load it

        return CpuDdcolor(self, dtype)


def load_network(name: str, tensors: Mapping[str, Tensor]) -> Ddcolor:
    """Return the network with its weights, ready to run.

    Args:
        name: `ddcolor`, `ddcolor-tiny` or `ddcolor-artistic`.
        tensors: The official state; float32 tensors are used as they are, not copied.

    Raises:
        ValueError: no such network, or not its weights: a missing or unknown tensor, another shape, NaN or infinity.
    """
    if name not in CONFIGS:
        raise ValueError(f"DDColor has no network {name!r}; it has {', '.join(CONFIGS)}")
    with torch.device("meta"):
        network = Ddcolor(CONFIGS[name])
    fill_network(network, tensors, name, UNUSED)
    return network
