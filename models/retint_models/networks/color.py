"""Color spaces in torch: sRGB, optical density, Rec. 709 luma and chroma, CIELAB, and the CIEDE2000 difference.

All pictures are (..., channels, height, width). sRGB and luma are gamma-coded in [0, 1], chroma (Cb, Cr) in [-.5, .5],
optical density is D = -log10(linear reflectance), CIELAB has L in [0, 100] under D65. Sources: IEC 61966-2-1 (sRGB),
ITU-R BT.709-6 (luma), CIE 15:2004 (CIELAB), Sharma, Wu and Dalal, Color Research and Application 30(1), 2005
(CIEDE2000).
"""

import math

import torch
from torch import Tensor

from retint_models.layers.color import CB_SCALE, CR_SCALE, DARKEST, LUMA

TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
WHITE = (0.95047, 1.0, 1.08883)
LINEAR_BELOW = 216 / 24389
SLOPE = 24389 / 27
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of the red, green and blue of ImageNet's photographs, sRGB in [0, 1]; most of the field's networks expect them."""
TINY = 1e-12
"""Keeps gradients finite where a root would be taken of 0."""


def srgb_to_linear(srgb: Tensor) -> Tensor:
    """Return the linear reflectance of sRGB."""
    return torch.where(srgb > 0.04045, ((srgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4, srgb / 12.92)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Return the sRGB of linear reflectance in [0, 1]."""
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear)


def srgb_to_density(srgb: Tensor) -> Tensor:
    """Return the optical density of sRGB, 0 (white) to 4 (black)."""
    return -srgb_to_linear(srgb).clamp(min=DARKEST).log10()


def density_to_srgb(density: Tensor) -> Tensor:
    """Return the sRGB of optical densities; what is brighter than white becomes white."""
    return linear_to_srgb((density * -math.log(10)).exp().clamp(max=1))


def rec709_luma(rgb: Tensor) -> Tensor:
    """Return the luma (..., 1, h, w) of sRGB (..., 3, h, w)."""
    red, green, blue = rgb.unbind(-3)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(-3)


def rec709_chroma(rgb: Tensor) -> Tensor:
    """Return Cb and Cr (..., 2, h, w) of sRGB (..., 3, h, w)."""
    luma = rec709_luma(rgb).squeeze(-3)
    return torch.stack([(rgb[..., 2, :, :] - luma) / CB_SCALE, (rgb[..., 0, :, :] - luma) / CR_SCALE], -3)


def chroma_to_offsets(chroma: Tensor) -> Tensor:
    """Return what chroma (..., 2, h, w) adds to luma in R', G' and B', (..., 3, h, w); the luma of the sum is 0."""
    blue, red = CB_SCALE * chroma[..., 0, :, :], CR_SCALE * chroma[..., 1, :, :]
    green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]
    return torch.stack([red, green, blue], -3)


def join_luma_chroma(luma: Tensor, chroma: Tensor) -> Tensor:
    """Return sRGB (..., 3, h, w) inside the cube: luma (..., 1, h, w) is exact, chroma reduced as far as is needed.

    One factor per pixel, as in `layers.rendering`: the offsets have no luma, so scaling them keeps the luma.
    """
    offsets = chroma_to_offsets(chroma)
    room = torch.where(offsets > 0, 1 - luma, luma) / offsets.abs().clamp_min(1e-6)
    return luma + offsets * room.amin(-3, keepdim=True).clamp(0, 1)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Return CIELAB (..., 3, h, w) of sRGB (..., 3, h, w)."""
    matrix = torch.tensor(TO_XYZ, dtype=rgb.dtype, device=rgb.device)
    white = torch.tensor(WHITE, dtype=rgb.dtype, device=rgb.device).view(3, 1, 1)
    xyz = torch.einsum("oi,...ihw->...ohw", matrix, srgb_to_linear(rgb)) / white
    root = torch.where(xyz > LINEAR_BELOW, xyz.clamp_min(LINEAR_BELOW) ** (1 / 3), (SLOPE * xyz + 16) / 116)
    x, y, z = root.unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Return sRGB (..., 3, h, w) of CIELAB (..., 3, h, w), clipped to the cube."""
    return linear_to_srgb(lab_to_linear(lab).clamp(0, 1))


def lab_to_linear(lab: Tensor) -> Tensor:
    """Return linear sRGB (..., 3, h, w) of CIELAB (..., 3, h, w); outside of [0, 1] for colors that are not in sRGB."""
    lightness, a, b = lab.unbind(-3)
    y = (lightness + 16) / 116
    root = torch.stack([y + a / 500, y, y - b / 200], -3)
    cube = root**3
    xyz = torch.where(cube > LINEAR_BELOW, cube, (116 * root - 16) / SLOPE)
    matrix = torch.linalg.inv(torch.tensor(TO_XYZ, dtype=torch.float64)).to(lab)
    white = torch.tensor(WHITE, dtype=lab.dtype, device=lab.device).view(3, 1, 1)
    return torch.einsum("oi,...ihw->...ohw", matrix, xyz * white)


