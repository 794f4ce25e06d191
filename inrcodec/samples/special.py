"""Samples that must come back exactly: NaN, infinities, fill values. Kept beside the latents, losslessly."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptStream, UsageError

MAX_KINDS = 15
MAX_SAMPLES = 1 << 31  # of the index


@dataclass(frozen=True, eq=False)
class Special:
    """Which samples are special, and what they are.

    kinds: [K] the special values in the dtype of the samples, K from 1 to 15.
    index: [items or 1, *grid, C] uint8: 0 of an ordinary sample, else 1 + the place of its value in `kinds`. With one
    item, it holds for all items.
    """

    kinds: NDArray[np.generic]
    index: NDArray[np.uint8]

    def of(self, item: int) -> NDArray[np.uint8]:
        """The index of one item, [*grid, C]."""
        return self.index[item if len(self.index) > 1 else 0]

    def restore(self, values: NDArray[np.generic], index: NDArray[np.uint8]) -> None:
        """Put the special values in place: values and index [..., C]."""
        special = index > 0
        values[special] = self.kinds[index[special] - 1]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Special)
            and self.kinds.tobytes() == other.kinds.tobytes()
            and np.array_equal(self.index, other.index)
        )

    def to_bytes(self) -> bytes:
        """One byte K + 16 if every item has its own index, the values, little-endian, then the index, deflated."""
        own = len(self.index) > 1
        values = self.kinds.astype(self.kinds.dtype.newbyteorder("<")).tobytes()
        return bytes([len(self.kinds) | own << 4]) + values + zlib.compress(self.index.tobytes(), 9, -15)

    @classmethod
    def from_bytes(cls, data: bytes, dtype: str, shape: tuple[int, ...]) -> "Special":
        """Undo `to_bytes`; shape: (items, *grid, C). Raises CorruptStream."""
        count, own = data[0] & 15, data[0] >> 4
        kind = np.dtype(dtype)
        start = 1 + count * kind.itemsize
        if not count or own > 1 or len(data) < start:
            raise CorruptStream(f"{count} special values, flag {own}, {len(data)} bytes")
        shape = shape if own else (1, *shape[1:])
        size = int(np.prod(shape, dtype=object))
        if size > MAX_SAMPLES:
            raise CorruptStream(f"the places of special values among {size} samples; the limit is {MAX_SAMPLES}")
        inflate = zlib.decompressobj(-15)
        try:
            raw = inflate.decompress(data[start:], size)
        except zlib.error as error:
            raise CorruptStream(f"the places of special values: {error}") from None
        if len(raw) != size or not inflate.eof or inflate.unused_data:
            raise CorruptStream(f"{len(raw)} of {size} places of special values")
        index = np.frombuffer(raw, np.uint8).reshape(shape)
        if index.max(initial=0) > count:
            raise CorruptStream(f"special value {int(index.max())} of {count}")
        kinds = np.frombuffer(data[1:start], kind.newbyteorder("<")).astype(kind)
        return cls(kinds, index)


def find(values: NDArray[np.generic], fills: tuple[float, ...] = ()) -> Special | None:
    """The special samples of values [items, *grid, C]: all that is not finite, and the fill values.

    None if there are none. Raises UsageError if there are no others, or too many kinds.
    """
    kinds: list[float] = []
    if values.size > MAX_SAMPLES:
        raise UsageError(f"{values.size} samples with missing values among them; the limit is {MAX_SAMPLES}")
    index = np.zeros(values.shape, np.uint8)
    if values.dtype.kind == "f":
        kinds += [np.nan, np.inf, -np.inf]
    kinds += [fill for fill in fills if fill not in kinds and not np.isnan(fill)]
    if len(kinds) > MAX_KINDS:
        raise UsageError(f"{len(kinds)} special values; {MAX_KINDS} may be")
    used = []
    for kind in kinds:
        places = np.isnan(values) if np.isnan(kind) else values == kind
        if places.any():
            used.append(kind)
            index[places] = len(used)
    if not used:
        return None
    if index.all():
        raise UsageError(f"all {values.size} samples are missing (NaN, infinite or a fill value)")
    same = bool((index == index[:1]).all())
    return Special(np.array(used).astype(values.dtype), index[:1] if same else index)


def fill(values: NDArray[np.float32], special: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Features [*grid] with the special samples replaced by a smooth continuation of the others.

    Averages over ever larger cells, as of an image pyramid, found where a smaller cell has no ordinary sample.
    """
    if not special.any():
        return values
    weight = (~special).astype(np.float32)
    total = np.where(special, 0, values).astype(np.float32)
    levels = []
    while weight.size > 1:
        levels.append((total, weight))
        total, weight = _halved(total), _halved(weight)
    out = total / np.maximum(weight, 1e-9)
    for total, weight in reversed(levels):
        for axis, n in enumerate(weight.shape):
            out = np.repeat(out, 2, axis)[(slice(None),) * axis + (slice(0, n),)]
        out = np.where(weight > 0, total / np.maximum(weight, 1e-9), out)
    return np.where(special, out, values).astype(np.float32)


def _halved(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums over cells of two samples a side."""
    for axis, n in enumerate(x.shape):
        starts = np.arange(0, n, 2)
        x = np.add.reduceat(x, starts, axis)
    return x
