"""What every method offers: the seam between `codec` and `methods/`. A method is one module here, found by its name.

A module has

    least_sections(header) -> int               how many sections a stream has at the least, whatever its samples are
    section_count(header, form) -> int          how many it has
    load(data, options) -> Model                a model, from the bytes of its base network's file (None: has none)
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.container import METHODS, Header
from inrcodec.fields.field import Field
from inrcodec.samples.array import ArrayFormat
from inrcodec.samples.special import fill
from inrcodec.signal import SampleFormat, Signal, Values
from inrcodec.window import Window

Progress = Callable[[str, float], None]
"""(what is being done, share of it done 0…1)"""

WITHOUT_NETWORK = frozenset({"coin", "doh"})
"""Methods that adapt nothing trained: a file carries all that it needs."""


class Model(Protocol):
    """All that coding with a method needs, on a device."""

    @property
    def device(self) -> torch.device: ...

    @property
    def points(self) -> int:
        """How many operating points there are, from the coarsest to the finest: at most 256."""

    @property
    def dims(self) -> int:
        """Axes of a signal."""

    @property
    def channels(self) -> int:
        """Features that are coded together."""

    def to(self, device: str, /) -> "Model": ...

    def write(self, signal: Signal, header: Header, effort: int, progress: Progress) -> list[bytes]:
        """Adapt, quantise and code: the sections."""

    def read(self, header: Header, form: SampleFormat, sections: list[bytes], item: int) -> Field:
        """The inverse. Raises CorruptStream, TruncatedStream."""


class Module(Protocol):
    def least_sections(self, header: Header) -> int: ...

    def section_count(self, header: Header, form: SampleFormat) -> int: ...

    def load(self, data: bytes | None, options: Mapping[str, Any]) -> Model: ...


def module(name: str) -> Module:
    """The module of a method. Raises ValueError."""
    if name not in METHODS:
        raise ValueError(f"no method '{name}'; there are {', '.join(METHODS)}")
    found: Any = import_module(f"inrcodec.methods.{name.replace('-', '_')}")
    return found


def name_of(number: int) -> str | None:
    """The name of a method id, None if it has none."""
    return next((name for name, value in METHODS.items() if value == number), None)


def missing(form: SampleFormat, item: int) -> NDArray[np.bool_] | None:
    """Where samples [*grid, C] of an item are special."""
    special = form.special if isinstance(form, ArrayFormat) else None
    return special.of(item) > 0 if special else None


def plane_features(signal: Signal, item: int, channels: tuple[int, ...], width: int) -> Callable[[Window], Tensor]:
    """A function of a window: features [width, *window] of one plane; a single channel is repeated."""
    values, form = signal.item(item), signal.format
    absent = missing(form, item)
    source: Values | None = None
    if absent is not None and absent[..., channels].any():
        (channel,) = channels
        source = fill(form.to_features(values[...])[..., channel], absent[..., channel])[..., None]

    def features(window: Window) -> Tensor:
        where = tuple(slice(a, b) for a, b in window)
        part = form.to_features(values[where])[..., channels] if source is None else source[where]
        return torch.from_numpy(part).movedim(-1, 0).expand(width, *part.shape[:-1])

    return features
