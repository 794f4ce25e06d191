"""The deep factorised prior (Ballé et al. 2018, appendix 6.1): a density of every dimension on its own.

Used while transforms are trained; what coding uses are tables of integers made from it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (1, 3, 3, 1)


class FactorisedDensity(nn.Module):
    """A cumulative distribution, monotone by construction, for each of sets × size scalars.

    spread: of the logistic distributions that it starts from, [sets, size].
    """

    def __init__(self, spread: Tensor):
        super().__init__()
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        sets, size = spread.shape
        for k, (n, m) in enumerate(zip(WIDTHS[:-1], WIDTHS[1:], strict=True)):
            gain = (1 / (spread if k == 0 else torch.ones_like(spread)) / m)[..., None, None]
            self.matrices.append(nn.Parameter(gain.expm1().log().repeat(1, 1, m, n)))
            self.biases.append(nn.Parameter(torch.empty(sets, size, m, 1).uniform_(-0.5, 0.5)))
            self.factors.append(nn.Parameter(torch.zeros(sets, size, m, 1)))

    def _logits(self, z: Tensor, which: Tensor) -> Tensor:
        """z [P, Z], set of each row [P] → logits of the cumulative distribution."""
        h = z[..., None, None]
        for k, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            h = F.softplus(matrix[which]) @ h + bias[which]
            if k + 1 < len(WIDTHS) - 1:
                h = h + torch.tanh(self.factors[k][which]) * torch.tanh(h)
        return h[..., 0, 0]

    def bits(self, z: Tensor, which: Tensor) -> Tensor:
        """−log2 of the probability of the unit cell around z [P, Z], rows of sets which [P]."""
        low, high = self._logits(z - 0.5, which), self._logits(z + 0.5, which)
        sign = -torch.sign(low + high).detach()  # where sigmoids are far from one: their difference is exact there
        mass = (torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs()
        return -torch.log2(mass.clamp(min=1e-9))
