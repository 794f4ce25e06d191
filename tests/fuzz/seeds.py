"""Small files of every kind, to begin with: made by this package's own writers, so that no binaries lie about."""

import io
import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import inrcodec
from inrcodec import container, formats
from inrcodec.container import MODALITIES
from inrcodec.samples.array import ArrayFormat
from inrcodec.samples.audio import AudioFormat
from inrcodec.samples.image import ImageFormat
from inrcodec.samples.special import Special
from inrcodec.samples.video import VideoFormat
from inrcodec.signal import FORMATS, SampleFormat, Signal

from . import VECTORS

POSITIONS = 1 << 12  # of a stream here, and the limit of the decoder when they are fed; there may be 255 channels


def _smooth(*shape: int) -> NDArray[np.float64]:
    """Numbers from 0 to 1 that change slowly, of any shape."""
    places = np.indices(shape)
    return 0.5 + 0.5 * np.sin(sum((0.3 + 0.2 * k) * place for k, place in enumerate(places)))


def _image(channels: int, peak: int) -> Signal:
    return Signal.from_array(np.rint(_smooth(11, 14, channels) * peak).astype(np.uint8 if peak == 255 else np.uint16))


def _numbers(modality: str, *shape: int, dtype: str = "float32", **fields: Any) -> Signal:
    return Signal.numbers((_smooth(*shape) * 200).astype(dtype), modality, **fields)


@cache
def images() -> list[bytes]:
    suffixes = [s for s in formats.image.SUFFIXES if s not in (".apng", ".jpeg", ".jpe", ".jfif", ".tif")]
    plain = [formats.image.write(_image(3, 255), suffix) for suffix in suffixes]
    more = [(4, 255, ".png"), (1, 255, ".tiff"), (2, 65535, ".png"), (3, 65535, ".tiff"), (4, 255, ".webp")]
    return plain + [formats.image.write(_image(channels, peak), suffix) for channels, peak, suffix in more]


@cache
def sounds() -> list[bytes]:
    tone = np.rint(9000 * np.sin(np.arange(2400)[:, None] / [9, 14])).astype(np.int16)
    suffixes = [s for s in formats.audio.SUFFIXES if s not in (".oga", ".aif")]
    plain = [formats.audio.write(Signal.sound(tone, 16000), suffix) for suffix in suffixes]
    return [*plain, formats.audio.write(Signal.sound(tone.astype(np.float32) / 2**15, 16000), ".wav")]


@cache
def films() -> list[bytes]:
    frames = np.rint(_smooth(5, 16, 24, 3) * 255).astype(np.uint8)
    kinds = [(".mkv", b""), (".mp4", b""), (".mov", b""), (".y4m", b""), (".mkv", soundtrack()), (".mp4", soundtrack())]
    return [formats.video.write(Signal(frames, VideoFormat(Fraction(25), 5, sound)), kind) for kind, sound in kinds]


