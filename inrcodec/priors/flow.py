"""An autoregressive flow whose probabilities are integers: the prior of FlowCOIN.

    x_g = μ_g(x_<g) + s_g(x_<g) ⊙ ε,   ε logistic

One layer of an affine autoregressive flow (Papamakarios et al. 2017) over groups of dimensions. Because every
conditional is a located and scaled logistic, its probability of a cell is a table that the scale index picks and the
fraction of the mean shifts: the same committed tables as those of the pyramid. The conditioners are integer networks
(`priors.context.IntegerLayer`), so encoder and decoder agree on every device.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from inrcodec.priors.context import SCALES, IntegerLayer, Rounding, half_up

UNITS = 32  # what the conditioners see of a standardised modulation: integers of 1/32 standard deviation within ±127
MEAN_UNITS = 64  # what they say of a mean: integers of 1/64 standard deviation

Code = Callable[[int, Tensor, Tensor], Tensor]
"""(group, mean in 1/64 σ [1, n, P], scale index [1, n, P]) → what later groups see of it: units [1, n, P]."""


class Flow(nn.Module):
    """Conditioners of `size` dimensions in `groups` groups."""

    def __init__(self, size: int, groups: int, width: int, layer: Any = IntegerLayer):
        super().__init__()
        self.bounds = [size * g // groups for g in range(groups + 1)]
        self.condition = layer.condition
        self.enter = nn.ModuleList(layer(1, max(start, 1), width, 1) for start in self.bounds[:-1])
        self.middle = nn.ModuleList(layer(1, width, width, 1) for _ in range(groups))
        self.heads = nn.ModuleList(
            layer(1, width, 2 * (b - a), 1, head=True) for a, b in zip(self.bounds[:-1], self.bounds[1:], strict=True)
        )

    def walk(self, count: int, op: Tensor, code: Code, rounding: Rounding = half_up) -> None:
        """Visit the groups in coding order, for `count` patches of one operating point op [1]."""
        condition = self.condition(op)
        seen = torch.zeros(len(op), 1, count, device=op.device)
        for g, (enter, middle, head) in enumerate(zip(self.enter, self.middle, self.heads, strict=True)):
            h = middle(enter(seen, condition, rounding), condition, rounding)
            mean, index = head(h, condition, rounding).chunk(2, 1)
            units = code(g, mean, index.clamp(0, SCALES - 1))
            seen = torch.cat([seen, units], 1) if g else units
