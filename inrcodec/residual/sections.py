"""The sections of a stream that make its samples exact, or keep them within a bound: docs/bounds.md is normative.

One section for all items (lattice, plan), then one for each item (digest, doubts of the guide, integers).
"""

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptStream
from inrcodec.residual import coder
from inrcodec.residual.fit import fit
from inrcodec.residual.lattice import Lattice, read_guide, round_guide
from inrcodec.residual.plan import Plan
from inrcodec.residual.symbols import Reader, Writer

DIGEST = 8  # bytes of SHA-256
FITTED_TO = 8  # items at most

Numbers = Callable[[int], NDArray[np.float64]]
"""Item → what the field says of its samples, [*grid, C], before rounding."""


def write(lattice: Lattice, items: int, samples: Callable[[int], NDArray], numbers: Numbers, dtype: str) -> list[bytes]:
    """samples: item → [*grid, C], special ones replaced by something smooth. Raises UsageError."""

    def item(k: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, bytes]:
        values, doubts, guide = lattice.integers(samples(k)), Writer(), None
        if lattice.guided:
            scaled = lattice.guide(numbers(k))
            guide = round_guide(scaled.ravel(), lattice.coarse, doubts).reshape(scaled.shape)
        return values, guide, doubts.finish()

    some = range(0, items, -(-items // FITTED_TO))
    plan = fit([item(k)[:2] for k in some])
    out = [lattice.to_bytes() + plan.to_bytes()]
    for k in range(items):
        values, guide, doubts = item(k)
        digest = _digest(lattice.samples(values, dtype))
        length = len(doubts).to_bytes(4, "little") if lattice.guided else b""
        out.append(digest + length + doubts + coder.encode(plan, values, guide))
    return out


def read(
    common: bytes, own: bytes, shape: tuple[int, ...], channels: int, numbers: Callable[[], NDArray], dtype: str
) -> NDArray[np.generic]:
    """The two sections of an item → its samples [*shape, C], special ones still to be put in place.

    Raises CorruptStream, also if they are not what the encoder had.
    """
    lattice, rest = Lattice.read(common)
    plan, guide, start = Plan.from_bytes(rest, shape, channels, lattice.guided), None, DIGEST
    if lattice.guided:
        start += 4 + int.from_bytes(own[DIGEST : DIGEST + 4], "little")
        doubts, scaled = Reader(own[DIGEST + 4 : start]), lattice.guide(numbers())
        guide = read_guide(scaled.ravel(), lattice.coarse, doubts).reshape(scaled.shape)
        doubts.finish()
    if len(own) < start:
        raise CorruptStream(f"the residual of an item has {len(own)} bytes, but its guide ends at {start}")
    values = lattice.samples(coder.decode(plan, own[start:], shape, guide), dtype)
    if _digest(values) != own[:DIGEST]:
        raise CorruptStream("the samples decoded are not those that were encoded")
    return values


def _digest(values: NDArray[np.generic]) -> bytes:
    """Of samples [*grid, C], little-endian."""
    return hashlib.sha256(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"))).tobytes()).digest()[
        :DIGEST
    ]
