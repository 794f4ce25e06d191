"""Signals that are made up: of the promised shape and range, the same for the same seed, and unlike one another."""

import numpy as np
import pytest

from inrcodec.training import procedural
from inrcodec.training.procedural import FAMILIES, Family
from inrcodec.window import Shape

SHAPES = [(64,), (24, 20), (9, 8, 10)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_every_family_varies_in_every_dimension(family: Family, shape: Shape) -> None:
    drawn = [family(rng(seed), shape) for seed in range(12)]
    assert all(x.shape == shape and np.isfinite(x).all() for x in drawn)
    assert sum(np.ptp(x) > 0 for x in drawn) >= 10
    flat = [procedural._normalised(x).ravel() for x in drawn]
    alike = [np.abs(a - b).max() < 0.05 for k, a in enumerate(flat) for b in flat[:k]]
    assert np.mean(alike) < 0.1


@pytest.mark.parametrize("shape", SHAPES)
def test_signals_fill_the_range(shape: Shape) -> None:
    drawn = [procedural.signal(rng(seed), shape) for seed in range(60)]
    for x in drawn:
        assert x.shape == shape and x.dtype == np.float32 and np.isfinite(x).all()
        assert -0.4 < x.min() < 0.3 and 0.7 < x.max() < 1.4
    clean = [x.min() == 0 and x.max() == 1 for x in drawn]
    assert 0.25 < np.mean(clean) < 0.75  # half are without noise


def test_signals_are_unlike_one_another() -> None:
    drawn = np.stack([procedural.signal(rng(seed), (32, 32)) for seed in range(60)])
    rough = np.abs(np.diff(drawn, 2, axis=2)).mean((1, 2))
    assert np.quantile(rough, 0.9) > 10 * np.quantile(rough, 0.1)  # smooth ones and rough ones
    level = np.median(drawn, (1, 2))
    assert (level < 0.25).sum() > 3 and (level > 0.75).sum() > 3  # dark ones and bright ones
    flat = drawn.reshape(len(drawn), -1)
    assert np.median(np.abs(np.corrcoef(flat))[np.triu_indices(len(flat), 1)]) < 0.3


def test_the_generator_decides_everything() -> None:
    np.testing.assert_array_equal(procedural.batch(rng(3), 8, (16, 16)), procedural.batch(rng(3), 8, (16, 16)))
    np.testing.assert_array_equal(procedural.distance(rng(3), (8, 8, 8)), procedural.distance(rng(3), (8, 8, 8)))
    assert not np.array_equal(procedural.batch(rng(3), 8, (16, 16)), procedural.batch(rng(4), 8, (16, 16)))


def test_a_batch_is_signals_in_a_row() -> None:
    one_by_one = rng(5)
    signals = [procedural.signal(one_by_one, (7, 6)) for _ in range(5)]
    np.testing.assert_array_equal(procedural.batch(rng(5), 5, (7, 6)), np.stack(signals)[:, None])
    assert procedural.batch(rng(), 0, (7, 6)).shape == (0, 1, 7, 6)


@pytest.mark.parametrize("shape", [(1,), (2,), (17,), (1, 1), (1, 9), (31, 2), (1, 1, 1), (1, 6, 1), (5, 3, 7)])
def test_small_and_odd_sides(shape: Shape) -> None:
    with np.errstate(all="raise", under="ignore"):
        x, s = procedural.batch(rng(1), 60, shape), [procedural.distance(rng(seed), shape) for seed in range(20)]
    assert np.isfinite(x).all() and np.isfinite(s).all()
    assert max(shape) > 2 or x.min() > -0.4 and x.max() < 1.4
    if shape == (1,):
        assert (x == 0.5).sum() > 15  # one sample is constant, noise aside


def test_random_fields_have_the_spectrum_asked_for() -> None:
    n = 4096
    power = np.mean([np.abs(np.fft.rfft(_windowed(procedural.gaussian(rng(k), (n,), 2.0)))) ** 2 for k in range(40)], 0)
    k = np.arange(n // 16, n // 4)  # above the corner of the spectrum, below where it folds
    assert np.polyfit(np.log(k), np.log(power[k]), 1)[0] == pytest.approx(-2, abs=0.25)


def _windowed(x: np.ndarray) -> np.ndarray:
    return x * np.hanning(len(x))


def test_fields_do_not_wrap_around() -> None:
    jumps, steps = [], []
    for seed in range(20):
        x = procedural.gaussian(rng(seed), (256,), 3.0)
        jumps.append(abs(x[0] - x[-1]))
        steps.append(np.abs(np.diff(x)).mean())
    assert np.median(jumps) > 5 * np.median(steps)


@pytest.mark.parametrize("shape", [(64,), (40, 40), (20, 20, 20), (12, 24, 17)])
def test_a_surface_passes_through_every_solid(shape: Shape) -> None:
    for seed in range(25):
        s = procedural.distance(rng(seed), shape)
        assert s.shape == shape and s.dtype == np.float32
        assert 0 <= s.min() < 0.5 <= s.max() <= 1


def test_bodies_are_positive_inside_and_count_in_samples() -> None:
    x = procedural._positions((101, 101))
    for seed in range(30):
        d = procedural.body(rng(seed), x, 50 * 101 + 50, 30.0)
        assert d.max() > 0 > min(d[0, 0], d[0, -1], d[-1, 0], d[-1, -1])
        slope = procedural._steepness(d)[np.abs(d) < 2]
        assert np.quantile(np.abs(slope - 1), 0.9) < 0.1


def test_distances_are_those_to_the_surface() -> None:
    """Against the nearest point where the field crosses 1/2 on a line of the grid."""
    ratios = []
    for seed in range(25):
        s = procedural.distance(rng(seed), (48, 48)).astype(np.float64)
        d = 2 * np.arctanh(np.clip(2 * s - 1, -0.9999, 0.9999))
        surface = np.concatenate([_crossings(d), _crossings(d.T)[:, ::-1]])
        near = np.argwhere((np.abs(d) > 1) & (np.abs(d) < 2.5))
        near = near[(near.min(1) >= 4) & (near.max(1) < 44)]  # what is nearest may be outside the grid elsewhere
        if len(near):
            true = np.sqrt(((near[:, None] - surface) ** 2).sum(-1).min(1))
            ratios.append(np.abs(d[tuple(near.T)]) / true)
    off = np.abs(np.concatenate(ratios) - 1)
    assert len(off) > 1000
    assert np.median(off) < 0.03 and np.quantile(off, 0.8) < 0.1


def _crossings(d: np.ndarray) -> np.ndarray:
    """[K, 2] (row, column) of the zeros between neighbours of a column, by linear interpolation."""
    row, column = np.nonzero((d[:-1] > 0) != (d[1:] > 0))
    a, b = d[row, column], d[row + 1, column]
    return np.stack([row + a / (a - b), column], 1)


def test_a_union_is_exact_at_right_angles_and_rounded_by_a_fillet() -> None:
    a, b = np.meshgrid(np.linspace(-9, 9, 19), np.linspace(-9, 9, 19), indexing="ij")
    sharp = procedural._joined(a, b, 0.0)
    np.testing.assert_allclose(sharp[a + b > 18 - 1e-9], np.hypot(9, 9))
    np.testing.assert_allclose(sharp[(a < 0) & (b < 0)], np.maximum(a, b)[(a < 0) & (b < 0)])
    fillet = procedural._joined(a, b, 4.0)
    assert fillet[8, 8] > 0 > sharp[8, 8]  # the corner outside both is filled
    np.testing.assert_allclose(fillet[(b <= -4) & (a >= -4)], a[(b <= -4) & (a >= -4)])
