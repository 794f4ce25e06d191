"""functa (Dupont et al. 2022; thesis, chapter 5): COIN++ with learned step sizes, Meta-SGD; one latent an item."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inrcodec.fields.modulations import LatentShifts, Modulation
from inrcodec.fields.siren import Siren
from inrcodec.methods.coders import Coder, UniformCoder
from inrcodec.methods.meta import MetaModel, least_sections, section_count
from inrcodec.methods.options import MetaOptions

__all__ = ["PRESETS", "least_sections", "load", "section_count"]


@dataclass(frozen=True)
class Functa(MetaOptions):
    """See `MetaOptions`."""

    learned_rates: bool = True

    def modulation(self, siren: Siren) -> Modulation:
        return LatentShifts(self.latent, siren)

    def coder(self) -> Coder:
        return UniformCoder(self.latent, least=2, most=8, per_dimension=False)


PRESETS = {
    "small": Functa(),
    **{
        f"celeba-{k}": Functa(latent=k, width=512, depth=15, w0=30.0, inner_rate=0.01)
        for k in (64, 128, 256, 512, 1024)
    },
}
"""The paper's values (thesis, 5.A), and what two CPU cores train."""


def load(data: bytes | None, options: Mapping[str, Any]) -> MetaModel:
    """From the bytes of a model file."""
    if data is None or options:
        raise TypeError("this method needs a base network, and its options are trained")
    return MetaModel.from_bytes(data, Functa)
