"""Reaching a target: a search over the operating points of one variable-rate model."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from inrcodec.priors.context import OPERATING_POINTS

T = TypeVar("T")

TOLERANCE = 0.03


@dataclass(frozen=True)
class Target(Generic[T]):
    """A figure that grows with the operating point."""

    unit: str  # "bpp", "bytes" or "dB"
    value: float
    of: Callable[[T], float]

    def distance(self, result: T) -> float:
        """How far off, as a ratio of rates or in dB / 10 (a tenth of a dB is as good as a hundredth of the rate)."""
        if self.unit == "dB":
            return (self.of(result) - self.value) / 10
        return math.log(self.of(result) / self.value)


def search(attempt: Callable[[int, int], T], target: Target[T], effort: int) -> tuple[T, tuple[str, ...]]:
    """The attempt (operating point, effort) nearest to the target, and a note if it is off by more than 3 %.

    Bisects at effort 0, which is quick, then corrects for what adaptation changed.
    """
    quick: dict[int, T] = {}

    def at(point: int) -> T:
        if point not in quick:
            quick[point] = attempt(point, 0)
        return quick[point]

    low, high = 0, OPERATING_POINTS - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if target.distance(at(middle)) < 0 else (low, middle)
    point = min((low, high), key=lambda p: abs(target.distance(at(p))))
    if effort == 0:
        best = at(point)
    else:
        slope = (target.distance(at(min(point + 6, 255))) - target.distance(at(max(point - 6, 0)))) / (
            min(point + 6, 255) - max(point - 6, 0)
        )
        tried: dict[int, T] = {}
        for _ in range(3):
            tried[point] = attempt(point, effort)
            off = target.distance(tried[point])
            point = min(max(point - round(off / max(slope, 1e-3)), 0), OPERATING_POINTS - 1)
            if abs(off) < TOLERANCE / 3 or point in tried:
                break
        best = min(tried.values(), key=lambda result: abs(target.distance(result)))
    reached = target.of(best)
    if abs(reached - target.value) <= TOLERANCE * target.value:
        return best, ()
    return best, (f"the nearest reachable to {target.value:g} {target.unit} is {reached:.4g} {target.unit}",)
