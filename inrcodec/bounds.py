"""What the encoder decides when errors are bounded: the lattice, and how much of the signal the field should say."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.container import Header
from inrcodec.errors import UsageError, VerificationFailed
from inrcodec.methods.method import missing
from inrcodec.residual import lattice as lattices
from inrcodec.residual.lattice import Lattice
from inrcodec.settings import Encoded, Settings
from inrcodec.signal import SampleFormat, Signal

Written = tuple[bytes, Header, SampleFormat]
Write = Callable[[int, int, Lattice], Written]
"""(operating point, effort, lattice) → a stream."""

SHARES = (0.04, 0.12, 0.25, 0.45)
"""Operating points that are tried, as parts of the range; and no field at all."""


def lattice(settings: Settings, signal: Signal) -> Lattice | None:
    """The lattice of the samples to be coded, if errors are bounded. Raises UsageError."""
    if settings.lossless:
        return lattices.lossless(_ordinary(signal, k) for k in range(signal.items))
    if settings.max_error is None and settings.max_rel_error is None:
        return None
    low, high = signal.extent
    if settings.max_rel_error is not None:
        bound = settings.max_rel_error * (high - low)
        if not bound > 0:
            raise UsageError(f"max_rel_error is of the range of the samples, but all of them are {low:g}")
    else:
        bound = (settings.max_error or 0.0) / abs(float(getattr(signal.format, "info", {}).get("scale_factor", 1.0)))
    return lattices.bounded(bound, signal.format.dtype, low, high)


def _ordinary(signal: Signal, item: int) -> NDArray[Any]:
    """The samples of an item that are not special."""
    values, absent = np.asarray(signal.item(item)[...]), missing(signal.format, item)
    return values if absent is None else values[~absent]


def smallest(write: Write, lattice: Lattice, given: int | None, effort: int, points: int) -> Written:
    """The stream at a given operating point; else the smallest of some, and of one that has no field.

    Tried at effort 0, from the coarsest on, until the stream grows.
    """
    if given is not None:
        return write(given, effort, lattice)
    best, at = write(0, 0, replace(lattice, guided=False)), None
    for share in SHARES:
        point = round(share * (points - 1))
        found = write(point, 0, lattice)
        if len(found[0]) < len(best[0]):
            best, at = found, point
        elif at is not None:
            break
    if at is None or effort == 0:
        return best
    return min(best, write(at, effort, lattice), key=lambda written: len(written[0]))


def verified(encoded: Encoded, lattice: Lattice) -> Encoded:
    """What the encoder's own decode says. Raises VerificationFailed, which would be a bug of ours."""
    if not encoded.distortion.largest <= lattice.bound or math.isnan(encoded.distortion.mse):
        raise VerificationFailed(f"a sample is off by {encoded.distortion.largest:.6g}; the bound is {lattice.bound:g}")
    return replace(encoded, bound=lattice.bound)
