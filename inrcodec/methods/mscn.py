"""MSCN (Schwarz and Teh 2022): hard-concrete gates on shifts or on weight updates, learned with the initialisation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inrcodec.fields.modulations import GatedGradients, GatedShifts, Modulation
from inrcodec.fields.siren import Siren
from inrcodec.methods.coders import Coder, SparseCoder
from inrcodec.methods.meta import MetaModel, least_sections, section_count
from inrcodec.methods.options import MetaOptions

__all__ = ["PRESETS", "least_sections", "load", "section_count"]


@dataclass(frozen=True)
class Mscn(MetaOptions):
    """See `MetaOptions`; latent is not used: there is a value for every shift, or for every weight."""

    learned_rates: bool = True
    gradients: bool = False  # (b) unstructured sparse gradients (3.3.1) in place of (a) sparse shifts (3.3.2)
    penalty: float = 0.002  # λ of the L0 term, for the share of open gates
    log_alpha: float = 2.0  # of every gate at the start of training

    def modulation(self, siren: Siren) -> Modulation:
        return (GatedGradients if self.gradients else GatedShifts)(siren, self.penalty, self.log_alpha)

    def coder(self) -> Coder:
        siren = Siren(self.dims, self.channels, self.width, self.depth, self.w0)
        modulation = self.modulation(siren)
        return SparseCoder(modulation.size // 2, least=2, most=8)


PRESETS = {
    "small": Mscn(),
    "small-gradients": Mscn(width=32, depth=3, gradients=True),
    "celeba-gradients": Mscn(width=256, depth=4, w0=30.0, inner_steps=2, inner_rate=0.01, gradients=True),
    "era5-shifts": Mscn(width=512, depth=15, w0=30.0, inner_rate=0.01),
}
"""The paper's values (appendix C), and what two CPU cores train."""


def load(data: bytes | None, options: Mapping[str, Any]) -> MetaModel:
    """From the bytes of a model file."""
    if data is None or options:
        raise TypeError("this method needs a base network, and its options are trained")
    return MetaModel.from_bytes(data, Mscn)
