"""The CDF 9/7 wavelet, one axis at a time: the linear skeleton of the pyramid.

Lifting defines it. Along a short axis it is applied as one matrix, which is lifting of the identity, made once per
length: one product is quicker than a dozen small operations.

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


LONGEST_MATRIX = 64


def _analyse(x: Tensor, axis: int) -> Tensor:
    """n → 2m along an axis (negative), m = ceil(n / 2): the low half, then the high half.

    An odd length is extended by repeating its last sample.
    """
    if x.shape[axis] % 2:
        x = torch.cat([x, x.narrow(axis, x.shape[axis] - 1, 1)], axis)
    low, high = x.unflatten(axis, (-1, 2)).unbind(axis)
    for step, factor in enumerate(_LIFT):
        if step % 2 == 0:
            high = torch.add(high, low + _following(low, axis), alpha=factor)
        else:
            low = torch.add(low, high + _preceding(high, axis), alpha=factor)
    return torch.cat([low * _SCALE, high / _SCALE], axis)


def _synthesise(x: Tensor, axis: int, n: int) -> Tensor:
    """The inverse of `_analyse`: 2m → n."""
    low, high = x.chunk(2, axis)
    low, high = low / _SCALE, high * _SCALE
    for step, factor in reversed(list(enumerate(_LIFT))):
        if step % 2 == 0:
            high = torch.sub(high, low + _following(low, axis), alpha=factor)
        else:
            low = torch.sub(low, high + _preceding(high, axis), alpha=factor)
    return torch.stack([low, high], axis).flatten(axis - 1, axis).narrow(axis, 0, n)


def _following(x: Tensor, axis: int) -> Tensor:
    last = x.shape[axis] - 1
    return torch.cat([x.narrow(axis, 1, last), x.narrow(axis, last, 1)], axis)


def _preceding(x: Tensor, axis: int) -> Tensor:
    return torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, x.shape[axis] - 1)], axis)


@lru_cache(maxsize=256)
def _matrices(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Analysis [2m, n] and synthesis [n, 2m] matrices for length n, rounded from float64."""
    eye = torch.eye(n + n % 2, dtype=torch.float64)
    return _analyse(eye[:n, :n], -1).T.to(dtype).contiguous(), _synthesise(eye, -1, n).T.to(dtype).contiguous()


def _along(x: Tensor, axis: int, n: int, forward: bool) -> Tensor:
    """Analysis or synthesis of axis `axis` (negative) of x, n samples long in the signal."""
    if n > LONGEST_MATRIX:
        return _analyse(x, axis) if forward else _synthesise(x, axis, n)
    matrix = _matrices(n, x.dtype)[0 if forward else 1].to(x.device)
    if axis == -1:
        return x @ matrix.T
    if axis == -2:
        return matrix @ x
    return (x.transpose(axis, -1) @ matrix.T).transpose(axis, -1)


def analyse(x: Tensor, dims: int) -> list[Tensor]:
    """[B, C, *grid] → 2^dims bands [B, C, *ceil(grid / 2)], in the order of `bands`."""
    for axis in range(-dims, 0):
        x = _along(x, axis, x.shape[axis], forward=True)
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
        x = _along(x, axis, n, forward=False)
    return x
