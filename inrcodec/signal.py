"""A signal: samples on a grid, kept as the integers the file held, and how to go to features and back."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inrcodec.errors import CorruptStream, UsageError

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

    def scaled(self, factor: float) -> "ImageFormat":
        """The format after resampling."""
        return self

    @classmethod
    def from_header(cls, byte: int, block: bytes) -> "ImageFormat":
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


FULL_SCALES = {"int16": 1 << 15, "int32": 1 << 31, "float32": 1}
AUDIO_SPAN = 12.0  # features per full scale: brings what people hear into the λ range of the networks
MAX_AUDIO_CHANNELS = 8
MAX_RATE = 1 << 24  # hertz


@dataclass(frozen=True)
class AudioFormat:
    """How the samples of a sound looked in the file.

    dtype: "int16" (up to 16 bits), "int32" (24 or 32 bits, scaled to 32) or "float32" (full scale 1).
    channels: 1 to 8; of two, their half sum and half difference are coded. rate: samples per second.
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

    def scaled(self, factor: float) -> "AudioFormat":
        """The format after resampling: as long in seconds. Raises UsageError."""
        return replace(self, rate=round(self.rate * factor))

    def to_block(self) -> bytes:
        """The rate, three bytes, little-endian, less one."""
        return (self.rate - 1).to_bytes(3, "little")

    @classmethod
    def from_header(cls, byte: int, block: bytes) -> "AudioFormat":
        """Undo `to_byte` and `to_block`. Raises CorruptStream."""
        if not 0 <= byte < 24:
            raise CorruptStream(f"the sample format byte of a sound is 0x{byte:02x}, but it is below 0x18")
        if len(block) != 3:
            raise CorruptStream(f"the modality block of a sound has 3 bytes, not {len(block)}")
        return cls(list(FULL_SCALES)[byte >> 3], (byte & 7) + 1, int.from_bytes(block, "little") + 1)

    def to_features(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Samples [..., C] to float32 features around 1/2; two channels become their half sum and difference."""
        x = (values.astype(np.float64) * (AUDIO_SPAN / FULL_SCALES[self.dtype])).astype(np.float32)
        return (x @ _MIDDLE_SIDE if self.channels == 2 else x) + np.float32(0.5)

    def from_features(self, features: NDArray[np.floating]) -> NDArray[Any]:
        """Undo `to_features`; integers are rounded half to even, and clipped."""
        x = features.astype(np.float64) - 0.5
        x = (x @ _MIDDLE_SIDE.T if self.channels == 2 else x) * (FULL_SCALES[self.dtype] / AUDIO_SPAN)
        if self.dtype == "float32":
            return x.astype(np.float32)
        limits = np.iinfo(self.dtype)
        return np.clip(np.rint(x), limits.min, limits.max).astype(self.dtype)


_MIDDLE_SIDE = np.array([[1, 1], [1, -1]], np.float32) * np.float32(0.5**0.5)  # orthonormal: keeps the distortion

SampleFormat = ImageFormat | AudioFormat

FORMATS: dict[str, type[ImageFormat] | type[AudioFormat]] = {"image": ImageFormat, "audio": AudioFormat}
"""By modality."""


@dataclass(frozen=True)
class Signal:
    """One item to code.

    values: [*grid, C] in the file's own dtype: [H, W, C] of an image, [T, C] of a sound. A tile becomes float only
    when it is coded.
    notes: one-line warnings for the user about what reading the file changed or left out.
    """

    values: NDArray[Any]
    format: SampleFormat
    notes: tuple[str, ...] = ()

    @classmethod
    def from_array(cls, array: ArrayLike) -> "Signal":
        """Wrap the samples of an image, [H, W] or [H, W, C], C from 1 to 4, of dtype uint8 or uint16; not copied.

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
        return cls(values, ImageFormat(values.dtype.name, values.shape[2]))

    @classmethod
    def sound(cls, values: NDArray[Any], rate: int, notes: tuple[str, ...] = ()) -> "Signal":
        """Wrap the samples of a sound, [T] or [T, C], of dtype int16, int32 or float32. Raises UsageError."""
        if values.ndim not in (1, 2) or values.size == 0:
            raise UsageError(f"samples of a sound must be shaped [T] or [T, C], not {values.shape}")
        values = values.reshape(len(values), -1)
        return cls(values, AudioFormat(values.dtype.name, values.shape[1], rate), notes)
