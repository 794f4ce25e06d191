"""The whole story, both directions: file ⇄ signal ⇄ latents ⇄ symbols ⇄ container."""

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from inrcodec import basemodels, bounds, container, devices, files, fitting, formats, recovery, stream
from inrcodec.basemodels import ModelInfo
from inrcodec.container import METHODS, MODALITIES, MODEL_ID_BYTES, Header
from inrcodec.coordinates import output_grid
from inrcodec.errors import CorruptStream, OutOfMemory, UsageError, VerificationFailed
from inrcodec.fields.field import Field
from inrcodec.fields.pyramid import operating_point
from inrcodec.methods.method import WITHOUT_NETWORK, Model, Progress, module, name_of
from inrcodec.methods.pyramid import PyramidModel
from inrcodec.recovery import Sections
from inrcodec.residual.lattice import Lattice
from inrcodec.settings import DEFAULT_METHOD, Encoded, Settings
from inrcodec.signal import Lazy, SampleFormat, Signal
from inrcodec.targets import Target, search

MAX_PIXELS = formats.image.MAX_PIXELS
"""Positions of an item beyond which a signal or a stream is refused unless the caller allows more."""


def encode(
    source: Path | str | bytes | ArrayLike, modality: str | None = None, variable: str | None = None, **settings: object
) -> bytes:
    """A file, its bytes, or samples (as `Signal.from_array` takes them) → a stream.

    modality, variable: as `formats.read` takes them. Other keywords: the fields of `Settings`.
    Raises members of `inrcodec.errors`.
    """
    if isinstance(source, (bytearray, memoryview)):
        source = bytes(source)
    if isinstance(source, (str, Path, bytes)):
        signal = formats.read(source if isinstance(source, bytes) else Path(source), modality, variable)
    elif variable is not None:
        raise UsageError(f"an array has no variables, so no '{variable}'")
    else:
        signal = Signal.from_array(source, modality)
    return compress(signal, Settings(**settings)).data  # type: ignore[arg-type]


def compress(signal: Signal, settings: Settings, progress: Progress = lambda *_: None) -> Encoded:
    """Encode a signal: find the operating point if a target was given, adapt, code, and decode what was coded."""
    started = time.monotonic()
    info, model = _model(signal, settings)

    def write(level: int, effort: int, lattice: Lattice | None = None) -> tuple[bytes, Header, SampleFormat]:
        octave, point = fitting.split(level)
        own = replace(signal, format=fitting.fitted(signal, info, octave))
        header = Header(
            method=METHODS[info.method if info else settings.method or DEFAULT_METHOD],
            modality=MODALITIES[signal.format.modality],
            model_id=info.id if info else bytes(MODEL_ID_BYTES),
            shape=signal.shape,
            samples=own.format.to_byte(),
            operating_point=point,
            block=own.format.to_block(),
            items=signal.items if signal.batch else None,
        )
        return stream.write(own, header, model, effort, progress, lattice), header, own.format

    def finish(data: bytes, header: Header, form: SampleFormat) -> Encoded:
        distortion = stream.compare(signal, data, model)  # the encoder's last act: decode what it wrote
        return Encoded(data, header, form, distortion, time.monotonic() - started, signal.notes)

    def attempt(level: int, effort: int) -> Encoded:
        return finish(*write(level, effort))

    with _memory(math.prod(signal.shape)):
        lattice = bounds.lattice(settings, signal)
        if lattice is not None:
            given = settings.quality is not None or settings.lmbda is not None
            level = _operating_point(settings, model) if given else None
            found = bounds.smallest(write, lattice, level, settings.effort, model.points)
            return bounds.verified(finish(*found), lattice)
        target = _target(settings, signal)
        if target is None:
            return attempt(_operating_point(settings, model), settings.effort)
        best, note = search(attempt, target, settings.effort, *fitting.levels(signal, info, model))
        return replace(best, seconds=time.monotonic() - started, notes=(*best.notes, *note))


def verify(signal: Signal, encoded: Encoded, device: str, data: bytes) -> None:
    """Decode a stream as a disk has it, and compare with what its encoder announced. Raises VerificationFailed."""
    if data != encoded.data:
        raise VerificationFailed(f"{len(data)} bytes read back are not the {len(encoded.data)} bytes written")
    _, _, model = _open(data, False, device, math.prod(signal.shape))
    found, announced = stream.compare(signal, data, model), encoded.distortion
    if not math.isclose(found.rmse, announced.rmse, rel_tol=0.01):
        raise VerificationFailed(f"the stream decodes with an RMSE of {found.rmse:.6g}, not {announced.rmse:.6g}")
    if encoded.bound is not None and not found.largest <= encoded.bound:
        raise VerificationFailed(f"the stream decodes with an error of {found.largest:.6g}, beyond {encoded.bound:g}")


