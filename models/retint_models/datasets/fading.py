"""Simulate old prints: what dyes, silver, stains and scanners do to a photograph.

Everything happens in optical density D = -log10(linear reflectance), in which fading multiplies and stains add. The
steps are plain functions of arrays (numpy, no torch); `simulate` draws their strengths at random and makes the pairs
that networks train on; `make_old_print` makes one gray, faded print to show.

Sources: Wilhelm & Brower, The Permanence and Care of Color Photographs (1993), for the amounts; McCormick-Goodhart &
Wilhelm (2003): light fading shifts the density curve, dark fading changes its slope; Ando et al., J. Imaging Sci.
Technol. 41(3), 1997: a bleach matrix on dyes, light fading depends on what lies above; Reilly, Care and Identification
of 19th-Century Photographic Prints (1986), for silver. Ranges are our choice within them.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from retint_models.layers.color import join_luma_chroma, linear_to_srgb, rec709_chroma, rec709_luma, srgb_to_density

Floats = NDArray[np.float32]
Family = Literal["dark", "light", "silver", "toned", "gray", "tinted", "lighting", "clean"]
"""What happened to a print: color that faded in the dark or by light; silver that faded, was toned, was
scanned in gray, or has color laid over it; wrong light alone; nothing."""

SHARES: dict[Family, float] = {
    "dark": 0.22,
    "light": 0.14,
    "silver": 0.14,
    "toned": 0.06,
    "gray": 0.08,
    "tinted": 0.04,
    "lighting": 0.06,
    "clean": 0.26,
}
"""How often training draws each family; many clean photos teach a network to leave them alone."""

MOST_LOST = 0.97
"""Largest loss of a dye or of silver; beyond it nothing could be restored from 8 bits."""


class Pair(NamedTuple):
    """A faded print and the photograph before: float32 (h, w, 3), gamma-coded sRGB in [0, 1]."""

    print: Floats
    truth: Floats
    family: Family


# --- what happens to a print ------------------------------------------------------------------------------------------


def fade_dyes(densities: Floats, absorption: Floats, loss: Floats, where: Floats | float = 1.0) -> Floats:
    """Fade a chromogenic print: three dyes, each of which loses a share of its amount.

    D = M c with the dyes' amounts c (cyan, magenta, yellow) and their cross-absorption M; c' = c (1 - loss where).

    Args:
        densities: float32 (h, w, 3).
        absorption: float32 (3, 3), diagonal 1: column = dye, row = channel (R, G, B) that it darkens.
        loss: share of each dye lost, 0 to 1: (3,), or (h, w, 3) where it depends on the print (see `shielded_loss`).
        where: relative strength at each pixel, (h, w, 1), about 1.
    """
    dyes = densities @ np.linalg.inv(absorption).T.astype(np.float32)
    faded: Floats = (dyes * (1 - np.clip(loss * where, 0, MOST_LOST))) @ absorption.T
    return faded


def shielded_loss(densities: Floats, loss: Floats, shield: float) -> Floats:
    """Return the loss of dyes, (h, w, 3), smaller where the print is dense: f (1 - k c / 2.4).

    With a shield k the loss in density comes nearer to a constant, which is how light fades a print.
    """
    lost: Floats = loss * (1 - np.float32(shield) * np.clip(densities / 2.4, 0, 1))
    return lost


def stain(densities: Floats, added: Floats, where: Floats | float = 1.0) -> Floats:
    """Yellow a print: add densities (3,) for R, G, B, weighted at each pixel (h, w, 1)."""
    stained: Floats = densities + added * where
    return stained


def oxidise(densities: Floats, loss: float, warmth: Floats, toe: float, where: Floats | float = 1.0) -> Floats:
    """Oxidise a silver print: weaker, brown, and its highlight detail goes first.

    D' = D (1 - loss where warmth (.6 + .5 exp(-D / toe))).

    Args:
        densities: float32 (h, w, 3), a gray picture.
        loss: share of density lost, 0 to 1.
        warmth: (3,) at most 1, for R, G, B: a smaller loss in blue than in red makes the print brown.
        toe: density below which fine silver is hit more.
        where: relative strength at each pixel, (h, w, 1), about 1.
    """
    lost = np.float32(loss) * where * warmth * (0.6 + 0.5 * np.exp(-densities / np.float32(toe)))
    weaker: Floats = densities * (1 - np.clip(lost, 0, MOST_LOST))
    return weaker


def scan(linear: Floats, flare: float, gain: Floats) -> Floats:
    """Scan a print: veiling flare (a share of the mean reflectance everywhere), exposure and channel balance (3,)."""
    veil = np.float32(flare) * linear.mean(axis=(0, 1), dtype=np.float32)
    scanned: Floats = (linear * np.float32(1 - flare) + veil) * gain
    return scanned


def relight_2018(pixels: Floats, brightness: float, contrast: float) -> Floats:
    """Change brightness and contrast as DeOldify's defader of 2018 did in training (fastai 0.7, `RandomLighting`).

    out = (x - mean) c' + mean + b, clipped, with c' = 1 + c, or 1 / (1 - c) for a negative c; the mean is that of all
    channels and pixels. Not invertible where values are clipped.

    Args:
        pixels: float32 (h, w, 3), gamma-coded sRGB in [0, 1].
        brightness: b, added; the original draws it from -.5 to .5.
        contrast: c; the original draws it from -.5 to .5, so c' is between .667 and 1.5.
    """
    factor = np.float32(1 + contrast if contrast >= 0 else 1 / (1 - contrast))
    mean = pixels.mean(dtype=np.float32)
    moved: Floats = np.clip((pixels - mean) * factor + mean + np.float32(brightness), 0, 1)
    return moved


def relight(pixels: Floats, contrast: float, brightness: float) -> Floats:
    """Change brightness and contrast as fastai 1 does: logit(x) * contrast + brightness."""
    x = np.clip(pixels, 1 / 510, 1 - 1 / 510)
    logit = np.log(x / (1 - x)) * np.float32(contrast) + np.float32(brightness)
    relit: Floats = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return relit


# --- where a print fades ----------------------------------------------------------------------------------------------


def smooth_field(size: tuple[int, int], cells: int, rng: Generator) -> Floats:
    """Return a smooth random field in about [-1, 1], (h, w, 1): cells x cells random values, cubic interpolation."""
    grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    field = Image.fromarray(grid).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(field, np.float32)[..., None]


def edge_proximity(size: tuple[int, int], reach: float) -> Floats:
    """Return how near the edge each pixel is, (h, w, 1): exp(-distance / reach), reach in parts of the short side."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in size)
    distance = np.minimum.outer(rows, columns).astype(np.float32)
    near: Floats = np.exp(distance / np.float32(-reach * min(size)))
    return near[..., None]


