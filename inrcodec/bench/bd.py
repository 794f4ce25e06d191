"""Bjøntegaard deltas with monotone cubic (PCHIP) interpolation."""

import numpy as np
from scipy.interpolate import PchipInterpolator

Curve = tuple[list[float], list[float]]
"""(rates, PSNRs)"""


def _monotone(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Sorted by rate, strictly increasing in both; ln rate and PSNR."""
    rates: list[float] = []
    psnrs: list[float] = []
    for rate, psnr in sorted(zip(*curve, strict=True)):
        if not rates or (rate > rates[-1] and psnr > psnrs[-1]):
            rates.append(rate)
            psnrs.append(psnr)
    return np.log(rates), np.array(psnrs)


def rate(test: Curve, anchor: Curve, between: tuple[float, float] | None = None) -> float | None:
    """BD-rate of a curve against an anchor in per cent, or None where they share less than 1 dB.

    ln rate is integrated over the PSNR range that both curves cover; `between` narrows it to what the anchor does
    from one rate to another.
    """
    (rt, pt), (ra, pa) = _monotone(test), _monotone(anchor)
    low, high = max(pt[0], pa[0]), min(pt[-1], pa[-1])
    if between:
        at = PchipInterpolator(ra, pa)
        ends = np.clip(np.log(between), ra[0], ra[-1])
        low, high = max(low, float(at(ends[0]))), min(high, float(at(ends[1])))
    if high - low < 1:
        return None
    difference = PchipInterpolator(pt, rt).integrate(low, high) - PchipInterpolator(pa, ra).integrate(low, high)
    return float(np.expm1(difference / (high - low)) * 100)


def psnr_gain(test: Curve, anchor: Curve) -> list[tuple[float, float]]:
    """(rate, dB above the anchor) at each of the anchor's points within the range of the curve."""
    (rt, pt), (ra, pa) = _monotone(test), _monotone(anchor)
    at = PchipInterpolator(rt, pt)
    return [(float(np.exp(r)), float(at(r) - p)) for r, p in zip(ra, pa, strict=True) if rt[0] <= r <= rt[-1]]
