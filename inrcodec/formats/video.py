"""Films, through PyAV: MP4, Matroska, AVI, Y4M and what else FFmpeg plays; their sound goes along as it is."""

import io
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import OutputFailed
from inrcodec.formats import film, soundtrack
from inrcodec.formats.source import leading_bytes, name_of
from inrcodec.samples.video import VideoFormat
from inrcodec.signal import Signal

if TYPE_CHECKING:
    from av.video.stream import VideoStream

CHUNK = 64  # frames of the longest item
MAX_SAMPLES = 2**36  # width x height x frames

# FFmpeg's name of the container
SUFFIXES = {
    ".mkv": "matroska",
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".y4m": "yuv4mpegpipe",
    ".webm": "webm",
    ".avi": "avi",
    ".3gp": "3gp",
    ".flv": "flv",
    ".mpg": "mpeg",
    ".mpeg": "mpeg",
    ".m2ts": "mpegts",
    ".wmv": "asf",
    ".asf": "asf",
}
# What a container's films are written with: encoder, its options, pixels; those need even sides if they end in 420p.
ENCODERS: dict[str, tuple[str, dict[str, str], str]] = {
    "matroska": ("ffv1", {"level": "3"}, "bgr0"),
    "mp4": ("libx264", {"crf": "12"}, "yuv420p"),
    "mov": ("libx264", {"crf": "12"}, "yuv420p"),
    "yuv4mpegpipe": ("rawvideo", {}, "yuv444p"),
}

MAGICS = (
    b"\x1aE\xdf\xa3",  # Matroska and WebM
    b"YUV4MPEG2 ",
    b"FLV\x01",
    b"\x00\x00\x01\xba",  # an MPEG program stream
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",  # ASF
)
BRANDS = (b"iso", b"mp4", b"avc", b"M4V", b"qt  ", b"3g", b"dash", b"mmp4", b"MSNV", b"f4v", b"F4V", b"XAVC")


def sniff(head: bytes, name: str) -> bool:
    """Whether a file with these leading bytes, or else with this name, is a film."""
    return (
        head.startswith(MAGICS)
        or (head[4:8] == b"ftyp" and head[8:12].startswith(BRANDS))
        or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
        or head[:377:188] == b"GGG"  # packets of an MPEG transport stream
        or head[4:389:192] == b"GGG"  # the same with time stamps
        or Path(name).suffix.lower() in SUFFIXES
    )


def read(source: Path | bytes, max_samples: int = MAX_SAMPLES) -> Signal:
    """Read the first film of a file, or of the bytes of one.

    Values are [T, H, W, 3] of up to 64 frames, else lazy chunks [N, 32 or 48 or 64, H, W, 3], of which the last
    repeats its last frame. A film is decoded once to count its frames, since headers err, and again for its values.
    Raises InputNotFound, UnreadableInput, UnsupportedInput (no film, damaged, no frames), LimitExceeded (width x
    height x frames above `max_samples`) or OutOfMemory.
    """
    leading_bytes(source)
    with film.refusing(name_of(source)):
        survey = film.survey(source, max_samples)
        sound, remarks = soundtrack.extract(source, survey.start)
        form = VideoFormat(survey.rate, survey.count, sound)
    notes = survey.notes + remarks
    if survey.count <= CHUNK:
        return Signal(film.Film(source, survey, survey.count)[0], form, notes)
    length = min((64, 48, 32), key=lambda chunk: -survey.count % chunk)
    return Signal(film.Film(source, survey, length), form, notes)


def write(signal: Signal, suffix: str) -> bytes:
    """A film → the bytes of a file of the kind that a suffix names, with its sound where that kind can hold it.

    MKV (FFV1) is lossless. Y4M (4:4:4, limited range) has no sound, and its conversion of colours rounds: samples come
    back with errors of up to 2 of 255. MP4 and MOV are H.264 at CRF 12, 4:2:0, or 4:4:4 where a side is odd. Colours
    of these are BT.709 above 576 rows, else BT.601. Raises OutputFailed.
    """
    import av
    from av.video.reformatter import ColorRange, VideoReformatter

    kind = SUFFIXES[suffix.lower()]
    if kind not in ENCODERS:
        known = " ".join(name for name, container in SUFFIXES.items() if container in ENCODERS)
        raise OutputFailed(f"films cannot be written as '{suffix}', only as {known}")
    codec, options, pixels = ENCODERS[kind]
    form, (_, height, width) = signal.format, signal.shape
    assert isinstance(form, VideoFormat)
    if pixels == "yuv420p" and (height % 2 or width % 2):
        pixels = "yuv444p"
    convert = VideoReformatter().reformat
    colours = (film.usual_matrix(height), ColorRange.MPEG) if pixels.startswith("yuv") else (None, None)
    out = io.BytesIO()
    try:
        with av.open(out, "w", kind, container_options={"fflags": "+bitexact"}) as container:
            stream = cast("VideoStream", container.add_stream(codec, form.rate, options))
            stream.width, stream.height, stream.pix_fmt = width, height, pixels
            sound = deque(soundtrack.attach(form.sound, container))
            for t, frame in enumerate(_frames(signal, form.frames)):
                while sound and sound[0][0] <= t / form.rate:
                    container.mux(sound.popleft()[1])
                picture = convert(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24"),
                    format=pixels,
                    dst_colorspace=colours[0],
                    dst_color_range=colours[1],
                    interpolation=film.scaler(),
                    threads=1,
                )
                picture.pts, picture.time_base = t, 1 / form.rate
                if t == 0:
                    stream.colorspace = picture.colorspace
                    stream.color_range = picture.color_range
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
            container.mux([packet for _, packet in sound])
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputFailed(f"cannot write a film of {width} x {height} as '{suffix}' ({reason})") from None
    return out.getvalue()


def _frames(signal: Signal, count: int) -> Iterator[NDArray[np.uint8]]:
    """[H, W, 3] each: the first `count` frames of all chunks."""
    for k in range(signal.items):
        chunk = np.asarray(signal.item(k)[:count])
        yield from chunk
        count -= len(chunk)
