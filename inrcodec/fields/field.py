"""A decoded stream as a function of coordinates."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.coordinates import output_grid, positions
from inrcodec.errors import OutOfMemory, UsageError
from inrcodec.fields.grids import compact_tiles
from inrcodec.samples.array import ArrayFormat
from inrcodec.signal import SampleFormat
from inrcodec.window import Window

TILES = {1: 1 << 18, 2: 512, 3: 64}  # output samples a side, by axes, that are evaluated at once, or as many in all
AT_ONCE = 1 << 17  # positions off the grid

Progress = Callable[[str, float], None]

Slices = tuple[slice, ...]


class Field(ABC):
    """f(coordinates) → features, for the signal in a stream.

    Coordinates are float in the unit cube, slowest axis first, (row, column) of an image: the centre of sample i of n
    is (i + 1/2) / n. Features are float32 in about [0, 1], one per channel of the original (grey; grey, alpha; red,
    green, blue; red, green, blue, alpha; or the channels of a sound).
    """

    def __init__(self, shape: tuple[int, ...], form: SampleFormat, device: torch.device, item: int = 0):
        self.shape, self.format, self.device, self.item = shape, form, device, item
        self.exact: Callable[[], NDArray[Any]] | None = None  # all samples, where the stream bounds their error
        self.blank = False  # whether there are only these: the encoder found no field that is worth its bytes

    def __call__(self, coordinates: Tensor | NDArray[np.floating]) -> Tensor:
        """[N, d] → features [N, C]; differentiable in the coordinates.

        Raises UsageError of other coordinates, and of a blank field.
        """
        self._check()
        c = torch.as_tensor(coordinates, device=self.device)
        if c.ndim != 2 or c.shape[1] != len(self.shape):
            raise UsageError(f"coordinates are shaped [N, {len(self.shape)}], not {list(c.shape)}")
        if not torch.isfinite(c).all():
            raise UsageError("coordinates must be finite")
        return self._at((c if c.is_floating_point() else c.float()) * torch.tensor(self.shape, device=c.device) - 0.5)

    def grid(
        self,
        scale: float | None = None,
        size: tuple[int, ...] | None = None,
        region: tuple[int, ...] | None = None,
    ) -> Tensor:
        """Features [*grid, C] on a regular grid. Of an image: size (width, height), region (x, y, width, height).

        Raises UsageError of a blank field, LimitExceeded or OutOfMemory.
        """
        self._check()
        window, out = output_grid(self.shape, scale, size, region)
        try:
            result = torch.empty(*out, self.format.channels)
        except RuntimeError:
            raise OutOfMemory(f"not enough memory for {'x'.join(map(str, out))} samples") from None
        for where, values in self._windows(window, out):
            result[where] = values.cpu()
        return result

    def samples(
        self,
        scale: float | None = None,
        size: tuple[int, ...] | None = None,
        region: tuple[int, ...] | None = None,
        max_pixels: int = 1 << 62,
        progress: Progress = lambda *_: None,
    ) -> NDArray[Any]:
        """As `grid`, but clipped and rounded to samples of the original's dtype.

        On the signal's own grid, also a region of it, the samples that a stream with an error bound has. Raises
        UsageError elsewhere of a blank field.
        """
        window, out = output_grid(self.shape, scale, size, region, max_pixels)
        if self.exact and out == tuple(b - a for a, b in window):
            return self.exact()[tuple(slice(a, b) for a, b in window)].copy()
        if out != tuple(b - a for a, b in window):
            self._check()
        result = np.empty((*out, self.format.channels), self.format.dtype)
        done = 0
        for where, values in self._windows(window, out):
            result[where] = self.format.from_features(values.float().cpu().numpy())
            done += values[..., 0].numel()
            progress("decoding", done / math.prod(out))
        moved = window != tuple((0, n) for n in self.shape) or out != self.shape
        self._restore(result, self.format.placed(window, out, self.shape) if moved else self.format)
        return result

    def _check(self) -> None:
        if self.blank:
            raise UsageError("the stream has samples at scale 1 but no field between them; encode it with a quality")

    def tiles(self) -> Iterator[tuple[Slices, NDArray[Any]]]:
        """(where, samples [*grid, C]) over the signal's own grid, in bounded memory unless there is an error bound."""
        if self.exact:
            yield tuple(slice(n) for n in self.shape), self.exact()
            return
        for where, values in self._windows(tuple((0, n) for n in self.shape), self.shape):
            part = self.format.from_features(values.cpu().numpy())
            self._restore(part, self.format, where)
            yield where, part

    def restore(self, values: NDArray[Any]) -> None:
        """Put special samples into values [*grid, C] of the whole grid."""
        self._restore(values, self.format)

    def _restore(self, values: NDArray[Any], form: SampleFormat, where: Slices = ()) -> None:
        """Put special samples back into values [*grid, C], a part of the grid of `form`."""
        special = form.special if isinstance(form, ArrayFormat) else None
        if special is not None:
            special.restore(values, special.of(self.item)[where])

    def _windows(self, window: Window, out: tuple[int, ...]) -> Iterator[tuple[Slices, Tensor]]:
        """(where in the output, features [*grid, C]) tile by tile."""
        plain = out == tuple(b - a for a, b in window)
        side = TILES[len(out)] * (2 if plain else 1)
        each = math.prod(max(1, math.ceil((b - a) / n)) for (a, b), n in zip(window, out, strict=True))
        for tile in compact_tiles(out, max(1, side ** len(out) // each)):
            where = tuple(slice(a, b) for a, b in tile)
            with torch.no_grad():
                if plain:  # on the grid the field is the decoded signal itself
                    moved = ((o + s.start, o + s.stop) for (o, _), s in zip(window, where, strict=True))
                    yield where, self._on_grid(tuple(moved))
                else:
                    yield where, self._resampled(window, out, where)

    def precise(self) -> "Field":
        """The same field in float64. Raises UsageError where a method has none."""
        raise UsageError("error bounds and lossless coding are for method pyramid")

    def numbers(self) -> NDArray[np.float64]:
        """What a field in float64 says of the samples of the whole grid, before rounding, [*grid, C]."""
        out = np.empty((*self.shape, self.format.channels))
        for where, values in self._windows(tuple((0, n) for n in self.shape), self.shape):
            out[where] = self.format.numbers(values.cpu().numpy())
        return out

    @abstractmethod
    def _on_grid(self, window: Window) -> Tensor:
        """Features [*window, C] at the samples of a window."""

    @abstractmethod
    def _at(self, positions: Tensor) -> Tensor:
        """Positions [N, d] in samples → features [N, C]."""

    def _resampled(self, window: Window, out: tuple[int, ...], where: Slices) -> Tensor:
        """Averages of enough field values per output sample that shrinking does not alias."""
        axes, repeats = positions(window, out, where)
        if all(b - a == n * k for (a, b), n, k in zip(window, out, repeats, strict=True)):  # of the samples themselves
            whole = ((a + s.start * k, a + s.stop * k) for (a, _), s, k in zip(window, where, repeats, strict=True))
            values = self._on_grid(tuple(whole))
        else:
            at = torch.cartesian_prod(*axes).view(-1, len(out)).to(self.device)
            values = torch.cat([self._at(part) for part in at.split(AT_ONCE)])
        split = [n for s, k in zip(where, repeats, strict=True) for n in (s.stop - s.start, k)]
        return values.reshape(*split, -1).mean(tuple(range(1, 2 * len(out), 2)))
