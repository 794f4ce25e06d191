"""Samples of images."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptStream, UsageError
from inrcodec.window import Shape, Window

PEAKS = {"uint8": 255, "uint16": 65535}


@dataclass(frozen=True)
class ImageFormat:
    """How the samples of an image looked in the file: enough to turn decoded features into the same kind of samples.

    dtype: "uint8" or "uint16".
    channels: 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha; alpha is straight, not premultiplied.
    """

    dtype: str
    channels: int
    modality: ClassVar[str] = "image"
    dims: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.dtype not in PEAKS or not 1 <= self.channels <= 4:
            raise UsageError(f"no image has {self.channels} channels of {self.dtype}")

    @property
    def peak(self) -> float:
        """The range of PSNR: 255 or 65535."""
        return PEAKS[self.dtype]

    @property
    def planes(self) -> tuple[tuple[int, ...], ...]:
        """Channels that are coded together: colour, then alpha."""
        colour = (0, 1, 2) if self.channels >= 3 else (0,)
        return (colour, (self.channels - 1,)) if self.channels in (2, 4) else (colour,)

    def to_byte(self) -> int:
        """Pack for a header: bits 0-1 channels - 1, bit 2 set for 16-bit samples, bits 3-7 zero."""
        return self.channels - 1 | (self.dtype == "uint16") << 2

    def to_block(self) -> bytes:
        return b""

    def dimensions(self, shape: tuple[int, ...]) -> dict[str, int]:
        """The size of a grid in words."""
        return {"width": shape[1], "height": shape[0]}

    def of_item(self, item: int, shape: Shape) -> "ImageFormat":
        """The format of one item of a batch."""
        return self

    def placed(self, window: Window, out: Shape, shape: Shape, items: int = 1) -> "ImageFormat":
        """The format of a window of the grid, resampled to `out` positions."""
        return self

    @classmethod
    def from_header(cls, byte: int, block: bytes, shape: Shape = (1, 1), items: int = 1) -> "ImageFormat":
        """Undo `to_byte` and `to_block`. Raises CorruptStream if a reserved bit is set, or there is a block."""
        if not 0 <= byte < 8:
            raise CorruptStream(f"the sample format byte is 0x{byte:02x}, but only bits 0 to 2 may be set")
        if block:
            raise CorruptStream(f"an image has no modality block, this one has {len(block)} bytes")
        return cls("uint16" if byte & 4 else "uint8", (byte & 3) + 1)

    def to_features(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Samples [..., C] to float32 features in [0, 1]."""
        return values.astype(np.float32) / np.float32(self.peak)

    def from_features(self, features: NDArray[np.floating]) -> NDArray[Any]:
        """Undo `to_features`: features [..., C], clipped to [0, 1], scaled and rounded half to even."""
        return np.rint(np.clip(features, 0, 1) * self.peak).astype(self.dtype)

    def numbers(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """As `from_features`, not rounded."""
        return np.clip(features.astype(np.float64), 0, 1) * self.peak
