"""Signals made up without end, in one to three dimensions, for networks that must code arrays nobody foresaw.

A signal is one family of `FAMILIES`, or two that are added, multiplied or laid side by side; then often bent by a
pointwise curve, and in half of the cases noisy. Positions are in samples from the centre, directions and centres
random, so nothing depends on the number of axes. Everything follows from the state of the generator.
"""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from inrcodec.formats.distance import to_features
from inrcodec.window import Shape

Array = NDArray[np.float64]
Random = np.random.Generator
Family = Callable[[Random, Shape], Array]

NOISE = (1e-4, 0.05)  # standard deviations, of the range of the signal
BENT = 0.25  # share of the coordinates that are bent


def signal(rng: Random, shape: Shape) -> NDArray[np.float32]:
    """One scalar signal [*shape], 1 to 3 axes of any size; 0 to 1 but for the noise, a constant one is 1/2."""
    x = _family(rng, shape)
    match rng.choice(["one", "sum", "product", "pieces"], p=[0.6, 0.15, 0.1, 0.15]):
        case "sum":
            x = x + _log_uniform(rng, 0.05, 1) * _family(rng, shape)
        case "product":
            x = x * _family(rng, shape)
        case "pieces":
            x = np.where(_family(rng, shape) > rng.uniform(0.2, 0.8), x, _family(rng, shape))
    x = _normalised(_curve(rng, _normalised(x)))
    if rng.random() < 0.5:
        white = rng.random() < 0.6
        noise = rng.standard_normal(shape) if white else gaussian(rng, shape, rng.uniform(0, 1.5))
        x = x + _log_uniform(rng, *NOISE) * noise
    return x.astype(np.float32)


def batch(rng: Random, count: int, shape: Shape) -> NDArray[np.float32]:
    """Signals [count, 1, *shape]."""
    return np.array([signal(rng, shape) for _ in range(count)], np.float32).reshape(count, 1, *shape)


def distance(rng: Random, shape: Shape) -> NDArray[np.float32]:
    """A solid [*shape] as the features of shapes: `to_features` of the distance d to its surface, in samples.

    The surface always passes through the grid (of two samples or more); near it d is mostly within 10 %, less so at
    slivers thinner than a few samples.
    """
    d = _surfaced(rng, solid(rng, _positions(shape), max(shape), int(rng.integers(2, 9))))
    if rng.random() < 0.5:
        d = d + _log_uniform(rng, 0.05, 1) * gaussian(rng, shape, rng.uniform(4, 6))
    d = _surfaced(rng, d) / np.clip(_steepness(d), 0.2, 1.5)
    return to_features(d.astype(np.float32))


# Random fields


def gaussian(rng: Random, shape: Shape, slope: float | None = None) -> Array:
    """A Gaussian random field of unit variance whose cross-sections have the spectrum k^-slope; not periodic."""
    return _torus(rng, shape, slope)[tuple(slice(0, n) for n in shape)]


