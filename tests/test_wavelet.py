import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inrcodec.fields.grids import grid_sizes
from inrcodec.fields.wavelet import analyse, bands, synthesise

shapes = st.integers(1, 3).flatmap(lambda dims: st.lists(st.integers(1, 13), min_size=dims, max_size=dims).map(tuple))


def noise(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(seed)) - 0.5


def test_order_of_bands_is_frozen() -> None:
    assert bands(1) == [(0,), (1,)]
    assert bands(2) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert bands(3)[:3] == [(0, 0, 0), (0, 0, 1), (0, 1, 0)]


def test_filters() -> None:
    """The synthesis filters of CDF 9/7, from a unit impulse far from the borders (Daubechies and Sweldens 1998)."""
    low, high = torch.zeros(1, 1, 16), torch.zeros(1, 1, 16)
    low[..., 8] = 1
    seven = synthesise([low, high], (32,))[0, 0, 13:20]
    expected = torch.tensor([-0.0912718, -0.0575435, 0.5912718, 1.1150871, 0.5912718, -0.0575435, -0.0912718])
    torch.testing.assert_close(seven, expected / math.sqrt(2), atol=1e-5, rtol=0)


@settings(deadline=None)
@given(shapes, st.integers(0, 9))
def test_perfect_reconstruction(shape: tuple[int, ...], seed: int) -> None:
    x = noise(shape, seed)
    parts = analyse(x, len(shape))
    assert len(parts) == 2 ** len(shape)
    assert {tuple(part.shape) for part in parts} == {(2, 3, *grid_sizes(shape, 1)[1])}
    torch.testing.assert_close(synthesise(parts, shape), x, atol=2e-6, rtol=1e-5)


@settings(deadline=None)
@given(st.lists(st.integers(1, 10).map(lambda n: 2 * n), min_size=1, max_size=3).map(tuple), st.integers(0, 9))
def test_perfect_analysis_of_even_sides(shape: tuple[int, ...], seed: int) -> None:
    """On even sides it is a basis: the bands come back too."""
    parts = [noise(tuple(n // 2 for n in shape), seed + k) for k in range(2 ** len(shape))]
    for part, back in zip(parts, analyse(synthesise(parts, shape), len(shape)), strict=True):
        torch.testing.assert_close(back, part, atol=2e-6, rtol=1e-5)


@settings(deadline=None)
@given(shapes, st.floats(-2, 2))
def test_a_constant_goes_to_the_low_band(shape: tuple[int, ...], value: float) -> None:
    low, *details = analyse(torch.full((1, 1, *shape), value), len(shape))
    gain = math.sqrt(2) ** len(shape)
    torch.testing.assert_close(low, torch.full_like(low, gain * value), atol=1e-5, rtol=1e-5)
    assert max(part.abs().max() for part in details) < 1e-5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_ramp_leaves_no_detail_inside(axis: int) -> None:
    """Four vanishing moments: polynomials of degree three vanish in the high bands, away from the borders."""
    t = torch.linspace(-1, 1, 24)
    x = (t - t**2 + t**3).view(*(-1 if a == axis else 1 for a in range(3))).expand(24, 24, 24)[None, None]
    for band, part in zip(bands(3), analyse(x, 3), strict=True):
        if any(band):
            assert part[..., 3:-3, 3:-3, 3:-3].abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(512,), (511,), (64, 64), (63, 64), (61, 59), (24, 25, 26)])
def test_energy_is_nearly_kept(shape: tuple[int, ...]) -> None:
    """CDF 9/7 is close to orthonormal: noise keeps its energy within a few per cent for each axis."""
    x = noise(shape)
    ratio = sum(part.square().sum() for part in analyse(x, len(shape))) / x.square().sum()
    assert 0.94 ** len(shape) < ratio < 1.12 ** len(shape)


@pytest.mark.parametrize("shape", [(32,), (32, 32), (16, 16, 16)])
def test_a_step_in_any_band_costs_about_the_same(shape: tuple[int, ...]) -> None:
    dims = len(shape)
    for k in range(2**dims):
        parts = [torch.zeros(1, 1, *(n // 2 for n in shape)) for _ in range(2**dims)]
        parts[k][(..., *(n // 4 for n in shape))] = 1
        energy = synthesise(parts, shape).square().sum()
        assert 0.8**dims < energy < 1.25**dims


def test_gradients_pass() -> None:
    x = noise((9, 7)).requires_grad_()
    synthesise(analyse(x, 2), (9, 7)).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x), atol=1e-4, rtol=1e-4)
