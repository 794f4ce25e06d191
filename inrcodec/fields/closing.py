"""Closing modulations: what a signal changes of the last layer of its decoder.

    r = w + unit · (correct_0(h) + Σ_k m_k · basis_k * [h, phases of w])          * a convolution of 3^d

h are the finest features, w the last inverse wavelet step. The samples are linear in the modulations m, so the best
ones are the solution of least squares, whatever the networks before them are (`inrcodec/closing.py`). That modulations
choose weights from a learned basis is COIN++ and VC-INR; here they are those of the pyramid's last layer alone.
"""

import math

import torch
from torch import Tensor, nn

STEP = 0.12  # ln of the ratio of two neighbouring steps, as of two scales of the prior

Change = tuple[Tensor, Tensor]
"""What modulations add to the last layer: weight [out, in, 3, …] over [h, phases of w], bias [out]."""


class Closing(nn.Module):
    """A basis of changes, and how large the modulations of each are expected to be."""

    scales: Tensor  # [count] int8: scale index of a modulation in steps of 1

    def __init__(self, dims: int, count: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(count, outputs, inputs, *[3] * dims))
        self.bias = nn.Parameter(torch.zeros(count, outputs))
        self.register_buffer("scales", torch.zeros(count, dtype=torch.int8), persistent=False)

    def load(self, scales: Tensor) -> None:
        """Take over scales. Raises ValueError if they are not as many as the basis has elements."""
        if scales.shape != self.scales.shape or scales.dtype != torch.int8:
            raise ValueError(f"scales {list(scales.shape)} of {len(self.scales)} closing modulations")
        self.scales.copy_(scales)

    def flat(self) -> Tensor:
        """The basis as matrices [count, in · 3^d + 1, out], the bias last."""
        return torch.cat([self.weight.flatten(2), self.bias[..., None]], 2).transpose(1, 2)

    def change(self, integers: Tensor, step: int) -> Change:
        """Modulations, in steps of e^(−0.12 · step), → what they change."""
        m = integers.to(self.weight) * math.exp(-STEP * step)
        return torch.tensordot(m, self.weight, 1), m @ self.bias
