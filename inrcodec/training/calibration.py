"""Committed tables from measured residuals: a mixture of two logistics for each scale index; reconstruction points."""

from collections.abc import Callable, Iterable
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.priors.context import FRACTION, OPERATING_POINTS, SCALES, half_up, scale_of
from inrcodec.priors.points import POINT_UNIT
from inrcodec.priors.tables import TOTAL, tail_lengths
from inrcodec.training.networks import Trainee

Counts = NDArray[np.float64]

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7)  # of the wider logistic
NARROW = (0.55, 0.65, 0.75, 0.85, 0.92, 1.0, 1.08)
WIDE = (1.0, 1.15, 1.35, 1.6, 2.0, 2.6)
ENOUGH = 2000  # residuals, below which a scale keeps the plain logistic

Batch = tuple[Tensor, Tensor, Tensor | None]
"""(x, operating points, places)"""

DAMPED = (0.8, 0.7, 0.6, 0.5)  # shares of the steps towards the best reconstruction points
FEW = 100.0  # symbols that vote for no shift beside those of each place in the table


def tails(scale: float, length: int) -> Counts:
    """P(x > j/8) of a logistic distribution, j = 0 … length − 1."""
    return 1 / (1 + np.exp(np.minimum(np.arange(length) / FRACTION / scale, 60)))


@torch.no_grad()
def residuals(net: Trainee, batches: Iterable[Batch]) -> list[Counts]:
    """Histograms of |y − mean| in eighths, per scale index, over (x, operating points, places) batches."""
    lengths = tail_lengths()
    counts = [np.zeros(n) for n in lengths]
    for x, op, places in batches:
        y = net.symbols(x, op, places=places)
        for symbols, (mean, index) in zip(y, net.prior.expect(y, tuple(x.shape[2:]), op), strict=True):
            offset = (symbols * FRACTION - mean).abs().flatten().long().numpy()
            for k, n in enumerate(lengths):
                mine = offset[index.flatten().long().numpy() == k]
                counts[k] += np.bincount(mine[mine < n], minlength=n)
    return counts


def fit(counts: list[Counts]) -> tuple[NDArray[np.int32], float]:
    """The best mixture per scale → concatenated tails in counts, and the bits saved against plain logistics (share)."""
    rows, plain_bits, fitted_bits = [], 0.0, 0.0
    for k, (hist, length) in enumerate(zip(counts, tail_lengths(), strict=True)):
        scale = float(scale_of(torch.tensor(k)))
        plain = tails(scale, length)
        best, best_bits = plain, _bits(plain, hist)
        plain_bits += best_bits
        if k < SCALES and hist.sum() >= ENOUGH:
            for w, narrow, wide in product(WEIGHTS, NARROW, WIDE):
                candidate = (1 - w) * tails(scale * narrow, length) + w * tails(scale * narrow * wide * 1.3, length)
                if (bits := _bits(candidate, hist)) < best_bits:
                    best, best_bits = candidate, bits
        fitted_bits += best_bits
        rows.append(np.rint(best * TOTAL))
    return np.concatenate(rows).astype(np.int32), 1 - fitted_bits / max(plain_bits, 1e-9)


def _bits(tail: Counts, hist: Counts) -> float:
    """Cost of a histogram of |x| in eighths: the mass of the unit cell around x."""
    half = FRACTION // 2
    x = np.arange(len(hist) - half)
    below = np.where(x >= half, tail[np.abs(x - half)], 1 - tail[np.abs(x - half)])
    mass = np.maximum(below - tail[x + half], 1 / TOTAL)
    return float(-(hist[: len(x)] * np.log2(mass)).sum())


def points(net: Trainee, batches: Callable[[int], Iterable[Batch]]) -> None:
    """Find the table of `net.synthesis.points`; batches of one operating point each, others at every pass.

    Steps of Gauss-Newton on the logarithm of the distortion, with the curvature of an orthonormal transform.
    """
    table, dims = net.synthesis.points.table.zero_(), net.synthesis.config.dims
    levels = range(table.shape[1])
    found = torch.zeros(len(levels), 2, table[0, 0].numel(), dtype=torch.float64)  # of symbols
    last = OPERATING_POINTS - 1
    for k, share in enumerate(DAMPED):
        slope, curve = torch.zeros_like(found), torch.zeros(len(levels), 4, found.shape[2], dtype=torch.float64)
        for x, op, places in batches(k):
            t = (2 * float(op[0]) - last) / last
            with torch.no_grad():
                y = net.symbols(x, op, places=places)
                expected = net.prior.expect(y, tuple(x.shape[2:]), op, half_up)
            at = [net.synthesis.points.places(v, *p).flatten() for v, p in zip(y, expected, strict=True)]
            own = [(one + t * more).float() for one, more in found]
            values = [(v + o[i].view(v.shape)).requires_grad_() for v, o, i in zip(y, own, at, strict=True)]
            decoded = net.synthesis(values, op, tuple(x.shape[2:]), places=places)[0]
            errors = (decoded - net.synthesis.from_signal(x)).square().flatten(1).sum(1)
            gradients = torch.autograd.grad(errors.log().sum(), values)
            for i in levels:
                g = gradients[i].double().flatten()
                weight = 2 * net.synthesis.gain(i, op) ** -2 / errors.detach().view(-1, *[1] * (dims + 1))
                h = weight.double().expand_as(values[i]).flatten()
                slope[i] += torch.stack([_sums(at[i], v, found.shape[2]) for v in (g, g * t)])
                curve[i] += torch.stack(
                    [_sums(at[i], v, found.shape[2]) for v in (h, h * t, h * t * t, torch.ones_like(h))]
                )
        few = FEW * curve[:, :1].sum(2, keepdim=True) / curve[:, 3:].sum(2, keepdim=True)
        a, b, c = curve[:, 0] + few[:, 0], curve[:, 1], curve[:, 2] + few[:, 0]
        e, f = (slope + few * found).unbind(1)
        found -= share * torch.stack([c * e - b * f, a * f - b * e], 1) / (a * c - b * b)[:, None]
    table.copy_(
        (found * POINT_UNIT).round().clamp(-POINT_UNIT, POINT_UNIT).view(len(levels), 2, *table.shape[2:]).movedim(1, 0)
    )


def _sums(places: Tensor, values: Tensor, count: int) -> Tensor:
    """The values of every place in a table, added up."""
    return torch.zeros(count, dtype=torch.float64).index_add_(0, places, values)
