"""COIN and D'OH: a network fitted to one signal, without a base network."""

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import picture, sound
from PIL import Image

import inrcodec
from inrcodec import codec, container
from inrcodec.cli import main
from inrcodec.codec import Settings
from inrcodec.errors import CorruptStream, UsageError
from inrcodec.fields.modulations import RandomProjection
from inrcodec.fields.wholefield import WholeField
from inrcodec.methods import coin, doh
from inrcodec.methods.perfile import MAX_WIDTH, POINTS, copies, fit, new_siren, read_tensors, target_bits, write_tensors
from inrcodec.quantisers import (
    deviations,
    extent_range,
    sigma_range,
    uniform_dequantise,
    uniform_quantise,
)
from inrcodec.samples import special
from inrcodec.signal import Signal

METHODS = {"coin": coin, "doh": doh}
KODAK = (512, 768)


def compress(signal: Signal, method: str, quality: float = 60, **options: Any) -> codec.Encoded:
    return codec.compress(signal, Settings(method=method, quality=quality, options={"steps": 40, "batch": 0} | options))


def section(signal: Signal, method: str, **options: Any) -> bytes:
    (only,) = container.read(compress(signal, method, **options).data)[1]
    return only


# Quantisers


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
def test_uniform_quantiser(bits: int) -> None:
    values = torch.linspace(-3, 5, 1000)
    symbols = uniform_quantise(values, -3, 5, bits)
    assert symbols.min() == 0 and symbols.max() == 2**bits - 1
    back = uniform_dequantise(symbols, -3, 5, bits)
    assert (back - values).abs().max() <= 0.501 * 8 / (2**bits - 1) + 1e-6
    assert torch.equal(
        uniform_quantise(values, -1, 1, bits)[values > 1], torch.full_like(symbols[values > 1], 2**bits - 1)
    )
    assert not uniform_quantise(values, 2, 2, bits).any()


def test_ranges() -> None:
    values = torch.tensor([-1.0, 0, 0, 1, 5])
    assert (deviations(1), deviations(16)) == (3, 6)
    low, high = sigma_range(values, 16)
    assert (low + high) / 2 == pytest.approx(1) and high - low == pytest.approx(12 * float(values.std(correction=0)))
    assert extent_range(values, 8) == (-1, 5)


def test_tensors_come_back_quantised() -> None:
    rng = torch.Generator().manual_seed(0)
    tensors = [torch.randn(30, 7, generator=rng), torch.full((3,), 0.5), 100 + torch.rand(50, generator=rng)]
    data = write_tensors(tensors, 8, extent_range)
    back = read_tensors(data, [tuple(t.shape) for t in tensors], 8)
    for t, b in zip(tensors, back, strict=True):
        assert (t - b).abs().max() <= 0.51 * float(t.max() - t.min()) / 255 + 1e-3 * float(t.abs().max())
    assert len(data) < sum(t.numel() for t in tensors) + 8 * len(tensors)


# Architectures


def point_of(bpp: float) -> int:
    return max(p for p in range(POINTS) if target_bits(p, (1,)) <= bpp * 1.02)


@pytest.mark.parametrize(
    ("bpp", "depth", "width", "shape"),
    [
        (0.07, 5, 20, KODAK),
        (0.15, 5, 30, KODAK),
        (0.3, 10, 28, KODAK),
        (0.6, 10, 40, KODAK),
        (1.2, 13, 49, KODAK),
        (3.6, 2, 12, (32, 32)),
        (5.8, 2, 16, (32, 32)),
        (10.0, 2, 22, (32, 32)),
    ],
)
def test_architectures_are_near_those_of_the_papers(bpp: float, depth: int, width: int, shape: tuple[int, int]) -> None:
    found = coin.architecture(point_of(bpp), shape, 3, coin.CoinOptions())
    assert found[0] == depth and abs(found[1] - width) <= 1


def test_networks_grow_with_the_operating_point_and_stay_below_it() -> None:
    for shape, channels in ((KODAK, 3), ((48000,), 1), ((32, 32, 32), 1), ((4000, 6000), 4)):
        sizes = []
        for p in range(0, POINTS, 15):
            depth, width = coin.architecture(p, shape, channels, coin.CoinOptions())
            sizes.append(16 * coin.parameters(len(shape), channels, width, depth))
            assert 2 <= width <= MAX_WIDTH
            assert width == 2 or sizes[-1] <= target_bits(p, shape)
        assert sizes[-1] > 20 * sizes[0]
    siren = new_siren(2, 3, 28, 10, 30)
    assert coin.parameters(2, 3, 28, 10) == sum(p.numel() for p in siren.parameters()) == 7479


