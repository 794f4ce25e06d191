"""A decoded stream as a function of coordinates."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.coordinates import Rectangle, grid, output_size
from inrcodec.fields.grids import Window, cut
from inrcodec.signal import SampleFormat

if TYPE_CHECKING:
    from inrcodec.methods.pyramid import Latents, PyramidModel

OUTPUT_TILE = 512  # samples a side that are evaluated at once
REACH = 8  # samples around a window that its head depends on

Progress = Callable[[str, float], None]


class Field:
    """f(coordinates) → features, for the image in a stream.

    Coordinates are float (row, column) in the unit square: (0, 0) is the top left corner of the image, (1, 1) the
    bottom right; the centre of sample i of n is (i + 1/2) / n. Features are float32 in about [0, 1], one per channel
    of the original (grey; grey, alpha; red, green, blue; red, green, blue, alpha).
    """

    def __init__(
        self,
        model: "PyramidModel",
        shape: tuple[int, int],
        point: int,
        form: SampleFormat,
        planes: list["Latents"],
    ):
        self.model, self.shape, self.format = model, shape, form
        self.operating_point = point
        self.planes = planes
        self._op = torch.tensor([point], device=model.device)
        self._kept: dict[int, tuple[Window, Tensor, Tensor]] = {}

    def __call__(self, coordinates: Tensor | NDArray[np.floating]) -> Tensor:
        """[N, 2] → features [N, C]; differentiable in the coordinates."""
        c = torch.as_tensor(coordinates, dtype=torch.float32, device=self.model.device)
        if not len(c):
            return c.new_zeros(0, self.format.channels)
        size = torch.tensor(self.shape, device=c.device)
        positions = (c * size - 0.5).clamp(min=-0.5).minimum(size - 0.5)
        low, high = positions.detach().amin(0), positions.detach().amax(0)
        window = tuple((int(a), int(b) + 2) for a, b in zip(low.clamp(min=0), high, strict=True))
        parts = []
        for plane in range(len(self.planes)):
            (start, r, g) = self._context(plane, window)
            values = self.model.head.evaluate(r, g, positions - torch.tensor(start, device=c.device))
            parts.append(self._features(values, plane))
        return torch.cat(parts, 1)

    def grid(
        self,
        scale: float | None = None,
        size: tuple[int, int] | None = None,
        region: tuple[int, int, int, int] | None = None,
    ) -> Tensor:
        """Features [H', W', C] on a regular grid. scale, size (width, height), region (x, y, width, height)."""
        rectangle, out = output_size(self.shape, scale, size, region)
        result = torch.empty(*out, self.format.channels)
        for where, values in self._windows(rectangle, out):
            result[where] = values.cpu()
        return result

    def samples(
        self,
        scale: float | None = None,
        size: tuple[int, int] | None = None,
        region: tuple[int, int, int, int] | None = None,
        max_pixels: int = 1 << 62,
        progress: Progress = lambda *_: None,
    ) -> NDArray[np.integer]:
        """As `grid`, but clipped and rounded to samples of the original's dtype."""
        rectangle, out = output_size(self.shape, scale, size, region, max_pixels)
        result = np.empty((*out, self.format.channels), self.format.dtype)
        done = 0
        for where, values in self._windows(rectangle, out):
            result[where] = self.format.from_features(values.cpu().numpy())
            done += values.shape[0] * values.shape[1]
            progress("decoding", done / (out[0] * out[1]))
        return result

    def tiles(self) -> Iterator[tuple[tuple[slice, slice], NDArray[np.integer]]]:
        """(where, samples [h, w, C]) over the image's own grid, in bounded memory."""
        for where, values in self._windows(Rectangle(0, 0, self.shape), self.shape):
            yield where, self.format.from_features(values.cpu().numpy())

    def _windows(self, rectangle: Rectangle, out: tuple[int, int]) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
        """(where in the output, features [h, w, C]) tile by tile."""
        plain = out == rectangle.size
        tile = 2 * OUTPUT_TILE if plain else OUTPUT_TILE
        for top in range(0, out[0], tile):
            for left in range(0, out[1], tile):
                bottom, right = min(top + tile, out[0]), min(left + tile, out[1])
                where = (slice(top, bottom), slice(left, right))
                with torch.no_grad():
                    if plain:  # on the grid the field is the decoded signal itself
                        y, x = rectangle.top, rectangle.left
                        yield where, self._on_grid(((y + top, y + bottom), (x + left, x + right)))
                    else:
                        yield where, self._resampled(rectangle, out, where)

    def _on_grid(self, window: Window) -> Tensor:
        parts = []
        for plane, latents in enumerate(self.planes):
            r, _, region = self._synthesis(latents, window)
            inside = r[0][cut(window, region)].permute(1, 2, 0)
            parts.append(self._features(inside, plane))
        return torch.cat(parts, -1)

    def _resampled(self, rectangle: Rectangle, out: tuple[int, int], where: tuple[slice, slice]) -> Tensor:
        """Averages of enough field values per output sample that shrinking does not alias."""
        coordinates, repeats = grid(rectangle, self.shape, out, where)
        values = torch.cat([self(part) for part in coordinates.flatten(0, 1).split(1 << 17)])
        h, w = (s.stop - s.start for s in where)
        return values.view(h, repeats[0], w, repeats[1], -1).mean((1, 3))

    def _synthesis(self, latents: "Latents", window: Window) -> tuple[Tensor, Tensor, Window]:
        return self.model.synthesis([y[None] for y in latents], self._op, self.shape, window)

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
        """The colour space of the network [..., 3] → the channels of one plane."""
        rgb = values @ self.model.synthesis.colour + 0.5
        single = plane > 0 or self.format.channels < 3
        return rgb.mean(-1, keepdim=True) if single else rgb
