"""The inner loop: a few steps of gradient descent on the modulations alone, shared by training and encoding.

    φ ← φ − α ⊙ ∇_φ L(f(x; θ, φ), y)

α is fixed (CAVIA: Zintgraf et al. 2019; COIN++), or learned for every value (Meta-SGD: Li et al. 2017; functa, MSCN,
VC-INR). With `create_graph` the result is differentiable in θ and α: gradients of second order.
"""

import torch
from torch import Tensor

from inrcodec.adam import Adam
from inrcodec.fields.base import BaseNetwork


def distortion(decoded: Tensor, y: Tensor) -> Tensor:
    """MSE of each signal, [P], from features [P, N, C]."""
    return (decoded - y).square().flatten(1).mean(1)


def inner_loop(net: BaseNetwork, x: Tensor, y: Tensor, steps: int, create_graph: bool = False) -> Tensor:
    """Coordinates x [N, d] in [−1, 1] and features y [P, N, C] → φ [P, size]."""
    with torch.enable_grad():
        phi = net.start(len(y))
        if not create_graph:
            phi = phi.detach().requires_grad_()
        for _ in range(steps):
            phi = phi if phi.requires_grad else phi.requires_grad_()
            loss = (distortion(net(phi, x), y) + net.modulation.penalty(phi)).sum()
            (gradient,) = torch.autograd.grad(loss, phi, create_graph=create_graph)
            phi = phi - net.rates() * gradient
            if not create_graph:
                phi = phi.detach()
    return phi


def fit(net: BaseNetwork, x: Tensor, y: Tensor, steps: int, refinement: int = 0) -> Tensor:
    """As `inner_loop` for encoding: the best iterate of every signal, without a graph; [P, size].

    refinement: steps of Adam that go on where the inner loop ended. They find what few steps of SGD do not reach.
    """
    phi = net.start(len(y)).detach()
    best, lowest = phi, torch.full((len(y),), torch.inf, device=y.device)
    optimiser, rate = None, 0.0
    for step in range(steps + refinement + 1):
        last = step == steps + refinement
        with torch.set_grad_enabled(not last):
            phi = phi if last else phi.requires_grad_()
            error = distortion(net(phi, x), y)
        better = error.detach() < lowest
        lowest = torch.where(better, error.detach(), lowest)
        best = torch.where(better[:, None], phi.detach(), best)
        if last:
            break
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad((error + net.modulation.penalty(phi)).sum(), phi)
        if step < steps:
            phi = (phi - net.rates() * gradient).detach()
        else:
            if optimiser is None:
                moved = (phi - net.start(len(y))).detach().square().mean().sqrt()
                phi = phi.detach().requires_grad_()
                optimiser, rate = Adam([phi]), 0.05 * float(moved) + 1e-9
            phi.grad = gradient
            optimiser.step(rate)
    return best.detach()
