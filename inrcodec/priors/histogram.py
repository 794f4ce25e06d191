"""Probability tables that are counts of what was seen in training: integers, committed with the base network."""

import numpy as np
from numpy.typing import NDArray

TOTAL = 1 << 20

Ints = NDArray[np.integer]


class CountTables:
    """Tables of counts of one length or many; `entropy.Tables`."""

    def __init__(self, counts: list[Ints]):
        if any(c.ndim != 1 or not len(c) or c.min() < 1 or c.sum() != TOTAL for c in counts):
            raise ValueError(f"the counts of a table must be positive and sum to {TOTAL}")
        self._counts = counts

    def counts(self, table: int) -> Ints:
        return self._counts[table]

    @classmethod
    def split(cls, flat: Ints, sizes: Ints) -> "CountTables":
        """From all counts one after the other, and the size of each alphabet."""
        if sizes.min(initial=1) < 1 or sizes.sum() != len(flat):
            raise ValueError(f"{len(flat)} counts for alphabets of {int(sizes.sum())} symbols")
        return cls(np.split(flat.astype(np.int64), np.cumsum(sizes)[:-1]))


def to_counts(weights: NDArray[np.floating]) -> NDArray[np.int32]:
    """Probabilities or frequencies [A], up to a factor → positive integers that sum to `TOTAL`."""
    share = np.maximum(weights.astype(np.float64), 0) + 1e-12
    counts = np.maximum(np.floor(share / share.sum() * (TOTAL - len(share))), 0).astype(np.int64) + 1
    counts[np.argmax(counts)] += TOTAL - counts.sum()
    return counts.astype(np.int32)
