"""The committed family of distributions of the residual coder, made by integer arithmetic alone.

Scale index k stands for the scale s = 2^(k/4 − 4), in units of what is coded. Each member is 15/16 of a logistic
distribution of scale s and 1/16 of one of scale 3·s. Table 8·k + f has its mean f/8 above an integer; its alphabet is
−reach … reach and an escape. From LARGE on, the lowest bits of a value go uncoded (`plan`), so that no alphabet grows.
"""

from functools import cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

TOTAL = 1 << 24
FRACTION = 8
PER_OCTAVE = 4
LARGE = 32  # scale indices from here on take one more uncoded bit per octave
SCALES = LARGE + 40 * PER_OCTAVE
BITS = FRACTION * LARGE  # table BITS + b is uniform over 2^b
CHUNK = 12  # uncoded bits at a time
_ONE = 1 << 64  # of fixed-point numbers

Ints = NDArray[np.int64]


def _exp(x: int) -> int:
    """e^x of a fixed-point number: the Taylor series, every term rounded down."""
    total = term = _ONE
    n = 1
    while term:
        term = term * x // (n * _ONE)
        total += term
        n += 1
    return total


def _tail(k: int) -> list[int]:
    """P(x > j/8) in counts of 2^24 for j = 0, 1, …, of a distribution around zero."""
    unit = isqrt(isqrt(1 << 4 * 64 + 4 - k))  # 1 / 8s = 2^(1 − k/4)
    narrow, wide = _exp(unit), _exp(unit // 3)
    a = b = _ONE
    out = []
    for _ in range(FRACTION * reach(k) + FRACTION // 2 + FRACTION):
        out.append((15 * TOTAL * _ONE // (_ONE + a) + TOTAL * _ONE // (_ONE + b)) // 16)
        a, b = a * narrow // _ONE, b * wide // _ONE
    return out


def reach(k: int) -> int:
    """The largest residual that table 8·k + f knows: 24 scales and 2."""
    return isqrt(isqrt(24**4 << k >> 16)) + 2


REACH = np.array([reach(k) for k in range(LARGE)])


class ScaleTables:
    """The tables, for `inrcodec.entropy`."""

    def counts(self, table: int) -> Ints:
        """Counts of one alphabet; they sum to 2^24."""
        if table >= BITS:
            return np.full(1 << table - BITS, TOTAL >> table - BITS, np.int64)
        return _counts(table)


@cache
def _tails(k: int) -> Ints:
    return np.array(_tail(k), np.int64)


def _counts(table: int) -> Ints:
    k, fraction = divmod(table, FRACTION)
    tail, r = _tails(k), reach(k)
    borders = FRACTION * np.arange(-r, r + 2) - FRACTION // 2 - fraction
    above = np.where(borders >= 0, tail[np.abs(borders)], TOTAL - tail[np.abs(borders)])
    cells = above[:-1] - above[1:]
    return np.append(cells, TOTAL - cells.sum())


TABLES = ScaleTables()


def plan(mean: Ints, scale: Ints) -> tuple[Ints, Ints, Ints]:
    """Means in eighths and scale indices [n] → uncoded bits, tables, and what a symbol 0 stands for."""
    bits = np.maximum(scale - LARGE + PER_OCTAVE, 0) // PER_OCTAVE
    mean = (mean - (FRACTION // 2) * ((1 << bits) - 1)) >> bits  # of the value without its lowest bits
    k = scale - PER_OCTAVE * bits
    return bits, FRACTION * k + (mean & FRACTION - 1), (mean >> 3) - REACH[k]


def cost(errors: Ints, scale: int) -> float:
    """Bits for values that are off their means by errors [n], in eighths, at a scale index; for the encoder."""
    bits = max(scale - LARGE + PER_OCTAVE, 0) // PER_OCTAVE
    tail = _tails(scale - PER_OCTAVE * bits)

    def above(eighths: Ints) -> Ints:
        t = tail[np.minimum(np.abs(eighths), len(tail) - 1)]
        return np.where(eighths >= 0, t, TOTAL - t)

    half = FRACTION // 2 << bits
    count = above(errors - half >> bits) - above(errors + half >> bits)
    return float((bits + 24 - np.log2(np.maximum(count, 1))).sum())
