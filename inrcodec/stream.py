"""Between a signal and its container: what every method shares."""

import math
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec import container, recovery
from inrcodec.container import MODALITIES, Header
from inrcodec.errors import CorruptStream, LimitExceeded
from inrcodec.fields.field import Field
from inrcodec.methods.method import Model, Progress, missing, module, name_of
from inrcodec.methods.pyramid import PyramidModel
from inrcodec.recovery import Sections
from inrcodec.residual import sections as residual
from inrcodec.residual.lattice import Lattice, coarseness
from inrcodec.samples.array import ArrayFormat
from inrcodec.samples.special import fill
from inrcodec.settings import Distortion
from inrcodec.signal import DIMS, FORMATS, SampleFormat, Signal


def write(
    signal: Signal, header: Header, model: Model, effort: int, progress: Progress, lattice: Lattice | None = None
) -> bytes:
    """Find the modulations of every item, and code them; with a lattice, also what the field leaves of the samples.

    A lattice that is not guided makes the field a constant, which costs next to nothing. Raises UsageError.
    """
    if lattice is None:
        return container.write(header, model.write(signal, header, effort, progress))
    ends = signal.format.numbers(np.array([[[0.0]], [[1.0]]]).repeat(signal.format.channels, -1))
    lattice = replace(lattice, coarse=coarseness(lattice.step, ends))
    blank = signal if lattice.guided else replace(signal, values=_constant(signal))
    own = model.write(blank, header, effort if lattice.guided else 0, progress)

    def samples(k: int) -> NDArray[Any]:
        values, absent = np.asarray(signal.item(k)[...]), missing(signal.format, k)
        if absent is None:
            return values
        channels = [fill(values[..., c].astype(np.float32), absent[..., c]) for c in range(values.shape[-1])]
        return np.where(absent, np.nan_to_num(np.stack(channels, -1)), values)

    def numbers(k: int) -> NDArray[np.float64]:
        return _field(header, own, model, k).precise().numbers()

    rest = residual.write(lattice, signal.items, samples, numbers, signal.format.dtype)
    return container.write(replace(header, residual=True), own + rest)


def _constant(signal: Signal) -> NDArray[Any]:
    """Values of the shape of a signal, all in the middle of its features."""
    form, one = signal.format, np.full((1,) * len(signal.shape) + (signal.format.channels,), 0.5, np.float32)
    return np.broadcast_to(form.from_features(one), signal.values.shape)


def read(header: Header, sections: Sections, model: Model, item: int = 0) -> Field:
    """The inverse of `write`, of one item. sections: None for those that a damaged stream lost.

    Raises CorruptStream, TruncatedStream.
    """
    own, rest = split(header, sections)
    recovery.check(header, own, item)
    field = _field(header, own, model, item)
    common, last = (rest[0], rest[1 + item]) if len(rest) > 1 + item else (None, None)
    intact = None not in recovery.of_item(header, own, item)  # else there is nothing that the residual belongs to
    field.blank = common is not None and not Lattice.read(common)[0].guided
    if common is not None and last is not None and intact:
        field.exact = cache(partial(_exact, field, common, last))
    return field


def _exact(field: Field, common: bytes, own: bytes) -> NDArray[Any]:
    form, shape = field.format, field.shape
    values = residual.read(common, own, shape, form.channels, lambda: field.precise().numbers(), form.dtype)
    field.restore(values)
    return values


def split(header: Header, sections: Sections) -> tuple[Sections, Sections]:
    """The sections of the method itself, and those that bound the error: of a prefix or a damaged stream fewer."""
    if not header.residual:
        return sections, []
    count = module(name_of(header.method) or "").section_count(header, sample_format(header))
    return sections[:count], sections[count:]


def _field(header: Header, sections: Sections, model: Model, item: int) -> Field:
    form = sample_format(header)
    if isinstance(model, PyramidModel):
        return model.read(header, form, sections, item)
    return model.read(header, form, [section or b"" for section in sections], item)  # its own are all there


def compare(signal: Signal, data: bytes, model: Model) -> Distortion:
    """Decode a stream just written, item by item, and compare: the encoder's last act."""
    header, sections = container.read(data)
    error = power = total = mean = 0.0
    largest, count = 0.0, 0
    numbers = isinstance(signal.format, ArrayFormat)
    for k in range(signal.items):
        values, absent = signal.item(k), missing(signal.format, k)
        for where, decoded in read(header, sections, model, k).tiles():
            ordinary = np.s_[...] if absent is None else ~absent[where]
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
    positions, method = math.prod(header.shape), name_of(header.method)
    if method is None or header.modality not in MODALITIES.values():
        raise CorruptStream(f"method {header.method} and modality {header.modality} are not known")
    if positions > max_pixels:
        size = "x".join(map(str, header.shape[::-1]))
        raise LimitExceeded(f"{size} = {positions} samples; the limit is {max_pixels}")
    if len(header.shape) > 3:
        raise CorruptStream(f"a signal has 1 to 3 axes, not {len(header.shape)}")
    least = module(method).least_sections(header)
    if sections < least:  # before the block is unpacked: it may ask for a byte for every sample
        raise CorruptStream(f"{sections} sections; this signal needs at least {least}")
    form = sample_format(header)
    dims = DIMS.get(form.modality, form.dims)
    if len(header.shape) != dims:
        raise CorruptStream(f"a signal of this kind has {dims} axes, not {len(header.shape)}")
    expected = module(method).section_count(header, form) + (1 + (header.items or 1) if header.residual else 0)
    if sections != expected:
        raise CorruptStream(f"{sections} sections; this signal needs {expected}")
