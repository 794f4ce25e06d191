"""What the encoder chooses: predictors by least squares, weights and scales from the errors that they leave."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inrcodec.residual import tables
from inrcodec.residual.coder import means
from inrcodec.residual.order import SEGMENT, Known, Order, look
from inrcodec.residual.plan import EARLIER, MAX_SHIFT, NOMINAL, WEIGHT_BITS, Channel, Plan, sequence

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SIDES = {2: (32, 64, 128), 3: (16, 32)}  # of blocks, by axes; and no blocks
SAMPLED = 24  # chunks
RIDGE = 4.0  # samples that the common predictor counts for in that of a block
PARAMETER_BITS = 12.0  # what a coefficient of a block costs, about


@dataclass
class _Item:
    order: Order
    x: Ints
    guide: Ints | None
    earlier: list[tuple[Ints, Ints]]
    errors: Ints

    def looks(self, sample: bool = False) -> Iterator[tuple[Ints, Known]]:
        """Places and what is known there: everywhere, or at some that stand for all."""
        chunks = list(self.order.chunks())
        for flat in chunks[:: -(-len(chunks) // SAMPLED) if sample else 1]:
            yield flat, look(self.order, flat, self.x, self.errors, self.guide, self.earlier)


def fit(items: list[tuple[Ints, Ints | None]]) -> Plan:
    """A plan for items (values [*grid, C], guide or None) of one grid."""
    shape, channels = items[0][0].shape[:-1], items[0][0].shape[-1]
    order = Order(shape)
    first = 1 if channels >= 3 else 0
    earlier: list[list[tuple[Ints, Ints]]] = [[] for _ in items]
    found: list[Channel] = []
    side = 0
    for c in sequence(first, channels):
        own = []
        for (values, guide), before in zip(items, earlier, strict=True):
            x, g = values[..., c].ravel(), None if guide is None else guide[..., c].ravel()
            own.append(_Item(order, x, g, before, np.zeros_like(x)))
        channel, side = _predictors(own, side)
        residual = []
        for item in own:
            residual.append(8 * item.x - means(order, side, channel, item.x, item.guide, item.earlier))
            item.errors = np.abs(residual[-1])
        channel = replace(channel, weights=_weights(own))
        found.append(replace(channel, scales=_scales(own, np.concatenate(residual), channel)))
        earlier = [[*before, (i.x, i.errors)][-EARLIER:] for before, i in zip(earlier, own, strict=True)]
    return Plan(side, first, tuple(found))


def _predictors(items: list[_Item], side: int) -> tuple[Channel, int]:
    """Predictors for blocks of a side, which is given or 0: to choose."""
    order, d = items[0].order, len(items[0].order.shape)
    whole = 1 << max(max(order.shape) - 1, 15).bit_length()
    sides = [side] if side else [SEGMENT] if d == 1 else [*SIDES[d], whole]
    start = _solve(*_moments(items, whole, None)[:2])[0]
    finest = _moments(items, sides[0], start)
    best = None
    for s in sides:
        grams, rights, powers, counts = _merged(order, finest, sides[0], s)
        common = _solve(grams.sum(0)[None], rights.sum(0)[None])
        own = _drawn(grams, rights, common) if len(grams) > 1 else common
        left = powers - 2 * np.einsum("bk,bk->b", own, rights) + np.einsum("bk,bkl,bl->b", own, grams, own)
        left = np.maximum(left, 1e-6 * counts + 1e-9)
        bits = (counts * np.log2(left / np.maximum(counts, 1))).sum() + own.size * PARAMETER_BITS
        if best is None or bits < best[0]:
            best = bits, common[0], own, s, np.einsum("bkk->", grams) / left.sum()
    assert best is not None
    _, base, own, side, gain = best
    loss = own.size / sum(len(item.x) for item in items)  # of power, by rounding: one bit more for each is worth that
    shift = min(max(4, math.ceil(math.log2(max(gain, 1) / 12 / loss) / 2)), MAX_SHIFT)
    steps, each = (np.rint(c * 2.0**shift).astype(np.int64) for c in (base, own))
    return Channel(shift, steps, each - steps, np.zeros(1, np.int64), NOMINAL), side


Moments = tuple[Floats, Floats, Floats, Floats]
"""Of the blocks: Σ w·f·fᵀ [b, k, k], Σ w·f·t [b, k], Σ w·t² [b], how many [b]."""


def _moments(items: list[_Item], side: int, predictor: Floats | None) -> Moments:
    """Weighted for absolute errors, given the predictor of a first pass."""
    blocks = int(np.prod(items[0].order.blocks(side)))
    sums: Moments | None = None
    for item in items:
        for flat, known in item.looks(sample=predictor is None):
            f = np.where(known.based, known.features, 0).astype(np.float64)
            target = np.where(known.based, item.x[flat] - known.base, 0).astype(np.float64)
            weight = np.ones(len(flat))
            if predictor is not None:
                off = np.abs(target - predictor @ f)
                weight = 1 / (off + 0.7 * off.mean() + 0.3)
            if sums is None:
                k = len(f)
                sums = np.zeros((blocks, k, k)), np.zeros((blocks, k)), np.zeros(blocks), np.zeros(blocks)
            number = item.order.block(flat, side)
            for b in np.unique(number):
                here = number == b
                fb, tb, wb = f[:, here], target[here], weight[here]
                sums[0][b] += (fb * wb) @ fb.T
                sums[1][b] += (fb * wb) @ tb
                sums[2][b] += wb @ tb**2
                sums[3][b] += here.sum()
    assert sums is not None
    return sums


def _merged(order: Order, moments: Moments, fine: int, side: int) -> Moments:
    """Moments of blocks as those of larger ones, whose side is a multiple."""
    if fine == side:
        return moments
    grid = np.indices(order.blocks(fine)).reshape(len(order.shape), -1) * fine // side
    number = np.ravel_multi_index(tuple(grid), order.blocks(side))
    out = []
    for m in moments:
        total = np.zeros((int(np.prod(order.blocks(side))), *m.shape[1:]))
        np.add.at(total, number, m)
        out.append(total)
    return out[0], out[1], out[2], out[3]


def _solve(grams: Floats, rights: Floats) -> Floats:
    """Least squares [b, k]."""
    k = grams.shape[1]
    small = 1e-6 * np.einsum("bkk->b", grams) / k + 1e-3
    return np.linalg.solve(grams + small[:, None, None] * np.eye(k), rights[..., None])[..., 0]


def _drawn(grams: Floats, rights: Floats, common: Floats) -> Floats:
    """Least squares of each block [b, k], drawn to the common predictor [1, k] as by so many samples of the whole."""
    total = grams.sum(0)
    pull = total * (RIDGE / 4096) + np.eye(len(total)) * (1e-6 * total.trace() / len(total) + 1e-3)
    return common + np.linalg.solve(grams + pull, (rights - grams @ common[0])[..., None])[..., 0]


def _weights(items: list[_Item]) -> Ints:
    """Non-negative least squares of the errors on the spread, by multiplicative updates."""
    gram: Floats | None = None
    for item in items:
        for flat, known in item.looks(sample=True):
            keep = np.flatnonzero(known.based & known.sure)
            s, e = known.spread[:, keep].astype(np.float64), item.errors[flat[keep]].astype(np.float64)
            w = 1 / (s.mean(0) + 1.0) ** 1.5  # large errors are uncertain themselves
            if gram is None:
                gram, right = np.zeros((len(s), len(s))), np.zeros(len(s))
            gram += (s * w) @ s.T
            right += (s * w) @ e
    assert gram is not None
    weights = np.full(len(right), 1 / len(right))
    for _ in range(400):
        weights *= right / np.maximum(gram @ weights, 1e-12)
    return np.clip(np.rint(weights * (1 << WEIGHT_BITS)), 0, 1 << 16).astype(np.int64)


def _scales(items: list[_Item], residual: Ints, channel: Channel) -> Ints:
    """The scale index of each bin: the cheapest near the one that the mean error asks for."""
    bins = np.concatenate([channel.bins(known) for item in items for _, known in item.looks()])
    scales = NOMINAL.copy()
    for b in np.unique(bins):
        e = residual[bins == b]
        e = e[:: -(-len(e) // 8192)]
        middle = round(4 * math.log2(max(float(np.abs(e).mean()) / 8 * 0.7, 0.06)) + 16)
        near = np.clip(np.arange(middle - 3, middle + 4), 0, tables.SCALES - 1)
        scales[b] = min(near.tolist(), key=lambda k: tables.cost(e, k) + abs(k - int(NOMINAL[b])))
    return scales
