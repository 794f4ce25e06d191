"""The whole story, both directions: file ⇄ signal ⇄ latents ⇄ symbols ⇄ container."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from inrcodec import basemodels, container, devices, files, formats
from inrcodec.adaptation import EFFORT_STEPS
from inrcodec.container import METHODS, MODALITIES, Header
from inrcodec.errors import CorruptStream, LimitExceeded, OutOfMemory, TruncatedStream, UsageError
from inrcodec.fields.field import Field
from inrcodec.fields.grids import Window
from inrcodec.fields.pyramid import operating_point
from inrcodec.methods import pyramid
from inrcodec.methods.pyramid import PyramidModel
from inrcodec.priors.context import OPERATING_POINTS
from inrcodec.signal import FORMATS, SampleFormat, Signal
from inrcodec.targets import Target, search

MAX_PIXELS = formats.image.MAX_PIXELS
"""Pixels beyond which an image or a stream is refused unless the caller allows more."""

Progress = Callable[[str, float], None]
"""(what is being done, share of it done 0…1)"""


@dataclass(frozen=True)
class Settings:
    """How to encode. At most one of quality, lmbda and the targets; none means quality 50."""

    quality: float | None = None  # 0…100
    lmbda: float | None = None  # λ of R + λ·D, R in bits per pixel, D in 255²·MSE
    target_bpp: float | None = None  # bits per pixel of the file
    target_psnr: float | None = None  # dB
    target_bytes: int | None = None
    effort: int = 5  # 0 = amortised start only … 9 = hundreds of adaptation steps
    model: str | None = None  # the name of a base network; None = the default of the modality
    device: str = "auto"

    def __post_init__(self) -> None:
        given = [
            n for n in ("quality", "lmbda", "target_bpp", "target_psnr", "target_bytes") if getattr(self, n) is not None
        ]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other")
        for name in given:
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (value == 0 and name != "quality"):
                raise UsageError(f"{name} must be positive, not {value}")
        if self.quality is not None and self.quality > 100:
            raise UsageError(f"quality must be within 0 and 100, not {self.quality}")
        if not 0 <= self.effort < len(EFFORT_STEPS):
            raise UsageError(f"effort must be within 0 and {len(EFFORT_STEPS) - 1}, not {self.effort}")


@dataclass(frozen=True)
class Encoded:
    """A finished stream, and what decoding it gave."""

    data: bytes
    header: Header
    psnr: float  # dB over all channels, from decoding `data`; infinite if nothing differs
    seconds: float
    notes: tuple[str, ...]

    @property
    def size(self) -> dict[str, int]:
        """Width and height of an image; samples and rate of a sound."""
        return _format(self.header).dimensions(self.header.shape)

    @property
    def bpp(self) -> float:
        """Bits per pixel; bits per sample of all channels of a sound."""
        return 8 * len(self.data) / math.prod(self.header.shape)


def encode(source: Path | str | bytes | ArrayLike, **settings: object) -> bytes:
    """A file, its bytes, or the samples of an image [H, W(, C)] uint8 or uint16 → a stream.

    Keywords: the fields of `Settings`. Raises members of `inrcodec.errors`.
    """
    return compress(_signal(source), Settings(**settings)).data  # type: ignore[arg-type]


def compress(signal: Signal, settings: Settings, progress: Progress = lambda *_: None) -> Encoded:
    """Encode a signal: find the operating point if a target was given, adapt, code, and decode what was coded."""
    started = time.monotonic()
    info = basemodels.by_name(settings.model or basemodels.DEFAULT[signal.format.modality])
    if info.modality != signal.format.modality:
        raise UsageError(f"base network {info.name} is for kind '{info.modality}', this is '{signal.format.modality}'")
    model = basemodels.load(info, devices.choose(settings.device))
    shape = signal.values.shape[:-1]

    def attempt(point: int, effort: int) -> Encoded:
        header = Header(
            method=METHODS[info.method],
            modality=MODALITIES[signal.format.modality],
            model_id=info.id,
            shape=shape,
            samples=signal.format.to_byte(),
            operating_point=point,
            block=signal.format.to_block(),
        )
        data = _write(signal, header, model, EFFORT_STEPS[effort], progress)
        return Encoded(data, header, _psnr(signal, data, model), time.monotonic() - started, signal.notes)

    with _memory(math.prod(shape)):
        if settings.target_bpp is not None:
            target: Target[Encoded] = Target("bpp", settings.target_bpp, lambda e: e.bpp)
        elif settings.target_bytes is not None:
            target = Target("bytes", settings.target_bytes, lambda e: len(e.data))
        elif settings.target_psnr is not None:
            target = Target("dB", settings.target_psnr, lambda e: e.psnr)
        else:
            return attempt(_operating_point(settings), settings.effort)
        best, note = search(attempt, target, settings.effort)
        return replace(best, seconds=time.monotonic() - started, notes=(*best.notes, *note))


def decode(
    source: Path | str | bytes,
    *,
    scale: float | None = None,
    size: tuple[int, ...] | None = None,
    region: tuple[int, ...] | None = None,
    preview: bool = False,
    device: str = "auto",
    max_pixels: int = MAX_PIXELS,
    progress: Progress = lambda *_: None,
) -> NDArray[Any]:
    """A stream → samples [*grid, C] in the dtype of the original: [H, W, C] of an image, [T, C] of a sound.

    scale: any positive real. size: (width, height), or (samples,) of a sound. region: (x, y, width, height) in pixels
    of the original, or (start, samples), of which scale and size then speak. preview: data may end early,
    what is there is decoded. Raises members of `inrcodec.errors`.
    """
    return reconstruct(source, scale, size, region, preview, device, max_pixels, progress).values


def reconstruct(
    source: Path | str | bytes,
    scale: float | None,
    size: tuple[int, ...] | None,
    region: tuple[int, ...] | None,
    preview: bool,
    device: str,
    max_pixels: int,
    progress: Progress,
) -> Signal:
    """As `decode`, with what a file needs besides the samples."""
    field = open_field(source, preview=preview, device=device, max_pixels=max_pixels)
    with _memory(math.prod(field.shape)):
        values = field.samples(scale=scale, size=size, region=region, max_pixels=max_pixels, progress=progress)
    extent = field.shape[-1] if region is None else region[-1]
    return Signal(values, field.format.scaled(values.shape[-2] / extent))


def open_field(
    source: Path | str | bytes, *, preview: bool = False, device: str = "auto", max_pixels: int = MAX_PIXELS
) -> Field:
    """A stream → the field it encodes, which can be evaluated at any coordinate."""
    data = source if isinstance(source, bytes) else files.read(Path(source))
    header, sections = container.read(data, prefix=preview)
    _check(header, len(container.read_header(data)[1]), max_pixels)
    model = basemodels.load(basemodels.by_id(header.model_id), devices.choose(device))
    with _memory(math.prod(header.shape)):
        return _read(header, sections, model)


def describe(source: Path | str | bytes) -> dict[str, object]:
    """What a stream says of itself, without decoding it."""
    data = source if isinstance(source, bytes) else files.read(Path(source))
    return container.describe(data)


@contextmanager
def _memory(pixels: int) -> Iterator[None]:
    """Name the ways in which memory runs out."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise OutOfMemory(f"not enough memory for {pixels} pixels") from None
    except RuntimeError as error:  # of torch's allocator on the CPU
        if "allocate memory" not in str(error):
            raise
        raise OutOfMemory(f"not enough memory for {pixels} pixels") from None


