"""Draw drawings: figures in outline and hatching, maps, plans, charts, radiographs. Pictures are as in `papers`."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from retint_models.datasets.fading import Floats, smooth_field
from retint_models.datasets.papers import draw_grain, ramp
from retint_models.datasets.writing import choose_typeface, print_ink


def draw_figures(rng: Generator, side: int) -> Floats:
    """Draw closed outlines, some of them hatched or filled, and loose strokes."""
    ink = Image.new("L", (side, side))
    pen, is_hatched = int(rng.integers(1, 5)), rng.random() < 0.7
    for _ in range(int(rng.integers(2, 14))):
        outline = invent_outline(rng, side)
        inside = Image.new("L", (side, side))
        ImageDraw.Draw(inside).polygon(outline, fill=255)
        if rng.random() < 0.6:
            ink.paste(0, (0, 0), inside)  # it hides what lies behind
        if is_hatched and rng.random() < 0.6:
            ink.paste(255, (0, 0), Image.fromarray(np.minimum(np.asarray(inside), draw_hatching(rng, side))))
        ImageDraw.Draw(ink).line([*outline, outline[0]], fill=255, width=pen, joint="curve")
    for _ in range(int(rng.integers(0, 12))):
        points = rng.uniform(0, side, 2) + np.cumsum(rng.normal(0, 0.05 * side, (6, 2)), axis=0)
        ImageDraw.Draw(ink).line(points.ravel().tolist(), fill=255, width=pen)
    return print_ink(ink, rng)


def draw_map(rng: Generator, side: int) -> Floats:
    """Draw a map: contour lines, rivers, roads, a grid, hatched areas, names."""
    height = smooth_field((side, side), int(rng.integers(3, 9)), rng)[..., 0]
    ink = Image.fromarray(contours(height, rng.uniform(3, 14), rng.uniform(0.6, 1.6)))
    draw = ImageDraw.Draw(ink)
    if rng.random() < 0.5:
        area = Image.fromarray(np.where(height < rng.uniform(-0.6, 0), draw_hatching(rng, side), 0).astype(np.uint8))
        ink.paste(255, (0, 0), area)
    for _ in range(int(rng.integers(0, 7))):
        way = rng.uniform(0, side, 2) + np.cumsum(rng.normal(0, 0.1 * side, (9, 2)), axis=0)
        width = int(rng.integers(1, 7))
        draw.line(way.ravel().tolist(), fill=255, width=width, joint="curve")
        if width > 3:
            draw.line(way.ravel().tolist(), fill=0, width=width - 2, joint="curve")
    if rng.random() < 0.4:
        for place in np.arange(1, 9) * side / rng.uniform(3, 9):
            draw.line((place, 0, place, side), fill=140)
            draw.line((0, place, side, place), fill=140)
    write = choose_typeface(rng, side * rng.uniform(0.02, 0.05))
    for x, y in rng.uniform(0, 0.9 * side, (int(rng.integers(0, 20)), 2)):
        write(ink, x, y, rng.uniform(0.05, 0.2) * side)
    return print_ink(ink, rng)


def draw_plan(rng: Generator, side: int) -> Floats:
    """Draw a plan or a technical drawing: walls or edges at right angles, arcs, axes, dimensions."""
    ink = Image.new("L", (side, side))
    draw = ImageDraw.Draw(ink)
    wall = int(rng.integers(1, 9))
    places = np.sort(rng.uniform(0.05, 0.95, (2, int(rng.integers(3, 8)))) * side)
    for _ in range(int(rng.integers(4, 24))):
        (left, right), (top, bottom) = (np.sort(rng.choice(axis, 2, replace=False)) for axis in places)
        if rng.random() < 0.5:
            draw.rectangle((left, top, right, bottom), outline=255, width=wall)
        else:
            draw.line(
                (left, top, left, bottom) if rng.random() < 0.5 else (left, top, right, top), fill=255, width=wall
            )
        if rng.random() < 0.5:
            radius = rng.uniform(0.02, 0.12) * side
            start = int(rng.integers(4)) * 90
            span = int(rng.choice((90, 360)))
            draw.arc((left - radius, top - radius, left + radius, top + radius), start, start + span, fill=255)
        if rng.random() < 0.2:
            for x in np.arange(left, right, 8):
                draw.line((x, top, x + 4, top), fill=255)
    write = choose_typeface(rng, side * rng.uniform(0.02, 0.04))
    for x, y in rng.uniform(0, 0.9 * side, (int(rng.integers(0, 14)), 2)):
        write(ink, x, y, rng.uniform(0.03, 0.15) * side)
        draw.line((x, y - 2, x + rng.uniform(0.05, 0.2) * side, y - 2), fill=200)
    return print_ink(ink, rng)


def draw_chart(rng: Generator, side: int) -> Floats:
    """Draw a chart: axes, a grid, curves, bars or points, a legend."""
    ink = Image.new("L", (side, side))
    draw = ImageDraw.Draw(ink)
    left, top, right, bottom = np.array([0, 0, side, side]) + rng.uniform(0.03, 0.2, 4) * side * [1, 1, -1, -1]
    for x, y in rng.uniform(0, 1, (int(rng.integers(0, 10)), 2)):
        draw.line((left, top + y * (bottom - top), right, top + y * (bottom - top)), fill=110)
        draw.line((left + x * (right - left), top, left + x * (right - left), bottom), fill=110)
    draw.line((left, top, left, bottom, right, bottom), fill=255, width=int(rng.integers(1, 4)))
    for _ in range(int(rng.integers(1, 5))):
        count, style = int(rng.integers(4, 40)), int(rng.integers(3))
        xs = np.linspace(left, right, count)
        values = np.clip(rng.uniform(0.2, 0.8) + np.cumsum(rng.normal(0, 0.1, count)), 0, 1)
        ys = bottom - values * (bottom - top)
        if style == 0:
            draw.line(np.stack([xs, ys], 1).ravel().tolist(), fill=255, width=int(rng.integers(1, 4)))
        for x, y in zip(xs, ys, strict=True):
            if style == 1:
                draw.rectangle(
                    (x, y, x + 0.6 * (right - left) / count, bottom), outline=255, fill=int(rng.choice((0, 150)))
                )
            elif style == 2:
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), outline=255)
    write = choose_typeface(rng, side * rng.uniform(0.02, 0.045))
    for y in np.linspace(top, bottom, int(rng.integers(2, 8))):
        write(ink, 0, y, 0.8 * left)
        write(ink, rng.uniform(left, right), bottom + 3, 0.08 * side)
    return print_ink(ink, rng)


def draw_radiograph(rng: Generator, side: int) -> Floats:
    """Draw soft, light limbs that overlap on a dark ground: what they absorb adds up in the exponent."""
    half = side // 2  # nothing in it is sharp
    absorbed = np.zeros((half, half), np.float32)
    for _ in range(int(rng.integers(4, 22))):
        image = Image.new("L", (half, half))
        x, y = rng.uniform(0.1, 0.9, 2) * half
        turn, length, width = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.6) * half, rng.uniform(0.01, 0.12) * half
        bow = turn + np.linspace(0, rng.normal(0, 0.8), 9)
        path = np.array([x, y]) + np.cumsum(np.stack([np.cos(bow), np.sin(bow)], 1) * length / 9, axis=0)
        ImageDraw.Draw(image).line(path.ravel().tolist(), fill=255, width=max(2, round(width)), joint="curve")
        soft = image.filter(ImageFilter.GaussianBlur(max(1, width / rng.uniform(2.5, 6))))
        absorbed += np.asarray(soft, np.float32) / 255 * np.float32(rng.uniform(0.2, 1))
    passed = np.exp(-np.float32(rng.uniform(0.6, 1.5)) * absorbed)
    film = Image.fromarray(1 - np.float32(rng.uniform(0.7, 0.97)) * passed).resize((side, side))
    return np.asarray(film, np.float32) + draw_grain(rng, side) * np.float32(rng.uniform(0, 0.03))


def invent_outline(rng: Generator, side: int) -> list[tuple[float, float]]:
    """Invent a closed outline: a circle whose radius a few waves change, or a shape with three to six corners."""
    center, radius = rng.uniform(0.1, 0.9, 2) * side, rng.uniform(0.04, 0.35) * side
    corners = int(rng.choice((3, 4, 5, 6, 48, 48, 48)))
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.uniform(0, 6)
    waves, phases = rng.normal(0, 0.15, 4), rng.uniform(0, 6, 4)
    radii = radius * (1 + sum(waves[n] * np.sin((n + 1) * angles + phases[n]) for n in range(4)))
    stretch = rng.uniform(0.4, 1, 2)
    points = center + np.stack([np.cos(angles) * radii, np.sin(angles) * radii], 1) * stretch
    return [(x, y) for x, y in points.tolist()]


def draw_hatching(rng: Generator, side: int) -> NDArray[np.uint8]:
    """Draw parallel or crossed lines, or dots, all over, uint8 (side, side)."""
    period, turn = rng.uniform(4, 12), rng.uniform(0, np.pi)
    lines = [
        np.sin(ramp(side, turn + cross) * np.float32(2 * np.pi / period)) for cross in (0.0, rng.uniform(0.5, 1.6))
    ]
    style = rng.integers(3)
    wave = (lines[0], np.maximum(*lines), sum(lines) / 2)[style]
    return np.asarray(255 * np.clip((wave - rng.uniform(0.3, 0.9)) * 4, 0, 1), np.uint8)


def contours(height: Floats, count: float, width: float) -> NDArray[np.uint8]:
    """Return contour lines of a field, uint8 (h, w): `count` per unit, some pixels wide."""
    levels = height * np.float32(count)
    steep = np.hypot(*np.gradient(levels)) + 1e-3
    apart = np.abs(levels - np.round(levels)) / steep
    return np.asarray(255 * np.clip(width - apart, 0, 1), np.uint8)