def decode(
    source: Path | str | bytes,
    *,
    item: int | None = None,
    scale: float | None = None,
    size: tuple[int, ...] | None = None,
    region: tuple[int, ...] | None = None,
    preview: bool = False,
    recover: bool = False,
    device: str = "auto",
    max_pixels: int = MAX_PIXELS,
    progress: Progress = lambda *_: None,
) -> NDArray[Any]:
    """A stream → samples [*grid, C] in the dtype of the original: [H, W, C] of an image, [T, C] of a sound.

    Of a batch [N, *grid, C], or with `item` one of them.
    scale: any positive real. size: (width, height), or (samples,) of a sound. region: (x, y, width, height) in pixels
    of the original, or (start, samples), of which scale and size then speak. preview: data may end early,
    what is there is decoded. recover: what is intact of damaged data is decoded; a warning names what is lost, tiles
    are coarser or blank and items of a batch NaN, or 0 where samples are integers.
    Raises members of `inrcodec.errors`.
    """
    signal = reconstruct(source, item, scale, size, region, preview, device, max_pixels, progress, recover)
    for note in signal.notes:
        warnings.warn(note, stacklevel=2)
    return np.asarray(signal.values[...])


def reconstruct(
    source: Path | str | bytes,
    item: int | None,
    scale: float | None,
    size: tuple[int, ...] | None,
    region: tuple[int, ...] | None,
    preview: bool,
    device: str,
    max_pixels: int,
    progress: Progress,
    recover: bool = False,
) -> Signal:
    """As `decode`, with what a file needs besides the samples; its notes name what `recover` found to be lost.

    The items of a batch are decoded when asked for.
    """
    header, sections, model = _open(source, preview, device, max_pixels, recover)
    form = stream.sample_format(header)
    window, out = output_grid(header.shape, scale, size, region, max_pixels)
    wanted = range(header.items or 1) if item is None else [_item(header, item)]
    total = len(wanted)
    filler = math.nan if np.dtype(form.dtype).kind == "f" else 0
    own, rest = stream.split(header, sections)
    notes = recovery.losses(header, own, wanted, "NaN" if filler else "0") if recover else ()
    if recover and rest and (notes or None in rest):
        notes += (f"the error bound does not hold ({rest.count(None)} of its {len(rest)} sections are lost)",)

    def samples(k: int) -> NDArray[Any]:
        def advance(what: str, share: float) -> None:
            progress(what, ((k if total > 1 else 0) + share) / total)

        if notes and header.items is not None and None in recovery.of_item(header, own, k):
            return np.full((*out, form.channels), filler, form.dtype)
        with _memory(math.prod(header.shape)):
            return stream.read(header, sections, model, k).samples(scale, size, region, max_pixels, advance)

    changed = (*window, *out) != (*((0, n) for n in header.shape), *header.shape)
    exact = header.residual and out == tuple(b - a for a, b in window)
    if header.items is not None and item is None:
        form = form.placed(window, out, header.shape, header.items) if changed else form
        return Signal(Lazy(samples, (header.items, *out, form.channels), np.dtype(form.dtype)), form, notes, exact)
    k = _item(header, item)
    form = form if header.items is None else form.of_item(k, header.shape)
    form = form.placed(window, out, header.shape) if changed else form  # refuses before there is work
    return Signal(samples(k), form, notes, exact)


def open_field(
    source: Path | str | bytes,
    *,
    item: int | None = None,
    preview: bool = False,
    device: str = "auto",
    max_pixels: int = MAX_PIXELS,
) -> Field:
    """A stream → the field it encodes, which can be evaluated at any coordinate; of a batch that of one item."""
    header, sections, model = _open(source, preview, device, max_pixels)
    with _memory(math.prod(header.shape)):
        return stream.read(header, sections, model, _item(header, item))


def describe(source: Path | str | bytes) -> dict[str, object]:
    """What a stream says of itself, without decoding it."""
    return container.describe(_bytes(source))


def _bytes(source: Path | str | bytes) -> bytes:
    return bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else files.read(Path(source))


