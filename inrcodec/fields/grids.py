"""Grids of cells in one, two or three dimensions: sizes at each stride, and the phases of a grid.

The 2^d *phases* of a grid are its sub-lattices: phase (a, b) of a plane holds the cells (2k + a, 2l + b). Each has
the size of the next coarser grid, which is what lets one convolution on the coarse grid see everything known so far.
"""

import math
from collections.abc import Callable, Sequence
from itertools import chain, product
from types import EllipsisType
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.backends import mkldnn

from inrcodec import devices
from inrcodec.window import Shape, Window

M = TypeVar("M", bound=nn.Module)

Index = tuple[EllipsisType | slice, ...]


def conv3d(x: Tensor, weight: Tensor, bias: Tensor | None = None, padding: int = 0) -> Tensor:
    """What `F.conv3d` computes, sooner.

    From batch · channels · depth · height alone torch concludes that a block of a volume is too small for oneDNN; its
    own kernel takes five to fifteen times as long. Autocast does not know the call, so it is obeyed here.
    """
    if torch.is_autocast_enabled("cpu") and devices.multiplies_bfloat16(x.device):
        x, weight, bias = x.bfloat16(), weight.bfloat16(), None if bias is None else bias.bfloat16()
    fits = len(x) == 1 and weight.shape[-1] > 1 and x.is_cpu and x.dtype in (torch.float32, torch.bfloat16)
    if fits and mkldnn.is_available() and mkldnn.enabled:
        return torch.mkldnn_convolution(x, weight, bias, [padding] * 3, [1] * 3, [1] * 3, 1)
    return F.conv3d(x, weight, bias, padding=padding)


class Conv3d(nn.Conv3d):
    """`nn.Conv3d` of unit stride by the function above."""

    def forward(self, input: Tensor) -> Tensor:
        return conv3d(input, self.weight, self.bias, int(self.padding[0]))


LAYOUT = {4: torch.channels_last, 5: torch.channels_last_3d}
CONV: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: Conv3d}
CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: conv3d}


def cut(window: Window, origin: Window | None = None) -> Index:
    """The index that takes a window out of [..., *grid], whose grid begins where `origin` begins (or at zero)."""
    starts = [start for start, _ in origin] if origin else [0] * len(window)
    return (..., *(slice(a - start, b - start) for (a, b), start in zip(window, starts, strict=True)))


def with_axes(x: Tensor, dims: int) -> Tensor:
    """[..., C] → [..., C, 1, …] to meet `dims` more axes."""
    return x.view(*x.shape, *[1] * dims)


def channels_last(x: Tensor) -> Tensor:
    """The memory layout in which convolutions of few channels are fastest, for [B, C, *grid]."""
    return x.contiguous(memory_format=LAYOUT.get(x.ndim, torch.contiguous_format))


def room(like: Tensor, channels: int, grid: Sequence[int]) -> Tensor:
    """Uninitialised [B, channels, *grid] in that layout, B and the rest as of another tensor."""
    layout = LAYOUT.get(like.ndim, torch.contiguous_format)
    return torch.empty(len(like), channels, *grid, dtype=like.dtype, device=like.device, memory_format=layout)


def beside(parts: Sequence[Tensor]) -> Tensor:
    """Tensors [B, n, *grid] that need no gradient, one after another in [B, Σn, *grid], in the same layout.

    Left to itself torch gives that up where one of them lacks it, as does a single channel.
    """
    channels = sum(part.shape[1] for part in parts)
    return torch.cat(list(parts), 1, out=room(parts[0], channels, parts[0].shape[2:]))


def weights_last(module: M) -> M:
    """The same layout for the weights of a module."""
    for tensor in chain(module.parameters(), module.buffers()):
        tensor.data = channels_last(tensor.data)
    return module


def compact_tiles(shape: Shape, most: int, multiple: int = 1) -> list[Window]:
    """A grid in tiles of at most so many samples, row by row; all but the last of a row have sides of a multiple.

    They are as compact as the grid allows, so that little of what surrounds them has to be looked at too.
    """
    sides = list(shape)
    while math.prod(sides) > most and max(sides) > multiple:
        longest = sides.index(max(sides))
        sides[longest] = multiple * -(-sides[longest] // (2 * multiple))
    return list(
        product(*([(a, min(a + side, n)) for a in range(0, n, side)] for n, side in zip(shape, sides, strict=True)))
    )


def grid_sizes(shape: tuple[int, ...], levels: int) -> list[tuple[int, ...]]:
    """Sizes at strides 1, 2, 4, …, 2^levels; each is half the one before, rounded up."""
    sizes = [tuple(shape)]
    for _ in range(levels):
        sizes.append(tuple((n + 1) // 2 for n in sizes[-1]))
    return sizes


def phases(dims: int) -> list[tuple[int, ...]]:
    """Offsets of the phases in coding order: even parity first, so that later phases have neighbours on all sides."""
    return sorted(product((0, 1), repeat=dims), key=lambda offset: (sum(offset) % 2, offset))


def phase_window(size: tuple[int, ...], offset: tuple[int, ...]) -> Window:
    """The part of a phase that a grid has: an odd side leaves those that begin at one a cell short."""
    return tuple((0, (n - o + 1) // 2) for n, o in zip(size, offset, strict=True))


def _strided(offset: tuple[int, ...]) -> Index:
    return (..., *(slice(o, None, 2) for o in offset))


def split_phases(x: Tensor, dims: int) -> list[Tensor]:
    """[B, C, *grid] → 2^dims tensors [B, C, *ceil(grid / 2)] in coding order; an odd side is padded with zeros."""
    x = F.pad(x, [p for n in reversed(x.shape[2:]) for p in (0, n % 2)])
    return list(_Split.apply(x)) if x.requires_grad else [x[_strided(offset)] for offset in phases(dims)]


class _Split(torch.autograd.Function):
    """Reads each phase in one pass; its gradient writes them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(channels_last(x[_strided(offset)]) for offset in phases(x.ndim - 2))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _merged(gradients)


def _merged(parts: Sequence[Tensor]) -> Tensor:
    x, dims = parts[0], parts[0].ndim - 2
    out = room(x, x.shape[1], [2 * n for n in x.shape[2:]])
    for offset, part in zip(phases(dims), parts, strict=True):
        out[_strided(offset)] = part
    return out


class _Merge(torch.autograd.Function):
    """Writes each phase to its place in one pass, in the layout that convolutions want; its gradient reads them."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        return _merged(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (gradient,) = gradients
        return tuple(gradient[_strided(offset)] for offset in phases(gradient.ndim - 2))


def merge_phases(parts: Sequence[Tensor], size: tuple[int, ...]) -> Tensor:
    """The inverse of `split_phases`, cut to `size`."""
    return _Merge.apply(*parts)[cut(tuple((0, n) for n in size))]


def depth_to_space(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """[B, 2^d·C, *grid] → [B, C, *size]: channel groups become the phases of a grid twice as fine."""
    return merge_phases(x.chunk(2 ** len(size), 1), size)
