"""Metrics against figures worked out by hand, and Bjøntegaard deltas."""

import math

import numpy as np
import pytest
from conftest import picture

from inrcodec.bench import bd, metrics
from inrcodec.bench.model import Item, Modality, Row, Values

RATES = [0.1, 0.2, 0.4, 0.8, 1.6]
PSNRS = [28.0, 31.0, 34.0, 37.0, 40.0]
SHAPES: dict[Modality, tuple[int, ...]] = {
    "image": (16, 20, 3),
    "audio": (400, 2),
    "field": (8, 9),
    "volume": (4, 5, 6),
    "video": (2, 8, 8, 3),
    "shape": (8, 8, 8),
}
DTYPES = {"audio": np.int16, "field": np.float32, "volume": np.int32}


def noise(modality: Modality) -> Item:
    values = np.random.default_rng(0).integers(0, 2 if modality == "shape" else 200, SHAPES[modality])
    rate = {"audio": 8000.0, "video": 25.0}.get(modality, 0.0)
    return Item("noise", modality, values.astype(DTYPES.get(modality, np.uint8)), rate)


@pytest.mark.parametrize(
    "modality, rates",
    [
        ("image", {"bpp": 8000 / 320}),
        ("audio", {"bits_per_sample": 8000 / 800, "kbps": 8000 / (400 / 8000) / 1000}),
        ("field", {"bpp": 8000 / 72, "bits_per_sample": 8000 / 72}),
        ("volume", {"bpp": 8000 / 120, "bits_per_sample": 8000 / 120}),
        ("video", {"bpp": 8000 / 128, "kbps": 8000 / (2 / 25) / 1000}),
        ("shape", {"bits_per_sample": 8000 / 512}),
    ],
)
def test_rates_and_equal_values(modality: Modality, rates: dict[str, float]) -> None:
    item = noise(modality)
    found = metrics.measure(item, item.values.copy(), 1000)
    assert {name: found[name] for name in ("bpp", "bits_per_sample", "kbps") if name in found} == pytest.approx(rates)
    assert metrics.RATE[modality] in rates
    assert found["psnr"] == math.inf and found["mse"] == 0
    ideal = {"snr": math.inf, "spectral": 0, "rmse": 0, "max_error": 0, "iou": 1, "chamfer": 0}
    assert {name: found[name] for name in ideal if name in found} == {n: v for n, v in ideal.items() if n in found}


def off_by(item: Item, step: float) -> dict[str, float]:
    return metrics.measure(item, (item.values + step).astype(item.values.dtype), 1)


@pytest.mark.parametrize("modality", ["image", "video"])
def test_psnr_of_samples(modality: Modality) -> None:
    assert off_by(noise(modality), 5)["psnr"] == pytest.approx(20 * math.log10(255 / 5))


def test_unsigned_differences_do_not_wrap() -> None:
    item = Item("a", "image", np.zeros((2, 2, 1), np.uint8))
    assert metrics.measure(item, np.full((2, 2, 1), 255, np.uint8), 1)["psnr"] == pytest.approx(0)