def _write(signal: Signal, header: Header, model: PyramidModel, steps: int, progress: Progress) -> bytes:
    sections: list[bytes] = []
    coded = []
    planes = signal.format.planes
    total = len(planes) * pyramid.tile_count(header.shape) * max(steps, 1)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress("adapting", done / total)

    for channels in planes:

        def features(window: Window, channels: tuple[int, ...] = channels) -> torch.Tensor:
            part = signal.format.to_features(signal.values[tuple(slice(a, b) for a, b in window)])[..., channels]
            return torch.from_numpy(part).movedim(-1, 0).expand(model.config.channels, *part.shape[:-1])

        single, point = len(channels) < model.config.channels, header.operating_point
        latents = pyramid.find_latents(model, features, header.shape, point, single, steps, advance)
        coded.append(pyramid.write_symbols(model, latents, header.shape, point, single))
    for level in range(pyramid.SECTIONS):
        for plane in coded:
            sections += plane[level]
    return container.write(header, sections)


def _read(header: Header, sections: list[bytes], model: PyramidModel) -> Field:
    """The inverse of `_write`; sections that a prefix lacks leave the finest latents at zero."""
    form = _format(header)
    planes = form.planes
    per_level = len(planes) * pyramid.tile_count(header.shape)
    levels = len(sections) // per_level
    if not levels:
        raise TruncatedStream(f"{len(sections)} whole sections are there; a preview needs {per_level}")
    latents = []
    for p, channels in enumerate(planes):
        n = per_level // len(planes)
        own = [sections[k * per_level + p * n : k * per_level + (p + 1) * n] for k in range(levels)]
        single = len(channels) < model.config.channels
        latents.append(pyramid.read_symbols(model, own, header.shape, header.operating_point, single))
    return Field(model, header.shape, header.operating_point, form, latents)


def _format(header: Header) -> SampleFormat:
    """Raises CorruptStream."""
    name = next(name for name, number in MODALITIES.items() if number == header.modality)
    return FORMATS[name].from_header(header.samples, header.block)


def _check(header: Header, sections: int, max_pixels: int) -> None:
    """Refuse what this program cannot decode, before any network is loaded or memory is taken."""
    positions = math.prod(header.shape)
    if header.method not in METHODS.values() or header.modality not in MODALITIES.values():
        raise CorruptStream(f"method {header.method} and modality {header.modality} are not known")
    form = _format(header)
    if len(header.shape) != form.dims:
        raise CorruptStream(f"a signal of this kind has {form.dims} axes, not {len(header.shape)}")
    if positions > max_pixels:
        size = "x".join(map(str, header.shape[::-1]))
        raise LimitExceeded(f"{size} = {positions} samples; the limit is {max_pixels}")
    expected = pyramid.SECTIONS * len(form.planes) * pyramid.tile_count(header.shape)
    if sections != expected:
        raise CorruptStream(f"{sections} sections; this signal needs {expected}")


def _psnr(signal: Signal, data: bytes, model: PyramidModel) -> float:
    """Decode a stream just written and compare: the encoder's last act. dB, over all channels."""
    header, sections = container.read(data)
    field = _read(header, sections, model)
    error = 0.0
    for where, decoded in field.tiles():
        difference = signal.values[where].astype(np.float64) - decoded
        error += float(np.square(difference).sum())
    mse = error / signal.values.size
    return 10 * math.log10(signal.format.peak**2 / mse) if mse else math.inf


def _operating_point(settings: Settings) -> int:
    if settings.lmbda is not None:
        return operating_point(settings.lmbda)
    quality = 50.0 if settings.quality is None else settings.quality
    return round(quality / 100 * (OPERATING_POINTS - 1))


def _signal(source: Path | str | bytes | ArrayLike) -> Signal:
    if isinstance(source, (str, Path)):
        return formats.read(Path(source))
    return formats.read(source) if isinstance(source, bytes) else Signal.from_array(source)