@cache
def soundtrack() -> bytes:
    """A Matroska file of plain samples."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", "matroska", container_options={"fflags": "+bitexact"}) as file:
        track = file.add_stream("pcm_s16le", 8000, layout="mono")
        frame = av.AudioFrame.from_ndarray((1000 * _smooth(1, 1600)).astype(np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        file.mux(track.encode(frame))
    return out.getvalue()


@cache
def volumes() -> list[bytes]:
    signal = _numbers("volume", 5, 6, 7, dtype="int16", info={"spacing": [2, 1, 1]})
    return [formats.volume.write(signal, suffix) for suffix in (".nii", ".nii.gz", ".tif", ".npy", ".h5")]


@cache
def shapes() -> list[bytes]:
    """A tetrahedron in every kind, in text and in bytes; and voxels."""
    import trimesh

    mesh = trimesh.Trimesh([[0, 0, 0], [9, 0, 0], [0, 8, 0], [0, 0, 7]], [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    kinds: list[tuple[str, dict[str, Any]]] = [
        *(("ply", {"encoding": encoding}) for encoding in ("ascii", "binary")),
        *((kind, {}) for kind in ("obj", "stl", "stl_ascii", "glb")),
    ]
    files: list[Any] = [mesh.export(file_type=kind, **options) for kind, options in kinds]
    voxels = formats.array.write(Signal.numbers(np.ones((4, 5, 3), np.uint8)), ".npy")
    return [file.encode() if isinstance(file, str) else file for file in files] + [voxels]


@cache
def fields() -> list[bytes]:
    """A batch with a calendar and a fill value, in both kinds."""
    values = (280 + 20 * _smooth(3, 8, 12, 1)).astype(np.float32)
    info = {
        "latitude": [80.0, -20.0],
        "longitude": [0.0, 30.0],
        "variable": "t2m",
        "units": "K",
        "attributes": {"long_name": "temperature at two metres"},
        "dims": [{"name": "time", "values": [0, 6], "units": "hours since 2000-01-01", "calendar": "standard"}],
    }
    index = np.zeros((1, 8, 12, 1), np.uint8)
    index[0, 2:4, 3] = 1
    special = Special(np.array([-999], np.float32), index)
    signal = Signal(values, ArrayFormat("field", 2, "float32", info=info, special=special))
    return [formats.field.write(signal, suffix) for suffix in (".nc", ".h5")]


@cache
def arrays() -> list[bytes]:
    info = {"variable": "heights", "attributes": {"units": "m", "station": 7, "range": [0.0, 9.5]}}
    plain = [formats.array.write(_numbers("array", 9, 13, info=info), s) for s in (".npy", ".npz", ".h5")]
    return [*plain, formats.array.write(_numbers("array", 2, 3, 4, 3, dtype="int64", dims=3, info=info), ".npy")]


@cache
def streams() -> list[bytes]:
    """The small ones of the golden streams, and one of each kind that is not among them; all decode fast."""
    golden = [path.read_bytes() for path in sorted(VECTORS.glob("*.inr"))]
    picture, noise = np.asarray(_image(3, 255).values), np.random.default_rng(0).bytes(24 * 24 * 3)
    quick: dict[str, Any] = {"effort": 0, "device": "cpu"}
    return [
        *(data for data in golden if math.prod(container.read_header(data)[0].shape) <= POSITIONS),
        inrcodec.encode(np.frombuffer(noise, np.uint8).reshape(24, 24, 3), model="tiny", quality=100, **quick),
        inrcodec.encode(picture, model="tiny", lossless=True, **quick),
        inrcodec.encode(_smooth(20, 30).astype(np.float32), "array", model="tiny-plane", max_error=0.01, **quick),
        inrcodec.encode(films()[4], "video", model="tiny-film", **quick),
        inrcodec.encode(picture, method="coin", **quick),
        inrcodec.encode(picture, method="doh", **quick),
    ]


@cache
def checked_streams() -> list[bytes]:
    """The same with section checks, which streams as small as these do not have."""
    with patch.multiple(container, CHECKED_FROM=0, CHECKED_SECTION=0):
        return [container.write(*container.read(data)) for data in streams()]


def bad_streams() -> list[bytes]:
    return [path.read_bytes() for path in sorted(VECTORS.with_name("vectors_bad").glob("*.inr")) if path.stat().st_size]


FILES: tuple[Callable[[], list[bytes]], ...] = (images, sounds, films, volumes, fields, arrays)


def sections() -> list[bytes]:
    return [bytes([k, 0, 0, 0]) + np.random.default_rng(k).bytes(4 * k + 3) + b"\x01" for k in range(40)]


def sample_formats() -> list[bytes]:
    """As `targets.sample_format` takes them: modality, sample byte, items less one, axes less one, sides less one."""
    special = Special(np.array([np.nan, 5], np.float32), np.arange(3 * 4 * 5, dtype=np.uint8).reshape(1, 3, 4, 5) % 3)
    forms: list[tuple[SampleFormat, tuple[int, ...]]] = [
        (ImageFormat("uint16", 4), (4, 5)),
        (AudioFormat("float32", 2, 44100), (8,)),
        (VideoFormat(Fraction(30000, 1001), 7, b"sound"), (7, 2, 2)),
        (ArrayFormat("field", 2, "float32", 5, 280, 30, {"latitude": [1, 2], "units": "K"}, special), (3, 4)),
        (ArrayFormat("volume", 3, "int16", info={"spacing": [2, 1, 1]}), (2, 3, 4)),
        (ArrayFormat("array", 1, "uint64", 3), (9,)),
    ]
    assert set(FORMATS) == set(MODALITIES)
    return [
        bytes((list(FORMATS).index(form.modality), form.to_byte(), 0, len(shape) - 1))
        + bytes(n - 1 for n in (*shape, 1, 1)[:3])
        + form.to_block()
        for form, shape in forms
    ]
