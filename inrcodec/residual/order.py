"""The order in which a grid is coded, and what of it is known when: neighbours, and linear features of them.

A grid of two or three axes is coded in wavefronts: every sample of a front depends on earlier fronts only, so a front
is coded at once. A grid of one axis is cut into segments that know nothing of each other and are coded in lockstep.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

SEGMENT = 4096  # samples of a grid of one axis that know of each other
OWN = {1: 24, 2: 20, 3: 20}  # causal neighbours of a sample, by axes
REFERENCE = {1: 7, 2: 9, 3: 7}  # samples of the guide and of an earlier channel, the place itself first
ERRORS = {1: 12, 2: 8, 3: 8}  # causal neighbours whose errors tell how uncertain a sample is
AROUND = {1: 3, 2: 5, 3: 7}  # the same, of an earlier channel


def _nearest(offsets: list[tuple[int, ...]], count: int) -> Ints:
    """[count, d], by distance and then in the order of the grid from its end."""
    return np.array(sorted(offsets, key=lambda o: (sum(x * x for x in o), [-x for x in o]))[:count], np.int64)


@dataclass(frozen=True)
class Order:
    """shape: of the grid, one to three axes."""

    shape: tuple[int, ...]

    @cached_property
    def causal(self) -> Ints:
        """Offsets [k, d] of causal neighbours, the nearest first."""
        d = len(self.shape)
        span = range(-OWN[1], 1) if d == 1 else range(-3, 4)
        return _nearest([o for o in product(span, repeat=d) if o < (0,) * d], OWN[d])

    @cached_property
    def around(self) -> Ints:
        """Offsets [k, d] of a known channel, the place itself first."""
        d = len(self.shape)
        return _nearest(list(product(range(-3, 4), repeat=d)), REFERENCE[d])

    @cached_property
    def _slopes(self) -> list[int]:
        """The front of a sample is the sum of its coordinates times these: larger than that of every neighbour."""
        slopes = [0] * len(self.shape)
        for axis in reversed(range(len(self.shape))):
            slopes[axis] = 1
            for offset in self.causal.tolist():
                if any(offset[:axis]) or offset[axis] >= 0:
                    continue
                later = sum(a * b for a, b in zip(slopes[axis + 1 :], offset[axis + 1 :], strict=True))
                slopes[axis] = max(slopes[axis], later // -offset[axis] + 1)
        return slopes

    def places(self, flat: Ints) -> Ints:
        """Flat indices [n] → coordinates [d, n]."""
        return np.stack(np.unravel_index(flat, self.shape)).astype(np.int64)

    def fronts(self) -> list[Ints]:
        """The flat indices [n] of each front, in coding order."""
        if len(self.shape) == 1:
            front = np.arange(self.shape[0]) % SEGMENT
        else:
            axes = [np.arange(n) * s for n, s in zip(self.shape, self._slopes, strict=True)]
            front = np.asarray(sum(np.ix_(*axes))).ravel()
        order = np.argsort(front, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(front[order])) + 1)

    def chunks(self) -> Iterator[Ints]:
        """All flat indices, some at a time, where the order does not matter."""
        total = int(np.prod(self.shape))
        for start in range(0, total, CHUNK):
            yield np.arange(start, min(start + CHUNK, total))

    def blocks(self, side: int) -> tuple[int, ...]:
        """How many blocks of a side there are along each axis."""
        return tuple(-(-n // side) for n in self.shape)

    def block(self, flat: Ints, side: int) -> Ints:
        """The number of the block that holds each place [n]."""
        places = np.unravel_index(flat, self.shape)
        return np.ravel_multi_index(tuple(p // side for p in places), self.blocks(side))


@dataclass(frozen=True)
class Known:
    """What is known around some places of a grid.

    base [n]: the nearest known sample, or what stands for it; based [n]: whether there is one. features [k, n]: linear
    in the samples, no constant changes them. spread [m, n]: measures of uncertainty in eighths, not negative. sure [n]:
    most of the neighbours are there.
    """

    base: Ints
    based: NDArray[np.bool_]
    sure: NDArray[np.bool_]
    features: Ints
    spread: Ints


CHUNK = 1 << 12  # places: their features stay in the cache
LOUDEST = 1 << 40  # of a measure of uncertainty: sums stay within int64


def look(
    order: Order, flat: Ints, values: Ints, errors: Ints, guide: Ints | None, earlier: list[tuple[Ints, Ints]]
) -> Known:
    """What the coder knows at places [n].

    values, errors: samples, and errors in eighths, of this channel, flat, as far as they are known. guide: samples in
    eighths, flat, all known. earlier: (samples, errors) of channels that are known.
    """
    size, d = np.array(order.shape)[:, None, None], len(order.shape)
    places = order.places(flat)[:, None]  # [d, 1, n]
    strides = np.array([int(np.prod(order.shape[k + 1 :])) for k in range(d)])[:, None, None]
    there = places + order.causal.T[:, :, None]  # [d, k, n]
    if d == 1:
        known = there[0] >= places[0] - places[0] % SEGMENT
    else:
        known = ((there >= 0) & (there < size)).all(0)
    index = np.where(known, (there * strides).sum(0), 0)
    based = known.any(0)
    columns = np.arange(len(flat))
    at = np.where(based, index[known.argmax(0), columns], flat)  # of the base
    beside = (np.clip(places + order.around.T[:, :, None], 0, size - 1) * strides).sum(0)

    references = ([guide] if guide is not None else []) + [samples for samples, _ in earlier]
    start = references[0][flat] >> (3 if guide is not None else 0) if references else np.zeros(len(flat), np.int64)
    base = np.where(based, values[at], start)
    own = np.where(known, values[index] - base, 0)[1:]
    others = [r[beside] - r[at] for r in references]
    errs = np.where(known[: ERRORS[d]], errors[index[: ERRORS[d]]], 0)
    spread = [errs, 8 * np.abs(own[:3]), np.ones((1, len(flat)), np.int64)]
    if guide is not None:
        spread.append(np.abs(others[0][: AROUND[d]]))
    spread += [e[beside[: AROUND[d]]] for _, e in earlier]
    return Known(
        base,
        based,
        known[: ERRORS[d]].sum(0) > ERRORS[d] // 2,
        np.concatenate([own, *others]),
        np.minimum(np.concatenate(spread), LOUDEST),
    )


def feature_count(d: int, guided: bool, earlier: int) -> int:
    """Rows of `Known.features`."""
    return OWN[d] - 1 + (guided + earlier) * REFERENCE[d]


def spread_count(d: int, guided: bool, earlier: int) -> int:
    """Rows of `Known.spread`."""
    return ERRORS[d] + 3 + 1 + (guided + earlier) * AROUND[d]
