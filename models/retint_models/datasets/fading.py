"""Old prints, simulated: what dyes, silver, stains and scanners do to a photograph.

Everything happens in optical density D = -log10(linear reflectance), where a print loses what it loses by
multiplication and stains by addition. The steps are plain functions of arrays (numpy, no torch); `simulate` draws
their strengths at random and is what networks train on; `old_print` makes one gray, faded print to show.

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
Family = Literal["dark", "light", "silver", "lighting", "clean"]

SHARES: dict[Family, float] = {"dark": 0.23, "light": 0.15, "silver": 0.26, "lighting": 0.08, "clean": 0.28}
"""How often `simulate` meets each family in training; a network that must rest needs many clean photos."""

MOST_LOST = 0.97
"""Share of a dye or of silver above which nothing could be read back from 8 bits."""


class Pair(NamedTuple):
    """A print and what it once was: float32 (h, w, 3), gamma-coded sRGB in [0, 1]."""

    print: Floats
    truth: Floats
    family: Family


# --- what happens to a print ------------------------------------------------------------------------------------------


def fade_dyes(densities: Floats, absorption: Floats, loss: Floats, where: Floats | float = 1.0) -> Floats:
    """Fade a chromogenic print: three dyes, each of which loses a share of its amount.

    D = M c with the dyes' amounts c (cyan, magenta, yellow) and their cross-absorption M; c' = c (1 - loss where).

    Args:
        densities: float32 (h, w, 3).
        absorption: float32 (3, 3), diagonal 1: column = dye, row = the channel (R, G, B) that it darkens, too.
        loss: share of each dye lost, 0 to 1: (3,), or (h, w, 3) where it depends on the print (see `shielded`).
        where: how strongly the place is hit, (h, w, 1), about 1.
    """
    dyes = densities @ np.linalg.inv(absorption).T.astype(np.float32)
    faded: Floats = (dyes * (1 - np.clip(loss * where, 0, MOST_LOST))) @ absorption.T
    return faded


def shielded(densities: Floats, loss: Floats, shield: float) -> Floats:
    """Loss of dyes, less where the print is dense: f (1 - k c / 2.4), in (h, w, 3).

    With a shield k the loss in density comes nearer to a constant, which is how light fades a print.
    """
    lost: Floats = loss * (1 - np.float32(shield) * np.clip(densities / 2.4, 0, 1))
    return lost


def stain(densities: Floats, added: Floats, where: Floats | float = 1.0) -> Floats:
    """Yellow a print: add densities (3,) for R, G, B, weighted by the place (h, w, 1)."""
    stained: Floats = densities + added * where
    return stained


def oxidise(densities: Floats, loss: float, warmth: Floats, toe: float, where: Floats | float = 1.0) -> Floats:
    """Oxidise a silver print: weaker, brown, and its highlight detail goes first.

    D' = D (1 - loss where warmth (.6 + .5 exp(-D / toe))).

    Args:
        densities: float32 (h, w, 3), a gray picture.
        loss: share of density lost, 0 to 1.
        warmth: (3,) at most 1, for R, G, B: what blue loses less than red makes the print brown.
        toe: density below which fine silver is hit more.
        where: how strongly the place is hit, (h, w, 1), about 1.
    """
    lost = np.float32(loss) * where * warmth * (0.6 + 0.5 * np.exp(-densities / np.float32(toe)))
    weaker: Floats = densities * (1 - np.clip(lost, 0, MOST_LOST))
    return weaker


def scan(linear: Floats, flare: float, gain: Floats) -> Floats:
    """Scan a print: veiling flare (a share of the mean reflectance everywhere), exposure and channel balance (3,)."""
    veil = np.float32(flare) * linear.mean(axis=(0, 1), dtype=np.float32)
    scanned: Floats = (linear * np.float32(1 - flare) + veil) * gain
    return scanned


def lit(pixels: Floats, brightness: float, contrast: float) -> Floats:
    """Put a photograph under a false light as DeOldify's defade of 2018 did (fastai 0.7, `RandomLighting`).

    out = (x - mean) c' + mean + b, clipped, with c' = 1 + c, or 1 / (1 - c) for a negative c; the mean is that of all
    channels and places. Not invertible where it was clipped.

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
    """Exaggerate the light as fastai 1 does: logit(x) * contrast + brightness. Not invertible: dark may have been."""
    x = np.clip(pixels, 1 / 510, 1 - 1 / 510)
    logit = np.log(x / (1 - x)) * np.float32(contrast) + np.float32(brightness)
    relit: Floats = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return relit


