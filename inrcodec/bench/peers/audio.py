"""MP3, Opus, AAC and FLAC through PyAV, each in the container that carries its delay and length.

Every encoder puts some samples in front, and fills its last frame. The front goes when decoding, by what the container
says: the LAME tag of MP3, the pre-skip of Ogg Opus, the edit list of MP4. The end goes by the same means, and by the
duration of the stream in MP4. Two tags of ours fill the gaps: `rate` in an Opus file that had to be resampled, and
`length` in an MP3 file whose LAME tag FFmpeg gets wrong. Nothing is aligned by looking at the samples.

LAME scales the waveform by about 0.95 at some rates, which caps its SNR at 26 dB; FFmpeg has no switch for that.
"""

import io
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from inrcodec.bench.model import Codec, Item, Values
from inrcodec.bench.peers.video import need_encoder, version
from inrcodec.errors import UsageError

_LAYOUTS = {1: "mono", 2: "stereo"}
_OPUS_RATE = 48000
_SHORTEST = 64  # samples: below, Opus comes out empty

_SETTINGS: dict[str, dict[str, Any]] = {
    "mp3": {"encoder": "libmp3lame", "form": "mp3"},
    "opus": {"encoder": "libopus", "form": "ogg"},
    # The default coder of FFmpeg weighs noise by ear; on speech this one has 3 to 4 dB more SNR at the same rate.
    "aac": {"encoder": "aac", "form": "ipod", "options": {"aac_coder": "fast"}},
    "flac": {"encoder": "flac", "form": "flac"},
}

_POINTS = {
    "mp3": (8.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0),
    "opus": (6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0),
    "aac": (12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0),
    "flac": (8.0,),
}
"""kbps of all channels together, as asked of the encoder; for FLAC, which is lossless, its compression level."""


def _encode(
    item: Item,
    point: float,
    name: str,
    encoder: str,
    form: str,
    options: dict[str, str] | None = None,
) -> bytes:
    """A file in FFmpeg's container `form`. Opus resamples to 48 kHz where it does not know the item's rate.

    Raises UsageError for values that are no mono or stereo int16, too short, or of a rate that the codec does not take.
    """
    import av

    values, rate = item.values, round(item.rate)
    if values.ndim != 2 or values.shape[1] not in _LAYOUTS or values.dtype != np.int16 or len(values) < _SHORTEST:
        raise UsageError(
            f"{item.name}: {name} takes [{_SHORTEST} or more, 1 or 2] int16, not {list(values.shape)} {values.dtype}"
        )
    rates = av.codec.Codec(encoder, "w").audio_rates or []  # empty: any
    coded_rate = _OPUS_RATE if name == "opus" and rate > 0 and rate not in rates else rate
    if rate <= 0 or rates and coded_rate not in rates:
        raise UsageError(f"{item.name}: {name} takes {sorted(rates)} samples per second, not {item.rate:g}")

    setting = {"compression_level": f"{point:.0f}"} if name == "flac" else {"b": f"{1000 * point:.0f}"}
    tags = _length_tag(len(values), rate) if name == "mp3" else {}
    muxing = {
        "mp3": {"id3v2_version": "3" if tags else "0"},
        "ipod": {"movie_timescale": str(rate)},  # else it rounds the length to milliseconds
        "flac": {"metadata_header_padding": "0"},
    }
    file = io.BytesIO()
    with av.open(file, "w", format=form, container_options={"fflags": "+bitexact", **muxing.get(form, {})}) as out:
        out.metadata.update(tags)
        layout = _LAYOUTS[values.shape[1]]
        stream = out.add_stream(encoder, rate=coded_rate, layout=layout, options={**(options or {}), **setting})
        assert isinstance(stream, av.AudioStream), encoder
        if coded_rate != rate:
            stream.metadata["rate"] = str(rate)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values).reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def _decode(file: bytes) -> Values:
    """[T, C] int16 at the rate of the item: Opus always decodes at 48 kHz, and is resampled to what its file says."""
    import av

    with av.open(io.BytesIO(file), "r") as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        rate = decoded_rate = stream.codec_context.sample_rate
        if stream.codec_context.name == "opus":
            head = stream.codec_context.extradata or b""
            rate = int(stream.metadata.get("rate", int.from_bytes(head[12:16], "little")))
        resampler = av.AudioResampler(format="s16", rate=rate)
        parts = [part for frame in [*frames, None] for part in resampler.resample(frame)]
        duration = int((stream.duration or 0) * Fraction(stream.time_base or 0) * decoded_rate)
        duration = int(container.metadata.get("length", duration))
    channels = len(frames[0].layout.channels)
    values = np.concatenate([part.to_ndarray().reshape(-1, channels) for part in parts])
    # Resampling rounds a length up, so down on the way back.
    length = min(sum(frame.samples for frame in frames), duration) * rate // decoded_rate
    return values[:length]


def _length_tag(length: int, rate: int) -> dict[str, str]:
    """LAME pads the last two frames where few samples lie in the last but one; FFmpeg then notes one frame's only."""
    frame, delay = 1152 if rate >= 32000 else 576, 1105
    return {"length": str(length)} if 0 < length % frame < -delay % frame else {}


def _make(name: str) -> Codec:
    settings = _SETTINGS[name]
    need_encoder(settings["encoder"])
    library = f"{version()}, {settings['encoder']}"
    return Codec(name, "audio", library, _POINTS[name], partial(_encode, name=name, **settings), _decode)


PEERS: dict[str, Callable[[], Codec]] = {name: partial(_make, name) for name in _SETTINGS}
