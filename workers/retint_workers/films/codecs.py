"""Which codec, pixel format and container a film's result gets, by what the original has.

A master comes out as a master: without loss, or as ProRes of the same profile. All else becomes H.264.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from retint.filetypes import FILM_SUFFIXES
from retint_workers.films.frame_format import FULL_RANGE, UNSPECIFIED, FrameFormat

INTERMEDIATES = {
    *("aic", "apv", "cfhd", "dirac", "dnxhd", "exr", "hq_hqa", "hqx", "jpeg2000", "jpegls", "jpegxl", "notchlc"),
    *("prores", "prores_raw", "speedhq", "wrapped_avframe"),
}
"""Codecs of masters that can lose something, beside those that cannot."""
PRORES_PROFILES = {
    "apco": "proxy", "apcs": "lt", "apcn": "standard", "apch": "hq", "ap4h": "4444", "ap4x": "4444xq",
}  # fmt: skip
"""FFmpeg's names of the profiles, by the codec's tag."""
PACKED_IN_QUICKTIME = {"uyvy422", "yuyv422"}
"""Uncompressed pixel formats that stay as they are in QuickTime."""
LOSSLESS_H264 = "High 4:4:4 Predictive"
"""H.264's profile of lossless films. Lossy ones have it for 4:4:4 only."""
H264_SAMPLINGS = {"420": "420", "410": "420", "422": "422", "411": "422", "444": "444", "440": "444", None: "444"}
"""The chroma subsampling of H.264 that holds another; of R'G'B': 4:4:4."""
CRF, CAPTURE_CRF = 17, 12
"""H.264's quality, lower is better: for films as they are watched, and for those that code every frame by itself, as
DV, Motion JPEG and D-10 do, which are as a camera or a tape gave them."""
FFV1_OPTIONS = MappingProxyType({"level": "3", "slicecrc": "1", "slices": "4", "g": "1"})
"""FFV1 version 3 with checksums, key frames only (RFC 9043)."""


@dataclass(frozen=True)
class ResultFormat:
    """How a film's result is coded.

    Attributes:
        encoder: FFmpeg's name.
        container: one of `FILM_SUFFIXES`.
        frames: the format of the frames to encode.
        packing: FFmpeg's name of the pixel format that the encoder packs the frames to; None for none.
        options: the encoder's own.
        is_lossless: whether decoding gives the frames bit for bit.
        is_master: whether pixels keep all that the original's have, also beyond the range of R'G'B'.
    """

    encoder: str
    container: str
    frames: FrameFormat
    options: Mapping[str, str]
    is_lossless: bool
    is_master: bool
    packing: str | None = None


def is_lossless(codec: Any) -> bool:
    """Whether a codec of PyAV never loses anything."""
    return bool(codec.lossless and not codec.lossy)


def is_master(codec: Any) -> bool:
    """Whether films of this codec are masters, made to be edited or kept."""
    return is_lossless(codec) or codec.name in INTERMEDIATES


def choose_result(film: Any, frames: FrameFormat) -> ResultFormat:
    """Choose the format of a result by the `Film` and the format of its frames."""
    encoder, container = choose_encoder(film), choose_container(film)
    if encoder == "libx264":
        is_exact = _is_lossless_h264(film)
        quality = {"qp": "0"} if is_exact else {"crf": str(CAPTURE_CRF if is_capture(film) else CRF)}
        options = {**quality, "preset": "fast", "bf": "0"}
        return ResultFormat(encoder, container, to_h264(frames), options, is_exact, is_master=False)
    options = dict(FFV1_OPTIONS) if encoder == "ffv1" else {}
    if encoder == "prores_ks":
        options = {"profile": PRORES_PROFILES.get(film.stream.codec_context.codec_tag, "hq")}
        sampling = "444" if options["profile"].startswith("4444") else "422"
        frames = replace(frames, pixel_format=f"yuv{sampling}p10le", bits=10, sampling=sampling)
    elif encoder == "ffv1" and frames.is_rgb:
        frames = replace(frames, pixel_format="bgr0" if frames.bits == 8 else f"gbrp{frames.bits}le")
    packing = film.stream.codec_context.pix_fmt if encoder == "rawvideo" else None
    if encoder in ("v210", "rawvideo"):
        frames = _name_primaries(frames)
    return ResultFormat(encoder, container, frames, options, encoder != "prores_ks", is_master=True, packing=packing)


def choose_encoder(film: Any) -> str:
    """Choose a result's encoder; the same codec where it can hold the result."""
    context = film.stream.codec_context
    in_quicktime = film.container_format == "mov" and context.color_range != FULL_RANGE  # which these do not tell
    if context.name == "prores":
        return "prores_ks"
    if in_quicktime and (context.name == "v210" or (context.name == "rawvideo" and _is_packed(context))):
        return str(context.name)
    return "ffv1" if is_master(context.codec) else "libx264"


