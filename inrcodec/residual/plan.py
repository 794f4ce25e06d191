"""How the samples of a signal are predicted: what the encoder fits and sends once for all items.

    mean  = base + Σ coefficient · feature            base: the nearest sample that is known
    scale = scales[bin(Σ weight · spread)]

See `order.Known` for base, features and spread.
"""

from dataclasses import dataclass
from functools import cached_property
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptStream
from inrcodec.residual import tables
from inrcodec.residual.order import Known, Order, feature_count, spread_count
from inrcodec.residual.symbols import Reader, Writer

Ints = NDArray[np.int64]

MAX_SHIFT = 16
WEIGHT_BITS = 6  # weights of the spread are in units of 2^−6
BIN_BITS = 4  # bins look at the spread in units of 2^−4 eighths
NO_BASE, UNSURE, FIRST = 0, 1, 2  # bins: no neighbour is known; few are; the first of the others
BINS = FIRST + 4 * 48
_STEPS = np.array([isqrt(isqrt(1 << j)) for j in range(BINS - FIRST)])  # 2^(j/4)
NOMINAL = np.clip(np.arange(BINS) - FIRST - 14, 0, tables.SCALES - 1)  # scale indices before what is fitted
EARLIER = 2  # channels that a channel looks at, the latest ones


@dataclass(frozen=True)
class Channel:
    """common [features]: predictor in 2^−shift; own [blocks, features]: what each block adds to it.

    weights [spread] in 2^−6; scales [BINS]: scale indices.
    """

    shift: int
    common: Ints
    own: Ints
    weights: Ints
    scales: Ints

    def mean(self, known: Known, block: Ints) -> Ints:
        """In eighths, [n]."""
        total = np.einsum("kn,nk->n", known.features, self._coefficients[block])
        return 8 * known.base + (total + (1 << self.shift - 4) >> self.shift - 3)

    @cached_property
    def _coefficients(self) -> Ints:
        return self.common + self.own

    def scale(self, known: Known) -> Ints:
        """The scale index of each place, [n]."""
        return self.scales[self.bins(known)]

    def bins(self, known: Known) -> Ints:
        """The bin of each place, [n]."""
        activity = self.weights @ known.spread >> WEIGHT_BITS - BIN_BITS
        found = FIRST + np.maximum(np.searchsorted(_STEPS, activity, "right") - 1, 0)
        return np.where(known.based, np.where(known.sure, found, UNSURE), NO_BASE)


@dataclass(frozen=True)
class Plan:
    """side: of blocks that have predictors of their own, a power of two. first: the channel that goes first."""

    side: int
    first: int
    channels: tuple[Channel, ...]

    @property
    def sequence(self) -> list[int]:
        """Channel numbers in coding order."""
        return sequence(self.first, len(self.channels))

    def to_bytes(self) -> bytes:
        """For the stream."""
        out = Writer()
        out.put(np.array([self.side.bit_length() - 1, self.first]))
        for channel in self.channels:
            used = np.flatnonzero(channel.scales != NOMINAL)
            low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
            out.put(np.array([channel.shift, low, high]))
            out.put(channel.common)
            if len(channel.own) > 1:
                for own in channel.own.T:
                    out.put(own)
            out.put(channel.weights)
            out.put((channel.scales - NOMINAL)[low:high])
        return out.finish()

    @classmethod
    def from_bytes(cls, data: bytes, shape: tuple[int, ...], channels: int, guided: bool) -> "Plan":
        """The inverse of `to_bytes`. Raises CorruptStream."""
        source = Reader(data)
        bits, first = source.take(2).tolist()
        if not (4 <= bits <= 32 and 0 <= first < channels):
            raise CorruptStream(f"predictors for blocks of 2^{bits}, channel {first} first of {channels}")
        blocks, d, found = int(np.prod(Order(shape).blocks(1 << bits))), len(shape), []
        for c in range(channels):
            shift, low, high = source.take(3).tolist()
            if not (3 < shift <= MAX_SHIFT and 0 <= low <= high <= BINS):
                raise CorruptStream(f"predictors in 2^-{shift}, scales of bins {low} to {high}")
            k = feature_count(d, guided, min(c, EARLIER))
            common = source.take(k)
            own = np.stack([source.take(blocks) for _ in range(k)], 1) if blocks > 1 else np.zeros((1, k), np.int64)
            weights, scales = source.take(spread_count(d, guided, min(c, EARLIER))), NOMINAL.copy()
            scales[low:high] += source.take(high - low)
            if weights.min() < 0 or weights.max() > 1 << 16 or scales.min() < 0 or scales.max() >= tables.SCALES:
                raise CorruptStream(f"weights of {weights.min()} to {weights.max()}, scale {scales.max()}")
            found.append(Channel(shift, common, own, weights, scales))
        source.finish()
        return cls(1 << bits, first, tuple(found))


def sequence(first: int, channels: int) -> list[int]:
    """Channel numbers in coding order."""
    return [first, *(c for c in range(channels) if c != first)]
