"""What a measurement is made of: items, codecs, rows."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from inrcodec.signal import Signal

Modality = Literal["image", "audio", "field", "volume", "video", "shape"]

Values = NDArray[Any]
"""image [H, W, C] or a batch [N, H, W, C] uint8 or uint16, C 1 to 4 · audio [T, C] int16 · field [H, W] or a batch
[N, H, W] float32 · volume [D, H, W] real · video [T, H, W, 3] uint8 · shape [D, H, W] uint8 occupancy, 0 or 1"""


@dataclass(frozen=True)
class Item:
    """One signal, as every codec of a run gets it.

    rate: samples per second of audio, frames per second of video, else 0. unit: of a field's values, "K". signal: what
    our codec gets of a mesh, whose values are the occupancy of a grid; None where the values are the signal.
    """

    name: str
    modality: Modality
    values: Values
    rate: float = 0.0
    unit: str = ""
    signal: Signal | None = None

    @property
    def positions(self) -> int:
        """Grid points: pixels, time steps, cells, voxels, pixels of all frames; channels do not count."""
        channels = self.modality in ("image", "audio", "video")
        return math.prod(self.values.shape[:-1] if channels else self.values.shape)

    @property
    def batch(self) -> bool:
        """Whether there are several signals of one shape."""
        return self.values.ndim == {"image": 4, "field": 3}.get(self.modality)


@dataclass(frozen=True)
class Source:
    """Where an item is, cheap to pass to another process; `datasets.read` loads it.

    index: which record of a file that holds many, else None. batch: the sources of a batch, of which this is the first.
    """

    name: str
    modality: Modality
    path: Path
    index: int | None = None
    batch: tuple["Source", ...] = ()


@dataclass(frozen=True)
class Codec:
    """One codec for one modality. `encode` and `decode` are top-level functions.

    points: operating points in order of rising rate; each is any float between the first and the last that `encode`
    takes (it rounds where the codec knows only integers). encode: (item, point) → a complete file. decode: that file
    → values of the shape and dtype of the item's. version: of everything that shapes the bytes. batches: whether it
    takes a batch as a whole; if not, every signal of it becomes a file.
    """

    name: str
    modality: Modality
    version: str
    points: tuple[float, ...]
    encode: Callable[[Item, float], bytes]
    decode: Callable[[bytes], Values]
    batches: bool = True


@dataclass(frozen=True)
class Row:
    """One item through one codec at one operating point.

    metrics: as `metrics.measure` returns them; the rate is among them. peak_memory: bytes of the whole process, only
    of a timing run. macs: multiply-accumulates of the decoder per position, where known.
    """

    item: str
    modality: Modality
    codec: str
    version: str
    point: float
    device: str
    threads: int
    bytes: int
    encode_seconds: float
    decode_seconds: float
    peak_memory: int | None = None
    macs: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """The mean rate–distortion curve of a codec over the items of a run, or a published one.

    rate: in the unit that `metrics.RATE` names for the modality; psnr: in dB, the mean of the items'; both in order of
    rising rate. Seconds are None for published curves.
    """

    codec: str
    points: tuple[float, ...]
    rate: tuple[float, ...]
    psnr: tuple[float, ...]
    encode_seconds: tuple[float, ...] | None = None
    decode_seconds: tuple[float, ...] | None = None
    published: bool = False
