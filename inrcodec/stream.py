"""Between a signal and its container: which sections there are, and the order they come in.

A signal on its own has `pyramid.SECTIONS` sections for every tile of every plane, all the coarse ones first, so that
a prefix is a preview. A batch has one for every tile of every plane, item by item: each decodes without the others.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec import container
from inrcodec.container import METHODS, MODALITIES, Header
from inrcodec.coordinates import unit_vectors
from inrcodec.errors import CorruptStream, LimitExceeded, TruncatedStream
from inrcodec.fields.field import Field
from inrcodec.methods import pyramid
from inrcodec.methods.pyramid import PyramidModel
from inrcodec.samples.array import ArrayFormat
from inrcodec.samples.special import fill
from inrcodec.settings import Distortion
from inrcodec.signal import DIMS, FORMATS, SampleFormat, Signal, Values
from inrcodec.window import Shape, Window

Progress = Callable[[str, float], None]
"""(what is being done, share of it done 0…1)"""


def write(signal: Signal, header: Header, model: PyramidModel, steps: int, progress: Progress) -> bytes:
    """Find the latents of every item, and code them."""
    planes, runs, point = signal.format.planes, _runs(header), header.operating_point
    total = signal.items * len(planes) * pyramid.tile_count(header.shape) * max(steps, 1)
    places = _places(signal.format, header.shape, model)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress("adapting", done / total)

    sections: list[list[bytes]] = [[] for _ in range(runs)]
    for k in range(signal.items):
        values, missing = signal.item(k), _missing(signal.format, k)
        for channels in planes:
            features = _features(values, signal.format, channels, model.config.channels, missing)
            single = len(channels) < model.config.channels
            latents = pyramid.find_latents(model, features, header.shape, point, single, steps, advance, places)
            if not steps:
                advance(pyramid.tile_count(header.shape))
            coded = pyramid.write_symbols(model, latents, header.shape, point, single, runs)
            for run, tiles in zip(sections, coded, strict=True):
                run += tiles
    return container.write(header, [section for run in sections for section in run])


def read(header: Header, sections: list[bytes], model: PyramidModel, item: int = 0) -> Field:
    """The inverse of `write`, of one item; sections that a prefix lacks leave the finest latents at zero.

    Raises CorruptStream, TruncatedStream.
    """
    form = sample_format(header)
    planes, tiles, runs = form.planes, pyramid.tile_count(header.shape), _runs(header)
    per_run = len(planes) * tiles
    if header.items is not None:
        sections = sections[item * per_run : (item + 1) * per_run]
    whole = len(sections) // per_run
    if not whole:
        raise TruncatedStream(f"{len(sections)} whole sections of item {item} are there; {per_run} are needed")
    latents = []
    for p, channels in enumerate(planes):
        own = [sections[k * per_run + p * tiles : k * per_run + (p + 1) * tiles] for k in range(whole)]
        single = len(channels) < model.config.channels
        latents.append(pyramid.read_symbols(model, own, header.shape, header.operating_point, single, runs))
    places = _places(form, header.shape, model)
    return Field(model, header.shape, header.operating_point, form, latents, places, item)


def compare(signal: Signal, data: bytes, model: PyramidModel) -> Distortion:
    """Decode a stream just written, item by item, and compare: the encoder's last act."""
    header, sections = container.read(data)
    error = power = total = mean = 0.0
    largest, count = 0.0, 0
    numbers = isinstance(signal.format, ArrayFormat)
    for k in range(signal.items):
        values, missing = signal.item(k), _missing(signal.format, k)
        for where, decoded in read(header, sections, model, k).tiles():
            ordinary = np.s_[...] if missing is None else ~missing[where]
            original = values[where].astype(np.float64)[ordinary]
            difference = np.abs(original - decoded[ordinary])
            error += float(np.square(difference).sum())
            largest = max(largest, float(difference.max(initial=0)))
            power += float(np.square(original).sum())
            total += float(original.sum())
            count += original.size
    mean = total / count if numbers else 0.0  # the power of numbers is that of their fluctuation
    return Distortion(error / count, largest, signal.peak, max(power / count - mean**2, 0.0))


def sample_format(header: Header) -> SampleFormat:
    """Raises CorruptStream."""
    name = next(name for name, number in MODALITIES.items() if number == header.modality)
    return FORMATS[name](header.samples, header.block, header.shape, header.items or 1)


def check(header: Header, sections: int, max_pixels: int) -> None:
    """Refuse what this program cannot decode, before any network is loaded or memory is taken.

    Raises CorruptStream, LimitExceeded.
    """
    positions = math.prod(header.shape)
    if header.method not in METHODS.values() or header.modality not in MODALITIES.values():
        raise CorruptStream(f"method {header.method} and modality {header.modality} are not known")
    if positions > max_pixels:
        size = "x".join(map(str, header.shape[::-1]))
        raise LimitExceeded(f"{size} = {positions} samples; the limit is {max_pixels}")
    if len(header.shape) > 3:
        raise CorruptStream(f"a signal has 1 to 3 axes, not {len(header.shape)}")
    tiles = pyramid.tile_count(header.shape) * (header.items or 1)
    if sections < tiles:  # before the block is unpacked: it may ask for a byte for every sample
        raise CorruptStream(f"{sections} sections; this signal needs at least {tiles}")
    form = sample_format(header)
    dims = DIMS.get(form.modality, form.dims)
    if len(header.shape) != dims:
        raise CorruptStream(f"a signal of this kind has {dims} axes, not {len(header.shape)}")
    expected = _runs(header) * len(form.planes) * tiles
    if sections != expected:
        raise CorruptStream(f"{sections} sections; this signal needs {expected}")


def _runs(header: Header) -> int:
    return pyramid.SECTIONS if header.items is None else 1


def _places(form: SampleFormat, shape: Shape, model: PyramidModel) -> torch.Tensor | None:
    """Unit vectors [1, 3, *shape], if the network asks for them. Raises CorruptStream if the stream has none."""
    if not model.config.sphere:
        return None
    try:
        return unit_vectors(getattr(form, "info", {}), shape).to(model.device)
    except (KeyError, TypeError, ValueError):
        raise CorruptStream("the base network is for the sphere, but latitude and longitude are not known") from None


def _missing(form: SampleFormat, item: int) -> NDArray[np.bool_] | None:
    """Where samples [*grid, C] of an item are special."""
    special = form.special if isinstance(form, ArrayFormat) else None
    return special.of(item) > 0 if special else None


def _features(
    values: Values, form: SampleFormat, channels: tuple[int, ...], width: int, missing: NDArray[np.bool_] | None
) -> Callable[[Window], torch.Tensor]:
    """A function of a window: its features in the channels of one plane, for a network of `width` channels."""

    source: Values | None = None
    if missing is not None and missing[..., channels].any():
        (channel,) = channels
        source = fill(form.to_features(values[...])[..., channel], missing[..., channel])[..., None]

    def features(window: Window) -> torch.Tensor:
        where = tuple(slice(a, b) for a, b in window)
        part = form.to_features(values[where])[..., channels] if source is None else source[where]
        return torch.from_numpy(part).movedim(-1, 0).expand(width, *part.shape[:-1])

    return features
