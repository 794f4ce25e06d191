"""Samples that are plain numbers: arrays, geographic fields, volumes, shapes."""

import json
import math
import struct
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.container import DTYPES
from inrcodec.errors import CorruptStream, UsageError
from inrcodec.samples.special import Special
from inrcodec.window import Shape, Window

MAX_CHANNELS = 255
MAX_INFO = 1 << 24  # bytes of `info` as JSON
HEAD = 16  # bytes of a block before `info`


@dataclass(frozen=True)
class ArrayFormat:
    """How numbers looked in the file.

    modality: "array", "field", "volume" or "shape". dims: 1 to 3. Every channel is coded on its own.
    offset, unit: feature f stands for the sample offset + unit·(f − 1/2); the unit is a float32 value. The encoder
    chooses them; a reader of files need not.
    info: what else the file said, as far as it is needed to write such a file again: JSON values, keys as documented
    by the module of `inrcodec.formats` that reads them.
    special: samples that come back exactly.
    """

    modality: str
    dims: int
    dtype: str
    channels: int = 1
    offset: float = 0.0
    unit: float = 1.0
    info: dict[str, Any] = field(default_factory=dict)
    special: Special | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UsageError(f"samples must be real numbers ({', '.join(DTYPES)}), not {self.dtype}")
        if not 1 <= self.dims <= 3:
            raise UsageError(f"an array of {self.dims} axes cannot be coded, only 1 to 3")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise UsageError(f"{self.channels} channels; 1 to {MAX_CHANNELS} may be")
        if not (math.isfinite(self.offset) and math.isfinite(self.unit) and self.unit > 0):
            raise UsageError(f"samples around {self.offset:g} in units of {self.unit:g} are beyond float32")

    @property
    def planes(self) -> tuple[tuple[int, ...], ...]:
        """Every channel on its own."""
        return tuple((c,) for c in range(self.channels))

    def fitted(self, offset: float, unit: float) -> "ArrayFormat":
        """The same with another map to features. Raises UsageError."""
        with np.errstate(over="ignore"):
            return replace(self, offset=float(offset), unit=float(np.float32(unit)))

    def to_byte(self) -> int:
        """Pack for a header: the place of the dtype in `DTYPES`."""
        return DTYPES.index(self.dtype)

    def to_block(self) -> bytes:
        """offset f64 · unit f32 · channels u8 · length of info u24 · info, JSON, deflated · special samples."""
        info = b""
        if self.info:
            text = json.dumps(self.info, separators=(",", ":"), sort_keys=True, allow_nan=False)
            info = zlib.compress(text.encode(), 9, -15)
        head = struct.pack("<dfB", self.offset, self.unit, self.channels) + len(info).to_bytes(3, "little")
        return head + info + (self.special.to_bytes() if self.special else b"")

    @classmethod
    def from_header(cls, modality: str, byte: int, block: bytes, shape: Shape, items: int) -> "ArrayFormat":
        """Undo `to_byte` and `to_block`. Raises CorruptStream."""
        if byte >= len(DTYPES):
            raise CorruptStream(f"the sample format byte is {byte}, but it is below {len(DTYPES)}")
        if len(block) < HEAD:
            raise CorruptStream(f"the modality block has {len(block)} bytes, but at least {HEAD}")
        offset, unit, channels = struct.unpack_from("<dfB", block)
        end = HEAD + int.from_bytes(block[HEAD - 3 : HEAD], "little")
        if end > len(block):
            raise CorruptStream(f"the description of the samples ends at byte {end} of {len(block)}")
        try:
            form = cls(modality, len(shape), DTYPES[byte], channels, offset, unit, _info(block[HEAD:end]))
        except UsageError as error:
            raise CorruptStream(str(error)) from None
        if modality == "field":
            _check_axes(form.info, shape)
        if end < len(block):
            form = replace(form, special=Special.from_bytes(block[end:], form.dtype, (items, *shape, channels)))
        return form

    def dimensions(self, shape: Shape) -> dict[str, int]:
        """The size of a grid in words."""
        names = (
            ("width", "height", "depth")[: len(shape)] if self.modality != "array" or len(shape) > 1 else ("samples",)
        )
        return dict(zip(names, reversed(shape), strict=True))

    def of_item(self, item: int, shape: Shape) -> "ArrayFormat":
        """The format of one item of a batch; its number goes into `info` under the key "item"."""
        special = self.special
        if special is not None:
            special = replace(special, index=special.of(item)[None])
        return replace(self, special=special, info=self.info | {"item": item})

    def placed(self, window: Window, out: Shape, shape: Shape, items: int = 1) -> "ArrayFormat":
        """The format of a window of the grid, resampled to `out` positions.

        Special samples are carried over by nearest neighbour. What `info` says of the grid is the business of the
        modules that write files; they find the window and the size of the whole grid under the key "window".
        """
        special = self.special
        if special is not None:
            index = special.index
            for axis, ((start, stop), n) in enumerate(zip(window, out, strict=True), 1):
                nearest = start + ((np.arange(n) + 0.5) * (stop - start) / n).astype(int)
                index = index.take(nearest, axis)
            special = replace(special, index=index) if index.any() else None
        return replace(self, special=special, info=self.info | {"window": [list(w) for w in window]})

    def to_features(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Samples [..., C] to float32 features; special samples give anything."""
        with np.errstate(all="ignore"):
            return ((values.astype(np.float64) - self.offset) / self.unit + 0.5).astype(np.float32)

    def from_features(self, features: NDArray[np.floating]) -> NDArray[Any]:
        """Undo `to_features`; integers are rounded half to even, and clipped."""
        x = self.numbers(features)
        kind = np.dtype(self.dtype)
        if kind.kind == "f":
            limit = float(np.finfo(kind).max)
            return np.clip(x, -limit, limit).astype(kind)
        if kind.kind == "b":
            return x >= 0.5
        limits = np.iinfo(kind)
        # the largest int64 and uint64 are no doubles: the next lower double is the limit
        top = np.nextafter(float(limits.max), 0) if kind.itemsize == 8 else float(limits.max)
        return np.clip(np.rint(x), float(limits.min), top).astype(kind)

    def numbers(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """As `from_features`, neither rounded nor clipped."""
        return (features.astype(np.float64) - 0.5) * self.unit + self.offset


def _info(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    inflate = zlib.decompressobj(-15)
    try:
        info = json.loads(inflate.decompress(data, MAX_INFO), parse_float=_finite, parse_constant=_finite)
    except (zlib.error, ValueError, RecursionError) as error:
        raise CorruptStream(f"the description of the samples: {error}") from None
    if not inflate.eof or inflate.unused_data or not isinstance(info, dict):
        raise CorruptStream("the description of the samples is not one JSON object")
    return info


def _finite(text: str) -> float:
    """A number of JSON, which has no NaN and no infinities. Raises ValueError."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _check_axes(info: dict[str, Any], shape: Shape) -> None:
    """Raises CorruptStream unless latitude and longitude, where there are any, are two numbers or one a sample."""
    for name, n in zip(("latitude", "longitude"), shape, strict=False):  # a wrong number of axes is found elsewhere
        axis = info.get(name, [0, 0])
        numbers = isinstance(axis, list) and all(type(x) in (int, float) and abs(x) < 1e300 for x in axis)
        if not numbers or len(axis) not in (2, n):
            raise CorruptStream(f"the {name} of {n} samples is neither two finite numbers nor {n}")