def choose_container(film: Any) -> str:
    """Choose a result's container: the original's where it can hold the result."""
    encoder, container = choose_encoder(film), film.container_format
    if encoder == "ffv1":
        return "matroska"
    if encoder != "libx264":
        return "matroska" if container == "matroska" else "mov"
    if container == "mp4" or container not in FILM_SUFFIXES:
        names = [stream.codec_context.name for stream in film.container.streams.audio if stream.codec_context]
        return "mov" if any(name.startswith("pcm_") for name in names) else "mp4"
    return str(container)


def is_capture(film: Any) -> bool:
    """Whether a film that is no master codes every frame by itself."""
    return bool(film.stream.codec_context.codec.intra_only)


def to_h264(frames: FrameFormat) -> FrameFormat:
    """Return the format of H.264 that is nearest to a format."""
    sampling = H264_SAMPLINGS[frames.sampling]
    if frames.field_order and frames.height % 4 and sampling == "420":
        sampling = "422"  # H.264 halves chroma within each field
    if frames.width % 2 or (frames.height % 2 and sampling == "420"):
        sampling = "444"
    bits = 8 if frames.bits == 8 else 10
    pixel_format = f"yuv{sampling}p" + ("10le" if bits == 10 else "")
    return replace(frames, pixel_format=pixel_format, bits=bits, sampling=sampling)


def _name_primaries(frames: FrameFormat) -> FrameFormat:
    """Say primaries and transfer curve where none are said: QuickTime tells the matrix only together with them."""
    primaries = {5: 5, 6: 6, 7: 7, 9: 9}.get(frames.matrix, 1)
    return replace(
        frames,
        primaries=primaries if frames.primaries in UNSPECIFIED else frames.primaries,
        transfer=1 if frames.transfer in UNSPECIFIED else frames.transfer,
    )


def _is_packed(context: Any) -> bool:
    return context.pix_fmt in PACKED_IN_QUICKTIME


def _is_lossless_h264(film: Any) -> bool:
    context = film.stream.codec_context
    if context.name != "h264" or context.profile != LOSSLESS_H264 or not context.pix_fmt:
        return False
    return "444" not in context.pix_fmt and not context.pix_fmt.startswith("gbr")


# --- what is said beforehand ------------------------------------------------------------------------------------------

LARGE_BYTES = 1e9
"""A result of more bytes is announced."""
CODEC_NAMES = {"ffv1": "FFV1", "libx264": "H.264", "prores_ks": "ProRes", "v210": "v210", "rawvideo": "uncompressed"}
CONTAINER_NAMES = {"matroska": "Matroska", "mov": "QuickTime", "mp4": "MP4"}
FFV1_SHARE = 0.5
"""What FFV1 needs of the uncompressed size, about, for scanned films."""


def describe_changes(film: Any, original: FrameFormat, result: ResultFormat, frames: int, size: int) -> list[str]:
    """Return sentences about how a result is coded otherwise than its original, and about its size if it is large.

    Args:
        film: the `Film`.
        original: the format of its frames.
        result: of its result.
        frames: their number.
        size: of the original file, in bytes.
    """
    notes = []
    codec = film.stream.codec_context.name
    target = f"{CODEC_NAMES[result.encoder]} in {CONTAINER_NAMES[result.container]}"
    if result.encoder == "ffv1" and (codec != "ffv1" or result.container != film.container_format):
        notes.append(f"The film's picture ({codec}) becomes {target}, without loss.")
    elif result.encoder == "libx264" and is_capture(film):
        notes.append(f"The film's picture ({codec}) becomes {target} of very high quality, which is not lossless.")
    if result.frames.bits < original.bits:
        notes.append(f"The frames have {original.bits} bits; {target} is written with {result.frames.bits}.")
    estimate = _estimate_bytes(result, frames, size)
    if estimate > LARGE_BYTES:
        notes.append(f"The result will have about {estimate / 1e9:.0f} GB.")
    return notes


def _estimate_bytes(result: ResultFormat, frames: int, size: int) -> float:
    """Return about how large a master's result gets; 0 for others, which are smaller."""
    if not result.is_master:
        return 0
    if result.encoder == "prores_ks":
        return size
    chroma = {"444": 2.0, None: 2.0, "422": 1.0, "440": 1.0}.get(result.frames.sampling, 0.5)
    raw = frames * result.frames.width * result.frames.height * result.frames.bits * (1 + chroma) / 8
    return raw * (FFV1_SHARE if result.encoder == "ffv1" else 1.1)
