"""Committed tables from measured residuals: a mixture of two logistics for each scale index."""

from collections.abc import Iterable
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec.fields.grids import split_phases
from inrcodec.priors.context import FRACTION, SCALES, half_up, scale_of
from inrcodec.priors.tables import TOTAL, tail_lengths
from inrcodec.training.networks import Trainee

Counts = NDArray[np.float64]

WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7)  # of the wider logistic
NARROW = (0.55, 0.65, 0.75, 0.85, 0.92, 1.0, 1.08)
WIDE = (1.0, 1.15, 1.35, 1.6, 2.0, 2.6)
ENOUGH = 2000  # residuals, below which a scale keeps the plain logistic


def tails(scale: float, length: int) -> Counts:
    """P(x > j/8) of a logistic distribution, j = 0 … length − 1."""
    return 1 / (1 + np.exp(np.minimum(np.arange(length) / FRACTION / scale, 60)))


@torch.no_grad()
def residuals(net: Trainee, batches: Iterable[tuple[Tensor, Tensor, Tensor | None]]) -> list[Counts]:
    """Histograms of |y − mean| in eighths, per scale index, over (x, operating points, places) batches."""
    lengths = tail_lengths()
    counts = [np.zeros(n) for n in lengths]
    groups = net.prior.config.groups
    for x, op, places in batches:
        y, _, _ = net.analysis(x, op, net.synthesis, half_up, places)
        parts = [split_phases(half_up(v), net.prior.config.dims) for v in y]

        def code(level: int, phase: int, group: int, mean: Tensor, index: Tensor, parts: list = parts) -> Tensor:
            part = parts[level][phase].split(groups[level], 1)[group]
            offset = (part * FRACTION - mean).abs().flatten().long().numpy()
            for k, n in enumerate(lengths):
                mine = offset[index.flatten().long().numpy() == k]
                counts[k] += np.bincount(mine[mine < n], minlength=n)
            return part

        net.prior.walk(tuple(x.shape[2:]), op, code, half_up)
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
