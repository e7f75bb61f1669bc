"""Carries metadata from a TIFF's first directory into that of a TIFF."""

import struct
from pathlib import Path

from retint_workers.containers import maker_notes, photoshop, tiff, xmp
from retint_workers.imaging.metadata import blocks
from retint_workers.imaging.metadata.blocks import Change
from retint_workers.imaging.metadata.policy import THUMBNAILS, Action, find_rule

LAYERS = "Photoshop's layers are left out: they hold the original's pixels."
MOVED_NOTE = "The camera maker's note has a form that is not known; in its new place some of it may not be readable."
BYTE = 1
EXTRA_SAMPLES, ASSOCIATED, UNASSOCIATED = 338, 1, 2
DIVIDED_NOTE = "The original's colors are multiplied by its transparency; the result's are not, as editors expect them."


def carry(original: Path, result: Path, change: Change) -> None:
    """Put metadata into a result; see `metadata.carry`.

    The new directory is appended to the result, and takes the place of the first one.
    """
    with original.open("rb") as source:
        reader = tiff.Reader(source)
        carry_directory(tiff.read_node(reader, next(reader.directories(), {})), result, change)


def carry_directory(described: tiff.Node, result: Path, change: Change) -> None:
    """Put the metadata of a directory, and of those below it, into a result's first directory."""
    with result.open("r+b") as target:
        written = tiff.Reader(target)
        own, _ = written.read_directory(written.read_offset(written.offset_at))
        carried = _choose(described, change)
        coding = {tag: each for tag, each in own.items() if _belongs_to_pixels(tag)}
        fields = {**carried.fields, **coding, **_make_fields(described, change)}
        below = {tag: group for tag, group in carried.below.items() if tag not in coding}

        def move(tag: int, each: tiff.Field, to: int) -> bytes:
            if tag != tiff.MAKER_NOTE:
                return each.data
            moved = maker_notes.move(each.data, each.at, to)
            if moved is None:
                change.note(MOVED_NOTE)
            return each.data if moved is None else moved

        tiff.replace_first_directory(target, tiff.Node(fields, below), move)


def _belongs_to_pixels(tag: int) -> bool:
    return find_rule("tiff", tag).action is Action.OWN or tag == tiff.SUB_DIRECTORIES


def _choose(described: tiff.Node, change: Change) -> tiff.Node:
    """Return what is carried of a directory and of those below it."""
    fields, below = {}, {}
    for tag, each in described.fields.items():
        if change.leaves_out(find_rule("tiff", tag)) or not _can_be_read(tag, each, change):
            continue
        if tag in described.below:
            group = [_choose_below(node, change) for node in described.below[tag] if not _shows_pixels(node, change)]
            if not group:
                continue
            below[tag] = group
        if tag == tiff.PHOTOSHOP_LAYERS and photoshop.has_layers(each.data):
            change.note(LAYERS)
            continue
        fields[tag] = each
    return tiff.Node(fields, below)


def _choose_below(node: tiff.Node, change: Change) -> tiff.Node:
    """Return a directory of metadata without what cannot be read; its tags are its own."""
    fields = {tag: each for tag, each in node.fields.items() if _can_be_read(tag, each, change)}
    below = {
        tag: [_choose_below(nested, change) for nested in group] for tag, group in node.below.items() if tag in fields
    }
    return tiff.Node(fields, below)


def _shows_pixels(node: tiff.Node, change: Change) -> bool:
    if tiff.has_pixels(node.fields):
        change.note(THUMBNAILS)
        return True
    return False


def _can_be_read(tag: int, each: tiff.Field, change: Change) -> bool:
    """Whether a field's type is known and its data lies inside the file; else it is noted."""
    if not each.count:
        return False
    name = f"The TIFF's field {tag}"
    if each.kind not in tiff.TYPE_SIZES:
        change.note(f"{name} is left out: its type {each.kind} is not known.")
        return False
    if change.is_oversized(name, each.size):
        return False
    if each.at + each.size > each.file.seek(0, 2):
        change.note(f"{name} is left out: the file ends before its data.")
        return False
    return True


def _make_fields(described: tiff.Node, change: Change) -> dict[int, tiff.Field]:
    """Return the fields that the result does not get as the original has them."""
    made = {}
    packets = []
    if (stored := described.fields.get(tiff.XMP)) is not None and _can_be_read(tiff.XMP, stored, change):
        packets.append(stored.data)
    resources = described.fields.get(tiff.PHOTOSHOP)
    if resources is not None and _can_be_read(tiff.PHOTOSHOP, resources, change):
        packets += blocks.find_photoshop_xmp(resources.data)
        updated = blocks.update_photoshop(resources.data, change)
        made[tiff.PHOTOSHOP] = resources if updated == resources.data else tiff.Field.of(BYTE, updated)
    kinds = described.fields[EXTRA_SAMPLES].numbers if EXTRA_SAMPLES in described.fields else ()
    if ASSOCIATED in kinds:
        separate = [UNASSOCIATED if kind == ASSOCIATED else kind for kind in kinds]
        made[EXTRA_SAMPLES] = tiff.Field.of(tiff.SHORT, struct.pack(f"<{len(kinds)}H", *separate))
        change.note(DIVIDED_NOTE)
    made[tiff.XMP] = tiff.Field.of(BYTE, xmp.serialize(blocks.make_xmp(packets, change)))
    if change.profile is not None:
        made[tiff.ICC] = tiff.Field.of(tiff.UNDEFINED, change.profile)
    return made
