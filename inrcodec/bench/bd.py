"""Bjøntegaard deltas with monotone cubic (PCHIP) interpolation."""

import numpy as np
from scipy.interpolate import PchipInterpolator

Curve = tuple[list[float], list[float]]
"""(rates, PSNRs)"""


def _monotone(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Sorted by rate, strictly increasing in both, without lossless points; ln rate and PSNR."""
    rates: list[float] = []
    psnrs: list[float] = []
    for rate, psnr in sorted(zip(*curve, strict=True)):
        if np.isfinite(psnr) and (not rates or (rate > rates[-1] and psnr > psnrs[-1])):
            rates.append(rate)
            psnrs.append(psnr)
    return np.log(rates), np.array(psnrs)


def _shared(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The range that two rising sequences cover; it ends at or before its start where they share none."""
    return (max(a[0], b[0]), min(a[-1], b[-1])) if len(a) and len(b) else (0.0, 0.0)


def rate(test: Curve, anchor: Curve, between: tuple[float, float] | None = None) -> float | None:
    """BD-rate of a curve against an anchor in per cent, or None where they share less than 1 dB.

    ln rate is integrated over the PSNR range that both curves cover; `between` narrows it to what the anchor does
    from one rate to another.
    """
    (rt, pt), (ra, pa) = _monotone(test), _monotone(anchor)
    low, high = _shared(pt, pa)
    if between and low < high:
        at = PchipInterpolator(ra, pa)
        ends = np.clip(np.log(between), ra[0], ra[-1])
        low, high = max(low, float(at(ends[0]))), min(high, float(at(ends[1])))
    if high - low < 1:
        return None
    difference = PchipInterpolator(pt, rt).integrate(low, high) - PchipInterpolator(pa, ra).integrate(low, high)
    return float(np.expm1(difference / (high - low)) * 100)


def psnr(test: Curve, anchor: Curve) -> float | None:
    """BD-PSNR of a curve against an anchor in dB, or None where they share less than a factor of 1.2 in rate.

    PSNR is integrated over the ln rate that both curves cover.
    """
    (rt, pt), (ra, pa) = _monotone(test), _monotone(anchor)
    low, high = _shared(rt, ra)
    if high - low < np.log(1.2):
        return None
    difference = PchipInterpolator(rt, pt).integrate(low, high) - PchipInterpolator(ra, pa).integrate(low, high)
    return float(difference / (high - low))


def psnr_gain(test: Curve, anchor: Curve) -> list[tuple[float, float]]:
    """(rate, dB above the anchor) at each of the anchor's points within the range of the curve."""
    (rt, pt), (ra, pa) = _monotone(test), _monotone(anchor)
    if len(rt) < 2:
        return []
    at = PchipInterpolator(rt, pt)
    return [(float(np.exp(r)), float(at(r) - p)) for r, p in zip(ra, pa, strict=True) if rt[0] <= r <= rt[-1]]
