"""What a decoded signal is worth and what it cost; docs/metrics.md defines every figure."""

import math
from collections.abc import Callable, Iterable
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from inrcodec.bench.model import Item, Modality, Row, Values

RATE: dict[Modality, str] = {
    "image": "bpp",
    "audio": "kbps",
    "field": "bpp",
    "volume": "bpp",
    "video": "bpp",
    "shape": "bits_per_sample",
}
"""The metric that is the rate of a modality's curves."""

ERA5_KELVIN = 320.93 - 202.66  # what COIN++ and VC-INR scale to [0, 1]
SMALLEST_MS_SSIM = 161  # its fifth scale must hold a window of 11
SPECTRAL_WINDOW = 0.032  # seconds
SPECTRAL_FLOOR = 1e-10  # power of full scale


def measure(item: Item, decoded: Values, size: int) -> dict[str, float]:
    """Rates from `size` in bytes, and distances between an item's values and the decoded ones of the same shape.

    mse is on the scale on which the peak of psnr is 1; psnr is `math.inf` where the values are equal. Both are means
    over the signals of a batch.
    """
    assert decoded.shape == item.values.shape, f"{item.name}: decoded {decoded.shape}, not {item.values.shape}"
    difference = item.values.astype(np.float64) - decoded.astype(np.float64)
    squares = np.square(difference) / _peak(item) ** 2
    each = [float(part.mean()) for part in (squares if item.batch else [squares])]
    psnr, mse = fmean(map(_decibels, each)), fmean(each)
    return {**_rates(item, size), "psnr": psnr, "mse": mse, **_particular(item, decoded, difference)}


def psnr_of_mean_mse(rows: Iterable[Row]) -> float:
    """PSNR in dB of the mean MSE of the rows of one codec and point, at most their mean PSNR."""
    return _decibels(float(np.mean([row.metrics["mse"] for row in rows])))


def macs(function: Callable[[], object], positions: int) -> float:
    """Multiply-accumulates per position of what PyTorch computes in a call: matrix products, convolutions, attention.

    Other arithmetic, and whatever runs outside PyTorch, is not counted.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops() / 2 / positions


def _decibels(mse: float) -> float:
    return -10 * math.log10(mse) if mse else math.inf


def _peak(item: Item) -> float:
    """What counts as 1 in MSE and PSNR, in the unit of the values."""
    if item.modality == "audio":
        return 65536.0  # [-1, 1] is mapped to [0, 1], as in COIN++
    if item.modality == "shape":
        return 1.0
    if item.modality in ("image", "video"):
        return float(np.iinfo(item.values.dtype.name).max)
    if item.unit == "K":
        return ERA5_KELVIN
    return float(item.values.max()) - float(item.values.min()) or 1.0  # of a constant item 1


def _rates(item: Item, size: int) -> dict[str, float]:
    bits = 8.0 * size
    rates = {}
    if item.modality in ("image", "field", "volume", "video"):
        rates["bpp"] = bits / item.positions
    if item.modality in ("audio", "field", "volume", "shape"):
        rates["bits_per_sample"] = bits / item.values.size
    if item.rate:
        seconds = len(item.values) / item.rate
        rates["kbps"] = bits / seconds / 1000
    return rates


def _particular(item: Item, decoded: Values, difference: NDArray[np.float64]) -> dict[str, float]:
    if item.modality == "image":
        return _ms_ssim(item.values, decoded)
    if item.modality == "audio":
        return {"snr": _snr(item.values, difference), "spectral": _spectral(item, decoded)}
    if item.modality in ("field", "volume"):
        rmse = math.sqrt(np.mean(np.square(difference)))
        return {"rmse": rmse, "max_error": float(np.abs(difference).max())}
    if item.modality == "shape":
        return _overlap(item.values.astype(bool), decoded.astype(bool))
    return {}


def _ms_ssim(values: Values, decoded: Values) -> dict[str, float]:
    """Nothing for a batch, for a picture that is too small, and without pytorch-msssim."""
    try:
        from pytorch_msssim import ms_ssim
    except ImportError:
        return {}
    import torch

    if values.ndim == 4 or min(values.shape[:2]) < SMALLEST_MS_SSIM:
        return {}
    scale = 255 / np.iinfo(values.dtype.name).max
    # [H, W, C] -> [1, C, H, W], samples from 0 to 255
    pair = (torch.from_numpy(v.astype(np.float32) * np.float32(scale)).movedim(2, 0)[None] for v in (values, decoded))
    with torch.inference_mode():
        return {"ms_ssim": float(ms_ssim(*pair, data_range=255))}


def _snr(values: Values, difference: NDArray[np.float64]) -> float:
    signal, noise = float(np.sum(np.square(values.astype(np.float64)))), float(np.sum(np.square(difference)))
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def _spectral(item: Item, decoded: Values) -> float:
    """Log-spectral distance in dB between two waveforms [T, C], the mean over channels and frames."""
    from scipy.signal import stft

    window = min(round(SPECTRAL_WINDOW * item.rate), len(item.values))

    def level(waveform: Values) -> NDArray[np.float64]:
        """[F, C, frames], dB of full scale"""
        _, _, spectrum = stft(
            waveform.astype(np.float64) / 32768, item.rate, nperseg=window, noverlap=window * 3 // 4, axis=0
        )
        return 10 * np.log10(np.maximum(np.abs(spectrum) ** 2, SPECTRAL_FLOOR))

    return float(np.mean(np.sqrt(np.mean(np.square(level(item.values) - level(decoded)), axis=0))))


def _overlap(values: NDArray[np.bool_], decoded: NDArray[np.bool_]) -> dict[str, float]:
    union = int(np.sum(values | decoded))
    iou = int(np.sum(values & decoded)) / union if union else 1.0
    return {"iou": iou, "chamfer": (_distance(values, decoded) + _distance(decoded, values)) / 2}


def _distance(start: NDArray[np.bool_], goal: NDArray[np.bool_]) -> float:
    """From the surface cells of one shape to the nearest one of another, the mean; the longest side is 1.

    0 from an empty shape, infinite to one.
    """
    from scipy.ndimage import distance_transform_edt

    if not start.any():
        return 0.0
    if not goal.any():
        return math.inf
    return float(np.mean(distance_transform_edt(~_surface(goal))[_surface(start)])) / max(start.shape)


def _surface(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Full cells with an empty one, or the edge of the grid, at one of their six sides."""
    from scipy.ndimage import binary_erosion

    return cells & ~binary_erosion(cells)
