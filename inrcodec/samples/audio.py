"""Samples of sounds."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptStream, UsageError
from inrcodec.window import Shape, Window

FULL_SCALES = {"int16": 1 << 15, "int32": 1 << 31, "float32": 1}
AUDIO_SPAN = 12.0  # features per full scale: brings what people hear into the λ range of the networks
MAX_AUDIO_CHANNELS = 8
MAX_RATE = 1 << 24  # hertz


@dataclass(frozen=True)
class AudioFormat:
    """How the samples of a sound looked in the file.

    dtype: "int16" (up to 16 bits), "int32" (24 or 32 bits, scaled to 32) or "float32" (full scale 1).
    channels: 1 to 8; of two, their sum and difference, each over √2, are coded. rate: samples per second.
    """

    dtype: str
    channels: int
    rate: int
    modality: ClassVar[str] = "audio"
    dims: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.dtype not in FULL_SCALES or not 1 <= self.channels <= MAX_AUDIO_CHANNELS:
            raise UsageError(f"no sound has {self.channels} channels of {self.dtype}; 1 to {MAX_AUDIO_CHANNELS} may be")
        if not 1 <= self.rate <= MAX_RATE:
            raise UsageError(f"a rate of {self.rate} Hz is not within 1 and {MAX_RATE}")

    @property
    def peak(self) -> float:
        """The range of PSNR: from the lowest to the highest sample, as if the waveform were mapped to [0, 1]."""
        return 2.0 * FULL_SCALES[self.dtype]

    @property
    def planes(self) -> tuple[tuple[int, ...], ...]:
        """Every channel on its own."""
        return tuple((c,) for c in range(self.channels))

    def to_byte(self) -> int:
        """Pack for a header: bits 0-2 channels - 1, bits 3-4 the place of the dtype in int16, int32, float32."""
        return self.channels - 1 | list(FULL_SCALES).index(self.dtype) << 3

    def dimensions(self, shape: tuple[int, ...]) -> dict[str, int]:
        """The length of a grid and its rate."""
        return {"samples": shape[0], "rate": self.rate}

    def of_item(self, item: int, shape: Shape) -> "AudioFormat":
        """The format of one item of a batch."""
        return self

    def placed(self, window: Window, out: Shape, shape: Shape, items: int = 1) -> "AudioFormat":
        """The format of a window of the grid, resampled to `out` positions: as long in seconds. Raises UsageError."""
        ((start, stop),) = window
        return replace(self, rate=round(self.rate * out[0] / (stop - start)))

    def to_block(self) -> bytes:
        """The rate, three bytes, little-endian, less one."""
        return (self.rate - 1).to_bytes(3, "little")

    @classmethod
    def from_header(cls, byte: int, block: bytes, shape: Shape = (1,), items: int = 1) -> "AudioFormat":
        """Undo `to_byte` and `to_block`. Raises CorruptStream."""
        if not 0 <= byte < 24:
            raise CorruptStream(f"the sample format byte of a sound is 0x{byte:02x}, but it is below 0x18")
        if len(block) != 3:
            raise CorruptStream(f"the modality block of a sound has 3 bytes, not {len(block)}")
        return cls(list(FULL_SCALES)[byte >> 3], (byte & 7) + 1, int.from_bytes(block, "little") + 1)

    def to_features(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Samples [..., C] to float32 features around 1/2; two channels become their sum and difference over √2."""
        x = (values.astype(np.float64) * (AUDIO_SPAN / FULL_SCALES[self.dtype])).astype(np.float32)
        return (x @ _MIDDLE_SIDE if self.channels == 2 else x) + np.float32(0.5)

    def from_features(self, features: NDArray[np.floating]) -> NDArray[Any]:
        """Undo `to_features`; integers are rounded half to even, and clipped."""
        x = self.numbers(features)
        if self.dtype == "float32":
            return x.astype(np.float32)
        limits = np.iinfo(self.dtype)
        return np.clip(np.rint(x), limits.min, limits.max).astype(self.dtype)

    def numbers(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """As `from_features`, neither rounded nor clipped."""
        x = features.astype(np.float64) - 0.5
        return (x @ _MIDDLE_SIDE.T if self.channels == 2 else x) * (FULL_SCALES[self.dtype] / AUDIO_SPAN)


_MIDDLE_SIDE = np.array([[1, 1], [1, -1]], np.float32) * np.float32(0.5**0.5)  # orthonormal: keeps the distortion
