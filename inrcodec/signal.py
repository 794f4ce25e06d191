"""A signal: samples on a grid, kept as the numbers the file held, and how to go to features and back."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inrcodec.errors import UsageError
from inrcodec.samples import special
from inrcodec.samples.array import ArrayFormat
from inrcodec.samples.audio import AudioFormat
from inrcodec.samples.image import PEAKS, ImageFormat
from inrcodec.samples.video import VideoFormat

SampleFormat = ImageFormat | AudioFormat | VideoFormat | ArrayFormat

DIMS = {"field": 2, "volume": 3, "shape": 3}
"""Axes of the kinds of number grids that have a fixed number of them."""

FORMATS: dict[str, Callable[..., SampleFormat]] = {
    "image": ImageFormat.from_header,
    "audio": AudioFormat.from_header,
    "video": VideoFormat.from_header,
    **{kind: partial(ArrayFormat.from_header, kind) for kind in ("field", "volume", "shape", "array")},
}
"""By modality: (byte, block, shape, items) of a header → the sample format. Raises CorruptStream."""


class Values(Protocol):
    """Samples that may lie in a file still: [*grid, C], or [N, *grid, C] of a batch.

    Indexed by one integer (of a batch), a tuple that begins with it, or slices; each gives an array.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, where: Any, /) -> NDArray[Any]: ...


class Lazy:
    """Items made when they are asked for: `Values` of a batch."""

    def __init__(self, make: Callable[[int], NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype):
        self._make, self.shape, self.dtype = make, shape, dtype

    def __getitem__(self, where: Any, /) -> NDArray[Any]:
        if isinstance(where, int):
            return self._make(range(self.shape[0])[where])
        if isinstance(where, tuple) and isinstance(where[0], int):
            return self._make(range(self.shape[0])[where[0]])[where[1:]]
        return np.stack([self._make(k) for k in range(self.shape[0])])[where]


@dataclass(frozen=True)
class Signal:
    """One item to code, or a batch of items of one shape.

    values: [*grid, C] in the file's own dtype ([H, W, C] of an image, [T, C] of a sound, [T, H, W, 3] of a film), or
    [N, *grid, C] of a batch. A tile becomes float only when it is coded.
    notes: one-line warnings for the user about what reading the file changed or left out.
    exact: decoded within an error bound, so that writing it must not change it further.
    """

    values: Values
    format: SampleFormat
    notes: tuple[str, ...] = ()
    exact: bool = False

    @property
    def batch(self) -> bool:
        return len(self.values.shape) == self.format.dims + 2

    @property
    def items(self) -> int:
        """How many; 1 of a signal that is no batch."""
        return self.values.shape[0] if self.batch else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The grid of one item."""
        return tuple(self.values.shape[-self.format.dims - 1 : -1])

    def item(self, index: int) -> Values:
        """[*grid, C] of one item."""
        return self.values[index] if self.batch else self.values

    @cached_property
    def extent(self) -> tuple[float, float]:
        """The lowest and the highest of the ordinary samples, item by item; (0, 0) if there are none."""
        low, high = np.inf, -np.inf
        absent = getattr(self.format, "special", None)
        for k in range(self.items):
            values = np.asarray(self.item(k)[...])
            if absent is not None:
                values = values[absent.of(k) == 0]
            if values.size:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
        return (low, high) if low <= high else (0.0, 0.0)

    @cached_property
    def peak(self) -> float:
        """The range of PSNR: that of the kind of samples, or of numbers, what they span here."""
        if isinstance(self.format, ArrayFormat):
            low, high = self.extent
            return high - low or 1.0
        return self.format.peak

    @classmethod
    def from_array(cls, array: ArrayLike, modality: str | None = None) -> "Signal":
        """Wrap samples; not copied.

        modality: "image", "volume", "shape" or "array"; by default, uint8 or uint16 of shape [H, W] or [H, W, C], C
        from 1 to 4, are an image, [N, H, W, C] a batch of images, all other real numbers of 1 to 3 axes an array, of
        which NaN and infinities are special samples. Raises UsageError for any other shape or dtype, and for an array
        without ordinary samples.
        """
        try:
            values = np.asarray(array)
        except ValueError:
            raise UsageError("samples must form an array, but the rows differ in length") from None
        flat = values.ndim == 2 or (values.ndim in (3, 4) and 1 <= values.shape[-1] <= 4)
        if modality not in ("image", "volume", "shape", "array", None):
            raise UsageError(f"an array cannot be taken for a signal of kind '{modality}'")
        if modality != "image" and (modality or values.dtype.name not in PEAKS or not flat):
            return cls.numbers(values, modality or "array", special=special.find(values[None, ..., None]))
        if values.dtype.name not in PEAKS or not flat:
            raise UsageError(
                f"an image is [H, W] or [H, W, 1 to 4] of uint8 or uint16, several are [N, H, W, 1 to 4], not"
                f" {values.shape} {values.dtype}"
            )
        if values.size == 0:
            raise UsageError(f"there are no samples in an array of shape {values.shape}")
        values = values.astype(values.dtype.name, copy=False)  # native byte order
        values = values[..., None] if values.ndim == 2 else values
        return cls(values, ImageFormat(values.dtype.name, values.shape[-1]))

    @classmethod
    def numbers(cls, values: Values, modality: str = "array", dims: int | None = None, **fields: Any) -> "Signal":
        """Wrap real numbers of shape [*grid], [*grid, C] or [N, *grid, C]; fields: those of `ArrayFormat`.

        dims: of the grid; None takes every axis for one of the grid. Raises UsageError.
        """
        shape = values.shape
        dims = len(shape) if dims is None else dims
        if not 0 <= len(shape) - dims <= 2 or not 1 <= dims <= 3:
            raise UsageError(f"an array of shape {shape} has no grid of 1 to 3 axes")
        if not np.prod(shape, dtype=object):
            raise UsageError(f"there are no samples in an array of shape {shape}")
        kind = np.dtype(values.dtype)
        form = ArrayFormat(modality, dims, kind.name, shape[-1] if len(shape) > dims else 1, **fields)
        if isinstance(values, np.ndarray):
            values = values.astype(kind.newbyteorder("="), copy=False)
            values = values[..., None] if len(shape) == dims else values
        elif len(shape) == dims:
            raise TypeError("only arrays may lack the axis of channels")
        return cls(values, form)

    @classmethod
    def sound(cls, values: NDArray[Any], rate: int, notes: tuple[str, ...] = ()) -> "Signal":
        """Wrap the samples of a sound, [T] or [T, C], of dtype int16, int32 or float32. Raises UsageError."""
        if values.ndim not in (1, 2) or values.size == 0:
            raise UsageError(f"samples of a sound must be shaped [T] or [T, C], not {values.shape}")
        values = values.reshape(len(values), -1)
        return cls(values, AudioFormat(values.dtype.name, values.shape[1], rate), notes)
