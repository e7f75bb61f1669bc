"""Views: what a colorizer in training is shown of its photographs, drawn once and kept with a frozen encoder's maps.

A view is a crop of a photograph as the network will meet it: as it is, aged as old photographs are, or faded as a
silver print and repaired by the shipped defader, since tone comes before color. In each case the tone of the whole
photograph is stretched first, as in use. Some views are of no photograph at all (`datasets.not_photographs`): their
color is gray. A view follows from its number alone, so it can be kept. What is kept are the maps that the frozen
encoder makes of it, all that the decoder reads. They take most of the time of a step and are the same whatever is
trained on them, so runs share them.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from retint_models.datasets.fading import as_bytes, make_silver_print
from retint_models.datasets.not_photographs import draw_not_photograph
from retint_models.datasets.photographs import Photos
from retint_models.layers import rendering
from retint_models.networks.blocks import TAPS, Encoder
from retint_models.networks.color import rec709_luma
from retint_models.networks.compact_defade import CompactDefader
from retint_models.networks.proxies import normalise_tone
from retint_models.training.aging import age_luma
from retint_models.training.crops import crop_box, finish_crop, sampling_weight

STRIDES = dict(zip(TAPS.values(), (4, 8, 16, 32, 32), strict=True))
"""Channels of the encoder's maps to their strides."""
REPAIRED, AGED = 0.25, 0.45
"""Shares of the views of photographs that are faded and repaired, and that are aged; the others are as they are."""
SMALLEST = 0.55
"""Smallest share of a photo's short side that a crop covers."""
VERSION = 1
"""Counts the ways in which views were drawn."""


class View(NamedTuple):
    """What is seen, luma (1, side, side), and the color that is true, sRGB (3, side / 4, side / 4), both in [0, 1].

    Or several of them, with an axis before.
    """

    luma: Tensor
    rgb: Tensor


class Batch(NamedTuple):
    """Views of one side: the encoder's maps, (B, channels, side / stride, side / stride), and the true sRGB."""

    maps: list[Tensor]
    rgb: Tensor


@dataclass(frozen=True)
class ViewDrawer:
    """Draws views of photographs, and of as many things that are no photograph as their share asks for.

    Attributes:
        photos: Photographs to train on, upright, in color.
        defader: Repairs the prints that are made of them; None to make none.
        gray_share: Share of the views that are no photograph.
    """

    photos: Photos
    defader: CompactDefader | None
    gray_share: float

    @property
    def subjects(self) -> int:
        """How many subjects there are: the photographs, then those that are none."""
        return len(self.photos) + round(self.gray_share / (1 - self.gray_share) * len(self.photos))

    @property
    def identity(self) -> str:
        """A text that identifies what is drawn."""
        defader = self.defader.card.sha256 if self.defader else "none"
        return f"{self.photos.identity}; {self.gray_share} gray; defader {defader}"

    @cached_property
    def weights(self) -> Tensor:
        """How often each subject is drawn, relative to the others."""
        photographs = torch.tensor([sampling_weight(str(entry.get("source", ""))) for entry in self.photos.entries])
        others = self.subjects - len(self.photos)
        gray = self.gray_share / (1 - self.gray_share) * photographs.sum() / max(1, others)
        return torch.cat([photographs, gray.expand(others)])

    def draw(self, subject: int, side: int, number: int) -> View:
        """Draw a view; the same arguments give the same view.

        Args:
            subject: Below `subjects`.
            side: In pixels, a multiple of 32.
            number: Any number; another one gives another view.
        """
        seed = int.from_bytes(hashlib.sha256(f"{subject} {side} {number}".encode()).digest()[:6], "big")
        rng, arrays = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        photo = self.photos[subject if subject < len(self.photos) else seed % len(self.photos)]
        rgb = torch.from_numpy(photo.copy()).permute(2, 0, 1).float() / 255
        if subject >= len(self.photos):
            gray = draw_not_photograph(arrays, side, rec709_luma(rgb)[0].numpy())
            luma = torch.from_numpy(np.ascontiguousarray(gray)).float().view(1, side, side)
            return View(normalise_tone(luma), functional.avg_pool2d(luma, 4).expand(3, -1, -1))
        way, *box = torch.rand(6, generator=rng).tolist()
        if self.defader and way < REPAIRED:
            luma = repair_print(rgb, self.defader, arrays)
        elif way < REPAIRED + AGED:
            luma = age_luma(rgb[None], rng)[0]
        else:
            luma = rec709_luma(rgb)
        top, left, height, width = crop_box(photo.shape[0], photo.shape[1], SMALLEST, box)
        seen_and_true = torch.cat([normalise_tone(luma), rgb])[:, top : top + height, left : left + width]
        crop = finish_crop(seen_and_true, side, box)
        return View(crop[:1], functional.avg_pool2d(crop[1:], 4))


def repair_print(rgb: Tensor, defader: CompactDefader, rng: np.random.Generator) -> Tensor:
    """Make a faded silver print of sRGB (3, h, w), let a defader repair it, and return the luma, (1, h, w)."""
    print_ = make_silver_print(rgb.permute(1, 2, 0).numpy(), rng.choice(["silver", "toned", "gray"]), rng).print
    proxy = as_bytes(print_)
    repaired = rendering.repair_proxy(proxy, defader([proxy])[0])
    return rec709_luma(torch.from_numpy(repaired).permute(2, 0, 1).float() / 255)