def test_the_code_of_doh_follows_the_rate() -> None:
    options = doh.DohOptions()
    lengths = []
    for p in range(0, 128, 8):
        depth, width, length = doh.architecture(p, KODAK, 3, options)
        lengths.append(length)
        assert 8 * (length + depth * width + 3) <= target_bits(p, KODAK)
        assert depth * width + 3 <= target_bits(p, KODAK) / 8 / 4 + depth
    assert lengths == sorted(lengths)
    depth, width, length = doh.architecture(255, KODAK, 3, options)
    assert (depth, width) == (10, 40) and length == 42 * 40 + 9 * 1600 + 120  # no longer than the weights


# Fitting


def test_the_best_iterate_is_kept() -> None:
    siren, y = new_siren(2, 1, 8, 2, 30), torch.rand(3, 64, 1)
    own = copies([*siren.weights, *siren.biases], 3)

    def net(x: torch.Tensor) -> torch.Tensor:
        return siren(x, None, own[:3], own[3:])

    wild = coin.CoinOptions(rate=0.9, decay=False, batch=0)
    reports: list[float] = []
    start = fit(net, own, y, (8, 8), wild, 8, 0, reports.append)
    kept = fit(net, own, y, (8, 8), wild, 8, 50, reports.append)
    again = fit(net, own, y, (8, 8), wild, 8, 0, reports.append)
    assert (kept <= start).all() and torch.allclose(again, kept)
    assert len(reports) == 50 and reports[-1] == 1


def test_batches_are_random_and_reach_the_whole_signal() -> None:
    y = torch.from_numpy(picture(24, 24)).float().view(1, -1, 3) / 255
    siren = new_siren(2, 3, 16, 2, 30)
    options = coin.CoinOptions(rate=0.003, batch=64)
    own = copies([*siren.weights, *siren.biases], 1)
    reached = fit(lambda x: siren(x, None, own[:3], own[3:]), own, y, (24, 24), options, 16, 150, lambda _: None)
    assert reached < 0.3 * float(y[0].var(0).mean())


