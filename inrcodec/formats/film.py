"""Frames of films, through PyAV: counted, decoded chunk by chunk, turned upright and into RGB."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InrcodecError, LimitExceeded, OutOfMemory, UnreadableInput, UnsupportedInput, UsageError
from inrcodec.formats.source import name_of

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

# No other kind is opened: playlists would make FFmpeg open further files and addresses.
OPTIONS = {
    "format_whitelist": "mov,mp4,matroska,webm,avi,yuv4mpegpipe,flv,mpeg,mpegts,asf",
    "protocol_whitelist": "none",
}

BT709, BT601 = 1, 5  # colour matrices, ITU-T H.273, table 4
MATRICES = (BT709, 4, BT601, 6, 7, 9, 10)  # those that are weights of red, green and blue
MAX_FRAME = 1 << 26  # pixels of a frame
MAX_TERM = 1001  # of a rate, or of what one frame lasts


@dataclass(frozen=True)
class Survey:
    """What decoding a film once tells of it.

    count: of frames. rate: per second. start: time of the first in seconds. width, height: as stored, of the first.
    turn: to bring frames upright, swap rows and columns, then go through rows and columns in these steps, 1 or -1.
    """

    count: int
    rate: Fraction
    start: Fraction
    width: int
    height: int
    turn: tuple[bool, int, int]
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a frame when upright."""
        return (self.width, self.height) if self.turn[0] else (self.height, self.width)


class Film:
    """The frames of a film in chunks, [N, length, H, W, 3] uint8 full-range RGB, decoded going forward.

    The last chunk repeats the last frame. Keeps the latest chunk; begins anew when an earlier one is asked for.
    Indexed by an integer or a slice, or by a tuple that begins with one. Raises UnreadableInput or UnsupportedInput
    if the file is no longer what the survey saw, OutOfMemory.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, source: Path | bytes, survey: Survey, length: int) -> None:
        from av.video.reformatter import VideoReformatter

        self.shape = (-(-survey.count // length), length, *survey.shape, 3)
        self._source, self._survey = source, survey
        self._converter = VideoReformatter()
        self._frames: Iterator[VideoFrame] = iter(())
        self._next = self.shape[0]  # the chunk that the decoder comes to next
        self._latest: tuple[int, NDArray[np.uint8]] | None = None

    def __getitem__(self, where: Any, /) -> NDArray[np.uint8]:
        first, *rest = where if isinstance(where, tuple) else (where,)
        k = range(self.shape[0])[first]
        if isinstance(k, range):
            return np.stack([self._chunk(j) for j in k])[(slice(None), *rest)]
        return self._chunk(k)[tuple(rest)]

    def _chunk(self, k: int) -> NDArray[np.uint8]:
        if self._latest is not None and self._latest[0] == k:
            return self._latest[1]
        self._latest = None  # frees it before the next one takes memory
        if k < self._next:
            self._frames, self._next = _decoded(self._source), 0
        length, total = self.shape[1], self._survey.count
        count, skipped = min(length, total - k * length), (k - self._next) * length
        self._next = self.shape[0]  # unless all goes well, the next call begins anew
        with refusing(name_of(self._source)):
            chunk = np.empty(self.shape[1:], np.uint8)
            got = 0
            for got, frame in enumerate(islice(self._frames, skipped, skipped + count), 1):
                chunk[got - 1] = self._rgb(frame)
            if got < count:
                raise UnreadableInput(f"{k * length + got} of {total} frames are left: the file has changed")
        chunk[count:] = chunk[count - 1]
        self._latest, self._next = (k, chunk), k + 1
        return chunk

    def _rgb(self, frame: "VideoFrame") -> NDArray[np.uint8]:
        """[H, W, 3], upright."""
        matrix = None if frame.colorspace in MATRICES or frame.format.is_rgb else usual_matrix(frame.height)
        width, height = self._survey.width, self._survey.height
        plain = self._converter.reformat(frame, width, height, "rgb24", matrix, interpolation=scaler(), threads=1)
        array = np.asarray(plain.to_ndarray(), np.uint8)
        swap, down, across = self._survey.turn
        return (array.swapaxes(0, 1) if swap else array)[::down, ::across]


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turns what PyAV and Python raise into this package's errors, and puts the name of the file before them."""
    import av

    try:
        yield
    except UsageError as error:
        raise UnsupportedInput(f"{name}: {error}") from None
    except InrcodecError as error:
        raise type(error)(f"{name}: {error}") from None
    except MemoryError:
        raise OutOfMemory(f"{name}: not enough memory to read it") from None
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnsupportedInput(f"{name}: damaged or unsupported film ({reason})") from None
    except OSError as error:
        raise UnreadableInput(f"{name}: cannot be read ({error.strerror or error})") from None


@contextmanager
def opened(source: Path | bytes) -> Iterator["InputContainer"]:
    """A file, or the bytes of one, as PyAV sees it."""
    import av

    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        with av.open(file, "r", container_options=OPTIONS, metadata_errors="replace") as container:
            yield container