def _open(
    source: Path | str | bytes, preview: bool, device: str, max_pixels: int, recover: bool = False
) -> tuple[Header, Sections, Model]:
    """A stream that this program can decode, and the base network it needs."""
    if preview and recover:
        raise UsageError("preview and recover exclude each other")
    data = _bytes(source)
    header, sections = container.salvage(data) if recover else container.read(data, prefix=preview)
    stream.check(header, len(container.read_header(data)[1]), max_pixels)
    method, device = name_of(header.method) or "", devices.choose(device)
    if method in WITHOUT_NETWORK:
        return header, sections, module(method).load(None, {}).to(device)
    info = basemodels.by_id(header.model_id)
    if info.method != method:
        raise CorruptStream(f"the stream is of method {method}, its base network {info.name} of {info.method}")
    model, planes = basemodels.load(info, device), stream.sample_format(header).planes
    if model.dims != len(header.shape) or max(map(len, planes)) > model.channels:
        raise CorruptStream(
            f"base network {info.name} is for {model.dims} axes and {model.channels} channels at once, "
            f"the stream has {len(header.shape)} and {max(map(len, planes))}"
        )
    return header, sections, model


def _model(signal: Signal, settings: Settings) -> tuple[ModelInfo | None, Model]:
    """The base network, if the method has one, and the model to encode with. Raises UsageError."""
    device = devices.choose(settings.device)
    method = settings.method or DEFAULT_METHOD
    info = basemodels.by_name(settings.model) if settings.model else fitting.choose(signal, method)
    if info is not None and settings.method not in (None, info.method):
        raise UsageError(f"base network {info.name} is of method {info.method}, not {settings.method}")
    if info is not None:
        if settings.options or settings.preset:
            raise UsageError(f"method {info.method} has no options: those of base network {info.name} are trained")
        model = basemodels.load(info, device)
    else:
        model = _without_network(method, settings, device)
    fitting.check(signal, info, model)
    return info, model


def _without_network(method: str, settings: Settings, device: str) -> Model:
    found = module(method)
    presets: dict[str, dict[str, object]] = getattr(found, "PRESETS", {})
    if settings.preset is not None and settings.preset not in presets:
        raise UsageError(f"{method} has no preset '{settings.preset}'; there are {', '.join(presets)}")
    try:
        return found.load(None, presets.get(settings.preset or "", {}) | dict(settings.options)).to(device)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{method}: {error}") from None


def _item(header: Header, item: int | None) -> int:
    """Which item to decode, the first one by default. Raises UsageError."""
    count = header.items or 1
    if item is not None and not 0 <= item < count:
        raise UsageError(f"there is no item {item}; the stream has {count}, from 0 to {count - 1}")
    return item or 0


@contextmanager
def _memory(positions: int) -> Iterator[None]:
    """Name the ways in which memory runs out."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise OutOfMemory(f"not enough memory for {positions} samples") from None
    except RuntimeError as error:  # of torch's allocator on the CPU
        if "allocate memory" not in str(error):
            raise
        raise OutOfMemory(f"not enough memory for {positions} samples") from None


def _operating_point(settings: Settings, model: Model) -> int:
    if settings.lmbda is not None:
        if not isinstance(model, PyramidModel):
            raise UsageError("lmbda is for the pyramid; other methods have quality and targets")
        return operating_point(settings.lmbda, model.config.aim if settings.effort else 1.0)
    quality = 50.0 if settings.quality is None else settings.quality
    return round(quality / 100 * (model.points - 1))


def _target(settings: Settings, signal: Signal) -> Target[Encoded] | None:
    """What to search for, if a target was given. Raises UsageError."""
    if settings.target_bpp is not None:
        return Target("bpp", settings.target_bpp, lambda e: e.bpp)
    if settings.target_bytes is not None:
        return Target("bytes", settings.target_bytes, lambda e: len(e.data))
    if settings.target_psnr is not None:
        return Target("dB", settings.target_psnr, lambda e: e.psnr)
    if settings.target_snr is not None:
        return Target("dB", settings.target_snr, lambda e: e.distortion.snr)
    if settings.target_kbps is not None:
        if not hasattr(signal.format, "rate"):
            raise UsageError(f"target_kbps is for sounds and films; this is of kind '{signal.format.modality}'")
        return Target("kbps", settings.target_kbps, lambda e: e.kbps)
    if settings.target_rmse is not None:
        factor = float(getattr(signal.format, "info", {}).get("scale_factor", 1.0))
        unit = getattr(signal.format, "info", {}).get("units", "")
        return Target(
            f"RMSE {unit}".strip(), settings.target_rmse, lambda e: e.distortion.rmse * abs(factor), rising=False
        )
    return None
