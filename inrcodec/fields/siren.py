"""SIREN: coordinates → features through sines (Sitzmann et al. 2020), for many signals at once.

    h₀ = x,   hₗ = sin(ω₀ (Wₗ hₗ₋₁ + bₗ + sₗ)),   y = W h_L + b

What sets one signal apart from the others comes in as shifts sₗ, or as weights Wₗ of its own.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _SinCos(torch.autograd.Function):
    """Sine and cosine at once: each is the derivative of the other, so gradients of gradients need no more of them."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> tuple[Tensor, Tensor]:
        sine, cosine = torch.cos(a - math.pi / 2), torch.cos(a)  # on CPUs cos is three times as fast as sin
        ctx.save_for_backward(sine, cosine)
        ctx.set_materialize_grads(False)
        return sine, cosine

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Tensor | None:
        sine, cosine = ctx.saved_tensors
        by_sine, by_cosine = grads
        if by_cosine is None:
            return None if by_sine is None else by_sine * cosine
        return -by_cosine * sine if by_sine is None else by_sine * cosine - by_cosine * sine


def sine(a: Tensor) -> Tensor:
    out: Tensor = _SinCos.apply(a)[0]
    return out


class Siren(nn.Module):
    """`depth` layers of `width` sines, and a linear layer after them."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int, w0: float):
        super().__init__()
        sizes = [inputs, *[width] * depth, outputs]
        self.depth, self.w0 = depth, w0
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for layer, (n, m) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            bound = 1 / n if layer == 0 else math.sqrt(6 / n) / w0
            self.weights.append(nn.Parameter(torch.empty(m, n).uniform_(-bound, bound)))
            edge = 1 / math.sqrt(n)
            self.biases.append(nn.Parameter(torch.empty(m).uniform_(-edge, edge)))
        with torch.no_grad():
            self.biases[-1].fill_(0.5)  # the middle of the features

    def forward(
        self,
        x: Tensor,
        shifts: Tensor | None = None,
        weights: Sequence[Tensor | None] | None = None,
        biases: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Coordinates [N, d] or [P, N, d] → features [P, N, C]; [N, C] if nothing tells P signals apart.

        shifts: [P, 1 or N, depth · width]. weights: of each layer [P, out, in], or None where all signals share it.
        biases: of each layer [P, out], with weights of every layer.
        """
        h = x
        for layer in range(self.depth + 1):
            own = None if weights is None else weights[layer]
            bias: Tensor = self.biases[layer] if biases is None else biases[layer][:, None]
            if own is None:
                h = F.linear(h, self.weights[layer], bias)
            elif h.ndim == 2:
                h = F.linear(h, own.flatten(0, 1)).view(len(h), *own.shape[:2]).movedim(1, 0) + bias
            else:
                h = torch.baddbmm(bias, h, own.mT)
            if layer == self.depth:
                return h
            if shifts is not None:
                width = bias.shape[-1]
                h = h + shifts[..., layer * width : (layer + 1) * width]
            h = sine(self.w0 * h)
        raise AssertionError("a network has an output layer")
