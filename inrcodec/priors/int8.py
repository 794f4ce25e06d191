"""Convolutions of bytes by int8 weights, summed in 32 bits: exact, and several times faster than float32.

oneDNN multiplies, adds the bias, rounds and clamps in one pass. The calls are those that `torch.export` makes of a
quantised network on a processor.
"""

from functools import cache

import torch
from torch import Tensor


class ByteConvolution:
    """unit · (w * x) + bias, of unit stride, padded with zeros to the size of x."""

    def __init__(self, weight: Tensor, unit: Tensor):
        """weight int8 [out, in, *kernel]; unit [out], powers of two."""
        dims = weight.ndim - 2
        self.unit, self.zeros = unit, torch.zeros(len(unit), dtype=torch.int64)
        self.ones, self.padding = [1] * dims, [weight.shape[-1] // 2] * dims
        pack = torch.ops.onednn.qconv_prepack
        self.weight = pack(weight, unit, 1.0, 0, self.ones, self.padding, self.ones, 1, None)
        self.convolve = getattr(torch.ops.onednn, f"qconv{dims}d_pointwise")

    def __call__(self, x: Tensor, bias: Tensor, kind: torch.dtype) -> Tensor:
        """x uint8 [B, in, *grid], bias [out] → [B, out, *grid]: float32, or uint8, rounded to even and clamped."""
        weights = self.weight, self.unit, self.zeros
        shape = self.ones, self.padding, self.ones, 1
        return self.convolve(x, 1.0, 0, *weights, bias, *shape, 1.0, 0, kind, "none", [], "")


@cache
def exact(device: torch.device) -> bool:
    """Whether it has such convolutions, and they are exact: older processors add pairs of products in 16 bits."""
    if device.type != "cpu":
        return False
    try:
        largest = ByteConvolution(torch.full((16, 64, 1, 1), 127, dtype=torch.int8), torch.ones(16))
        sums = largest(torch.full((1, 64, 4, 4), 255, dtype=torch.uint8), torch.zeros(16), torch.float32)
    except (AttributeError, RuntimeError):  # another build of torch
        return False
    return torch.cpu._is_vnni_supported() and bool((sums == 64 * 127 * 255).all())
