"""A decoded stream as a function of coordinates."""

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.coordinates import output_grid, positions
from inrcodec.fields.grids import cut
from inrcodec.samples.array import ArrayFormat
from inrcodec.signal import SampleFormat
from inrcodec.window import Window

if TYPE_CHECKING:
    from inrcodec.methods.pyramid import Latents, PyramidModel

TILES = {1: 1 << 18, 2: 512, 3: 64}  # output samples a side, by axes, that are evaluated at once
SEAM = 3  # columns that are repeated on either side of a grid that goes around the globe
REACH = 8  # samples around a window that its head depends on
AT_ONCE = 1 << 17  # positions off the grid

Progress = Callable[[str, float], None]

Slices = tuple[slice, ...]


class Field:
    """f(coordinates) → features, for the signal in a stream.

    Coordinates are float in the unit cube, slowest axis first, (row, column) of an image: the centre of sample i of n
    is (i + 1/2) / n. Features are float32 in about [0, 1], one per channel of the original (grey; grey, alpha; red,
    green, blue; red, green, blue, alpha; or the channels of a sound).
    """

    def __init__(
        self,
        model: "PyramidModel",
        shape: tuple[int, ...],
        point: int,
        form: SampleFormat,
        planes: list["Latents"],
        places: Tensor | None = None,
        item: int = 0,
    ):
        self.model, self.shape, self.format = model, shape, form
        self.places, self.item = places, item
        self.operating_point = point
        self.planes = planes
        self._op = torch.tensor([point], device=model.device)
        self._kept: dict[int, tuple[Window, Tensor, Tensor]] = {}

    def __call__(self, coordinates: Tensor | NDArray[np.floating]) -> Tensor:
        """[N, d] → features [N, C]; differentiable in the coordinates."""
        c = torch.as_tensor(coordinates, device=self.model.device)
        return self._at((c if c.is_floating_point() else c.float()) * torch.tensor(self.shape, device=c.device) - 0.5)

    def grid(
        self,
        scale: float | None = None,
        size: tuple[int, ...] | None = None,
        region: tuple[int, ...] | None = None,
    ) -> Tensor:
        """Features [*grid, C] on a regular grid. Of an image: size (width, height), region (x, y, width, height)."""
        window, out = output_grid(self.shape, scale, size, region)
        result = torch.empty(*out, self.format.channels)
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
        """As `grid`, but clipped and rounded to samples of the original's dtype."""
        window, out = output_grid(self.shape, scale, size, region, max_pixels)
        result = np.empty((*out, self.format.channels), self.format.dtype)
        done = 0
        for where, values in self._windows(window, out):
            result[where] = self.format.from_features(values.cpu().numpy())
            done += values[..., 0].numel()
            progress("decoding", done / math.prod(out))
        moved = window != tuple((0, n) for n in self.shape) or out != self.shape
        self._restore(result, self.format.placed(window, out) if moved else self.format)
        return result

    def tiles(self) -> Iterator[tuple[Slices, NDArray[Any]]]:
        """(where, samples [*grid, C]) over the signal's own grid, in bounded memory."""
        for where, values in self._windows(tuple((0, n) for n in self.shape), self.shape):
            part = self.format.from_features(values.cpu().numpy())
            self._restore(part, self.format, where)
            yield where, part

    def _restore(self, values: NDArray[Any], form: SampleFormat, where: Slices = ()) -> None:
        """Put special samples back into values [*grid, C], a part of the grid of `form`."""
        special = form.special if isinstance(form, ArrayFormat) else None
        if special is not None:
            special.restore(values, special.of(self.item)[where])

    def _windows(self, window: Window, out: tuple[int, ...]) -> Iterator[tuple[Slices, Tensor]]:
        """(where in the output, features [*grid, C]) tile by tile."""
        plain = out == tuple(b - a for a, b in window)
        tile = TILES[len(out)] * (2 if plain else 1)
        for starts in product(*(range(0, n, tile) for n in out)):
            where = tuple(slice(a, min(a + tile, n)) for a, n in zip(starts, out, strict=True))
            with torch.no_grad():
                if plain:  # on the grid the field is the decoded signal itself
                    moved = ((o + s.start, o + s.stop) for (o, _), s in zip(window, where, strict=True))
                    yield where, self._on_grid(tuple(moved))
                else:
                    yield where, self._resampled(window, out, where)

    def _on_grid(self, window: Window) -> Tensor:
        parts = []
        for plane, latents in enumerate(self.planes):
            r, _, region = self._synthesis(latents, window)
            parts.append(self._features(r[0][cut(window, region)].movedim(0, -1), plane))
        return torch.cat(parts, -1)

    def _resampled(self, window: Window, out: tuple[int, ...], where: Slices) -> Tensor:
        """Averages of enough field values per output sample that shrinking does not alias."""
        axes, repeats = positions(window, out, where)
        at = torch.cartesian_prod(*axes).view(-1, len(out)).to(self.model.device)
        values = torch.cat([self._at(part) for part in at.split(AT_ONCE)])
        split = [n for s, k in zip(where, repeats, strict=True) for n in (s.stop - s.start, k)]
        return values.view(*split, -1).mean(tuple(range(1, 2 * len(out), 2)))

    def _at(self, positions: Tensor) -> Tensor:
        """Positions [N, d] in samples → features [N, C]."""
        if not len(positions):
            return positions.new_zeros(0, self.format.channels, dtype=torch.float32)
        size = torch.tensor(self.shape, device=positions.device)
        inside = positions.clamp(min=-0.5).minimum(size - 0.5)
        if self._around:
            inside = torch.stack([inside[:, 0], positions[:, 1].remainder(self.shape[1])], 1)
        positions = inside
        low, high = positions.detach().amin(0), positions.detach().amax(0)
        window = tuple((int(a), int(b) + 2) for a, b in zip(low.clamp(min=0), high, strict=True))
        across = self._around and (window[1][0] < SEAM or window[1][1] > self.shape[1] - SEAM)
        if across:
            window = (window[0], (0, self.shape[1]))
        parts = []
        for plane in range(len(self.planes)):
            start, r, g = self._context(plane, window)
            if across:
                start = (start[0], -SEAM)
                r, g = (torch.cat([x[..., -SEAM:], x, x[..., :SEAM]], -1) for x in (r, g))
            local = (positions - torch.tensor(start, device=positions.device)).float()
            parts.append(self._features(self.model.head.evaluate(r, g, local), plane))
        return torch.cat(parts, 1)

    @property
    def _around(self) -> bool:
        """Whether the last column is followed by the first: a field whose longitudes go around the globe."""
        longitude: list[float] = self.format.info.get("longitude", []) if isinstance(self.format, ArrayFormat) else []
        whole = self.shape[-1] >= SEAM and len(longitude) == 2
        return self.format.modality == "field" and whole and abs(abs(longitude[1]) * self.shape[-1] - 360) < 1e-3

    def _synthesis(self, latents: "Latents", window: Window) -> tuple[Tensor, Tensor, Window]:
        return self.model.synthesis([y[None] for y in latents], self._op, self.shape, window, places=self.places)

    def _context(self, plane: int, window: Window) -> tuple[tuple[int, ...], Tensor, Tensor]:
        """Start, r and g of a region around a window; the last one is kept."""
        window = tuple((max(0, a - REACH), min(n, b + REACH)) for (a, b), n in zip(window, self.shape, strict=True))
        kept = self._kept.get(plane)
        if kept is None or not all(s <= a and b <= t for (a, b), (s, t) in zip(window, kept[0], strict=True)):
            with torch.no_grad():
                r, h, region = self._synthesis(self.planes[plane], window)
                kept = self._kept[plane] = (region, r, self.model.head(r, h))
        region, r, g = kept
        return tuple(start for start, _ in region), r, g

    def _features(self, values: Tensor, plane: int) -> Tensor:
        """The colour space of the network [..., 3] (or [..., 1]) → the channels of one plane."""
        rgb = values @ self.model.synthesis.colour + 0.5
        return rgb.mean(-1, keepdim=True) if len(self.format.planes[plane]) == 1 else rgb