@dataclass(frozen=True)
class Views:
    """Views of a drawer, and the maps that a frozen encoder makes of them, kept in a folder as they are drawn.

    A file a side holds them in half precision. It is as long as all views and takes the room of those that are there;
    another one marks these. Runs may share both at the same time: a view is the same bytes, whoever draws it.

    Attributes:
        drawer: Draws what is not there yet.
        encoder: In evaluation mode, on the CPU.
        folder: Where views are kept; made if missing.
        each: How many views are kept of each subject and side.
    """

    drawer: ViewDrawer
    encoder: Encoder
    folder: Path
    each: int

    def draw(self, count: int, side: int, rng: torch.Generator) -> Batch:
        """Draw views at random; those that are not there yet are made, and kept.

        Raises:
            OSError: the folder cannot be written to, such as on a full disk.
        """
        subjects = self._draw_subjects(count, rng)
        numbers = torch.randint(self.each, (count,), generator=rng).tolist()
        slots = [subject * self.each + number for subject, number in zip(subjects, numbers, strict=True)]
        size = 2 * sum(values for *_, values in map_shapes(side))
        with self._open(side, size) as (kept, marks):
            is_kept = os.pread(marks, self._slots, 0)
            missing = sorted({slot for slot in slots if not is_kept[slot]})
            for slot, row in zip(missing, self._make_rows(side, missing), strict=True):
                write_all(kept, row, slot * size)
                write_all(marks, b"\1", slot)
            rows = [np.frombuffer(os.pread(kept, size, slot * size), np.float16) for slot in slots]
        return split_rows(torch.from_numpy(np.stack(rows).astype(np.float32)), side)

    def draw_new(self, count: int, side: int, rng: torch.Generator) -> View:
        """Draw views that are not kept, for an encoder that is trained."""
        subjects = self._draw_subjects(count, rng)
        numbers = torch.randint(self.each, 1 << 40, (count,), generator=rng).tolist()
        views = [self.drawer.draw(subject, side, number) for subject, number in zip(subjects, numbers, strict=True)]
        return View(*(torch.stack(parts) for parts in zip(*views, strict=True)))

    def _draw_subjects(self, count: int, rng: torch.Generator) -> list[int]:
        drawn: list[int] = torch.multinomial(self.drawer.weights, count, replacement=True, generator=rng).tolist()
        return drawn

    @property
    def _slots(self) -> int:
        return self.drawer.subjects * self.each

    @cached_property
    def _name(self) -> str:
        """What the files of these views are called: other views have another name."""
        facts = [self.drawer.identity, weights_identity(self.encoder), self.each, VERSION]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]

    @contextmanager
    def _open(self, side: int, size: int) -> Iterator[tuple[int, int]]:
        """Open a side's two files: the views, a number of bytes each, and their marks, one byte each."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as files:
            opened = []
            for ending, length in (("views", size), ("kept", 1)):
                opened.append(os.open(self.folder / f"{self._name}-{side}.{ending}", os.O_RDWR | os.O_CREAT, 0o644))
                files.callback(os.close, opened[-1])
                os.truncate(opened[-1], self._slots * length)
            yield opened[0], opened[1]

    @torch.no_grad()
    def _make_rows(self, side: int, slots: list[int]) -> list[bytes]:
        """Draw views and encode them; return the bytes of each: its maps, then its true colors."""
        if not slots:
            return []
        views = [self.drawer.draw(slot // self.each, side, slot % self.each) for slot in slots]
        luma = torch.stack([view.luma for view in views]).contiguous(memory_format=torch.channels_last)
        parts = [*self.encoder(luma), torch.stack([view.rgb for view in views])]
        return [row.tobytes() for row in torch.cat([part.flatten(1) for part in parts], 1).half().numpy()]


def write_all(descriptor: int, data: bytes, start: int) -> None:
    """Write at a place of a file.

    Raises:
        OSError: the disk is full.
    """
    if os.pwrite(descriptor, data, start) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def split_rows(rows: Tensor, side: int) -> Batch:
    """Turn the values of views, (B, values), into maps and true colors again."""
    shapes = map_shapes(side)
    parts = torch.split(rows, [values for *_, values in shapes], 1)
    maps = [part.view(-1, channels, edge, edge) for part, (channels, edge, _) in zip(parts, shapes, strict=True)]
    return Batch(maps[:-1], maps[-1])


def weights_identity(encoder: Encoder) -> str:
    """Return a hash of an encoder's weights."""
    digest = hashlib.sha256()
    for value in encoder.state_dict().values():
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def map_shapes(side: int) -> list[tuple[int, int, int]]:
    """Return channels, side and number of values of each map of a view, and of its true colors last."""
    edges = [*((channels, side // stride) for channels, stride in STRIDES.items()), (3, side // 4)]
    return [(channels, edge, channels * edge**2) for channels, edge in edges]
