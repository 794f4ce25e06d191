"""H.264, HEVC and AV1 through PyAV, as 4:2:0 BT.601 video in raw streams: nothing but the coded frames is counted.

PSNR is what the benchmark plots, so x264 and x265 are tuned for it, as SVT-AV1 is by default. RGB becomes Y'CbCr 4:2:0
and comes back through swscale with its bicubic filter, which alone costs some decibels on saturated colours.
"""

import io
import os
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from inrcodec.bench.model import Codec, Item, Values
from inrcodec.errors import UsageError

if TYPE_CHECKING:
    from av import VideoFrame

X265 = "pools=none:frame-threads=1:log-level=none:info=0"
"""One thread, silent, and no SEI message with the encoder's settings in the stream."""

_SETTINGS = {
    "x264": ("libx264", "h264", {"preset": "medium", "tune": "psnr"}),
    "x265": ("libx265", "hevc", {"preset": "medium", "tune": "psnr", "x265-params": X265}),
    "av1": ("libsvtav1", "obu", {"preset": "6", "svtav1-params": "lp=1"}),
}

_CRF = {
    "x264": (44.0, 40.0, 36.0, 32.0, 28.0, 24.0, 20.0, 16.0),
    "x265": (44.0, 40.0, 36.0, 32.0, 28.0, 24.0, 20.0, 16.0),
    "av1": (63.0, 57.0, 50.0, 43.0, 36.0, 29.0, 22.0, 14.0),
}


def version() -> str:
    """PyAV's wheels bring FFmpeg and its encoders, so these two numbers name all of them."""
    import av

    return f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def need_encoder(name: str) -> None:
    """Raises ImportError where PyAV is absent, or its FFmpeg was built without this encoder."""
    import av

    if name not in av.codec.codecs_available:
        raise ImportError(name=f"av with {name}")


def need_size(item: Item, size: tuple[int, ...], name: str, least: int) -> None:
    """Raises UsageError for a height or width below `least`."""
    if min(size) < least:
        raise UsageError(f"{item.name}: {name} takes {least} by {least} pixels or more, not {size[1]} by {size[0]}")


def write(
    frames: Iterable["VideoFrame"], encoder: str, form: str, options: dict[str, str], rate: Fraction = Fraction(25)
) -> bytes:
    """The raw stream of `frames`, all of one size and pixel format.

    encoder, form: FFmpeg's names of encoder and muxer. rate: frames per second, which rate control looks at.
    """
    import av

    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 takes no other word to keep its banner off standard error
    file = io.BytesIO()
    with av.open(file, "w", format=form) as out:
        stream = out.add_stream(encoder, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream), encoder
        for number, frame in enumerate(frames):
            if number == 0:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
                context = stream.codec_context
                context.color_range, context.colorspace, context.thread_count = frame.color_range, frame.colorspace, 1
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def read(file: bytes, form: str) -> list["VideoFrame"]:
    """All frames of a raw stream, in order of display."""
    import av

    with av.open(io.BytesIO(file), "r", format=form) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return list(container.decode(video=0))


def _encode(item: Item, point: float, name: str) -> bytes:
    """point: the constant rate factor, rounded where the encoder knows only integers.

    Raises UsageError for values that are no RGB video, and for odd sizes where 4:2:0 cannot signal them.
    """
    values, (encoder, form, options) = item.values, _SETTINGS[name]
    if values.ndim != 4 or values.shape[3] != 3 or values.dtype != np.uint8 or not item.rate > 0:
        raise UsageError(
            f"{item.name}: {name} takes [T, H, W, 3] uint8 and a frame rate,"
            f" not {list(values.shape)} {values.dtype} at {item.rate:g} per second"
        )
    if name != "av1" and (values.shape[1] % 2 or values.shape[2] % 2):
        raise UsageError(f"{item.name}: {name} 4:2:0 takes even sizes, not {values.shape[2]} by {values.shape[1]}")
    if name == "x265":
        need_size(item, values.shape[1:3], name, least=64)  # up to a width of 48, its cu-tree overruns the heap
    crf = f"{round(point)}" if name == "av1" else f"{point:g}"
    rate = Fraction(item.rate).limit_denominator(1001)
    file = write(map(_to_yuv, values), encoder, form, {**options, "crf": crf}, rate)
    return _without_sei(file, form) if form == "h264" else file


def _decode(file: bytes, form: str) -> Values:
    return np.stack([_to_rgb(frame) for frame in read(file, form)])


def _to_yuv(pixels: Values) -> "VideoFrame":
    import av
    from av.video.reformatter import Interpolation

    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    return frame.reformat(format="yuv420p", interpolation=Interpolation.BICUBIC, threads=1)


def _to_rgb(frame: "VideoFrame") -> Values:
    from av.video.reformatter import Interpolation

    return frame.reformat(format="rgb24", interpolation=Interpolation.BICUBIC, threads=1).to_ndarray()


def _without_sei(file: bytes, form: str) -> bytes:
    """Drops the message of some 600 bytes in which x264 writes its settings; decoders do not read it."""
    import av

    out = io.BytesIO()
    with av.open(io.BytesIO(file), "r", format=form) as source:
        stream = source.streams.video[0]
        drop = av.BitStreamFilterContext("filter_units=remove_types=6", stream)
        for packet in source.demux(stream):
            for kept in drop.filter(packet if packet.size else None):
                out.write(bytes(kept))
    return out.getvalue()


def _make(name: str) -> Codec:
    encoder, form, options = _SETTINGS[name]
    need_encoder(encoder)
    library = f"{version()}, preset {options['preset']}"
    return Codec(name, "video", library, _CRF[name], partial(_encode, name=name), partial(_decode, form=form))


PEERS: dict[str, Callable[[], Codec]] = {name: partial(_make, name) for name in _SETTINGS}
