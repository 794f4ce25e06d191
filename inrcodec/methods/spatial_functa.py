"""Spatial functa (thesis, 6.1): functa with a grid of latents over the patch, interpolated at every coordinate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inrcodec.fields.modulations import GridShifts, Modulation
from inrcodec.fields.siren import Siren
from inrcodec.methods.coders import Coder
from inrcodec.methods.contextcoders import GridCoder
from inrcodec.methods.meta import MetaModel, least_sections, section_count
from inrcodec.methods.options import MetaOptions

__all__ = ["PRESETS", "least_sections", "load", "section_count"]


@dataclass(frozen=True)
class SpatialFuncta(MetaOptions):
    """See `MetaOptions`; latent: in all cells together."""

    learned_rates: bool = True
    cells: int = 4  # along each side of a patch

    def modulation(self, siren: Siren) -> Modulation:
        return GridShifts(self.latent // self.cells**self.dims, self.cells, self.dims, siren)

    def coder(self) -> Coder:
        return GridCoder(self.latent // self.cells**self.dims, self.cells, least=2, most=8)


PRESETS = {"small": SpatialFuncta()}
"""The thesis gives no values for this experiment."""


def load(data: bytes | None, options: Mapping[str, Any]) -> MetaModel:
    """From the bytes of a model file."""
    if data is None or options:
        raise TypeError("this method needs a base network, and its options are trained")
    return MetaModel.from_bytes(data, SpatialFuncta)
