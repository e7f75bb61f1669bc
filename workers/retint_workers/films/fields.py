"""Interlaced films: which field of a frame is the earlier one, read from frames and set on frames.

FFmpeg keeps it as flags of each frame. PyAV shows one of the two only and sets none, but filters know them.
"""

from fractions import Fraction
from typing import Any

import av
from av.error import BlockingIOError as NoFrame
from av.filter import Graph

PROGRESSIVE = 1
FIELD_ORDERS = {2: "tff", 3: "bff", 4: "tff", 5: "bff"}
"""FFmpeg's AVFieldOrder of a stream: which field is the earlier one. Its own decoders read 4 and 5 like this, too."""
STORED_ORDERS = {"tff": 2, "bff": 3}
"""AVFieldOrder to write: the unambiguous codes, by which the first field is both stored and shown first."""


def read_field_order(frame: av.VideoFrame) -> str | None:
    """Return `tff` or `bff` for an interlaced frame: whether its top or bottom field is earlier; None for others."""
    if not frame.interlaced_frame:
        return None
    graph, (first, *_) = _make_graph(frame, "select", "eq(interlace_type,TOPFIRST)")
    first.push(frame)
    try:
        graph.vpull()
    except NoFrame:
        return "bff"
    return "tff"


class FieldMarker:
    """Marks frames of one size and pixel format as interlaced."""

    def __init__(self, field_order: str) -> None:
        self._order = field_order
        self._graph: Graph | None = None

    def mark(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame, marked; its time, if it has one, stays."""
        if self._graph is None:
            self._graph, (self._first, *_) = _make_graph(frame, "setfield", self._order)
        self._first.push(frame)
        marked = self._graph.vpull()
        if frame.time_base:
            marked.pts, marked.duration, marked.time_base = frame.pts, frame.duration, frame.time_base
        return marked


def _make_graph(frame: av.VideoFrame, name: str, arguments: str) -> tuple[Graph, list[Any]]:
    graph = Graph()
    nodes = [
        graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)),
        graph.add(name, arguments),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    return graph, nodes
