"""The per-coordinate head: what makes the decoded grid a field.

    f(c) = cubic interpolation of r at c + Σ_corners w(c) · ⟨g(corner), φ(c − corner) − φ(0)⟩

r is the signal on its grid, g features that a small trunk reads off r and the finest features h, φ a SIREN of the
offset (Sitzmann et al. 2020) shared by all cells, w the bilinear weights of the cell corners (as the local ensemble
of LIIF, Chen et al. 2021). The residual is continuous and vanishes on the grid, where the field equals r.
"""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inrcodec.fields.grids import CONV, depth_to_space

BASIS = 12
WIDTHS = {1: 32, 2: 32, 3: 12}  # by axes
RISEN = 16
OMEGA = 3.0


class Head(nn.Module):
    """For d axes, C channels, features of width w_0 at stride 2."""

    def __init__(self, dims: int, channels: int, width: int):
        super().__init__()
        conv, inside = CONV[dims], WIDTHS[dims]
        self.channels = channels
        self.rise = conv(width, 2**dims * RISEN, 1)
        self.enter = conv(channels + RISEN, inside, 3, padding=1)
        self.inner = nn.ModuleList(conv(inside, inside, 3, padding=1) for _ in range(4))
        self.leave = conv(inside, channels * BASIS, 3, padding=1)
        with torch.no_grad():
            for parameter in self.leave.parameters():
                parameter.mul_(0.03)  # start near plain interpolation
        self.basis = nn.ModuleList((nn.Linear(dims, 32), nn.Linear(32, BASIS)))

    def forward(self, r: Tensor, h: Tensor) -> Tensor:
        """r [B, C, *grid], h [B, w_0, *cells] → g [B, C·BASIS, *grid]."""
        x = self.enter(torch.cat([r, depth_to_space(self.rise(h), tuple(r.shape[2:]))], 1))
        for first, second in zip(self.inner[::2], self.inner[1::2], strict=True):
            x = x + second(F.gelu(first(F.gelu(x))))
        return self.leave(F.gelu(x))

    def phi(self, offset: Tensor) -> Tensor:
        """Offsets [..., d] in cells → [..., BASIS]; zero at zero."""
        first, second = self.basis
        zero = offset.new_zeros(1, offset.shape[-1])
        return second(torch.sin(OMEGA * first(offset)) - torch.sin(OMEGA * first(zero))) - second.bias

    def evaluate(self, r: Tensor, g: Tensor, positions: Tensor) -> Tensor:
        """r [1, C, *grid], g [1, C·BASIS, *grid], positions [N, d] in samples → [N, C]."""
        out = cubic(r[0], positions)
        size = torch.tensor(r.shape[2:], device=r.device)
        rows = g[0].flatten(1).T.contiguous()  # [cells, C·BASIS]
        inside = torch.minimum(positions.clamp(min=0), size - 1)
        base = torch.minimum(inside.detach().floor().long(), (size - 2).clamp(min=0))
        for corner in product((0, 1), repeat=len(size)):
            if any(c and n == 1 for c, n in zip(corner, r.shape[2:], strict=True)):
                continue  # a side of one sample has no second corner
            cell = base + torch.tensor(corner, device=r.device)
            offset = inside - cell
            weight = (1 - offset.abs()).clamp(min=0).prod(-1, keepdim=True)
            index = cell[:, 0]
            for axis, n in enumerate(r.shape[3:], 1):
                index = index * n + cell[:, axis]
            coefficients = rows[index].unflatten(1, (self.channels, BASIS))
            out = out + weight * torch.einsum("nck,nk->nc", coefficients, self.phi(offset))
        return out


def cubic(x: Tensor, positions: Tensor) -> Tensor:
    """x [C, *grid] at positions [N, d] in samples → [N, C], by cubic convolution along each axis (Keys 1981).

    Differentiable in the positions; the border repeats.
    """
    base = positions.detach().floor()
    index = torch.zeros(len(positions), 1, dtype=torch.long, device=x.device)
    weight = torch.ones(len(positions), 1, device=x.device)
    for axis, n in enumerate(x.shape[1:]):  # [N, 4^axes so far]
        distance = (positions[:, axis, None] - base[:, axis, None] - _TAPS.to(x)).abs()
        near = ((_KEYS + 2) * distance - (_KEYS + 3)) * distance.square() + 1
        far = _KEYS * (((distance - 5) * distance + 8) * distance - 4)
        cells = (base[:, axis, None].long() + _TAPS.to(x.device)).clamp(0, n - 1)
        index = (index[:, :, None] * n + cells[:, None]).flatten(1)
        weight = (weight[:, :, None] * torch.where(distance < 1, near, far)[:, None]).flatten(1)
    return F.embedding_bag(index, x.flatten(1).T.contiguous(), per_sample_weights=weight, mode="sum")


_KEYS = -0.75
_TAPS = torch.arange(-1, 3)
