"""VC-INR (Schwarz et al. 2023): low-rank soft gates on the weights (3.3), learned transform coding of φ (3.4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inrcodec.fields.modulations import LowRankGates, Modulation
from inrcodec.fields.siren import Siren
from inrcodec.methods.coders import Coder, TransformCoder
from inrcodec.methods.meta import MetaModel, least_sections, section_count
from inrcodec.methods.options import MetaOptions

__all__ = ["PRESETS", "least_sections", "load", "section_count"]


@dataclass(frozen=True)
class VcInr(MetaOptions):
    """See `MetaOptions`."""

    width: int = 64
    depth: int = 5
    latent: int = 512
    inner_rate: float = 100.0
    learned_rates: bool = True
    hidden: int = 512  # width of the residual MLP from φ to the gates
    blocks: int = 1
    rank: int = 8  # d: columns of U and V
    last_activation: bool = True  # of that MLP; without it a hidden width of D lets every value of φ count
    gated_output: bool = False  # gates on the weights of the output layer too
    codes: int = 512  # dim(z)
    transform_width: int = 256  # of the MLPs of g_a and g_s
    transform_blocks: int = 1
    transform_linear: bool = True  # g(x) = A x + MLP(x); else x + MLP(x), for values of φ that hardly correlate
    rates: int = 8  # operating points, one λ each

    def modulation(self, siren: Siren) -> Modulation:
        sizes = self.hidden, self.blocks, self.rank
        return LowRankGates(self.latent, siren, *sizes, self.last_activation, self.gated_output)

    def coder(self) -> Coder:
        if not self.transform_linear and self.codes != self.latent:
            raise ValueError(f"{self.codes} codes of {self.latent} latents need a linear part of the transforms")
        sizes = self.transform_width, self.transform_blocks, self.rates
        return TransformCoder(self.latent, self.codes, *sizes, self.transform_linear)


PRESETS = {
    "small": VcInr(
        width=640,
        depth=2,
        latent=1024,
        test_steps=5,
        hidden=1024,
        rank=3,
        last_activation=False,
        gated_output=True,
        codes=1024,
        transform_width=64,
        transform_linear=False,
    ),
    **{
        f"cifar10-{k}": VcInr(latent=k, width=512, depth=15, w0=30.0, inner_rate=1.0, hidden=6144, blocks=2, codes=k)
        for k in (2048, 3072, 4096)
    },
    **{
        f"kodak-{k}": VcInr(latent=k, width=512, depth=15, w0=30.0, inner_rate=1.0, hidden=4096, codes=k)
        for k in (512, 1024)
    },
}
"""The paper's values (appendix G, tables 3 and 4), and what two CPU cores train."""


def load(data: bytes | None, options: Mapping[str, Any]) -> MetaModel:
    """From the bytes of a model file."""
    if data is None or options:
        raise TypeError("this method needs a base network, and its options are trained")
    return MetaModel.from_bytes(data, VcInr)
