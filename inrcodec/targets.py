"""Reaching a target: a search over the levels (operating points, and what lies beyond) of one variable-rate model."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

TOLERANCE = 0.03


@dataclass(frozen=True)
class Target(Generic[T]):
    """A figure that grows with the level, or falls."""

    unit: str  # "bpp", "kbps", "bytes", "dB", "RMSE K", …
    value: float
    of: Callable[[T], float]
    rising: bool = True

    def distance(self, result: T) -> float:
        """How far off, as a ratio of rates or in dB / 10 (a tenth of a dB is as good as a hundredth of the rate)."""
        if self.unit == "dB":
            return (self.of(result) - self.value) / 10
        off = math.log(max(self.of(result), 1e-300) / self.value)
        return off if self.rising else -off


def search(
    attempt: Callable[[int, int], T], target: Target[T], effort: int, lowest: int, highest: int
) -> tuple[T, tuple[str, ...]]:
    """The attempt (level, effort) nearest to the target, and a note if it is off by more than 3 %.

    Bisects at effort 0, which is quick, then corrects for what adaptation changed.
    """
    quick: dict[int, T] = {}

    def at(point: int) -> T:
        if point not in quick:
            quick[point] = attempt(point, 0)
        return quick[point]

    low, high = lowest, highest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if target.distance(at(middle)) < 0 else (low, middle)
    point = min((low, high), key=lambda p: abs(target.distance(at(p))))
    if effort == 0:
        best = at(point)
    else:
        above, below = min(point + 6, highest), max(point - 6, lowest)
        rise = target.distance(at(above)) - target.distance(at(below))
        slope = rise / (above - below) if above > below and math.isfinite(rise) else 0.0
        tried: dict[int, T] = {}
        for _ in range(3):
            tried[point] = attempt(point, effort)
            off = target.distance(tried[point])
            if not math.isfinite(off) or abs(off) < TOLERANCE / 3:  # infinite: no error at all, at any point
                break
            point = min(max(point - round(off / max(slope, 1e-3)), lowest), highest)
            if point in tried:
                break
        best = min(tried.values(), key=lambda result: abs(target.distance(result)))
    reached = target.of(best)
    if abs(reached - target.value) <= TOLERANCE * target.value:
        return best, ()
    return best, (f"the nearest reachable to {target.value:g} {target.unit} is {reached:.4g} {target.unit}",)
