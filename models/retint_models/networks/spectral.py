"""Convolutions under a spectral norm, and the self-attention made of them: shared by all of DeOldify's networks."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.acceleration.folding import plain_conv


class SpectralConv(nn.Module):
    """Convolution under a spectral norm (arXiv:1802.05957) whose two vectors are stored; keeps the size by default.

    In evaluation the stored vectors give the norm; in training they follow the weights.
    """

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
        self.weight_orig = nn.Parameter(nn.init.kaiming_normal_(torch.empty(outside, inside, *kernel)))
        fan_in = inside * math.prod(kernel)
        self.register_buffer("weight_u", torch.full((outside,), outside**-0.5))
        self.register_buffer("weight_v", torch.full((fan_in,), fan_in**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inside, *size) to (B, outside, *size'), of as many dimensions as the kernel."""
        with torch.autocast(x.device.type, enabled=False):  # a norm in half precision would be off by percents
            if self.training:
                self.update_vectors()
            # Training may update the vectors again before the backward pass of this call.
            u, v = (self.weight_u.clone(), self.weight_v.clone()) if self.training else (self.weight_u, self.weight_v)
            sigma = u.dot(self.weight_orig.flatten(1).mv(v))
        convolve = functional.conv1d if self.weight_orig.dim() == 3 else functional.conv2d
        return convolve(x, self.weight_orig / sigma, self.bias, self.stride, self.padding)

    @torch.no_grad()
    def update_vectors(self) -> None:
        """Move the stored vectors towards the first singular vectors by one step of the power iteration."""
        kernels = self.weight_orig.flatten(1)
        self.weight_v.copy_(functional.normalize(self.weight_u @ kernels, dim=0))
        self.weight_u.copy_(functional.normalize(kernels @ self.weight_v, dim=0))

    def to_plain(self) -> nn.Module:
        """Return a plain convolution with the kernel that evaluation uses."""
        sigma = self.weight_u.dot(self.weight_orig.flatten(1).mv(self.weight_v))
        return plain_conv(self.weight_orig / sigma, self.bias, self.stride, self.padding)


class SpectralAttention(nn.Module):
    """Self-attention over the pixels of a map (SAGAN, arXiv:1805.08318), without the scale."""

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
        # The original's softmax runs over the queries, so query and key change places here.
        attended = functional.scaled_dot_product_attention(key, query, value, scale=1.0)
        return x + self.gamma * attended.transpose(1, 2).reshape(x.shape)