def test_psnr_of_16_bits() -> None:
    item = Item("deep", "image", picture(8, 8, peak=65535) // 2)
    assert off_by(item, 1)["psnr"] == pytest.approx(20 * math.log10(65535))


def test_ms_ssim_only_of_large_pictures() -> None:
    pytest.importorskip("pytorch_msssim")
    small, large = (Item("a", "image", picture(side, 200)) for side in (160, 161))
    assert "ms_ssim" not in metrics.measure(small, small.values, 1)
    assert metrics.measure(large, large.values, 1)["ms_ssim"] == pytest.approx(1)
    blurred = (large.values // 2 + np.roll(large.values, 4, 0) // 2).astype(np.uint8)
    found = metrics.measure(large, blurred, 1)["ms_ssim"]
    deep = Item("a", "image", large.values.astype(np.uint16) * 257)
    assert 0.3 < found < 0.99
    assert metrics.measure(deep, blurred.astype(np.uint16) * 257, 1)["ms_ssim"] == pytest.approx(found, abs=1e-4)


def test_audio() -> None:
    time = np.arange(16000) / 16000
    tone = np.rint(16384 * np.sin(2 * np.pi * 1000 * time)).astype(np.int16)[:, None]
    item = Item("tone", "audio", tone, 16000.0)
    found = metrics.measure(item, (tone // 2).astype(np.int16), 1)
    assert found["snr"] == pytest.approx(20 * math.log10(2), abs=0.01)
    # the error is a sine of amplitude 1/4 in [-1, 1], so of 1/8 in [0, 1]
    assert found["psnr"] == pytest.approx(-10 * math.log10(1 / 8**2 / 2), abs=0.01)
    silence = metrics.measure(item, np.zeros_like(tone), 1)
    assert silence["snr"] == pytest.approx(0)
    assert metrics.measure(Item("none", "audio", 0 * tone, 16000.0), tone, 1)["snr"] == -math.inf


def test_spectral_distance_of_halved_noise() -> None:
    rng = np.random.default_rng(0)
    loud = (2 * rng.integers(-8000, 8000, (8000, 2))).astype(np.int16)
    item = Item("noise", "audio", loud, 16000.0)
    half = metrics.measure(item, (loud // 2).astype(np.int16), 1)["spectral"]
    assert half == pytest.approx(20 * math.log10(2), abs=0.01)
    # Below the floor nothing counts, such as white noise of one step.
    faint = Item("faint", "audio", rng.integers(0, 2, (8000, 1)).astype(np.int16), 16000.0)
    assert metrics.measure(faint, np.zeros((8000, 1), np.int16), 1)["spectral"] < 1
    short = Item("short", "audio", loud[:7], 16000.0)
    assert metrics.measure(short, loud[:7], 1)["spectral"] == 0


def test_fields_and_volumes() -> None:
    values = np.linspace(250, 270, 50, dtype=np.float32).reshape(5, 10)
    decoded = values.copy()
    decoded[0, 0] += 5
    rmse = math.sqrt(25 / 50)
    for unit, peak in (("", 20), ("K", 118.27)):
        found = metrics.measure(Item("a", "field", values, unit=unit), decoded, 1)
        assert found["rmse"] == pytest.approx(rmse) and found["max_error"] == pytest.approx(5)
        assert found["psnr"] == pytest.approx(20 * math.log10(peak / rmse), abs=1e-4)
    constant = Item("flat", "volume", np.full((2, 2, 2), 7, np.int16))
    assert off_by(constant, 1)["psnr"] == 0
    wide = Item("wide", "volume", np.array([-30000, 30000], np.int16).reshape(1, 1, 2))
    assert metrics.measure(wide, wide.values[..., ::-1], 1)["max_error"] == 60000


def cube(start: int, stop: int) -> Values:
    cells = np.zeros((10, 10, 10), np.uint8)
    cells[start:stop, start:stop, start:stop] = 1
    return cells


def test_shapes() -> None:
    cells = cube(2, 6)
    moved = metrics.measure(Item("cube", "shape", cells), np.roll(cells, 1, 0), 1)
    assert moved["iou"] == pytest.approx(3 / 5)
    assert moved["mse"] == pytest.approx(32 / 1000) and moved["psnr"] == pytest.approx(-10 * math.log10(0.032))
    # Of the 56 surface cells 16 are in a layer that the other cube lacks, and 4 are inside the other cube's hull.
    assert moved["chamfer"] == pytest.approx((16 + 4) / 56 / 10)

    points = np.zeros((2, 10, 10, 10), np.uint8)
    points[0, 1, 1, 1] = points[1, 4, 5, 1] = 1
    apart = metrics.measure(Item("point", "shape", points[0]), points[1], 1)
    assert apart["iou"] == 0 and apart["chamfer"] == pytest.approx(0.5)


def test_empty_shapes() -> None:
    none = np.zeros((4, 4, 4), np.uint8)
    both = metrics.measure(Item("none", "shape", none), none, 1)
    assert (both["iou"], both["chamfer"]) == (1, 0)
    lost = metrics.measure(Item("full", "shape", none + 1), none, 1)
    assert (lost["iou"], lost["chamfer"]) == (0, math.inf)


def test_another_shape_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="noise"):
        metrics.measure(noise("field"), np.zeros((1, 9), np.float32), 1)


def test_psnr_of_mean_mse() -> None:
    rows = [
        Row("a", "image", "c", "1", 1, "cpu", 1, 1, 0, 0, metrics={"mse": mse, "psnr": -10 * math.log10(mse)})
        for mse in (1e-2, 1e-4)
    ]
    assert metrics.psnr_of_mean_mse(rows) == pytest.approx(-10 * math.log10(0.00505))


def test_macs() -> None:
    import torch

    linear = torch.nn.Linear(8, 16)
    convolution = torch.nn.Conv2d(3, 4, 3, padding=1)
    assert metrics.macs(lambda: linear(torch.zeros(10, 8)), 10) == 8 * 16
    with torch.inference_mode():
        assert metrics.macs(lambda: convolution(torch.zeros(1, 3, 5, 5)), 25) == 3 * 4 * 9


# Two curves, and what log10 rates give for them: the same figures, since a factor leaves the mean ratio alone.
TEST = ([0.1, 0.25, 0.6, 0.9, 1.7], [27.3, 29.9, 33.5, 35.2, 38.4])
ANCHOR = ([0.12, 0.31, 0.55, 1.02, 2.1], [27.1, 30.2, 32.4, 35.3, 39.0])


def test_deltas_of_two_curves() -> None:
    assert bd.rate(TEST, ANCHOR) == pytest.approx(-12.85491572)
    assert bd.rate(ANCHOR, TEST) == pytest.approx(14.75116563)
    assert bd.psnr(TEST, ANCHOR) == pytest.approx(0.55153406)
    assert bd.psnr(ANCHOR, TEST) == pytest.approx(-0.55153406)


def test_bd_psnr_of_a_shifted_curve() -> None:
    assert bd.psnr((RATES, [p + 1 for p in PSNRS]), (RATES, PSNRS)) == pytest.approx(1)
    assert bd.psnr((RATES[2:], [p - 1 for p in PSNRS[2:]]), (RATES, PSNRS)) == pytest.approx(-1, abs=1e-6)


def test_bd_psnr_needs_a_shared_range() -> None:
    anchor = ([0.1, 0.2], [28.0, 31.0])
    assert bd.psnr(([0.169, 0.4], [30.0, 34.0]), anchor) is None
    assert bd.psnr(([0.166, 0.4], [30.0, 34.0]), anchor) is not None


def test_lossless_points_are_no_part_of_a_curve() -> None:
    lossless = ([3.0, 5.0], [math.inf, math.inf])
    curve = (RATES, PSNRS)
    mixed = ([*RATES, 3.0], [*PSNRS, math.inf])
    assert bd.rate(mixed, curve) == pytest.approx(0) and bd.psnr(mixed, curve) == pytest.approx(0)
    for pair in ((lossless, curve), (curve, lossless), (lossless, lossless)):
        assert bd.rate(*pair) is None and bd.rate(*pair, (0.1, 2.0)) is None and bd.psnr(*pair) is None
    assert bd.psnr_gain(lossless, curve) == []
