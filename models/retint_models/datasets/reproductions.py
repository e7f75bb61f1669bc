"""Make of photographs what print and film make of them: negatives, engravings, halftones, newspapers, photocopies.

A photograph is its luma, float32 (side, side), gamma-coded, in [0, 1], and so is what is made of it. Screens and
lines are coarse enough to be seen, since a fine halftone of a photograph looks like the photograph.

Sources: Hurter and Driffield (1890), for density as a function of the log of exposure; Ulichney, Digital Halftoning
(1987), for clustered dots; Ostromoukhov, Digital Facial Engraving (1999), for lines whose width follows the tone.
"""

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from retint_models.datasets.fading import Floats
from retint_models.datasets.papers import draw_grain, ramp
from retint_models.datasets.writing import choose_script, choose_typeface, fill_columns, print_ink
from retint_models.layers.color import linear_to_srgb, srgb_to_linear


def make_negative(rng: Generator, photograph: Floats) -> Floats:
    """Expose film with a photograph's light and scan it: density grows with the log of exposure.

    Half have the film's clear border, and some the holes of roll film.
    """
    exposure = np.log10(srgb_to_linear(np.clip(photograph, 0.01, 1)) * np.float32(2 ** rng.uniform(-1, 1)))
    # The film's curve: a straight part of some slope (gamma), a toe and a shoulder.
    gamma, highest = rng.uniform(0.5, 1.1), rng.uniform(1.2, 2.6)
    density = np.asarray(highest / (1 + np.exp(-4 * gamma / highest * (exposure + rng.uniform(0.6, 1.2)))), np.float32)
    if rng.random() < 0.5:
        density = border_film(rng, density)
    transmitted = np.float32(10) ** -(density - density.min() + np.float32(rng.uniform(0, 0.3)))
    film: Floats = linear_to_srgb(transmitted).astype(np.float32)
    return film + draw_grain(rng, len(film)) * np.float32(rng.uniform(0, 0.02))


def make_pencil_drawing(rng: Generator, photograph: Floats) -> Floats:
    """Draw a photograph's edges with a pencil: where it is darker than its surroundings."""
    around = blur(photograph, len(photograph) * rng.uniform(0.004, 0.03))
    stroke = np.clip(1 - photograph / np.maximum(around, 0.02), 0, 1) * np.float32(rng.uniform(1.5, 5))
    rough = 1 + np.float32(rng.uniform(0, 0.5)) * draw_grain(rng, len(photograph))
    shading = np.float32(rng.uniform(0, 0.4)) * (1 - blur(photograph, 4)) if rng.random() < 0.4 else np.float32(0)
    return print_ink(as_ink((stroke + shading) * rough), rng)


def make_engraving(rng: Generator, photograph: Floats) -> Floats:
    """Engrave a photograph: lines that swell where it is dark, bent by its forms, in one or two directions."""
    side = len(photograph)
    smooth = blur(photograph, rng.uniform(1, 3))
    bend, period = rng.uniform(0, 4), rng.uniform(7, 14)
    ink = np.zeros_like(smooth)
    for turn in rng.uniform(0, np.pi) + np.arange(int(rng.integers(1, 3))) * rng.uniform(0.5, 1.5):
        wave = np.sin(ramp(side, turn) * np.float32(2 * np.pi / period) + np.float32(bend) * smooth)
        ink = np.maximum(ink, np.clip((wave + 1 - 2 * np.sqrt(smooth)) * period / 3, 0, 1))
    return print_ink(as_ink(ink), rng)


def make_halftone(rng: Generator, photograph: Floats) -> Floats:
    """Print a photograph with a screen of dots, coarse enough to be seen."""
    return print_ink(as_ink(screen(rng, photograph, rng.uniform(6, 13))), rng)


def make_photocopy(rng: Generator, photograph: Floats) -> Floats:
    """Copy a photograph until two or three tones remain."""
    tones = int(rng.integers(2, 4))
    uneven = blur(photograph, rng.uniform(0.5, 2)) + np.float32(rng.uniform(-0.15, 0.15))
    if rng.random() < 0.3:
        uneven += np.float32(0.5) - blur(photograph, 0.1 * len(photograph))
    copied = np.clip(np.floor(uneven * tones), 0, tones - 1) / np.float32(tones - 1)
    return print_ink(as_ink(1 - copied), rng)


def make_newspaper(rng: Generator, photograph: Floats) -> Floats:
    """Set a screened photograph among columns of text, with a headline."""
    side = len(photograph)
    ink = Image.new("L", (side, side))
    size = side / rng.uniform(20, 60)
    headline = size * rng.uniform(1, 4)
    choose_typeface(rng, headline)(ink, rng.uniform(0, 0.2) * side, 0.02 * side, side)
    fill_columns(ink, choose_script(rng, size), rng, (0.02 * side, 1.5 * headline, 0.98 * side, side), size)
    left, top, width, height = (rng.uniform((0, 0.05, 0.2, 0.2), (0.6, 0.6, 0.6, 0.5)) * side).round().astype(int)
    picture = screen(rng, photograph[: 2 * height, : 2 * width][::2, ::2], rng.uniform(3.5, 8))
    ink.paste(as_ink(picture), (int(left), int(top)))
    return print_ink(ink, rng)


# --- screens, borders, ink ------------------------------------------------------------------------------------------


def screen(rng: Generator, photograph: Floats, period: float) -> Floats:
    """Return the ink of a photograph (h, w) as clustered dots or lines, in [0, 1]; the period is in pixels."""
    side = max(photograph.shape)
    turn = rng.choice((0.26, 0.785, 1.31)) + rng.normal(0, 0.1)
    waves = [np.sin(ramp(side, turn + cross) * np.float32(2 * np.pi / period)) for cross in (0.0, np.pi / 2)]
    spot = (waves[0] + waves[1]) / 2 if rng.random() < 0.8 else waves[0]
    height, width = photograph.shape
    ink: Floats = np.clip((spot[:height, :width] / 2 + 0.5 - photograph) * np.float32(rng.uniform(4, 10)) + 0.5, 0, 1)
    return ink


def border_film(rng: Generator, density: Floats) -> Floats:
    """Surround a negative with the film's clear border; roll film has holes along two sides."""
    side = len(density)
    base = density.min() - np.float32(0.05)
    film = np.full_like(density, base)
    border = int(rng.uniform(0.02, 0.12) * side)
    if rng.random() < 0.4:
        tooth = max(4, border // 2)
        for start in range(int(rng.integers(tooth)), side - tooth, 2 * tooth):
            for row in (border // 4, side - border // 4 - tooth):
                film[row : row + tooth, start : start + tooth] = base - np.float32(0.3)
    film = film if rng.random() < 0.5 else np.ascontiguousarray(film.T)
    inside = slice(border, side - border)
    film[inside, inside] = density[inside, inside]
    return film


def blur(picture: Floats, radius: float) -> Floats:
    """Blur a picture by three box filters of a radius in pixels, about a Gaussian."""
    image = Image.fromarray((255 * np.clip(picture, 0, 1)).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image, np.float32) / np.float32(255)


def as_ink(covered: Floats) -> Image.Image:
    """Turn a share of ink in [0, 1], cut off there, into an image."""
    return Image.fromarray((255 * np.clip(covered, 0, 1)).astype(np.uint8))