# --- places -----------------------------------------------------------------------------------------------------------


def smooth_field(size: tuple[int, int], cells: int, rng: Generator) -> Floats:
    """A smooth random field in about [-1, 1], (h, w, 1): cells x cells random values, interpolated by cubics."""
    grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    field = Image.fromarray(grid).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(field, np.float32)[..., None]


def rim(size: tuple[int, int], reach: float) -> Floats:
    """How near the edge a place is, (h, w, 1): exp(-distance / reach), reach in parts of the short side."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in size)
    distance = np.minimum.outer(rows, columns).astype(np.float32)
    near: Floats = np.exp(distance / np.float32(-reach * min(size)))
    return near[..., None]


# --- chroma as a colorizer leaves it ----------------------------------------------------------------------------------


def dull(chroma: Floats, gain: float, reach: int) -> Floats:
    """Chroma as a small network decides it: weaker, and blurred by shrinking `reach` times and back."""
    height, width = chroma.shape[:2]
    small = (max(1, width // reach), max(1, height // reach))
    planes = [
        Image.fromarray(plane).resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BILINEAR)
        for plane in np.ascontiguousarray(chroma.transpose(2, 0, 1) * np.float32(gain))
    ]
    return np.stack([np.asarray(plane, np.float32) for plane in planes], axis=-1)


# --- prints at random -------------------------------------------------------------------------------------------------


def simulate(truth: Floats, rng: Generator, family: Family | None = None) -> Pair:
    """Age one photograph at random.

    Half of the silver samples, and about a third of those of lighting and clean, carry the dull chroma that a colorizer
    leaves, on print and truth alike, because the defader sees colorized proxies and must repair tone without inventing
    color.

    Args:
        truth: float32 (h, w, 3), gamma-coded sRGB in [0, 1].
        rng: The only source of chance.
        family: What happened to it; drawn by `SHARES` if None.
    """
    family = family or rng.choice(list(SHARES), p=list(SHARES.values()))
    if family == "silver":
        return silver(truth, rng)
    if family in ("dark", "light"):
        return Pair(scanned(faded_color(srgb_to_density(truth), family, rng), rng), truth, family)
    if rng.random() < 0.35:
        truth = join_luma_chroma(
            rec709_luma(truth), dull(rec709_chroma(truth), rng.uniform(0.1, 1), int(rng.integers(1, 9)))
        )
    elif rng.random() < 0.2:
        truth = np.repeat(rec709_luma(truth), 3, axis=-1)
    if family == "lighting":
        return Pair(relight(truth, rng.uniform(0.3, 1.5), rng.uniform(-1.5, 1.5)), truth, family)
    return Pair(truth, truth, family)


def silver(truth: Floats, rng: Generator) -> Pair:
    """A faded silver print: colorized in half of all cases, else as it is, three in ten of those scanned in gray."""
    if rng.random() < 0.5:
        return recolored_silver(truth, rng)
    pair = toned_silver(truth, rng)
    return pair._replace(print=np.repeat(rec709_luma(pair.print), 3, axis=-1)) if rng.random() < 0.3 else pair


def toned_silver(truth: Floats, rng: Generator) -> Pair:
    """A silver print of the photograph, gone brown and weak; the truth is the gray picture."""
    gray = np.repeat(rec709_luma(truth), 3, axis=-1)
    return Pair(scanned(faded_silver(srgb_to_density(gray), rng), rng), gray, "silver")


def recolored_silver(truth: Floats, rng: Generator) -> Pair:
    """A faded silver print after colorization: its luma, with dull chroma that the truth carries, too."""
    color = dull(rec709_chroma(truth), rng.uniform(0.1, 1), int(rng.integers(1, 9)))
    print_ = toned_silver(truth, rng).print
    return Pair(join_luma_chroma(rec709_luma(print_), color), join_luma_chroma(rec709_luma(truth), color), "silver")


def faded_color(densities: Floats, family: Literal["dark", "light"], rng: Generator) -> Floats:
    """Densities of a chromogenic print after decades in the dark (cyan and yellow go) or in light (magenta goes)."""
    strength = rng.uniform(0.15, 1.1)
    absorption = np.eye(3, dtype=np.float32)
    absorption[2, 1], absorption[1, 0] = rng.uniform(0.1, 0.4), rng.uniform(0.05, 0.25)
    absorption[[0, 0, 1, 2], [1, 2, 2, 0]] = rng.uniform(0, 0.15, 4)
    low, high, shield = {
        "dark": ((0.2, 0.05, 0.1), (0.8, 0.4, 0.6), 0.15),
        "light": ((0.1, 0.3, 0.1), (0.45, 0.8, 0.55), 0.5),
    }[family]
    loss = shielded(densities, strength * rng.uniform(low, high).astype(np.float32), rng.uniform(0, shield))
    faded = fade_dyes(densities, absorption, loss, uneven(densities.shape[:2], strength, rng))
    return yellowed(faded, rng)


def faded_silver(densities: Floats, rng: Generator, strength: float | None = None) -> Floats:
    """Densities of a silver print after decades of impure air."""
    strength = rng.uniform(0.15, 1.1) if strength is None else strength
    warmth = np.array([1, rng.uniform(0.78, 0.98), rng.uniform(0.45, 0.9)], np.float32)
    where = uneven(densities.shape[:2], strength, rng)
    return yellowed(oxidise(densities, strength * rng.uniform(0.1, 0.7), warmth, rng.uniform(0.35, 1.3), where), rng)


def yellowed(densities: Floats, rng: Generator) -> Floats:
    """Densities under a stain that is strongest at the rim."""
    added = rng.uniform(0, 0.35) * np.array([rng.uniform(0.05, 0.3), rng.uniform(0.25, 0.6), 1], np.float32)
    share = rng.uniform(0, 0.6)
    where = 1 - share + share * rim(densities.shape[:2], rng.uniform(0.06, 0.2))
    return stain(densities, added, where)


def uneven(size: tuple[int, int], strength: float, rng: Generator) -> Floats:
    """How strongly each place is hit: 1 + up to .6 strength, smooth."""
    field = smooth_field(size, int(rng.integers(3, 5)), rng)
    where: Floats = np.clip(1 + np.float32(rng.uniform(0, 0.6) * strength) * field, 0.2, 1.8)
    return where


def scanned(densities: Floats, rng: Generator) -> Floats:
    """The scan of a print, gamma-coded sRGB: flare, exposure within .4 stop, balance within .1 stop, noise."""
    stops = rng.uniform(-0.4, 0.4) + rng.uniform(-0.1, 0.1, 3)
    linear = scan(np.float32(10) ** -densities, rng.uniform(0, 0.07), (2**stops).astype(np.float32))
    noise = rng.standard_normal(linear.shape, np.float32) * np.float32(rng.uniform(0, 0.012))
    return np.clip(linear_to_srgb(linear).astype(np.float32) + noise, 0, 1)


def old_print(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Make the scan of an old silver print, gray gone brown and pale, from a photograph.

    Args:
        pixels: uint8 (h, w, 3), sRGB.
        seed: The same seed ages the same photograph in the same way.

    Raises:
        ValueError: not uint8 (h, w, 3).
    """
    rng = np.random.default_rng(seed)
    gray = np.repeat(rec709_luma(as_floats(pixels)), 3, axis=-1)
    faded = faded_silver(srgb_to_density(gray), rng, strength=rng.uniform(0.7, 1))
    return as_bytes(scanned(faded, rng))


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
