"""How to encode, and what came of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from inrcodec.container import METHODS, Header
from inrcodec.errors import UsageError
from inrcodec.signal import SampleFormat

MAX_EFFORT = 9
DEFAULT_METHOD = "pyramid"

AIMS = ("quality", "lmbda", "target_bpp", "target_kbps", "target_psnr", "target_snr", "target_rmse", "target_bytes")
BOUNDS = ("max_error", "max_rel_error", "lossless")


@dataclass(frozen=True)
class Settings:
    """How to encode. At most one of quality, lmbda and the targets; none is quality 50, with a bound the smallest."""

    quality: float | None = None  # 0…100
    lmbda: float | None = None  # λ of R + λ·D, R in bits per position, D in 255²·MSE of the features
    target_bpp: float | None = None  # bits per position of the file: per pixel, sample, cell, voxel
    target_kbps: float | None = None  # kilobits per second, of a sound or a film
    target_psnr: float | None = None  # dB
    target_snr: float | None = None  # dB
    target_rmse: float | None = None  # root mean squared error in the units of the samples
    target_bytes: int | None = None
    max_error: float | None = None  # of any sample, in the units of the variable; with quality or lmbda, or neither
    max_rel_error: float | None = None  # the same, as a part of the range of the samples
    lossless: bool = False  # every sample comes back, of integers
    effort: int = 5  # 0 = amortised start only … 9 = hundreds of adaptation steps
    method: str | None = None  # None = that of the base network named, or pyramid
    model: str | None = None  # the name of a base network; None = the one for such a signal
    preset: str | None = None  # named options of a method without a base network
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))  # of such a method, on top
    device: str = "auto"

    def __post_init__(self) -> None:
        given = [name for name in AIMS if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other")
        for name in given:
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (value == 0 and name != "quality"):
                raise UsageError(f"{name} must be positive, not {value}")
        bounds = [name for name in BOUNDS if getattr(self, name)]
        if len(bounds) > 1 or bounds and set(given) - {"quality", "lmbda"}:
            raise UsageError(f"{' and '.join([*bounds, *given])} exclude each other")
        for name in ("max_error", "max_rel_error"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"{name} must be positive, not {value}; integers can be coded lossless")
        if self.quality is not None and self.quality > 100:
            raise UsageError(f"quality must be within 0 and 100, not {self.quality}")
        if not 0 <= self.effort <= MAX_EFFORT:
            raise UsageError(f"effort must be within 0 and {MAX_EFFORT}, not {self.effort}")
        if self.method is not None and self.method not in METHODS:
            raise UsageError(f"no method '{self.method}'; there are {', '.join(METHODS)}")


@dataclass(frozen=True)
class Distortion:
    """How a decoded signal differs from what went in, special samples left out. In units of the samples.

    peak: the range of PSNR. power: mean square of the samples, of numbers about their mean.
    """

    mse: float
    largest: float
    peak: float
    power: float

    @property
    def rmse(self) -> float:
        return math.sqrt(self.mse)

    @property
    def psnr(self) -> float:
        """dB; infinite if nothing differs."""
        return 10 * math.log10(self.peak**2 / self.mse) if self.mse else math.inf

    @property
    def snr(self) -> float:
        """dB; infinite if nothing differs, minus infinity of silence."""
        if not self.mse:
            return math.inf
        return 10 * math.log10(self.power / self.mse) if self.power else -math.inf


@dataclass(frozen=True)
class Encoded:
    """A finished stream, and what decoding it gave."""

    data: bytes
    header: Header
    format: SampleFormat
    distortion: Distortion
    seconds: float
    notes: tuple[str, ...]
    bound: float | None = None  # of the error of every sample, in its units; 0: lossless

    @property
    def size(self) -> dict[str, int]:
        """Width and height of an image; samples and rate of a sound; …"""
        return self.format.dimensions(self.header.shape)

    @property
    def psnr(self) -> float:
        """dB over all channels and items, from decoding `data`."""
        return self.distortion.psnr

    @property
    def bpp(self) -> float:
        """Bits per position: pixel, sample of all channels of a sound, cell, voxel."""
        return 8 * len(self.data) / (math.prod(self.header.shape) * (self.header.items or 1))

    @property
    def seconds_of_signal(self) -> float | None:
        """How long a sound or a film is."""
        fields = self.size
        rate = getattr(self.format, "rate", None)
        return None if rate is None else float(fields.get("samples", fields.get("frames", 0)) / rate)

    @property
    def kbps(self) -> float:
        """Kilobits per second of a sound or a film."""
        seconds = self.seconds_of_signal
        return math.nan if not seconds else 8 * len(self.data) / 1000 / seconds
