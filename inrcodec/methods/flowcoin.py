"""FlowCOIN (thesis, 6.4): COIN++ with quantisation per dimension, and a normalising flow as the prior."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inrcodec.methods.coders import Coder
from inrcodec.methods.coinpp import CoinPP
from inrcodec.methods.contextcoders import FlowCoder
from inrcodec.methods.meta import MetaModel, least_sections, section_count

__all__ = ["PRESETS", "least_sections", "load", "section_count"]


@dataclass(frozen=True)
class FlowCoin(CoinPP):
    """See `CoinPP`; the base network is that of COIN++."""

    groups: int = 16  # of dimensions; the flow codes one after the other
    flow_width: int = 96  # of its conditioners

    def coder(self) -> Coder:
        return FlowCoder(self.latent, 2, 8, self.groups, self.flow_width)


PRESETS = {
    "small": FlowCoin(),
    **{f"cifar10-{k}": FlowCoin(latent=k, width=512, depth=10, w0=50.0, inner_rate=0.01) for k in (128, 256, 384)},
}
"""The thesis evaluates latent dimensions 128, 256 and 384 (6.4.2)."""


def load(data: bytes | None, options: Mapping[str, Any]) -> MetaModel:
    """From the bytes of a model file."""
    if data is None or options:
        raise TypeError("this method needs a base network, and its options are trained")
    return MetaModel.from_bytes(data, FlowCoin)
