"""A meta-learned base network: a SIREN that all signals share, and the modulation that tells them apart."""

import torch
from torch import Tensor, nn

from inrcodec.fields.modulations import Modulation
from inrcodec.fields.siren import Siren

RATE_LIMIT = 5.0
"""Meta-SGD keeps step sizes within ± this many units (VC-INR, table 3)."""


class BaseNetwork(nn.Module):
    """f(x; θ, φ). The step sizes of the inner loop belong to it.

    rate: the unit of step sizes. learned: Meta-SGD, every value of φ has a trained step size; else all are one unit.
    """

    alpha: Tensor

    def __init__(self, siren: Siren, modulation: Modulation, rate: float, learned: bool):
        super().__init__()
        self.siren, self.modulation, self.rate = siren, modulation, rate
        if learned:
            self.alpha = nn.Parameter(torch.ones(modulation.size))
        else:
            self.register_buffer("alpha", torch.ones(()))

    def start(self, count: int) -> Tensor:
        """φ [count, size] before the first step."""
        return self.modulation.start(count).to(self.alpha.device)

    def rates(self) -> Tensor:
        """α: [size], or [] where all are the same."""
        return self.rate * self.alpha.clamp(-RATE_LIMIT, RATE_LIMIT)

    def forward(self, phi: Tensor, x: Tensor) -> Tensor:
        """φ [P, size], coordinates x [N, d] or [P, N, d] in [−1, 1] → features [P, N, C]."""
        shifts, weights = self.modulation.change(self.siren, phi, x)
        return self.siren(x, shifts, weights)
