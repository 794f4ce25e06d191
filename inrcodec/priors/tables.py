"""The committed probability tables of the context prior, and how symbols meet them.

For each scale index k the model file holds the upper tail of a symmetric distribution as integer counts of 2^24:
T_k[j] counts x > j/8, j = 0, 1, … One tail serves all eight fractions of the mean, since every cell border
s ± 1/2 − f/8 lies on that grid. Table 8·k + f codes y − ⌊mean⌋ within ±reach(k); the last symbol of its alphabet is
the escape, after which the value follows as two bytes from the uniform table.

A signal may be rougher or smoother than those that the prior was trained on: its stream says by how much the scale
indices of a level are stretched (`best_stretches`).
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptStream
from inrcodec.priors.context import FRACTION, SCALES

TOTAL = 1 << 24
MAX_REACH = 255
UNIFORM = SCALES * FRACTION  # the table of plain bytes
LARGEST = 32000  # |y| of any latent; what two bytes and an offset can say

STRETCHES = UNIFORM + 1  # the table of stretches: −8…8, then EACH
LARGEST_STRETCH = 8
EACH = 2 * LARGEST_STRETCH + 1  # not one stretch for a group of latents: one for each latent follows
STRETCH_COUNTS = np.array([*(TOTAL >> abs(k) + 3 if k else 3 * TOTAL // 4 for k in range(-8, 9)), TOTAL >> 10])
SAMPLE = 4096  # cells of a part on which stretches are tried

Ints = NDArray[np.integer]

# symbols on either side, by scale: 14 scales of 0.04·e^(0.12·k), but at most MAX_REACH; written out, as no machine may
# disagree
REACH = np.array(
    [3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7, 8, 9, 9, 10, 11, 12, 14, 15, 17, 19, 21]
    + [23, 26, 29, 32, 36, 40, 45, 50, 56, 63, 71, 79, 89, 100, 112, 126, 142, 160, 180, 203, 228]
    + [MAX_REACH] * (SCALES - 51)
)


def tail_lengths() -> Ints:
    """Entries of each tail, by the reach of each scale."""
    return FRACTION * REACH + FRACTION // 2 + FRACTION


class LatentTables:
    """All tables, built from the concatenated tails when asked for."""

    def __init__(self, tails: Ints):
        lengths = tail_lengths()
        if tails.shape != (lengths.sum(),):
            raise ValueError(f"{tails.shape} tail counts; {int(lengths.sum())} are needed")
        self._tails = np.split(tails.astype(np.int64), np.cumsum(lengths)[:-1])
        if any(t[0] != TOTAL // 2 or t[-1] < 0 or (np.diff(t) > 0).any() for t in self._tails):
            raise ValueError("a tail is not that of a symmetric distribution")
        self.reach = REACH

    def counts(self, table: int) -> Ints:
        """Counts of the alphabet of one table; they sum to 2^24, and some may be zero."""
        if table == UNIFORM:
            return np.full(256, TOTAL // 256)
        if table == STRETCHES:
            return STRETCH_COUNTS
        k, fraction = divmod(table, FRACTION)
        reach, tail = int(self.reach[k]), self._tails[k]
        borders = FRACTION * np.arange(-reach, reach + 2) - FRACTION // 2 - fraction
        above = np.where(borders >= 0, tail[np.abs(borders)], TOTAL - tail[np.abs(borders)])
        cells = above[:-1] - above[1:]
        return np.append(cells, TOTAL - cells.sum())

    def to_alphabet(self, y: Ints, mean: Ints, index: Ints) -> tuple[Ints, Ints, Ints]:
        """Latents [N], means in eighths, scale indices → (alphabet symbols, tables, escaped bytes [2·E])."""
        residual = y - (mean >> 3)
        reach = self.reach[index]
        escaped = np.abs(residual) > reach
        symbols = np.where(escaped, 2 * reach + 1, residual + reach)
        wide = y[escaped] + 32768
        return symbols, self.indices(mean, index), np.stack([wide >> 8, wide & 255], 1).ravel()

    def parts(self, y: Ints, mean: Ints, index: Ints) -> list[tuple[Ints, Ints]]:
        """What an entropy coder is to code of latents [N], as (symbols, tables) in decoding order."""
        symbols, tables, wide = self.to_alphabet(y, mean, index)
        return [(symbols, tables), (wide, np.full(len(wide), UNIFORM, np.uint16))]

    def read(self, decode: Callable[[Ints], Ints], mean: Ints, index: Ints) -> Ints:
        """The inverse of `parts`; decode: tables → symbols. Raises CorruptStream."""
        symbols = decode(self.indices(mean, index))
        escapes = int(self.escapes(symbols, index).sum())
        y = self.from_alphabet(symbols, mean, index, decode(np.full(2 * escapes, UNIFORM, np.uint16)))
        if np.abs(y).max(initial=0) > LARGEST:
            raise CorruptStream(f"a latent of {int(np.abs(y).max())} is beyond ±{LARGEST}")
        return y

    def escapes(self, symbols: Ints, index: Ints) -> NDArray[np.bool_]:
        """Which alphabet symbols are escapes."""
        return symbols > 2 * self.reach[index]

    def from_alphabet(self, symbols: Ints, mean: Ints, index: Ints, wide: Ints) -> Ints:
        """The inverse of `to_alphabet`."""
        y = symbols - self.reach[index] + (mean >> 3)
        pairs = wide.reshape(-1, 2)
        y[self.escapes(symbols, index)] = (pairs[:, 0] << 8 | pairs[:, 1]) - 32768
        return y

    @cached_property
    def _costs(self) -> NDArray[np.float32]:
        """Bits [table, residual + 256] of residuals within ±256, escapes with what follows them."""
        out = np.empty((UNIFORM, 2 * MAX_REACH + 3), np.float32)
        for table in range(UNIFORM):
            reach = int(self.reach[table // FRACTION])
            bits = -np.log2((self.counts(table) + 1) / TOTAL)
            out[table] = bits[-1] + 16
            out[table, MAX_REACH + 1 - reach : MAX_REACH + 2 + reach] = bits[:-1]
        return out

    def bits(self, residuals: Ints, index: Ints) -> NDArray[np.float32]:
        """What residuals of whole means cost, by scale index, both [N]; those beyond an escape as that one does."""
        return self._costs[FRACTION * index, np.clip(residuals, -MAX_REACH - 1, MAX_REACH + 1) + MAX_REACH + 1]

    def best_stretches(self, parts: Sequence[tuple[Ints, Ints, Ints]]) -> Ints:
        """The symbols of table STRETCHES that lead to the fewest bits: [1] or, with EACH in front, [1 + n].

        parts: (latents, means in eighths, scale indices), each [n, cells], of the phases of one group.
        """
        tried = np.arange(-LARGEST_STRETCH, LARGEST_STRETCH + 1)
        bits = np.zeros((len(tried), len(parts[0][0])))
        for part in parts:
            cells = part[0].shape[1]
            y, mean, index = (x[:, :: max(1, cells // SAMPLE)] for x in part)
            residual = np.clip(y - (mean >> 3), -MAX_REACH - 1, MAX_REACH + 1) + MAX_REACH + 1
            for row, stretch in zip(bits, tried.tolist(), strict=True):
                tables = self.indices(mean, stretched(index, stretch))
                row += self._costs[tables, residual].sum(1) * (cells / max(y.shape[1], 1))
        price = -np.log2(STRETCH_COUNTS / TOTAL)
        together, apart = bits.sum(1) + price[:-1], bits + price[:-1, None]
        if together.min() <= apart.min(0).sum() + price[EACH]:
            return together.argmin(keepdims=True)
        return np.append(EACH, apart.argmin(0))

    @staticmethod
    def indices(mean: Ints, index: Ints) -> Ints:
        """The tables of means in eighths and scale indices, both [N]."""
        return (FRACTION * index + (mean & (FRACTION - 1))).astype(np.uint16)


def stretched(index: Ints, stretch: Ints | int) -> Ints:
    """Scale indices moved, within the tables that there are."""
    return np.clip(index + stretch, 0, SCALES - 1)
