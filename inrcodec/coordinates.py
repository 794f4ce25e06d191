"""Coordinates: pure functions of shape and convention.

The unit square, (row, column): the centre of sample i of n lies at (i + 1/2) / n.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inrcodec.errors import LimitExceeded, UsageError


@dataclass(frozen=True)
class Rectangle:
    """A part of an image, in its samples."""

    top: int
    left: int
    size: tuple[int, int]  # rows, columns


def output_size(
    shape: tuple[int, int],
    scale: float | None,
    size: tuple[int, int] | None,
    region: tuple[int, int, int, int] | None,
    max_pixels: int = 1 << 62,
) -> tuple[Rectangle, tuple[int, int]]:
    """What part to evaluate, and on how many (rows, columns). size: (width, height); region: (x, y, width, height).

    Raises UsageError if the region leaves the image or a number is not positive, LimitExceeded above max_pixels.
    """
    height, width = shape
    x, y, w, h = region or (0, 0, width, height)
    if w < 1 or h < 1 or x < 0 or y < 0 or x + w > width or y + h > height:
        raise UsageError(f"region {x},{y},{w},{h} is not inside the image of {width}x{height}")
    if scale is not None and size is not None:
        raise UsageError("scale and size exclude each other")
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"scale must be positive, not {scale}")
    if size is not None and min(size) < 1:
        raise UsageError(f"size must be at least 1x1, not {size[0]}x{size[1]}")
    factor = 1.0 if scale is None else scale
    out = (size[1], size[0]) if size else (max(1, round(h * factor)), max(1, round(w * factor)))
    if out[0] * out[1] > max_pixels:
        raise LimitExceeded(f"{out[1]}x{out[0]} = {out[0] * out[1]} pixels; the limit is {max_pixels}")
    return Rectangle(y, x, (h, w)), out


def grid(
    rectangle: Rectangle, shape: tuple[int, int], out: tuple[int, int], where: tuple[slice, slice]
) -> tuple[Tensor, tuple[int, int]]:
    """Coordinates [rows·k, columns·l, 2] of a part of an output grid, and (k, l): values to average per sample.

    k and l exceed one where the output is coarser than the image.
    """
    axes, repeats = [], []
    starts = (rectangle.top, rectangle.left)
    for start, extent, n, total, part in zip(starts, rectangle.size, shape, out, where, strict=True):
        k = max(1, math.ceil(extent / total))
        fine = torch.arange(part.start * k, part.stop * k, dtype=torch.float64)
        axes.append(((start + (fine + 0.5) * (extent / (total * k))) / n).float())
        repeats.append(k)
    rows, columns = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([rows, columns], -1), (repeats[0], repeats[1])
