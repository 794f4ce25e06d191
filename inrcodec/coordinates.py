"""Coordinates: pure functions of shape and convention.

The unit cube, slowest axis first: (row, column) of an image. The centre of sample i of n lies at (i + 1/2) / n.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.errors import LimitExceeded, UsageError
from inrcodec.window import Window

MAX_AXIS = 1 << 40  # samples of an output


def output_grid(
    shape: tuple[int, ...],
    scale: float | None,
    size: tuple[int, ...] | None,
    region: tuple[int, ...] | None,
    limit: int = 1 << 62,
) -> tuple[Window, tuple[int, ...]]:
    """What part of a grid to evaluate, and on how many positions of each axis.

    As people say them, size and region have the fastest axis first: (width, height) and (x, y, width, height) of an
    image. Raises UsageError if the region leaves the grid or a number is not positive, LimitExceeded above the limit.
    """
    dims = len(shape)
    if region is not None and len(region) != 2 * dims:
        raise UsageError(f"region has {len(region)} numbers; this signal has {dims} axes and needs {2 * dims}")
    if size is not None and len(size) != dims:
        raise UsageError(f"size has {len(size)} numbers; this signal has {dims} axes")
    numbers = (0,) * dims + shape[::-1] if region is None else region
    starts, extents = numbers[:dims][::-1], numbers[dims:][::-1]
    if any(e < 1 or s < 0 or s + e > n for s, e, n in zip(starts, extents, shape, strict=True)):
        raise UsageError(f"region {','.join(map(str, numbers))} is not inside the grid of {_times(shape)}")
    if scale is not None and size is not None:
        raise UsageError("scale and size exclude each other")
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"scale must be positive, not {scale}")
    if size is not None and min(size) < 1:
        raise UsageError(f"size must be at least {_times((1,) * dims)}, not {_times(size[::-1])}")
    factor = 1.0 if scale is None else scale
    if factor * max(extents) > MAX_AXIS:
        raise LimitExceeded(f"{_times(extents)} samples at scale {factor:g}; the limit of an axis is {MAX_AXIS}")
    out = size[::-1] if size else tuple(max(1, round(e * factor)) for e in extents)
    if math.prod(out) > limit:
        raise LimitExceeded(f"{_times(out)} = {math.prod(out)} samples; the limit is {limit}")
    return tuple((s, s + e) for s, e in zip(starts, extents, strict=True)), out


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape[::-1]))


def positions(window: Window, out: tuple[int, ...], where: tuple[slice, ...]) -> tuple[list[Tensor], tuple[int, ...]]:
    """Positions in samples, float64, one tensor per axis, of a part of an output grid; and how many to average each.

    More than one where the output is coarser than the grid. Position i is the centre of sample i.
    """
    axes, repeats = [], []
    for (start, stop), total, part in zip(window, out, where, strict=True):
        extent = stop - start
        k = max(1, math.ceil(extent / total))
        fine = torch.arange(part.start * k, part.stop * k, dtype=torch.float64)
        axes.append(start + (fine + 0.5) * (extent / (total * k)) - 0.5)
        repeats.append(k)
    return axes, tuple(repeats)


def degrees(axis: list[float], n: int) -> NDArray[np.float64]:
    """Latitudes or longitudes of n samples: [start, step] of a regular axis, else all of them."""
    values = np.asarray(axis, np.float64)
    return values[0] + values[1] * np.arange(n) if len(values) == 2 else values


def unit_vectors(info: dict[str, Any], shape: tuple[int, ...]) -> Tensor:
    """Places on the sphere of a grid [latitude, longitude] → [1, 3, *shape] float64: x to (0° N, 0° E), z to the pole.

    info: "latitude" and "longitude", as `degrees` takes them.
    """
    latitude, longitude = (
        np.deg2rad(degrees(info[name], n)) for name, n in zip(("latitude", "longitude"), shape, strict=True)
    )
    flat, up = np.cos(latitude)[:, None], np.sin(latitude)[:, None]
    x, y = flat * np.cos(longitude), flat * np.sin(longitude)
    return torch.from_numpy(np.stack([x, y, np.broadcast_to(up, x.shape)])[None])


def patch_coordinates(side: int, dims: int) -> Tensor:
    """The centres of the samples of a patch, [side^dims, dims] in [−1, 1], slowest axis first (thesis, 4.2.3)."""
    axis = (torch.arange(side) + 0.5) * (2 / side) - 1
    return torch.cartesian_prod(*[axis] * dims).view(-1, dims)