def _torus(rng: Random, shape: Shape, slope: float | None = None) -> Array:
    """A periodic random field with sides 3/2 of `shape`; stretched, or of one band of frequencies, at random."""
    sides = tuple(n + n // 2 for n in shape)
    exponent = rng.uniform(1, 5) if slope is None else slope
    steps = [np.fft.fftfreq(n) for n in sides[:-1]] + [np.fft.rfftfreq(sides[-1])]
    k = np.stack(np.meshgrid(*steps, indexing="ij")).astype(np.float32)  # precise enough, and quicker
    if rng.random() < 0.4:
        stretch = np.exp(rng.uniform(-2, 0, (len(shape), 1)))
        k = np.tensordot((stretch * _rotation(rng, len(shape))).astype(np.float32), k, 1)
    square = (k * k).sum(0) + (_log_uniform(rng, 0.3, 10) / max(200, *sides)) ** 2
    gain = square ** (-(exponent + len(shape) - 1) / 4)
    if slope is None and rng.random() < 0.15:
        centre, width = _log_uniform(rng, 2 / max(10, *sides), 0.3), rng.uniform(0.1, 0.8)
        gain = np.exp(-((0.5 * np.log(square / centre**2) / width) ** 2))
    axes = tuple(range(len(shape)))
    x = np.fft.irfftn(np.fft.rfftn(rng.standard_normal(sides, np.float32), axes=axes) * gain, sides, axes)
    return ((x - x.mean()) / max(float(x.std()), 1e-12)).astype(np.float64)


def turbulence(rng: Random, shape: Shape) -> Array:
    """A random field sampled where the gradient of another has moved the positions to."""
    potential = gaussian(rng, shape, rng.uniform(3, 5))
    moves = np.tensordot(rng.standard_normal((len(shape),) * 2), _gradient(potential), 1)
    moves *= _log_uniform(rng, 0.02, 0.2) * max(shape) / max(float(moves.std()), 1e-12)
    return _sample(_torus(rng, shape), np.indices(shape) + moves)


def _sample(torus: Array, positions: Array) -> Array:
    """Linear interpolation of a periodic grid at positions [d, *shape]."""
    low = np.floor(positions).astype(np.int64)
    share = positions - low
    strides = np.array(torus.strides) // torus.itemsize
    ends = [[(i + up) % n * k for up in (0, 1)] for i, n, k in zip(low, torus.shape, strides, strict=True)]
    out = np.zeros(positions.shape[1:])
    for corner in product((0, 1), repeat=len(positions)):
        weights = [w if up else 1 - w for w, up in zip(share, corner, strict=True)]
        place = sum(end[up] for end, up in zip(ends, corner, strict=True))
        out += math.prod(weights) * torus.ravel()[place]
    return out


def ridges(rng: Random, shape: Shape) -> Array:
    """Filaments where a random field is zero, or where it is steep."""
    x = gaussian(rng, shape, rng.uniform(2, 5))
    if rng.random() < 0.3:
        return np.sqrt((_gradient(x) ** 2).sum(0))
    return np.exp(-(np.abs(x / _log_uniform(rng, 0.05, 2)) ** rng.uniform(0.7, 2)))


def walk(rng: Random, shape: Shape) -> Array:
    """Sums of independent steps, some with rare large ones, along every axis or one: walks, Brownian sheets."""
    x = rng.standard_normal(shape) if rng.random() < 0.7 else rng.standard_t(rng.uniform(1.2, 3), shape)
    axes = range(len(shape)) if rng.random() < 0.7 else [int(rng.integers(len(shape)))]
    for axis in axes:
        x = x.cumsum(axis)
    return x


# Waves and patterns along a line


def tones(rng: Random, shape: Shape) -> Array:
    """A few tones with overtones, each with its direction, chirp, vibrato and envelope; or beats of near ones."""
    out, line, beats = np.zeros(shape), _line(rng, shape), rng.random() < 0.3
    frequency = _cycles(rng, shape)
    for _ in range(rng.integers(1, 5)):
        if not beats:
            line, frequency = _line(rng, shape), _cycles(rng, shape)
        chirp, vibrato = rng.uniform(-0.5, 0.5, 2) * (rng.random(2) < 0.4)
        phase = line + chirp * line**2 + vibrato * np.sin(rng.uniform(2, 20) * line) / 10
        phase = 2 * np.pi * (frequency * phase * rng.uniform(0.95, 1.05) + rng.random())
        wave = np.sin(phase)
        fall = rng.uniform(0.5, 3)
        for k in range(2, rng.integers(2, 7)):
            wave = wave + np.sin(k * phase + rng.uniform(0, 7)) / k**fall
        out += rng.uniform(0.2, 1) * _envelope(rng, line) * wave
    return out


def _envelope(rng: Random, line: Array) -> Array:
    """How loud a tone is: the same everywhere, swelling, dying away after a start, or a pulse."""
    start, rate = rng.uniform(-1, 1), _log_uniform(rng, 0.5, 30)
    match rng.integers(4):
        case 0:
            return np.ones_like(line)
        case 1:
            return 1 + rng.random() * np.sin(rate * line + start)
        case 2:
            return np.where(line > start, np.exp(-rate * np.maximum(line - start, 0)), 0.0)
        case _:
            return np.exp(-((rate * (line - start)) ** 2) / 4)


def standing(rng: Random, shape: Shape) -> Array:
    """Sums of products of cosines along the axes."""
    count = int(rng.integers(1, 7))
    waves = [[(_cycles(rng, shape), rng.uniform(0, 7)) for _ in range(count)] for _ in shape]
    lines = [2 * x / max(shape) for x in _axes(shape)]
    return _outer([np.cos([2 * np.pi * f * x + phase for f, phase in w]) for w, x in zip(waves, lines, strict=True)])


def periodic(rng: Random, shape: Shape) -> Array:
    """A period repeated along a line, swelling and on a trend: sawtooth, square, triangle, or any other wave."""
    line = _line(rng, shape)
    phase = (_cycles(rng, shape) * line + rng.random()) % 1
    match rng.integers(4):
        case 0:
            wave = phase
        case 1:
            wave = (phase < rng.uniform(0.1, 0.9)).astype(float)
        case 2:
            wave = np.abs(2 * phase - 1)
        case _:
            table = rng.standard_normal(int(rng.integers(3, 12)))
            wave = np.interp(phase, np.linspace(0, 1, len(table) + 1), [*table, table[0]])
    return wave * (1 + rng.uniform(-0.8, 0.8) * line) + rng.normal() * (rng.random() < 0.5) * line


def steps(rng: Random, shape: Shape) -> Array:
    """Polynomials of degree up to three between the breaks of a line; of degree zero, a staircase."""
    line, other = _line(rng, shape), _line(rng, shape)
    count, degree = int(_log_uniform(rng, 2, 40)), int(rng.choice([0, 1, 2, 3], p=[0.5, 0.2, 0.15, 0.15]))
    piece = np.searchsorted(np.sort(rng.uniform(-1, 1, count)), line)
    factors = rng.standard_normal((degree + 1, count + 1))
    return sum((f[piece] * other**k for k, f in enumerate(factors)), np.zeros(shape))


def polynomial(rng: Random, shape: Shape) -> Array:
    """A sum of products of low-degree polynomials along the axes."""
    count, degree = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    powers = [(2 * x / max(shape)) ** np.arange(degree + 1)[:, None] for x in _axes(shape)]
    return _outer([rng.standard_normal((count, degree + 1)) @ p for p in powers])


# Things in space


def blobs(rng: Random, shape: Shape) -> Array:
    """Bumps, spikes, or decays after an impulse, of very different widths."""
    count = int(_log_uniform(rng, 1, 150))
    narrow, wide = np.sort(np.exp(rng.uniform(np.log(0.3), np.log(max(shape) / 2 + 1), 2)))
    widths = np.exp(rng.uniform(np.log(narrow), np.log(wide), (count, 1)))
    kind, factors = rng.integers(3), []
    for x in _axes(shape):
        at = x - rng.choice(x, (count, 1)) - rng.uniform(-0.5, 0.5, (count, 1))
        at = at / widths / np.exp(rng.normal(0, 0.3, (count, 1)))
        factors.append(np.exp(-(at**2) / 2) if kind == 0 else np.exp(-np.abs(at)) * ((at > 0) | (kind == 1)))
    factors[0] = factors[0] * (rng.exponential(1, (count, 1)) if rng.random() < 0.5 else rng.normal(0, 1, (count, 1)))
    return _outer(factors)


def cells(rng: Random, shape: Shape) -> Array:
    """Distance to the nearest of some random points, how much farther the second is, or a level for each cell."""
    x = np.tensordot(np.exp(rng.normal(0, 0.3, (len(shape), 1))) * _rotation(rng, len(shape)), _bent(rng, shape), 1)
    flat = x.reshape(len(shape), -1).astype(np.float32)
    points = flat[:, rng.integers(flat.shape[1], size=int(rng.integers(2, 33)))]
    square = (flat**2).sum(0) + (points**2).sum(0)[:, None] - 2 * points.T @ flat
    nearest = square.argmin(0)[None]
    first = np.take_along_axis(square, nearest, 0)[0]
    match rng.integers(3):
        case 0:
            out = np.sqrt(np.maximum(first, 0))
        case 1:
            np.put_along_axis(square, nearest, np.inf, 0)
            out = np.sqrt(np.maximum(square.min(0), 0)) - np.sqrt(np.maximum(first, 0))
        case _:
            out = rng.standard_normal((points.shape[1],))[nearest[0]]
    return out.astype(np.float64).reshape(shape)


def leaves(rng: Random, shape: Shape) -> Array:
    """Bodies laid over one another, each of its own level or gradient, with hard or soft edges."""
    x, size = _bent(rng, shape), max(shape)
    out, soft = np.zeros(shape), _log_uniform(rng, 0.05, 4)
    for _ in range(rng.integers(1, 9)):
        at = int(rng.integers(out.size))
        inside = 0.5 + 0.5 * np.tanh(body(rng, x, at, size * _log_uniform(rng, 0.04, 0.6)) / soft)
        level = rng.normal() + (rng.normal() * x[rng.integers(len(x))] / size if rng.random() < 0.3 else 0)
        out += inside * (level - out)
    return out


def edges(rng: Random, shape: Shape) -> Array:
    """A solid with a hard or soft edge, or the distance to its surface."""
    d = _surfaced(rng, solid(rng, _bent(rng, shape), max(shape), int(rng.integers(1, 5))))
    return d if rng.random() < 0.2 else np.tanh(d / _log_uniform(rng, 0.05, 8))


# Solids: distances to the surface in samples, positive inside


def solid(rng: Random, x: Array, size: float, count: int) -> Array:
    """A body, and others near its surface joined smoothly, cut out or intersected, at positions x [d, *shape].

    It is from half of `size` to thrice that, so that the grid may show the whole or a piece.
    """
    size = size * _log_uniform(rng, 0.5, 3)
    d = body(rng, x, int(rng.integers(x[0].size)), size * rng.uniform(0.2, 0.5))
    for _ in range(count - 1):
        candidates = rng.integers(d.size, size=8)
        at = int(candidates[np.abs(d.ravel()[candidates]).argmin()])
        other = body(rng, x, at, size * _log_uniform(rng, 0.05, 0.4))
        fillet = size * _log_uniform(rng, 0.002, 0.1)
        match rng.choice(["join", "cut", "meet"], p=[0.65, 0.25, 0.1]):
            case "join":
                d = _joined(d, other, fillet)
            case "cut":
                d = -_joined(-d, other, fillet)
            case _:
                d = -_joined(-d, -other, fillet)
    return d


def _joined(a: Array, b: Array, radius: float) -> Array:
    """The union of two solids with a fillet: distances are exact where their surfaces meet at right angles."""
    corner = np.hypot(np.maximum(a + radius, 0), np.maximum(b + radius, 0))
    return corner - np.maximum(radius, -np.maximum(a, b))


def body(rng: Random, x: Array, at: int, size: float) -> Array:
    """A ball, box, ellipsoid, capsule, half-space or torus (none in one dimension), turned, around sample `at`."""
    axes = len(x)
    centre = x.reshape(axes, -1)[:, at].reshape(-1, *[1] * axes)
    p = np.tensordot(_rotation(rng, axes), x - centre, 1)
    half = size * rng.uniform(0.3, 1, centre.shape)
    match rng.integers(6 if axes > 1 else 5):
        case 0:
            return size - _norm(p)
        case 1:
            beyond = np.abs(p) - half
            return -_norm(np.maximum(beyond, 0)) - np.minimum(beyond.max(0), 0)
        case 2:  # to first order, Newton's step on |p / half| = 1
            stretched = _norm(p / half)
            return (1 - stretched) * np.maximum(stretched / np.maximum(_norm(p / half**2), 1e-9), half.min())
        case 3:
            p[0] -= np.clip(p[0], -size, size)
            return size * rng.uniform(0.1, 0.5) - _norm(p)
        case 4:
            return p[0]
        case _:
            return size * rng.uniform(0.1, 0.4) - np.hypot(_norm(p[:-1]) - 0.8 * size, p[-1])


def _surfaced(rng: Random, d: Array) -> Array:
    """The distances themselves or, if no surface passes through the grid, those of a parallel one that does."""
    return d if d.min() < 0 < d.max() else d - rng.choice(d.ravel())


def _steepness(d: Array) -> Array:
    """|∇d|, which a true distance has at 1; where a crease makes the two estimates disagree, what is nearest 1."""
    central = _norm(_gradient(d))
    largest = np.zeros_like(d)
    for axis in range(d.ndim):
        rise = np.abs(np.diff(d, axis=axis))
        ends = [[(0, 0)] * d.ndim for _ in range(2)]
        ends[0][axis], ends[1][axis] = (1, 0), (0, 1)
        largest += np.maximum(np.pad(rise, ends[0]), np.pad(rise, ends[1])) ** 2
    return np.clip(1, central, np.maximum(central, np.sqrt(largest)))


# The random, and geometry


FAMILIES: dict[Family, float] = {
    gaussian: 0.18,
    turbulence: 0.08,
    ridges: 0.06,
    walk: 0.06,
    tones: 0.15,
    standing: 0.04,
    periodic: 0.06,
    steps: 0.06,
    polynomial: 0.04,
    blobs: 0.08,
    cells: 0.06,
    leaves: 0.08,
    edges: 0.05,
}
"""How often each family is drawn."""


def _family(rng: Random, shape: Shape) -> Array:
    """A signal of a family drawn at random, from 0 to 1."""
    family = list(FAMILIES)[rng.choice(len(FAMILIES), p=list(FAMILIES.values()))]
    return _normalised(family(rng, shape))


def _curve(rng: Random, x: Array) -> Array:
    """A random function of every sample of a signal from 0 to 1: in most cases x or 1 − x."""
    x = 1 - x if rng.random() < 0.5 else x
    match rng.choice(["none", "power", "clip", "levels", "tanh"], p=[0.6, 0.12, 0.08, 0.08, 0.12]):
        case "power":
            return x ** _log_uniform(rng, 0.25, 6)
        case "clip":
            return np.clip(x, rng.uniform(-0.2, 0.4), rng.uniform(0.6, 1.2))
        case "levels":
            return np.round(x * round(_log_uniform(rng, 1, 64)))
        case "tanh":
            return np.tanh(_log_uniform(rng, 1, 20) * (x - rng.random()))
    return x


def _normalised(x: Array) -> Array:
    """From 0 to 1; a constant becomes 1/2."""
    low, high = float(x.min()), float(x.max())
    return (x - low) / (high - low) if high - low > 1e-9 * max(abs(low), abs(high)) else np.full(x.shape, 0.5)


def _log_uniform(rng: Random, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _rotation(rng: Random, axes: int) -> Array:
    """An orthogonal matrix; one in four is the identity, for data likes to lie along its axes."""
    return np.eye(axes) if rng.random() < 0.25 else np.linalg.qr(rng.standard_normal((axes, axes)))[0]


def _axes(shape: Shape) -> list[Array]:
    """The positions along each axis, in samples from the centre."""
    return [np.arange(n, dtype=np.float64) - (n - 1) / 2 for n in shape]


def _positions(shape: Shape) -> Array:
    """The position of every sample, [d, *shape]."""
    return np.stack(np.meshgrid(*_axes(shape), indexing="ij"))


def _bent(rng: Random, shape: Shape) -> Array:
    """Positions [d, *shape], in some cases displaced by slow waves."""
    x = _positions(shape)
    if rng.random() < BENT:
        turns = rng.uniform(1, 10, (len(shape), 4, 1)) / max(shape)
        waves = _outer([np.sin(w * at + rng.uniform(0, 7, (4, 1))) for w, at in zip(turns, _axes(shape), strict=True)])
        x += rng.normal(0, 0.06 * max(shape), (len(shape),) + (1,) * len(shape)) * waves
    return x


def _line(rng: Random, shape: Shape) -> Array:
    """One coordinate, about −1 to 1, of every sample: in a random direction, or the distance from a random centre."""
    x = _bent(rng, shape) * (2 / max(shape))
    if len(shape) > 1 and rng.random() < 0.2:
        return _norm(x - rng.uniform(-1, 1, (len(shape),) + (1,) * len(shape))) - 1
    return np.tensordot(_rotation(rng, len(shape))[rng.integers(len(shape))], x, 1)


def _cycles(rng: Random, shape: Shape) -> float:
    """A frequency in cycles per unit of `_line`: from half a wave across the grid to four samples a wave."""
    return _log_uniform(rng, 0.25, max(0.5, max(shape) / 8))


def _outer(factors: list[Array]) -> Array:
    """Σ over k of the product of factors[i][k, n_i] over the axes i → [*shape]."""
    head = np.ones((len(factors[0]), 1))
    for factor in factors[:-1]:
        head = (head[:, :, None] * factor[:, None]).reshape(len(head), -1)
    return (head.T @ factors[-1]).reshape([f.shape[1] for f in factors])


def _norm(x: Array) -> Array:
    """Length of the vectors [d, …]."""
    return np.sqrt((x * x).sum(0))


def _gradient(x: Array) -> Array:
    """Central differences [d, *shape]; zero along axes of one sample."""
    return np.stack([np.gradient(x, axis=k) if n > 1 else np.zeros_like(x) for k, n in enumerate(x.shape)])