def ab_to_chroma(luma: Tensor, ab: Tensor) -> Tensor:
    """Return Cb and Cr (..., 2, h, w) of colors with these a and b (..., 2, h, w) and the lightness of luma's gray.

    Where the color is not in sRGB at this luma (..., 1, h, w), a and b are reduced by one factor, the largest with
    which it is: so neither hue nor luma jumps where colors leave the gamut. Clipping would change both.
    """
    lightness = rgb_to_lab(luma.expand(*luma.shape[:-3], 3, -1, -1))[..., :1, :, :]
    with torch.no_grad():
        share = torch.ones_like(luma)
        outside = ~_is_displayable(luma, _to_chroma(lightness, ab))
        if outside.any():
            picked = [part.movedim(-3, 0)[:, outside][..., None] for part in (luma, lightness, ab)]
            share.squeeze(-3)[outside] = _displayable_share(*picked)[0, :, 0]
    return _to_chroma(lightness, share * ab)


def _displayable_share(luma: Tensor, lightness: Tensor, ab: Tensor) -> Tensor:
    """Return the largest factor of a and b, like `luma`, with which colors are displayable: found by bisection."""
    low, high = torch.zeros_like(luma), torch.ones_like(luma)
    for _ in range(16):  # to 1/65536 of a and b
        middle = (low + high) / 2
        fits = _is_displayable(luma, _to_chroma(lightness, middle * ab)).unsqueeze(-3)
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return low


def _is_displayable(luma: Tensor, chroma: Tensor) -> Tensor:
    """Whether luma and chroma give a color in the cube, (..., h, w), but for a quarter of a code value."""
    rgb = luma + chroma_to_offsets(chroma)
    return ((rgb > -1e-3) & (rgb < 1 + 1e-3)).all(-3)


def _to_chroma(lightness: Tensor, ab: Tensor) -> Tensor:
    """Return Cb and Cr (..., 2, h, w) of colors of CIELAB, also of those that are not in sRGB."""
    return rec709_chroma(linear_to_srgb(lab_to_linear(torch.cat([lightness, ab], -3))))


def ciede2000(one: Tensor, two: Tensor) -> Tensor:
    """Return the CIEDE2000 difference (..., h, w) of two pictures in CIELAB (..., 3, h, w).

    It can be a loss: differences of chroma and hue have gradients at gray, too; the hue angles that weigh them have
    none. Equations are numbered as in Sharma et al. (2005).
    """
    l1, a1, b1 = one.unbind(-3)
    l2, a2, b2 = two.unbind(-3)
    stretch = 1.5 - 0.5 * _chroma_ratio((_chroma(a1, b1) + _chroma(a2, b2)) / 2)  # (2) to (5)
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = _chroma(a1, b1), _chroma(a2, b2)  # (6)
    hue, sign = _mean_hue(a1, b1, c1, a2, b2, c2)
    dl, dc = l2 - l1, c2 - c1
    dh = sign * ((2 * (c1 * c2 - a1 * a2 - b1 * b2)).clamp_min(0) + TINY).sqrt()  # (11), without the angle
    sl, sc, sh, rotation = _weights((l1 + l2) / 2, (c1 + c2) / 2, hue)
    dl, dc, dh = dl / sl, dc / sc, dh / sh
    return (dl**2 + dc**2 + dh**2 + rotation * dc * dh + TINY).clamp_min(TINY).sqrt()  # (22)


def _chroma(a: Tensor, b: Tensor) -> Tensor:
    """Return the length of (a, b); its gradient is finite at 0."""
    return (a**2 + b**2 + TINY).sqrt()


@torch.no_grad()
def _mean_hue(a1: Tensor, b1: Tensor, c1: Tensor, a2: Tensor, b2: Tensor, c2: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean hue angle of two colors, and the sign of the turn from the first to the second."""
    h1, h2 = (torch.remainder(torch.atan2(b, a), 2 * math.pi) for a, b in ((a1, b1), (a2, b2)))  # (7)
    turn = h2 - h1
    turn = torch.where(turn.abs() <= math.pi + 1e-9, turn, turn - 2 * math.pi * turn.sign())  # (10)
    hue = torch.where(c1 * c2 < 1e-8, h1 + h2, h1 + turn / 2)  # (14)
    return hue, torch.where(turn < 0, -1.0, 1.0)


def _weights(lightness: Tensor, chroma: Tensor, hue: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what differences of lightness, chroma and hue are divided by, and the weight of the rotation term."""
    t = (
        1
        - 0.17 * torch.cos(hue - math.radians(30))
        + 0.24 * torch.cos(2 * hue)
        + 0.32 * torch.cos(3 * hue + math.radians(6))
        - 0.20 * torch.cos(4 * hue - math.radians(63))
    )  # (15)
    sl = 1 + 0.015 * (lightness - 50) ** 2 / (20 + (lightness - 50) ** 2).sqrt()  # (18)
    sc, sh = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t  # (19), (20)
    from_blue = (torch.remainder(torch.rad2deg(hue), 360) - 275) / 25
    rotation = -2 * _chroma_ratio(chroma) * torch.sin(math.radians(60) * torch.exp(-(from_blue**2)))  # (16), (17), (21)
    return sl, sc, sh, rotation


def _chroma_ratio(chroma: Tensor) -> Tensor:
    """Return sqrt(C^7 / (C^7 + 25^7)): near 0 for dull colors, near 1 for vivid ones."""
    seventh = (chroma / 25) ** 7
    return (seventh / (seventh + 1) + TINY).sqrt()
