"""Integers with a mean and a scale each ⇄ symbols of the entropy coder, and lists of plain integers ⇄ bytes."""

import numpy as np
from numpy.typing import NDArray

from inrcodec import entropy
from inrcodec.errors import CorruptStream
from inrcodec.residual import tables

Ints = NDArray[np.int64]
Parts = list[tuple[Ints, Ints]]

LARGEST = 1 << 40  # of an integer that can be coded
ESCAPE_BYTES = 6
_HALF = 1 << 8 * ESCAPE_BYTES - 1


def to_parts(values: Ints, mean: Ints, scale: Ints) -> Parts:
    """Values [n] of magnitude at most LARGEST, their means in eighths and scale indices → symbols and tables."""
    bits, index, zero = tables.plan(mean, scale)
    symbols, last = (values >> bits) - zero, 2 * tables.REACH[index // tables.FRACTION]
    escaped = (symbols < 0) | (symbols > last)
    parts = [(np.where(escaped, last + 1, symbols), index)]
    left = np.where(escaped, 0, bits)
    while left.any():  # the lowest bits, the highest of them first
        some = np.minimum(left, tables.CHUNK)[left > 0]
        rest = left[left > 0] - some
        parts.append((values[left > 0] >> rest & (1 << some) - 1, tables.BITS + some))
        left[left > 0] = rest
    if escaped.any():
        wide = values[escaped] + _HALF
        parts.append((np.concatenate([wide >> 8 * k & 255 for k in range(ESCAPE_BYTES)]), _bytes(escaped)))
    return parts


def from_parts(decoder: entropy.Decoder, mean: Ints, scale: Ints) -> Ints:
    """The inverse of `to_parts`. Raises CorruptStream."""
    bits, index, zero = tables.plan(mean, scale)
    symbols = decoder.decode(index)
    escaped = symbols > 2 * tables.REACH[index // tables.FRACTION]
    values = symbols + zero
    left = np.where(escaped, 0, bits)
    while left.any():
        some = np.minimum(left, tables.CHUNK)[left > 0]
        values[left > 0] = (values[left > 0] << some) + decoder.decode(tables.BITS + some)
        left[left > 0] -= some
    if escaped.any():
        wide = decoder.decode(_bytes(escaped)).reshape(ESCAPE_BYTES, -1).astype(np.int64)
        values[escaped] = (wide << 8 * np.arange(ESCAPE_BYTES)[:, None]).sum(0) - _HALF
    if np.abs(values).max(initial=0) > LARGEST:
        raise CorruptStream(f"an integer of {int(np.abs(values).max())} is beyond ±{LARGEST}")
    return values


def _bytes(escaped: NDArray[np.bool_]) -> Ints:
    return np.full(ESCAPE_BYTES * int(escaped.sum()), tables.BITS + 8)


class Writer:
    """Lists of integers, each around zero with a scale of its own, which is sent."""

    def __init__(self) -> None:
        self.parts: Parts = []

    def put(self, values: Ints) -> None:
        scale = min(range(0, tables.SCALES, 2), key=lambda k: tables.cost(8 * values, k)) if values.any() else 0
        self.parts.append((np.array([scale]), np.array([tables.BITS + 8])))
        self.parts += to_parts(values, np.zeros_like(values), np.full_like(values, scale))

    def finish(self) -> bytes:
        return entropy.encode(self.parts, tables.TABLES)


class Reader:
    """The inverse of `Writer`. Raises CorruptStream."""

    def __init__(self, data: bytes):
        self.decoder = entropy.Decoder(data, tables.TABLES)

    def take(self, count: int) -> Ints:
        scale = int(self.decoder.decode(np.array([tables.BITS + 8]))[0])
        if scale >= tables.SCALES:
            raise CorruptStream(f"scale index {scale} is beyond {tables.SCALES - 1}")
        return from_parts(self.decoder, np.zeros(count, np.int64), np.full(count, scale))

    def finish(self) -> None:
        self.decoder.finish()
