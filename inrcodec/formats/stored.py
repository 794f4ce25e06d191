"""Arrays that lie in files of any kind, and the way from them to signals."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InrcodecError, LimitExceeded, OutOfMemory, UnsupportedInput, UsageError
from inrcodec.samples import special
from inrcodec.samples.array import DTYPES, ArrayFormat
from inrcodec.signal import Signal, Values

MAX_BYTES = 1 << 32  # of an array that cannot be read in parts
SLAB = 1 << 22  # samples looked at together in search of special ones
DEFLATE = 1032  # bytes that one of deflated data can stand for, at most


@dataclass(frozen=True)
class Stored:
    """An array in a file, and what the file says of it.

    array: a NumPy array, perhaps a memory map, or an h5py.Dataset. fills: values of samples that are missing.
    """

    name: str
    array: Any
    info: dict[str, Any] = field(default_factory=dict)
    fills: tuple[float, ...] = ()
    notes: list[str] = field(default_factory=list)

    def signal(self, modality: str, dims: int, channels: bool) -> Signal:
        """A signal of the array: [*grid], or with channels [*grid, C], and before them the items of a batch, if any.

        Raises UnsupportedInput.
        """
        check_dtype(self.name, self.array.dtype)
        values: Values
        if isinstance(self.array, np.ndarray) and self.array.dtype.isnative:
            values = self.array if channels else self.array[..., None]
        else:
            values = Lazy(self.name, self.array, channels)
        try:
            signal = Signal.numbers(values, modality, dims, info=self.info)
            found = _special(signal, self.fills)
        except UsageError as error:
            raise UnsupportedInput(f"{self.name}: {error}") from None
        assert isinstance(signal.format, ArrayFormat)
        return replace(signal, format=replace(signal.format, special=found), notes=tuple(self.notes))


class Lazy:
    """[..., C] of an array in a file: read as it is indexed, in native byte order."""

    def __init__(self, name: str, array: Any, channels: bool) -> None:
        self.name, self.array, self.channels = name, array, channels
        self.shape: tuple[int, ...] = (*array.shape, *(() if channels else (1,)))
        self.dtype: np.dtype = array.dtype.newbyteorder("=")

    def __getitem__(self, where: Any, /) -> NDArray[Any]:
        where = where if isinstance(where, tuple) else (where,)
        at = where.index(Ellipsis) if Ellipsis in where else len(where)
        rest = len(self.shape) - len(where[:at]) - len(where[at + 1 :])
        where = (*where[:at], *[slice(None)] * rest, *where[at + 1 :])
        try:
            part = np.asarray(self.array[where[: len(self.array.shape)]], self.dtype)
        except (OSError, RuntimeError) as error:
            raise UnsupportedInput(f"{self.name}: damaged or unsupported samples ({error})") from None
        return part if self.channels else part[..., None][..., where[-1]]


@contextmanager
def reading(name: str, kind: str) -> Iterator[None]:
    """Turn what a library raises about a damaged file, nearly anything, into UnsupportedInput or OutOfMemory."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage, on stderr
            yield
    except InrcodecError:
        raise
    except MemoryError:
        raise OutOfMemory(f"{name}: not enough memory to read it") from None
    except Exception as error:
        raise UnsupportedInput(f"{name}: damaged or unsupported {kind} ({type(error).__name__}: {error})") from None


def check_dtype(name: str, dtype: np.dtype) -> None:
    """Raises UnsupportedInput unless samples of this dtype are real numbers that can be coded."""
    if dtype.name not in DTYPES:
        raise UnsupportedInput(f"{name}: the samples are of type {dtype}, not real numbers ({', '.join(DTYPES)})")


def check_size(name: str, size: int, deflated: int | None = None) -> None:
    """Raises LimitExceeded if an array of so many bytes must not be read at once.

    deflated: bytes in the file that it is unpacked from; UnsupportedInput if they cannot hold it.
    """
    if size > MAX_BYTES:
        raise LimitExceeded(f"{name}: {size} bytes of samples to be unpacked at once; the limit is {MAX_BYTES}")
    if deflated is not None and size > DEFLATE * deflated:
        raise UnsupportedInput(f"{name}: {size} bytes of samples are announced, but {deflated} bytes cannot hold them")


def _special(signal: Signal, fills: tuple[float, ...]) -> special.Special | None:
    """The special samples; looks for any in slabs first, so that a large file without them is never whole in memory."""
    values = signal.values
    if values.dtype.kind != "f" and not fills:
        return None
    step = max(1, SLAB // math.prod(values.shape[1:]))
    slabs = (np.asarray(values[k : k + step]) for k in range(0, values.shape[0], step))
    if not any(not np.isfinite(slab).all() or np.isin(slab, fills).any() for slab in slabs):
        return None
    whole = np.asarray(values[...])
    return special.find(whole if signal.batch else whole[None], fills)
