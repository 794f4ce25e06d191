"""The CDF 9/7 wavelet as one matrix per axis: the linear skeleton of the pyramid.

A separable transform of a grid is a matrix product along each axis. The matrices are made once per length by
lifting the identity, so that odd lengths and borders need no case of their own, gradients are free, and one
implementation serves 1, 2 and 3 dimensions.

Source: Cohen, Daubechies, Feauveau 1992; lifting factors after Daubechies and Sweldens 1998.
"""

from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

_LIFT = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
_SCALE = 1.149604398860241


def bands(dims: int) -> list[tuple[int, ...]]:
    """The 2^dims sub-bands as tuples of 0 (low) and 1 (high) per axis; the all-low band comes first."""
    return list(product((0, 1), repeat=dims))


@lru_cache(maxsize=256)
def _matrices(n: int) -> tuple[Tensor, Tensor]:
    """Analysis [2m, n] and synthesis [n, 2m] matrices for length n, m = ceil(n / 2); the m low rows come first.

    An odd length is extended by repeating its last sample; synthesis drops that sample again.
    """
    m = (n + 1) // 2
    eye = torch.eye(n, dtype=torch.float64)
    extended = torch.cat([eye, eye[-1:]]) if n % 2 else eye
    low, high = extended[0::2].clone(), extended[1::2].clone()
    following = torch.tensor([*range(1, m), m - 1])
    preceding = torch.tensor([0, *range(m - 1)])
    for step, factor in enumerate(_LIFT):
        if step % 2 == 0:
            high = high + factor * (low + low[following])
        else:
            low = low + factor * (high + high[preceding])
    analysis = torch.cat([low * _SCALE, high / _SCALE])

    eye = torch.eye(2 * m, dtype=torch.float64)
    low, high = eye[:m] / _SCALE, eye[m:] * _SCALE
    for step, factor in reversed(list(enumerate(_LIFT))):
        if step % 2 == 0:
            high = high - factor * (low + low[following])
        else:
            low = low - factor * (high + high[preceding])
    synthesis = torch.stack([low, high], 1).flatten(0, 1)[:n]
    return analysis.float(), synthesis.float()


def _along(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """Multiply axis `axis` (negative) of x by a matrix [out, in]."""
    if axis == -1:
        return x @ matrix.T
    if axis == -2:
        return matrix @ x
    return (x.transpose(axis, -1) @ matrix.T).transpose(axis, -1)


def analyse(x: Tensor, dims: int) -> list[Tensor]:
    """[B, C, *grid] → 2^dims bands [B, C, *ceil(grid / 2)], in the order of `bands`."""
    for axis in range(-dims, 0):
        x = _along(_matrices(x.shape[axis])[0].to(x), x, axis)
    out = [x]
    for axis in range(-dims, 0):
        out = [half for part in out for half in part.chunk(2, axis)]
    return out


def synthesise(parts: list[Tensor], size: tuple[int, ...]) -> Tensor:
    """The inverse of `analyse` onto a grid of `size` (each side 2m or 2m − 1 for bands of side m)."""
    dims = len(size)
    for axis in range(-1, -dims - 1, -1):
        parts = [torch.cat(parts[k : k + 2], axis) for k in range(0, len(parts), 2)]
    (x,) = parts
    for axis, n in zip(range(-dims, 0), size, strict=True):
        x = _along(_matrices(n)[1].to(x), x, axis)
    return x
