"""Samples ⇄ integers, such that no sample is off by more than a bound, and the field's own integers, the *guide*.

    sample = origin + step · integer, in the dtype of the samples

The lattice is fixed in the file, so decoded samples are the same numbers on every machine: the field only tells where
they probably are. It is evaluated in float64 for that, and rounded to the eighth of a step (or to a coarser unit, if
the steps are fine). Machines differ there by far less than TOLERANCE; where rounding could go either way within that,
the encoder says which way it went (`round_guide`).
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptStream, UsageError
from inrcodec.residual.symbols import LARGEST, Reader, Writer

Ints = NDArray[np.int64]

TOLERANCE = 2.0**-32  # of features, within which all decoders must agree
DOUBTFUL = 2.0**-14  # of the guide's unit: the part of it that TOLERANCE may be


@dataclass(frozen=True)
class Lattice:
    """bound: the largest error of a sample; 0 if there is none. coarse: the guide's unit is 2^coarse eighths of a step.

    guided: whether the field is used at all.
    """

    bound: float
    origin: float
    step: float
    guided: bool = True
    coarse: int = 0

    def to_bytes(self) -> bytes:
        """For the stream: of an exact lattice, whose bound and origin are 0, only the step."""
        exact = not (self.bound or self.origin)
        head = bytes([self.guided + 2 * exact]) + (bytes([self.coarse]) if self.guided else b"")
        numbers = [self.step] if exact else [self.bound, self.origin, self.step]
        return head + struct.pack(f"<{len(numbers)}d", *numbers)

    @classmethod
    def read(cls, data: bytes) -> tuple["Lattice", bytes]:
        """A lattice and the bytes that follow it. Raises CorruptStream."""
        flags = data[0] if data else 0
        form = "<B" + ("B" if flags & 1 else "") + ("d" if flags & 2 else "3d")
        size = struct.calcsize(form)
        if flags > 3 or len(data) < size:
            raise CorruptStream(f"the section of the error bound has {len(data)} bytes, at least {size}; flags {flags}")
        fields = struct.unpack(form, data[:size])
        coarse = fields[1] if flags & 1 else 0
        bound, origin, step = (0.0, 0.0, fields[-1]) if flags & 2 else fields[-3:]
        if coarse > 62 or not (0 <= bound < np.inf and 0 < step < np.inf and abs(origin) < np.inf):
            raise CorruptStream(f"a lattice of step {step:g} from {origin:g}, bound {bound:g}")
        return cls(bound, origin, step, bool(flags & 1), coarse), data[size:]

    def integers(self, samples: NDArray[np.generic]) -> Ints:
        """The nearest ones. Raises UsageError if they are too large."""
        x = (samples.astype(np.float64) - self.origin) / self.step
        if not np.abs(x).max(initial=0) <= LARGEST:  # also of NaN
            raise UsageError(f"the samples are {np.abs(x).max():.3g} steps of {self.step:g} away from {self.origin:g}")
        return np.rint(x).astype(np.int64)

    def samples(self, integers: Ints, dtype: str) -> NDArray[np.generic]:
        """In their dtype; integers are clipped to its range."""
        kind, x = np.dtype(dtype), integers * self.step + self.origin
        if kind.kind == "b":
            return x >= 0.5
        if kind.kind == "f":
            limit = float(np.finfo(kind).max)
            return np.clip(x, -limit, limit).astype(kind)
        limits = np.iinfo(kind)
        if kind.itemsize == 8:  # the largest int64 and uint64 are no doubles; nor are larger samples coded
            return np.clip(np.rint(x), float(max(limits.min, -EXACT)), float(EXACT)).astype(kind)
        return np.clip(np.rint(x), limits.min, limits.max).astype(kind)

    def guide(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Numbers of the field in units of the guide, before rounding."""
        return (numbers - self.origin) / self.step * (8 / 2.0**self.coarse)


EXACT = 1 << 53  # integers up to here are doubles
HUGE = 1e300  # more than any bound of floats


def lossless(values: Iterable[NDArray[np.generic]]) -> Lattice:
    """The lattice of all integers that a signal has, a multiple of their common divisor. Raises UsageError."""
    divisor = 0
    for part in values:
        if part.dtype.kind not in "iub":
            raise UsageError(f"samples of {part.dtype} cannot be coded losslessly, integers can; give --max-error")
        if part.dtype.itemsize == 8 and np.abs(part.astype(np.float64)).max(initial=0) >= EXACT:
            raise UsageError(f"integers beyond ±2^53 cannot be coded losslessly: {part.dtype}")
        divisor = int(np.gcd.reduce(part.astype(np.int64).ravel(), initial=divisor))
    return Lattice(0.0, 0.0, float(max(divisor, 1)))


def bounded(bound: float, dtype: str, low: float, high: float) -> Lattice:
    """The widest lattice on which samples from low to high are off by the bound at most. Raises UsageError."""
    kind = np.dtype(dtype)
    if not bound < (EXACT if kind.kind != "f" else HUGE):
        raise UsageError(f"an error of {bound:g} does not bound samples of {kind}")
    if kind.itemsize == 8 and kind.kind != "f" and max(abs(low), abs(high)) > EXACT:
        raise UsageError(f"errors of integers beyond ±2^53 cannot be bounded: {kind}")
    if kind.kind != "f":
        return Lattice(bound, 0.0, 2.0 * int(bound) + 1)
    rounding = float(np.spacing(np.array(max(abs(low), abs(high)), kind)))
    rounding += 4 * float(np.spacing(max(abs(low), abs(high), bound)))  # of the arithmetic itself, in float64
    if bound < 2 * rounding:
        raise UsageError(f"an error of {bound:g} is below the precision of {kind} samples of {high:g}: {rounding:.3g}")
    return Lattice(bound, low, 2 * (bound - rounding))


def coarseness(step: float, ends: NDArray[np.float64]) -> int:
    """How much coarser than an eighth of a step the guide must be, as a power of two.

    ends: the numbers [2, …] that features of 0 and 1 stand for. They are rounded to float64, which counts where they
    are large.
    """
    noise = TOLERANCE * np.abs(ends[1] - ends[0]).max() + 8 * np.spacing(2 * np.abs(ends).max())
    return max(0, int(np.ceil(np.log2(8 * noise / step / DOUBTFUL))))


def round_guide(scaled: NDArray[np.float64], coarse: int, out: Writer) -> Ints:
    """The encoder's guide in eighths, flat; where rounding is in doubt, out says which way it went."""
    rounded = np.rint(scaled)
    doubtful = np.flatnonzero(np.abs(np.abs(scaled - rounded) - 0.5) < DOUBTFUL)
    out.put(np.array([len(doubtful)]))
    out.put(np.diff(doubtful, prepend=0))
    out.put(rounded[doubtful].astype(np.int64) & 1)
    return rounded.astype(np.int64) << coarse


def read_guide(scaled: NDArray[np.float64], coarse: int, source: Reader) -> Ints:
    """The same guide from nearly the same numbers. Raises CorruptStream."""
    rounded = np.rint(scaled).astype(np.int64)
    (count,) = source.take(1)
    if not 0 <= count <= scaled.size:
        raise CorruptStream(f"{count} doubtful samples of {scaled.size}")
    places = np.cumsum(source.take(int(count)))
    if count and not 0 <= places.min() <= places.max() < scaled.size:
        raise CorruptStream(f"doubtful samples {places.min()} to {places.max()} of {scaled.size}")
    parity = source.take(int(count)) & 1
    rounded[places] = 2 * np.rint((scaled[places] - parity) / 2).astype(np.int64) + parity
    return rounded << coarse
