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
WIDTH = 32
RISEN = 16
OMEGA = 3.0


class Head(nn.Module):
    """For images: two axes, C channels, features of width w_0 at stride 2."""

    def __init__(self, dims: int, channels: int, width: int):
        super().__init__()
        conv = CONV[dims]
        self.channels = channels
        self.rise = conv(width, 2**dims * RISEN, 1)
        self.enter = conv(channels + RISEN, WIDTH, 3, padding=1)
        self.inner = nn.ModuleList(conv(WIDTH, WIDTH, 3, padding=1) for _ in range(4))
        self.leave = conv(WIDTH, channels * BASIS, 3, padding=1)
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
        return second(torch.sin(OMEGA * first(offset))) - second(torch.sin(OMEGA * first(torch.zeros_like(offset))))

    def evaluate(self, r: Tensor, g: Tensor, positions: Tensor) -> Tensor:
        """r [1, C, H, W], g [1, C·BASIS, H, W], positions [N, 2] in samples (row, column) → [N, C]."""
        size = torch.tensor(r.shape[2:], device=r.device)
        unit = (2 * positions + 1) / size - 1  # the convention of grid_sample, which wants x before y
        smooth = F.grid_sample(r, unit.flip(-1)[None, None], "bicubic", "border", align_corners=False)
        out = smooth[0, :, 0].T
        inside = torch.minimum(positions.clamp(min=0), size - 1)
        base = torch.minimum(inside.detach().floor().long(), (size - 2).clamp(min=0))
        flat = g[0].flatten(1).T  # [cells, C·BASIS]
        for corner in product((0, 1), repeat=2):
            cell = torch.minimum(base + torch.tensor(corner, device=r.device), size - 1)
            offset = inside - cell
            weight = (1 - offset.abs()).clamp(min=0).prod(-1, keepdim=True)
            if any(c and n == 1 for c, n in zip(corner, r.shape[2:], strict=True)):
                continue  # a side of one sample has no second corner
            coefficients = flat[cell[:, 0] * r.shape[3] + cell[:, 1]].unflatten(1, (self.channels, BASIS))
            out = out + weight * torch.einsum("nck,nk->nc", coefficients, self.phi(offset))
        return out
