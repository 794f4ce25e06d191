"""A signal: samples on a grid, kept as the integers the file held, and how to go to features and back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inrcodec.errors import CorruptStream, UsageError

PEAKS = {"uint8": 255, "uint16": 65535}


@dataclass(frozen=True)
class SampleFormat:
    """How samples looked in the file: enough to turn decoded features into the same kind of samples.

    dtype: "uint8" or "uint16".
    channels: 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha; alpha is straight, not premultiplied.
    """

    dtype: str
    channels: int

    def __post_init__(self) -> None:
        if self.dtype not in PEAKS or not 1 <= self.channels <= 4:
            raise UsageError(f"no sample format has {self.channels} channels of {self.dtype}")

    @property
    def peak(self) -> int:
        """The largest sample: 255 or 65535."""
        return PEAKS[self.dtype]

    def to_byte(self) -> int:
        """Pack for a header: bits 0-1 channels - 1, bit 2 set for 16-bit samples, bits 3-7 zero."""
        return self.channels - 1 | (self.dtype == "uint16") << 2

    @classmethod
    def from_byte(cls, byte: int) -> "SampleFormat":
        """Unpack `to_byte`. Raises CorruptStream if a reserved bit is set."""
        if not 0 <= byte < 8:
            raise CorruptStream(f"the sample format byte is 0x{byte:02x}, but only bits 0 to 2 may be set")
        return cls("uint16" if byte & 4 else "uint8", (byte & 3) + 1)

    def to_features(self, values: NDArray[np.integer]) -> NDArray[np.float32]:
        """Samples [..., C] to float32 features in [0, 1]."""
        return values.astype(np.float32) / np.float32(self.peak)

    def from_features(self, features: NDArray[np.floating]) -> NDArray[np.integer]:
        """Undo `to_features`: features [..., C], clipped to [0, 1], scaled and rounded half to even."""
        return np.rint(np.clip(features, 0, 1) * self.peak).astype(self.dtype)


@dataclass(frozen=True)
class Signal:
    """One item to code.

    values: [H, W, C] in the file's own integer dtype; a tile becomes float only when it is coded.
    notes: one-line warnings for the user about what reading the file changed or left out.
    """

    values: NDArray[np.integer]
    format: SampleFormat
    modality: str = "image"
    notes: tuple[str, ...] = ()

    @classmethod
    def from_array(cls, array: ArrayLike) -> "Signal":
        """Wrap samples [H, W] or [H, W, C], C from 1 to 4, of dtype uint8 or uint16; not copied.

        Raises UsageError for any other shape or dtype, and for an empty array.
        """
        try:
            values = np.asarray(array)
        except ValueError:
            raise UsageError("samples must form an array, but the rows differ in length") from None
        if values.dtype.name not in PEAKS:
            raise UsageError(f"samples must be uint8 or uint16, not {values.dtype.name} (shape {values.shape})")
        if values.ndim not in (2, 3) or (values.ndim == 3 and not 1 <= values.shape[2] <= 4):
            raise UsageError(f"samples must be shaped [H, W] or [H, W, C] with 1 to 4 channels, not {values.shape}")
        if values.size == 0:
            raise UsageError(f"there are no samples in an array of shape {values.shape}")
        values = values.astype(values.dtype.name, copy=False)  # native byte order
        values = values.reshape(*values.shape[:2], -1)
        return cls(values, SampleFormat(values.dtype.name, values.shape[2]))
