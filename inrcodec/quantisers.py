"""Uniform quantisers, both directions: symbols 0 … 2^bits − 1 spread evenly over a range, its ends included."""

import torch
from torch import Tensor


def uniform_quantise(values: Tensor, low: Tensor | float, high: Tensor | float, bits: int) -> Tensor:
    """Values → int32 symbols of the same shape; values beyond the range are clipped.

    low, high: numbers, or tensors that broadcast. Where they are equal, every symbol is 0.
    """
    top = 2**bits - 1
    low, span = torch.as_tensor(low).to(values), torch.as_tensor(high - low).to(values)
    share = torch.where(span > 0, (values - low) / span, torch.zeros_like(values))
    return torch.round(share.clamp(0, 1) * top).int()


def uniform_dequantise(symbols: Tensor, low: Tensor | float, high: Tensor | float, bits: int) -> Tensor:
    """The inverse of `uniform_quantise` up to half a step: float32."""
    return low + symbols.float() * ((high - low) / (2**bits - 1))


def deviations(bits: int) -> float:
    """k, the standard deviations that a range covers on either side: 3 at 1 bit, 6 at 16 (COIN++, appendix 4.B.1)."""
    return 3 + 3 * (bits - 1) / 15


def sigma_range(values: Tensor, bits: int) -> tuple[float, float]:
    """The mean ± k standard deviations."""
    mean, reach = float(values.mean()), deviations(bits) * float(values.std(correction=0))
    return mean - reach, mean + reach


def extent_range(values: Tensor, bits: int) -> tuple[float, float]:
    """From the least to the largest value, whatever the number of bits (D'OH, supplement 2)."""
    return float(values.min()), float(values.max())
