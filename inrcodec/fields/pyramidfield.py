"""The field of a pyramid: synthesis on the grid, its head off the grid."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inrcodec.fields.field import Field
from inrcodec.fields.grids import cut
from inrcodec.fields.pyramid import Made
from inrcodec.samples.array import ArrayFormat
from inrcodec.signal import SampleFormat
from inrcodec.window import Window

if TYPE_CHECKING:
    from inrcodec.latents import CodedLatents
    from inrcodec.methods.pyramid import PyramidModel

SEAM = 3  # columns that are repeated on either side of a grid that goes around the globe
REACH = 8  # samples around a window that its head depends on


class PyramidField(Field):
    """Grids of latents, read by a synthesis network."""

    def __init__(
        self,
        model: "PyramidModel",
        shape: tuple[int, ...],
        point: int,
        form: SampleFormat,
        planes: list["CodedLatents"],
        places: Tensor | None = None,
        item: int = 0,
    ):
        super().__init__(shape, form, model.device, item)
        self.model, self.places, self.planes = model, places, planes
        self.operating_point = point
        self._op = torch.tensor([point], device=model.device, dtype=model.synthesis.colour.dtype)
        self._kept: dict[int, tuple[Window, Tensor, Tensor]] = {}

    def precise(self) -> "PyramidField":
        model, form = self.model.precise, self.format
        places = model.places(form, self.shape)
        return PyramidField(model, self.shape, self.operating_point, form, self.planes, places, self.item)

    def _on_grid(self, window: Window) -> Tensor:
        parts = []
        for plane, latents in enumerate(self.planes):
            r, _, region = self._synthesis(latents, window)
            parts.append(self._features(r[0][cut(window, region)].movedim(0, -1), plane))
        return torch.cat(parts, -1)

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
        if not isinstance(self.format, ArrayFormat) or self.format.modality != "field":
            return False  # whatever they say of longitudes
        longitude: list[float] = self.format.info.get("longitude", [])
        whole = self.shape[-1] >= SEAM and len(longitude) == 2
        return whole and abs(abs(longitude[1]) * self.shape[-1] - 360) < 1e-3

    def _synthesis(self, latents: "CodedLatents", window: Window) -> tuple[Tensor, Made, Window]:
        values = [y[None] for y in latents.around(window)]
        change = latents.modulations.change(self.model.closing)
        return self.model.synthesis(values, self._op, self.shape, window, places=self.places, change=change)

    def _context(self, plane: int, window: Window) -> tuple[tuple[int, ...], Tensor, Tensor]:
        """Start, r and g of a region around a window; the last one is kept."""
        window = tuple((max(0, a - REACH), min(n, b + REACH)) for (a, b), n in zip(window, self.shape, strict=True))
        kept = self._kept.get(plane)
        if kept is None or not all(s <= a and b <= t for (a, b), (s, t) in zip(window, kept[0], strict=True)):
            with torch.no_grad():
                r, made, region = self._synthesis(self.planes[plane], window)
                kept = self._kept[plane] = (region, r, self.model.head(r, made.h))
        region, r, g = kept
        return tuple(start for start, _ in region), r, g

    def _features(self, values: Tensor, plane: int) -> Tensor:
        """The colour space of the network [..., 3] (or [..., 1]) → the channels of one plane."""
        rgb = values @ self.model.synthesis.colour + 0.5
        return rgb.mean(-1, keepdim=True) if len(self.format.planes[plane]) == 1 else rgb
