"""COIN++ (Dupont et al. 2022; thesis, chapter 4): {meta-learned SIREN, latent → linear → shifts, few steps of SGD,
uniform quantisation over ±3σ of all modulations, histogram of the training modulations}."""

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
class CoinPP(MetaOptions):
    """See `MetaOptions`. α is fixed."""

    def modulation(self, siren: Siren) -> Modulation:
        return LatentShifts(self.latent, siren)

    def coder(self) -> Coder:
        return UniformCoder(self.latent, least=2, most=8, per_dimension=False)


PRESETS = {
    "small": CoinPP(),
    **{
        f"cifar10-{latent}": CoinPP(latent=latent, width=512, depth=depth, w0=50.0, inner_rate=0.01)
        for latent, depth in ((128, 10), (256, 10), (384, 10), (512, 15), (768, 15), (1024, 15))
    },
    **{f"kodak-{k}": CoinPP(latent=k, width=512, depth=10, w0=50.0, inner_rate=0.01) for k in (16, 32, 64, 96, 128)},
}
"""The paper's values (thesis, 4.B.1 and 4.B.2), and what two CPU cores train."""


def load(data: bytes | None, options: Mapping[str, Any]) -> MetaModel:
    """From the bytes of a model file."""
    if data is None or options:
        raise TypeError("this method needs a base network, and its options are trained")
    return MetaModel.from_bytes(data, CoinPP)
