"""The sound of a film, kept as it is: its packets go into a small Matroska file and back, never decoded."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from inrcodec.formats.film import opened

if TYPE_CHECKING:
    from av import Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer

MAX_BYTES = 12 << 20

# no random numbers in it; and no shift of times below zero, since sound may begin before the film
OPTIONS = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}


def extract(source: Path | bytes, start: Fraction) -> tuple[bytes, tuple[str, ...]]:
    """The first audio track of a film as a Matroska file, or nothing; and notes on why it is left out.

    start: of the film, in seconds; times in it count from there.
    """
    import av

    with opened(source) as container:
        if not container.streams.audio:
            return b"", ()
        try:
            return _copied(container, container.streams.audio[0], "matroska", start), ()
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            return b"", (f"sound left out, since it cannot be copied ({reason})",)


def attach(sound: bytes, target: "OutputContainer") -> list[tuple[Fraction, "Packet"]]:
    """Add a track for a sound to a container; its packets, still to be written there, with their times in seconds.

    None, and no track, if the container cannot hold such a sound. Raises FFmpegError, ValueError if it is none.
    """
    import av

    if not sound:
        return []
    with opened(sound) as container:
        if not container.streams.audio:
            raise ValueError("its sound is none")
        try:
            _copied(container, container.streams.audio[0], target.format.name)  # only writing a file tells
        except (av.FFmpegError, ValueError):
            return []
    with opened(sound) as container:
        track = container.streams.audio[0]
        packets = list(_packets(container, track))
        copy = target.add_stream_from_template(track)
    for _, packet in packets:
        packet.stream = copy
    return packets


def _copied(container: "InputContainer", track: "AudioStream", kind: str, start: Fraction = Fraction(0)) -> bytes:
    """A file of a kind with this track only; start: its time zero, in seconds. Raises FFmpegError, ValueError."""
    import av

    out, size = io.BytesIO(), 0
    with av.open(out, "w", kind, container_options=OPTIONS) as file:
        copy = file.add_stream_from_template(track)
        for time, packet in _packets(container, track):
            if (size := size + packet.size) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES} bytes")
            packet.pts = packet.dts = round((time - start) / packet.time_base)
            packet.stream = copy
            file.mux(packet)
    return out.getvalue() if size else b""


def _packets(container: "InputContainer", track: "AudioStream") -> Iterator[tuple[Fraction, "Packet"]]:
    """With their times in seconds; sound is stored in the order it is heard. Raises ValueError."""
    for packet in container.demux(track):
        if packet.size:
            if packet.dts is None:
                raise ValueError("a packet has no time")
            yield packet.dts * packet.time_base, packet