def stream_of(container: "InputContainer") -> "VideoStream":
    """The first video stream that is not a cover picture. Raises UnsupportedInput."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise UnsupportedInput("the film is of a codec that is not known")
            stream.codec_context.options = {"max_pixels": str(MAX_FRAME)}
            return stream
    kinds = ", ".join(sorted({stream.type for stream in container.streams}))
    raise UnsupportedInput(f"there is no film in this file, only: {kinds or 'nothing'}")


def survey(source: Path | bytes, max_samples: int) -> Survey:
    """Decode a film to count its frames and see what they are like. Raises UnsupportedInput, LimitExceeded."""
    first: VideoFrame | None = None
    times: list[int | None] = []
    lost: list[int | None] = []
    resized = interlaced = damaged = 0
    with opened(source) as container:
        stream = stream_of(container)
        for frame in _frames(container, stream, lost):
            first = first or frame
            times.append(frame.pts)
            resized += (frame.width, frame.height) != (first.width, first.height)
            interlaced += frame.interlaced_frame
            damaged += frame.is_corrupt
            if first.width * first.height * len(times) > max_samples:
                size = f"{first.width} x {first.height} pixels"
                raise LimitExceeded(f"{len(times)} or more frames of {size}; the limit is {max_samples} pixels in all")
        if first is None:
            raise UnsupportedInput(f"no frame of this film can be decoded, {len(lost)} packets are damaged")

        count, turn, parts = len(times), _turn(first), first.format.components
        rate, steady = _rate(stream, times)
        start = (first.pts or 0) * (first.time_base or Fraction(0))
        bits, pixel = max(part.bits for part in parts), stream.sample_aspect_ratio or Fraction(1)
        kept = {stream.index, *(track.index for track in container.streams.audio[:1])}
        others = [other.type for other in container.streams if other.index not in kept]
        remarks = {
            f"{len(lost)} packets left out, since they cannot be decoded": lost,
            f"{damaged} of {count} frames are damaged": damaged,
            f"the header tells of {stream.frames} frames, but there are {count}": stream.frames not in (0, count),
            f"frames at changing intervals taken at their average rate of {float(rate):.6g} per second": not steady,
            f"{resized} frames of another size scaled to {first.width} x {first.height}": resized,
            f"the two fields of {interlaced} interlaced frames taken as one picture": interlaced,
            f"{bits}-bit samples reduced to 8 bits": bits > 8,
            "transparency left out": any(part.is_alpha for part in parts),
            f"pixels {pixel.numerator}:{pixel.denominator} wide taken as square ones": pixel != 1,
            "frames turned upright, as the file asks for": turn != (False, 1, 1),
            f"{len(others)} further streams left out ({', '.join(sorted(set(others)))})": others,
        }
        notes = tuple(text for text, holds in remarks.items() if holds)
        return Survey(count, rate, start, first.width, first.height, turn, notes)


def _decoded(source: Path | bytes) -> Iterator["VideoFrame"]:
    with opened(source) as container:
        yield from _frames(container, stream_of(container), [])


def _frames(container: "InputContainer", stream: "VideoStream", lost: list[int | None]) -> Iterator["VideoFrame"]:
    """What can be decoded; lost: takes the times of packets that cannot, as at the start of a recording."""
    import av

    stream.thread_type = "AUTO"
    for packet in container.demux(stream):
        try:
            pictures = packet.decode()
        except av.error.InvalidDataError:
            lost.append(packet.dts)
        else:
            yield from pictures


def _rate(stream: "VideoStream", times: list[int | None]) -> tuple[Fraction, bool]:
    """Frames per second, and whether they come at equal intervals; times: in units of the stream's time base.

    What the file states, unless the sound would drift by more than two frames.
    """
    rate, steady = stream.average_rate or stream.guessed_rate or Fraction(25), True
    known = sorted(time for time in times if time is not None)  # AVI has them in the order of decoding
    gaps = np.diff(known)
    if gaps.any() and len(known) == len(times) and stream.time_base:
        span = (known[-1] - known[0]) * stream.time_base
        rate = rate if abs(len(gaps) - span * rate) <= 2 else len(gaps) / span
        spread = int(gaps.max() - gaps.min())
        steady = spread <= gaps.mean() / 10 or (spread == 1 and gaps.mean() >= 2)  # equal to a tick of the clock
    return (rate.limit_denominator(MAX_TERM) if rate > 1 else 1 / (1 / rate).limit_denominator(MAX_TERM)), steady


def _turn(frame: "VideoFrame") -> tuple[bool, int, int]:
    """What the display matrix of a frame, if any, asks for, as in `Survey`."""
    data = cast("Mapping[str, Any]", frame.side_data).get("DISPLAYMATRIX")
    if data is None:
        return False, 1, 1
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()  # x' = a x + c y, y' = b x + d y
    swap = abs(b) > abs(a)
    across, down = (c, b) if swap else (a, d)
    return swap, -1 if down < 0 else 1, -1 if across < 0 else 1


def usual_matrix(height: int) -> int:
    """The colour matrix of films that name none, as most players have it."""
    return BT709 if height > 576 else BT601


def scaler() -> int:
    """How pixels are converted: chroma interpolated in full, sums rounded, not cut off."""
    from av.video.reformatter import Interpolation

    return Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
