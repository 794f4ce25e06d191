import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.fields.grids import (
    Conv3d,
    compact_tiles,
    cut,
    depth_to_space,
    grid_sizes,
    merge_phases,
    phases,
    split_phases,
)

shapes = st.integers(1, 3).flatmap(lambda dims: st.lists(st.integers(1, 9), min_size=dims, max_size=dims).map(tuple))


def numbered(shape: tuple[int, ...], channels: int = 2) -> torch.Tensor:
    """[1, C, *shape] of distinct values, none of them zero."""
    x = torch.arange(1.0, 1 + channels * torch.Size(shape).numel())
    return x.view(1, channels, *shape)


def test_orders_are_frozen() -> None:
    assert phases(1) == [(0,), (1,)]
    assert phases(2) == [(0, 0), (1, 1), (0, 1), (1, 0)]
    assert phases(3) == [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)]


def test_grid_sizes() -> None:
    assert grid_sizes((768, 511), 5) == [(768, 511), (384, 256), (192, 128), (96, 64), (48, 32), (24, 16)]
    assert grid_sizes((1, 5), 3) == [(1, 5), (1, 3), (1, 2), (1, 1)]


@given(shapes, st.integers(0, 12))
def test_grid_sizes_are_ceilings(shape: tuple[int, ...], levels: int) -> None:
    for i, size in enumerate(grid_sizes(shape, levels)):
        assert size == tuple(-(-n // 2**i) for n in shape)


@given(shapes)
def test_phases_round_trip(shape: tuple[int, ...]) -> None:
    x = numbered(shape)
    parts = split_phases(x, len(shape))
    assert len(parts) == 2 ** len(shape)
    assert {tuple(part.shape[2:]) for part in parts} == {grid_sizes(shape, 1)[1]}
    assert torch.equal(merge_phases(parts, shape), x)


@given(shapes)
def test_phases_are_the_sublattices_padded_with_zeros(shape: tuple[int, ...]) -> None:
    x = numbered(shape)
    for offset, part in zip(phases(len(shape)), split_phases(x, len(shape)), strict=True):
        cells = x[(..., *(slice(o, None, 2) for o in offset))]
        assert torch.equal(part[(..., *(slice(0, n) for n in cells.shape[2:]))], cells)
        assert torch.count_nonzero(part) == cells.numel()


@given(shapes)
def test_depth_to_space(shape: tuple[int, ...]) -> None:
    """Channel groups are phases, in coding order."""
    dims = len(shape)
    x = numbered(grid_sizes(shape, 1)[1], 3 * 2**dims)
    fine = depth_to_space(x, shape)
    assert tuple(fine.shape) == (1, 3, *shape)
    whole = tuple(2 * n for n in x.shape[2:])
    assert torch.equal(torch.cat(split_phases(depth_to_space(x, whole), dims), 1), x)
    assert torch.equal(fine, depth_to_space(x, whole)[(..., *(slice(0, n) for n in shape))])


@given(shapes)
def test_the_gradient_of_merged_phases_goes_to_them(shape: tuple[int, ...]) -> None:
    x = numbered(shape)
    parts = [part.clone().requires_grad_() for part in split_phases(x, len(shape))]
    (merge_phases(parts, shape) * x).sum().backward()
    assert all(torch.equal(g.grad, y) for g, y in zip(parts, split_phases(x, len(shape)), strict=True))


@given(shapes)
def test_the_gradient_of_a_split_grid_is_that_of_its_phases(shape: tuple[int, ...]) -> None:
    x = numbered(shape)
    split = x.clone().requires_grad_()
    parts = split_phases(split, len(shape))
    assert all(torch.equal(a, b) for a, b in zip(parts, split_phases(x, len(shape)), strict=True))
    torch.stack([(part * part).sum() for part in parts]).sum().backward()
    assert torch.equal(split.grad, 2 * x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_memory_format_does_not_matter(layout: torch.memory_format) -> None:
    x = numbered((7, 6), 4).contiguous(memory_format=layout)
    assert torch.equal(merge_phases(split_phases(x, 2), (7, 6)), numbered((7, 6), 4))


@pytest.mark.parametrize("shape", [(1,), (1000,), (37, 250), (1, 5000), (15, 90, 160), (16, 16, 16)])
@pytest.mark.parametrize(("most", "multiple"), [(64, 1), (1 << 10, 4), (1 << 12, 16)])
def test_compact_tiles_cover_a_grid_once(shape: tuple[int, ...], most: int, multiple: int) -> None:
    tiles, seen = compact_tiles(shape, most, multiple), np.zeros(shape, int)
    for tile in tiles:
        seen[cut(tile)] += 1
        assert math.prod(b - a for a, b in tile) <= max(most, multiple ** len(shape))
        assert all(a % multiple == 0 for a, _ in tile)
    assert (seen == 1).all()
    assert len(tiles) <= 8 * math.ceil(math.prod(shape) / most)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
def test_convolutions_of_volumes_are_those_of_torch(batch: int, kernel: int) -> None:
    torch.manual_seed(0)
    own, plain = Conv3d(5, 4, kernel, padding=kernel // 2), torch.nn.Conv3d(5, 4, kernel, padding=kernel // 2)
    plain.load_state_dict(own.state_dict())
    x = torch.randn(batch, 5, 3, 6, 7)
    found = []
    for conv in (own, plain):
        at = x.clone().requires_grad_()
        y = conv(at)
        found.append((y, *torch.autograd.grad(y.square().sum(), (at, *conv.parameters()))))
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, atol=1e-3)
