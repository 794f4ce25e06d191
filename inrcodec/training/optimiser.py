"""Muon for matrices, Adam for everything else.

Muon (Jordan et al. 2024) replaces the gradient of a matrix by its nearest orthogonal matrix, through a few
Newton-Schulz iterations on the momentum. Matrices of one shape are iterated together.
"""

from collections import defaultdict

import torch
from torch import Tensor, nn

LARGEST = 1 << 19
"""Elements of a matrix beyond which the iterations would cost more than the rest of a step."""

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(g: Tensor, steps: int = 5) -> Tensor:
    """[K, m, n] → the same with singular values near one."""
    a, b, c = _NEWTON_SCHULZ
    wide = g.shape[1] <= g.shape[2]
    x = g if wide else g.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return x if wide else x.mT


class Optimiser:
    """Both optimisers over one module. `lr` is Adam's; Muon's is `ratio` times that.

    axes: how many a parameter has to have for Muon: 3 for networks of convolutions, 2 for networks of linear layers.
    """

    def __init__(self, module: nn.Module, ratio: float = 12.0, momentum: float = 0.95, axes: int = 3):
        matrices = defaultdict(list)
        others = []
        for p in module.parameters():
            if not p.requires_grad:
                continue
            if p.ndim >= axes and p.shape[0] >= 8 and p[0].numel() >= 8 and p.numel() <= LARGEST:
                matrices[(p.shape[0], p[0].numel())].append(p)
            else:
                others.append(p)
        self.groups = list(matrices.values())
        self.ratio, self.momentum = ratio, momentum
        self.buffers = [torch.zeros(len(g), *shape, device=g[0].device) for shape, g in matrices.items()]
        self.adam = torch.optim.Adam(others, lr=0.0, betas=(0.9, 0.99))

    @torch.no_grad()
    def step(self, lr: float) -> None:
        for parameters, buffer in zip(self.groups, self.buffers, strict=True):
            if all(p.grad is None for p in parameters):
                continue
            g = torch.stack([(torch.zeros_like(p) if p.grad is None else p.grad).flatten(1) for p in parameters])
            buffer.lerp_(g, 1 - self.momentum)
            update = orthogonalise(g.lerp(buffer, self.momentum))
            scale = lr * self.ratio * 0.2 * max(update.shape[1:]) ** 0.5 / 10
            for p, u in zip(parameters, update, strict=True):
                p.sub_(u.view_as(p) * scale)
        for group in self.adam.param_groups:
            group["lr"] = lr
        self.adam.step()

    def state(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs."""
        out = {f"muon.{k}": buffer for k, buffer in enumerate(self.buffers)}
        for k, p in enumerate(self.adam.param_groups[0]["params"]):
            out |= {f"adam.{k}.{name}": value for name, value in self.adam.state.get(p, {}).items()}
        return out

    def load(self, tensors: dict[str, Tensor]) -> None:
        for k, buffer in enumerate(self.buffers):
            buffer.copy_(tensors[f"muon.{k}"])
        parameters = self.adam.param_groups[0]["params"]
        for k, p in enumerate(parameters):
            if f"adam.{k}.step" in tensors:  # or it has had no gradient yet
                names = ("step", "exp_avg", "exp_avg_sq")
                self.adam.state[p] = {name: tensors[f"adam.{k}.{name}"].clone() for name in names}
