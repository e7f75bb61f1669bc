"""Color films: a film's color layers as a film, FFV1 in Matroska, one frame for each of the original's.

Frames are Y'CbCr of Rec. 709 at proxy size, full range, 10 bits. The tag RETINT holds the record of the decision as
JSON. Confidence is not kept.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from retint.errors import RetintError, WorkerLost
from retint_models.layers import rendering, temporal
from retint_models.layers.types import ColorLayer
from retint_workers.beats import Beat, beat_for_nobody
from retint_workers.films import encoder, segments
from retint_workers.films.decoder import translate_ffmpeg_errors
from retint_workers.films.frame_format import FULL_RANGE
from retint_workers.films.segments import SegmentWriter

SEGMENT_FRAMES = 24
"""Frames of a segment: the most that are decided again after an interruption."""
SEGMENT_NAME = "color"
OWN_FILE = "The film's color layer"
"""How errors call a color film."""
MAX_CODE = (1 << 10) - 1
NEUTRAL_CODE = (MAX_CODE + 1) // 2


class ColorFilmWriter:
    """Smooths color layers over time and writes them, segment by segment.

    Its state is saved beside each segment, so that another process can continue.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self._folder = folder
        self._scene_starts = set(facts["scenes"])
        self._frame_rate = Fraction(facts["rate"]).limit_denominator(1001)
        done = segments.list_complete(folder, SEGMENT_NAME)
        self.next_frame = len(done) * SEGMENT_FRAMES
        state = dict(np.load(segments.arrays_path(done[-1]))) if done else {}
        self._smoother = temporal.Smoother(_select(state, "smoother"))
        self._smooth_consistency = temporal.Consistency(_select(state, "smooth"))
        self._plain_consistency = temporal.Consistency(_select(state, "plain"))
        self._record: dict[str, Any] = json.loads(str(state["record"])) if state else {}

    def write_segment(self, layers: Iterator[ColorLayer | RetintError], first: int) -> None:
        """Write the segment that starts with frame `first`.

        Raises:
            Transient: there is no layer for a frame.
        """
        smooth = [self._smooth(layer, number) for number, layer in enumerate(layers, first)]
        if not smooth:
            raise WorkerLost("The film ended before its last frame.")
        height, width = smooth[0].luma.shape
        path = segments.segment_path(self._folder, SEGMENT_NAME, first)
        with SegmentWriter(path, encoder.ffv1(width, height, self._frame_rate)) as writer:
            for number, layer in enumerate(smooth, first):
                writer.write(to_frame(layer, number, self._frame_rate))
            segments.save_arrays(segments.arrays_path(path), self._state())

    def _smooth(self, layer: ColorLayer | RetintError, number: int) -> ColorLayer:
        if isinstance(layer, RetintError):
            raise layer
        if not self._record:
            self._record = dict(layer.record)
        if number in self._scene_starts:
            for memory in (self._smoother, self._smooth_consistency, self._plain_consistency):
                memory.start_scene()
        smooth = self._smoother.smooth(layer)
        gray = np.rint(layer.luma.astype(np.float32) * 255).astype(np.uint8)
        self._plain_consistency.add(rendering.apply(gray, 0, gray.shape, layer, None))
        self._smooth_consistency.add(rendering.apply(gray, 0, gray.shape, smooth, None))
        return smooth

    def _state(self) -> dict[str, Any]:
        memories: dict[str, Any] = {
            "smoother": self._smoother,
            "smooth": self._smooth_consistency,
            "plain": self._plain_consistency,
        }
        arrays = {f"{name}.{key}": value for name, memory in memories.items() for key, value in memory.state.items()}
        return arrays | {"record": np.array(json.dumps(self._record))}

    def finish(self, output: Path, beat: Beat) -> None:
        """Join all segments into the color film; the file appears when it is complete."""
        figures = {"cdc": self._smooth_consistency.value, "cdc_frame_by_frame": self._plain_consistency.value}
        smoothing = {"memory": temporal.MEMORY, "scenes": len(self._scene_starts)} | figures
        record = self._record | {"smoothing": smoothing}
        part = output.with_suffix(".part")
        join(segments.list_complete(self._folder, SEGMENT_NAME), part, record, beat)
        part.replace(output)


def _select(state: Mapping[str, Any], name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of one memory, without its name in front."""
    return {key.partition(".")[2]: value for key, value in state.items() if key.startswith(f"{name}.")}


def join(paths: Sequence[Path], output: Path, record: Mapping[str, Any], beat: Beat = beat_for_nobody) -> None:
    """Write segments of color frames as one Matroska file; beat after each frame."""
    with (
        translate_ffmpeg_errors(OWN_FILE),
        segments.open_segment(paths[0]) as first,
        av.open(str(output.resolve()), "w", format="matroska") as out,
    ):
        out.metadata["RETINT"] = json.dumps(record, sort_keys=True)
        stream = out.add_stream_from_template(first.streams.video[0], opaque=True)
        context: Any = stream.codec_context
        context.colorspace, context.color_range = 1, FULL_RANGE  # neither FFV1 nor NUT stores them
        for packet in segments.read_packets(paths):
            packet.stream = stream
            out.mux(packet)
            beat()


def to_frame(layer: ColorLayer, number: int, frame_rate: Fraction) -> av.VideoFrame:
    """Convert a color layer to a frame of a color film."""
    height, width = layer.luma.shape
    frame = av.VideoFrame(width, height, "yuv444p10le")
    chroma = layer.chroma.astype(np.float32) * MAX_CODE + NEUTRAL_CODE
    values = [layer.luma.astype(np.float32) * MAX_CODE, *chroma]
    for plane, value in zip(frame.planes, values, strict=True):
        padded = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        padded[:, :width] = np.clip(np.rint(value), 0, MAX_CODE)
        plane.update(padded.tobytes())
    frame.pts, frame.time_base = number, 1 / frame_rate
    frame.colorspace, frame.color_range = 1, FULL_RANGE
    return frame


def read_layers(path: Path) -> Iterator[ColorLayer]:
    """Read the layers of a color film, frame by frame; their confidence is 0."""
    with translate_ffmpeg_errors(OWN_FILE), av.open(str(path.resolve()), format="matroska") as container:
        record = json.loads(container.metadata["RETINT"])
        for frame in container.decode(container.streams.video[0]):
            luma, *chroma = (_read_plane(plane) for plane in frame.planes)
            centered = (np.stack(chroma) - NEUTRAL_CODE) / MAX_CODE
            yield ColorLayer(
                chroma=np.clip(centered, -0.5, 0.5).astype(np.float16),
                luma=(luma / MAX_CODE).astype(np.float16),
                confidence=np.zeros(luma.shape, np.uint8),
                record=record,
            )


def _read_plane(plane: Any) -> NDArray[np.float32]:
    """Return a plane's code values, float32 (h, w)."""
    rows = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)
    return rows[:, : plane.width].astype(np.float32)


def read_record(path: Path) -> dict[str, Any]:
    """Read what made a color film."""
    with translate_ffmpeg_errors(OWN_FILE), av.open(str(path.resolve()), format="matroska") as container:
        record: dict[str, Any] = json.loads(container.metadata["RETINT"])
        return record