# --- chroma as a colorizer leaves it ----------------------------------------------------------------------------------


def weaken_chroma(chroma: Floats, gain: float, reach: int) -> Floats:
    """Weaken chroma as a small colorizer does: times `gain`, and blurred by reducing it `reach` times and back."""
    height, width = chroma.shape[:2]
    small = (max(1, width // reach), max(1, height // reach))
    planes = [
        Image.fromarray(plane).resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BILINEAR)
        for plane in np.ascontiguousarray(chroma.transpose(2, 0, 1) * np.float32(gain))
    ]
    return np.stack([np.asarray(plane, np.float32) for plane in planes], axis=-1)


# --- prints at random -------------------------------------------------------------------------------------------------


def draw_family(rng: Generator) -> Family:
    """Draw what happens to a photograph, by `SHARES`."""
    family: Family = rng.choice(list(SHARES), p=list(SHARES.values()))
    return family


def simulate(truth: Floats, rng: Generator, family: Family) -> Pair:
    """Age one photograph at random.

    One in eight of the lighting and clean samples has the weak chroma of a colorizer, one in four is gray.

    Args:
        truth: float32 (h, w, 3), gamma-coded sRGB in [0, 1].
        rng: The only source of randomness.
        family: What happens to it.
    """
    if family in ("dark", "light"):
        return Pair(scan_at_random(fade_color_print(srgb_to_density(truth), family, rng), rng), truth, family)
    if family in ("silver", "toned", "gray", "tinted"):
        return make_silver_print(truth, family, rng)
    choice = rng.random()
    if choice < 0.125:
        truth = join_luma_chroma(rec709_luma(truth), draw_weak_chroma(truth, rng))
    elif choice < 0.375:
        truth = np.repeat(rec709_luma(truth), 3, axis=-1)
    if family == "lighting":
        return Pair(relight(truth, rng.uniform(0.3, 1.5), rng.uniform(-1.5, 1.5)), truth, family)
    return Pair(truth, truth, family)


def make_silver_print(truth: Floats, family: Literal["silver", "toned", "gray", "tinted"], rng: Generator) -> Pair:
    """Make a faded silver print of a photograph; the truth is its gray, with the same weak chroma where it is tinted.

    A toned print is brown to begin with, and less faded. A tinted one carries color that does not fade: watercolor, or
    what a colorizer added.
    """
    luma = rec709_luma(truth)
    densities, strength = srgb_to_density(np.repeat(luma, 3, axis=-1)), rng.uniform(0.15, 1.25)
    if family == "toned":
        densities, strength = tone(densities, rng), rng.uniform(0, 0.6)
    print_ = scan_at_random(fade_silver_print(densities, rng, strength), rng)
    chroma = np.zeros((*luma.shape[:2], 2), np.float32)
    if family == "tinted":
        chroma = draw_weak_chroma(truth, rng)
    if family in ("gray", "tinted"):
        print_ = join_luma_chroma(rec709_luma(print_), chroma)
    return Pair(print_, join_luma_chroma(luma, chroma), family)


def tone(densities: Floats, rng: Generator) -> Floats:
    """Tone a silver print brown (sepia, gold, selenium): at each place less density in red and more in blue."""
    toned: Floats = densities * np.array([rng.uniform(0.75, 1), 1, rng.uniform(1, 1.35)], np.float32)
    return toned


def draw_weak_chroma(truth: Floats, rng: Generator) -> Floats:
    """Return the chroma of a photograph as weak and blurred as a colorizer leaves it, (h, w, 2)."""
    return weaken_chroma(rec709_chroma(truth), rng.uniform(0.1, 1), int(rng.integers(1, 9)))


def fade_color_print(densities: Floats, family: Literal["dark", "light"], rng: Generator) -> Floats:
    """Fade a chromogenic print as decades in the dark (cyan and yellow fade) or in light (magenta fades) do."""
    strength = rng.uniform(0.15, 1.25)
    absorption = np.eye(3, dtype=np.float32)
    absorption[2, 1], absorption[1, 0] = rng.uniform(0.1, 0.4), rng.uniform(0.05, 0.25)
    absorption[[0, 0, 1, 2], [1, 2, 2, 0]] = rng.uniform(0, 0.15, 4)
    low, high, shield = {
        "dark": ((0.2, 0.05, 0.1), (0.8, 0.4, 0.6), 0.15),
        "light": ((0.1, 0.3, 0.1), (0.45, 0.8, 0.55), 0.5),
    }[family]
    loss = shielded_loss(densities, strength * rng.uniform(low, high).astype(np.float32), rng.uniform(0, shield))
    faded = fade_dyes(densities, absorption, loss, draw_unevenness(densities.shape[:2], strength, rng))
    return yellow_from_the_edges(faded, rng)


def fade_silver_print(densities: Floats, rng: Generator, strength: float) -> Floats:
    """Fade a silver print as decades of polluted air do: by .1 to .7 times the strength, which is 0 to about 1."""
    warmth = np.array([1, rng.uniform(0.78, 0.98), rng.uniform(0.45, 0.9)], np.float32)
    where = draw_unevenness(densities.shape[:2], strength, rng)
    return yellow_from_the_edges(
        oxidise(densities, strength * rng.uniform(0.1, 0.7), warmth, rng.uniform(0.35, 1.3), where), rng
    )


def yellow_from_the_edges(densities: Floats, rng: Generator) -> Floats:
    """Add a yellow stain that is strongest at the edges."""
    added = rng.uniform(0, 0.45) * np.array([rng.uniform(0.05, 0.3), rng.uniform(0.25, 0.6), 1], np.float32)
    share = rng.uniform(0, 0.6)
    where = 1 - share + share * edge_proximity(densities.shape[:2], rng.uniform(0.06, 0.2))
    return stain(densities, added, where)


def draw_unevenness(size: tuple[int, int], strength: float, rng: Generator) -> Floats:
    """Draw the relative strength of fading at each pixel: smooth, 1 plus or minus up to .6 times the strength."""
    field = smooth_field(size, int(rng.integers(3, 5)), rng)
    where: Floats = np.clip(1 + np.float32(rng.uniform(0, 0.6) * strength) * field, 0.2, 1.8)
    return where


def scan_at_random(densities: Floats, rng: Generator) -> Floats:
    """Scan a print to gamma-coded sRGB: flare, exposure within .4 stop, balance within .1 stop, noise."""
    stops = rng.uniform(-0.4, 0.4) + rng.uniform(-0.1, 0.1, 3)
    linear = scan(np.float32(10) ** -densities, rng.uniform(0, 0.07), (2**stops).astype(np.float32))
    noise = rng.standard_normal(linear.shape, np.float32) * np.float32(rng.uniform(0, 0.012))
    return np.clip(linear_to_srgb(linear).astype(np.float32) + noise, 0, 1)


def make_old_print(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Make the scan of an old silver print, gray gone brown and pale, from a photograph.

    Args:
        pixels: uint8 (h, w, 3), sRGB.
        seed: The same seed ages the same photograph in the same way.

    Raises:
        ValueError: not uint8 (h, w, 3).
    """
    rng = np.random.default_rng(seed)
    gray = np.repeat(rec709_luma(as_floats(pixels)), 3, axis=-1)
    faded = fade_silver_print(srgb_to_density(gray), rng, strength=rng.uniform(0.7, 1))
    return as_bytes(scan_at_random(faded, rng))


def as_floats(pixels: NDArray[Any]) -> Floats:
    """Turn uint8 (h, w, 3) into float32 in [0, 1].

    Raises:
        ValueError: another type or shape.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3 or not pixels.size:
        raise ValueError(f"expected uint8 (h, w, 3), got {pixels.dtype} {pixels.shape}")
    return pixels.astype(np.float32) / np.float32(255)


def as_bytes(pixels: Floats) -> NDArray[np.uint8]:
    """Round float (h, w, 3) in [0, 1] to uint8."""
    return np.rint(pixels * 255).astype(np.uint8)
