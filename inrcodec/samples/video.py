"""Samples of films."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import CorruptStream, UsageError
from inrcodec.window import Shape, Window

MAX_TERM = 1 << 24  # of a frame rate


@dataclass(frozen=True)
class VideoFormat:
    """How the frames of a film looked in the file: [T, H, W, 3] uint8, full-range RGB.

    rate: frames per second. frames: how many there are in all; a long film is a batch of equally long chunks, of which
    the last repeats its last frame. sound: a Matroska file with the audio track, as it was, or nothing.
    """

    rate: Fraction
    frames: int
    sound: bytes = b""
    modality: ClassVar[str] = "video"
    dims: ClassVar[int] = 3
    dtype: ClassVar[str] = "uint8"
    channels: ClassVar[int] = 3
    peak: ClassVar[float] = 255.0
    planes: ClassVar[tuple[tuple[int, ...], ...]] = ((0, 1, 2),)

    def __post_init__(self) -> None:
        if not (0 < self.rate.numerator <= MAX_TERM and self.rate.denominator <= MAX_TERM):
            raise UsageError(f"a rate of {self.rate} frames per second is beyond {MAX_TERM}")
        if self.frames < 1:
            raise UsageError("a film has no frames")

    def to_byte(self) -> int:
        """Zero: there is one kind."""
        return 0

    def to_block(self) -> bytes:
        """Numerator − 1 and denominator − 1 of the rate, three bytes each; frames, five bytes; the sound."""
        terms = ((self.rate.numerator - 1, 3), (self.rate.denominator - 1, 3), (self.frames, 5))
        return b"".join(value.to_bytes(count, "little") for value, count in terms) + self.sound

    @classmethod
    def from_header(cls, byte: int, block: bytes, shape: Shape, items: int) -> "VideoFormat":
        """Undo `to_byte` and `to_block`. Raises CorruptStream."""
        if byte or len(block) < 11:
            raise CorruptStream(f"sample format byte {byte}, {len(block)} bytes of block; a film has 0 and at least 11")
        numerator, denominator, frames = (int.from_bytes(block[a:b], "little") for a, b in ((0, 3), (3, 6), (6, 11)))
        if not (items - 1) * shape[0] < frames <= items * shape[0]:
            raise CorruptStream(f"{frames} frames in {items} chunks of {shape[0]}")
        return cls(Fraction(numerator + 1, denominator + 1), frames, block[11:])

    def dimensions(self, shape: Shape) -> dict[str, int]:
        """The size of a grid in words."""
        return {"width": shape[2], "height": shape[1], "frames": self.frames}

    def of_item(self, item: int, shape: Shape) -> "VideoFormat":
        """The format of one chunk: silent."""
        return replace(self, frames=min(shape[0], self.frames - item * shape[0]), sound=b"")

    def placed(self, window: Window, out: Shape, shape: Shape, items: int = 1) -> "VideoFormat":
        """The format of a window of every chunk of `shape`, resampled to `out` positions: as long in seconds.

        Raises UsageError if parts of the time of several chunks were to be joined.
        """
        start, stop = window[0]
        if items > 1 and (start, stop) != (0, shape[0]):
            raise UsageError(
                f"the film is in {items} chunks of {shape[0]} frames: name one with --item to cut its time"
            )
        ratio = Fraction(out[0], stop - start)
        frames = round(self.frames * ratio) if items > 1 else out[0]
        sound = self.sound if start == 0 and frames == round(self.frames * ratio) else b""  # a part of a film is silent
        return replace(self, rate=(self.rate * ratio).limit_denominator(MAX_TERM), frames=frames, sound=sound)

    def to_features(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Samples [..., 3] to float32 features in [0, 1]."""
        return values.astype(np.float32) / np.float32(255)

    def from_features(self, features: NDArray[np.floating]) -> NDArray[Any]:
        """Undo `to_features`: clipped, scaled and rounded half to even."""
        return np.rint(np.clip(features, 0, 1) * np.float32(255)).astype(np.uint8)

    def numbers(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """As `from_features`, not rounded."""
        return np.clip(features.astype(np.float64), 0, 1) * 255