@pytest.mark.parametrize("search", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_items_of_a_batch_are_fitted_as_if_alone(method: str, search: bool) -> None:
    options: dict[str, Any] = {"search": search} if method == "coin" else {}
    pictures = np.stack([picture(8, 9, seed=k) for k in range(3)])
    together = compress(Signal.from_array(pictures), method, **options)
    alone = [compress(Signal.from_array(p), method, **options) for p in pictures]
    assert inrcodec.decode(together.data).shape == pictures.shape
    sections = container.read(together.data)[1]
    assert [len(s) for s in sections] == pytest.approx([len(container.read(a.data)[1][0]) for a in alone], abs=2)
    mean = -10 * np.log10(np.mean([10 ** (-a.psnr / 10) for a in alone]))
    assert together.psnr == pytest.approx(mean, abs=0.2)  # sums in another order


def test_search_keeps_a_valid_architecture() -> None:
    signal = Signal.from_array(picture(24, 24))
    data = section(signal, "coin", quality=90, search=True, steps=30)
    depth, width = data[0], struct.unpack_from("<H", data, 1)[0]
    point = round(0.9 * 255)
    assert depth in coin.SEARCHED and width == coin.widest(2, 3, depth, target_bits(point, (24, 24)) / 16)


# Round trips


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", [6, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images(method: str, bits: int, channels: int) -> None:
    values = picture(20, 28, channels)
    encoded = compress(Signal.from_array(values), method, quality=90, bits=bits, steps=80)
    decoded = inrcodec.decode(encoded.data)
    assert decoded.shape == values.shape and decoded.dtype == values.dtype
    error = np.square(decoded.astype(float) - values).mean()
    assert error == pytest.approx(encoded.distortion.mse)
    assert error < 0.8 * values.var((0, 1)).mean()
    limit = target_bits(encoded.header.operating_point, (20, 28)) / 8
    assert len(encoded.data) < limit + 100


@pytest.mark.parametrize("method", METHODS)
def test_other_kinds(method: str) -> None:
    grid = np.mgrid[0:10, 0:9, 0:8] - 4
    shape = Signal.from_array(np.square(grid).sum(0) < 12, "shape")
    field = np.sin(np.arange(40)[:, None] / 9) * 3 + 280 + np.zeros((40, 3))
    field[3, 0] = np.nan
    holes = Signal.numbers(field, dims=1, special=special.find(field[None]))
    for signal in (shape, holes, Signal.sound(sound(600, 2), 16000)):
        encoded = compress(signal, method, quality=90, steps=150)
        decoded = inrcodec.decode(encoded.data)
        assert decoded.shape == signal.values.shape
        assert encoded.distortion.mse < 0.9 * float(np.nanvar(np.asarray(signal.values[...], np.float64)))
        if signal.format.dims == 1:
            np.testing.assert_array_equal(np.isnan(decoded), np.isnan(signal.values))


@pytest.mark.parametrize("method", METHODS)
def test_items_of_a_batch_decode_alone(method: str) -> None:
    values = np.stack([picture(12, 14, 1, seed=k) for k in range(3)]).astype(np.float32)
    encoded = compress(Signal.numbers(values, dims=2), method)
    assert len(container.read(encoded.data)[1]) == 3
    whole = inrcodec.decode(encoded.data)
    for k in range(3):
        np.testing.assert_array_equal(inrcodec.decode(encoded.data, item=k), whole[k])


@pytest.mark.parametrize("method", METHODS)
def test_repeatable_and_silent(method: str) -> None:
    """The same bytes twice, and torch's own random numbers go on as if nothing had happened."""
    signal = Signal.from_array(picture(12, 12))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = compress(signal, method, batch=50).data
    inrcodec.decode(first)
    assert torch.equal(torch.rand(3), expected)
    assert compress(signal, method, batch=50).data == first


@pytest.mark.parametrize("method", METHODS)
def test_only_what_is_asked_for_is_evaluated(method: str) -> None:
    field = inrcodec.open_field(compress(Signal.from_array(picture(40, 60)), method).data)
    assert isinstance(field, WholeField)
    net, seen = field.net, []

    def counting(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return net(x)

    field.net = counting
    whole = field.grid()
    assert sum(seen) == 2400
    seen.clear()
    assert field.grid(scale=0.25).shape == (10, 15, 3) and sum(seen) == 150
    seen.clear()
    part = field.grid(region=(5, 10, 20, 8))
    assert sum(seen) == 160
    torch.testing.assert_close(part, whole[10:18, 5:25], atol=1e-5, rtol=0)
    seen.clear()
    assert field.grid(scale=2).shape == (80, 120, 3) and sum(seen) == 9600


@pytest.mark.parametrize("method", METHODS)
def test_field_off_the_grid(method: str) -> None:
    field = inrcodec.open_field(compress(Signal.from_array(picture(16, 20)), method).data)
    at = torch.tensor([[(3 + 0.5) / 16, (7 + 0.5) / 20], [0.31, 0.77]], requires_grad=True)
    values = field(at)
    torch.testing.assert_close(values[0], field.grid()[3, 7], atol=1e-4, rtol=0)
    (slope,) = torch.autograd.grad(values[1].sum(), at)
    assert slope[1].abs().min() > 0 and not slope[0].any()


# The random projections of D'OH


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 (Salmon et al. 2011), one block."""
    mask = 2**64 - 1
    c, k = list(counter), list(key)
    for step in range(10):
        if step:
            k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(b >> 64) ^ c[1] ^ k[0], b & mask, (a >> 64) ^ c[3] ^ k[1], a & mask]
    return c


def test_random_numbers_are_those_of_the_format() -> None:
    siren = new_siren(2, 1, 5, 2, 30)
    projection = RandomProjection(6, siren, seed=9)
    (rows,) = list(projection.rows(1))
    assert rows.shape == (25, 6)
    words = [w for block in range(13) for w in philox([block + 1, 0, 0, 0], [9, 1])]
    for r in (0, 1, 24):  # a row of 6 takes two words
        numbers = [words[2 * r + j // 4] >> 16 * (j % 4) & 0xFFFF for j in range(6)]
        expected = [projection.bounds[1] * ((2 * u + 1) / 2**16 - 1) for u in numbers]
        np.testing.assert_allclose(rows[r].numpy(), expected, rtol=1e-5, atol=1e-9)
    assert philox([1, 0, 0, 0], [5, 3])[0] == 13864069777372183386


def test_rows_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    projection = RandomProjection(11, new_siren(2, 1, 5, 2, 30), seed=1)
    (whole,) = list(projection.rows(1))
    monkeypatch.setattr("inrcodec.fields.modulations.AT_ONCE", 30)
    parts = list(projection.rows(1))
    assert len(parts) > 5
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=0)


def test_projected_weights_start_as_those_of_a_siren() -> None:
    siren = new_siren(2, 3, 40, 3, 30)
    projection = RandomProjection(500, siren, seed=0)
    (phi,) = projection.start(1)
    for layer, n in enumerate((2, 40, 40, 40)):
        bound = 1 / n if layer == 0 else math.sqrt(6 / n) / 30
        weight = projection.weight(layer, phi)
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.25)
        torch.testing.assert_close(projection.change(siren, phi[None], phi)[1][layer][0], weight)  # type: ignore[index]


# Damage


def altered(data: bytes, at: int, kind: str, value: int) -> bytes:
    out = bytearray(data)
    struct.pack_into(kind, out, at, value)
    return bytes(out)


@pytest.mark.parametrize("bits", [8, 16])
def test_damaged_coin(bits: int) -> None:
    data = section(Signal.from_array(picture(16, 16)), "coin", bits=bits)
    model = coin.load(None, {})
    model.decode(data, (16, 16), 3)
    depth, width = data[0], struct.unpack_from("<H", data, 1)[0]
    bad = [
        *(altered(data, 0, "<B", v) for v in (0, depth + 1, depth - 1, 64, 65, 255)),
        *(altered(data, 1, "<H", v) for v in (0, width + 1, width - 1, 1024, 1025, 65535)),
        altered(data, 3, "<B", 0),
        *(altered(data, 4, "<B", v) for v in (0, 3, 17, 255)),
        *(data[:n] for n in (0, 3, coin.HEAD.size, len(data) // 2, len(data) - 1)),
        data + b"\1",
        data + b"\0",
    ]
    if bits == 16:
        bad.append(altered(data, coin.HEAD.size + 10, "<H", 0x7C00))  # infinity
    for stream in bad:
        with pytest.raises(CorruptStream):
            model.decode(stream, (16, 16), 3)


def test_damaged_doh() -> None:
    data = section(Signal.from_array(picture(16, 16)), "doh")
    model = doh.load(None, {})
    model.decode(data, (16, 16), 3)
    length = struct.unpack_from("<H", data, 8)[0]
    bad = [
        *(altered(data, 0, "<B", v) for v in (0, data[0] + 1, data[0] - 1, 65)),
        *(altered(data, 1, "<H", v) for v in (0, 1024, 1025)),
        altered(data, 3, "<B", 0),
        *(altered(data, 4, "<B", v) for v in (3, 17)),
        altered(data, 5, "<B", 17),
        *(altered(data, 8, "<H", v) for v in (0, length + 1, length - 1, 65535)),
        *(data[:n] for n in (0, doh.HEAD.size - 1, doh.HEAD.size + 5, len(data) - 1)),
        data + b"\1",
        altered(data, doh.HEAD.size, "<H", 0x7E00),  # not a number
        altered(data, doh.HEAD.size, "<H", 0x7BFF),  # the low end above the high one
    ]
    for stream in bad:
        with pytest.raises(CorruptStream):
            model.decode(stream, (16, 16), 3)


def test_huge_claims_are_refused_at_once() -> None:
    with pytest.raises(CorruptStream, match="cannot be in"):
        coin.load(None, {}).decode(coin.HEAD.pack(64, 1024, 30, 8) + bytes(2000), (16, 16), 3)
    with pytest.raises(CorruptStream, match="random numbers"):
        doh.load(None, {}).decode(doh.HEAD.pack(64, 1024, 30, 8, 10, 0, 65535) + bytes(70000), (16, 16), 3)


# Options


def test_presets_are_those_of_the_papers() -> None:
    paper = coin.CoinOptions.of(coin.PRESETS["paper"])
    assert (paper.steps, paper.rate, paper.batch, paper.decay, paper.bits) == (50000, 2e-4, 0, False, 16)
    paper_doh = doh.DohOptions.of(doh.PRESETS["paper"])
    assert (paper_doh.width, paper_doh.depth, paper_doh.frequencies, paper_doh.bits) == (40, 10, 10, 8)
    assert (paper_doh.batch, paper_doh.steps) == (1024, 2000 * 384)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("coin", {"bits": 3}),
        ("coin", {"bits": 17}),
        ("coin", {"width": 1025}),
        ("coin", {"depth": -1}),
        ("coin", {"rate": 0.0}),
        ("coin", {"w0": 0}),
        ("coin", {"frequencies": 3}),
        ("coin", {"search": 1}),
        ("doh", {"frequencies": 17}),
        ("doh", {"seed": 65536}),
        ("doh", {"width": 0}),
        ("doh", {"steps": "many"}),
    ],
)
def test_wrong_options_are_named(method: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        compress(Signal.from_array(picture(8, 8)), method, **options)


@pytest.mark.parametrize("method", METHODS)
def test_command_line(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, stream, out = tmp_path / "a.png", tmp_path / "a.inr", tmp_path / "b.png"
    Image.fromarray(picture(16, 20)).save(source)
    common = ["encode", str(source), "--method", method, "--quality", "70"]
    assert main([*common, "--set", "steps=20", "--set", "rate=0.005", "--json"]) == 0
    assert '"model": "none"' in capsys.readouterr().out
    assert main(["decode", str(stream), "-o", str(out), "--verbose"]) == 0
    assert Image.open(out).size == (20, 16)
    assert main(["info", str(stream)]) == 0
    assert method in capsys.readouterr().out
    for wrong in (["--set", "steps"], ["--set", "nonsense=1"], ["--preset", "nonsense"], ["--set", "w0=true"]):
        assert main([*common, "--force", *wrong]) == 2
        message = capsys.readouterr().err.strip()
        assert "\n" not in message and "Traceback" not in message, message
