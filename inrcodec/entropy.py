"""Symbols + table indices ⇄ bytes, by asymmetric numeral systems. The only importer of constriction.

A table is a probability distribution over an alphabet 0…n−1, given as integer counts. Symbols are coded part by part;
inside a part they are sorted by table, so that each table codes its symbols in one call.
"""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptStream

AnsCoder = constriction.stream.stack.AnsCoder
Categorical = constriction.stream.model.Categorical

Ints = NDArray[np.integer]


class Tables(Hashable, Protocol):
    """Anything hashable that knows the counts [alphabet] of a table number."""

    def counts(self, table: int) -> Ints: ...


@lru_cache(maxsize=4096)
def _model(tables: Tables, table: int) -> Any:
    counts = tables.counts(table)
    # Counts sum to a power of two, so the divisions are exact; constriction grants every symbol at least 2^-24
    return Categorical(counts.astype(np.float64) / float(counts.sum()), perfect=False)


def _runs(indices: Ints) -> tuple[Ints, list[tuple[int, int, int]]]:
    """An order that sorts the indices, and (table, start, stop) of each run in it."""
    order = np.argsort(indices, kind="stable")
    ranked = indices[order]
    edges = [0, *(np.flatnonzero(np.diff(ranked)) + 1).tolist(), len(ranked)]
    return order, [(int(ranked[a]), a, b) for a, b in pairwise(edges) if b > a]


def encode(parts: Sequence[tuple[Ints, Ints]], tables: Tables) -> bytes:
    """Parts (symbols [N], table indices [N]) in decoding order → bytes."""
    coder = AnsCoder()
    for symbols, indices in reversed(parts):  # a stack: what is coded last is decoded first
        order, runs = _runs(indices)
        ranked = symbols[order].astype(np.int32)
        for table, a, b in reversed(runs):
            coder.encode_reverse(ranked[a:b], _model(tables, table))
    # the top word is never zero, so its leading zero bytes can go
    return coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


class Decoder:
    """Decodes what `encode` wrote, part by part; `finish` checks that nothing is left."""

    def __init__(self, data: bytes, tables: Tables):
        self.tables = tables
        words = np.frombuffer(data + b"\0" * (-len(data) % 4), "<u4").astype(np.uint32)
        if data.endswith(b"\0"):
            raise CorruptStream(f"a section of {len(data)} bytes ends with a zero byte")
        self.coder = AnsCoder(words)

    def decode(self, indices: Ints) -> NDArray[np.int32]:
        """Table indices [N] → symbols [N]."""
        order, runs = _runs(indices)
        out = np.empty(len(order), np.int32)
        for table, a, b in runs:
            out[order[a:b]] = self.coder.decode(_model(self.tables, table), b - a)
        return out

    def finish(self) -> None:
        if not self.coder.is_empty():
            raise CorruptStream("a section holds more than its symbols")
