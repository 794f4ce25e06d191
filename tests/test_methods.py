"""The meta-learned methods, with tiny networks of random weights: coders, streams, fields, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import VECTORS, picture
from make_golden import META, meta_symbols
from numpy.typing import NDArray

import inrcodec
from inrcodec import basemodels, codec, container
from inrcodec.codec import Settings
from inrcodec.errors import CorruptStream, TruncatedStream, UsageError
from inrcodec.fields.modulations import LowRankGates
from inrcodec.fields.patchfield import PatchField
from inrcodec.fields.siren import Siren
from inrcodec.methods.coders import SparseCoder, TransformCoder, UniformCoder
from inrcodec.methods.contextcoders import StepCoder
from inrcodec.methods.meta import MetaModel
from inrcodec.samples.image import ImageFormat
from inrcodec.signal import Signal

METHODS = tuple(META)


def model(method: str) -> MetaModel:
    loaded = basemodels.load(basemodels.by_name(f"tiny-{method}"), "cpu")
    assert isinstance(loaded, MetaModel)
    return loaded


def compress(signal: Signal, method: str, quality: float = 50, effort: int = 1) -> codec.Encoded:
    return codec.compress(signal, Settings(model=f"tiny-{method}", quality=quality, effort=effort))


def random_symbols(method: str, point: int, patches: int, seed: int = 0) -> NDArray[np.int32]:
    """Any symbols [P, D] that the coder of a method may meet."""
    coder, rng = model(method).coder, np.random.default_rng(seed)
    if isinstance(coder, TransformCoder):
        low, sizes = coder.low[point].numpy(), coder.sizes[point].numpy()
        return (low + rng.integers(0, sizes, (patches, coder.codes))).astype(np.int32)
    if isinstance(coder, StepCoder):
        most = coder.cells(point) // 2
        return rng.integers(-most, most + 1, (patches, coder.size)).astype(np.int32)
    assert isinstance(coder, (UniformCoder, SparseCoder))
    most = 2 ** (coder.least + point) - (0 if isinstance(coder, SparseCoder) else 1)
    return rng.integers(0, most + 1, (patches, coder.size)).astype(np.int32)


# Coders


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (4, 3)])
@pytest.mark.parametrize("method", METHODS)
def test_coders_read_what_they_wrote(method: str, grid: tuple[int, int]) -> None:
    """Any symbols, not only likely ones; and nothing may follow."""
    coder = model(method).coder
    for point in (0, coder.points - 1):
        symbols = random_symbols(method, point, grid[0] * grid[1])
        data = coder.write(symbols, point, grid)
        assert np.array_equal(coder.read(data, point, grid), symbols)
        with pytest.raises(CorruptStream):
            coder.read(data + b"\x01\x02\x03\x04", point, grid)


def test_values_beyond_the_tables_escape() -> None:
    """Symbols that no quantiser makes still come back from located and scaled tables."""
    for method in ("flowcoin", "spatial-functa"):
        symbols = random_symbols(method, 0, 4)
        symbols[1, 3], symbols[2, 0] = 3000, -3000
        coder = model(method).coder
        assert np.array_equal(coder.read(coder.write(symbols, 0, (2, 2)), 0, (2, 2)), symbols)


@pytest.mark.parametrize("method", METHODS)
def test_quantised_again_nothing_changes(method: str) -> None:
    coder = model(method).coder
    if isinstance(coder, TransformCoder):
        pytest.skip("the transforms are no inverses of each other")
    for point in range(coder.points):
        symbols = torch.from_numpy(random_symbols(method, point, 5))
        assert torch.equal(coder.quantise(coder.dequantise(symbols, point), point), symbols)


@pytest.mark.parametrize("method", [m for m in METHODS if not m.startswith("vcinr")])
def test_quantisers_err_by_half_a_step(method: str) -> None:
    """Within ±3σ; beyond, values are clipped; a closed gate stays closed."""
    coder = model(method).coder
    assert isinstance(coder, (UniformCoder, SparseCoder, StepCoder))
    mean = torch.zeros(()) if isinstance(coder, SparseCoder) else coder.mean
    unit = torch.linspace(-4, 4, 101)[:, None].expand(-1, coder.size)
    values = unit * coder.std + mean
    for point in range(coder.points):
        back = coder.dequantise(coder.quantise(values, point), point)
        step = 6 / (2 ** (coder.least + point) - 1)
        error = ((back - values) / coder.std).abs()
        wanted = torch.full_like(error, step / 2) + (unit.abs() - 3).clamp(min=0)
        is_open = values != 0 if isinstance(coder, SparseCoder) else torch.ones_like(error, dtype=torch.bool)
        assert (error <= wanted + 1e-4)[is_open].all()
        assert not isinstance(coder, SparseCoder) or not back[values == 0].any()


@pytest.mark.parametrize("method", METHODS)
def test_operating_points_go_from_coarse_to_fine(method: str) -> None:
    signal = Signal.from_array(picture(24, 24))
    low, high = (compress(signal, method, quality, effort=5) for quality in (0, 100))
    assert len(low.data) < len(high.data)
    assert method.startswith("vcinr") or low.psnr <= high.psnr + 0.5  # weights are random: more bits need not say more


# Streams


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("shape", "peak"), [((1, 1, 3), 255), ((5, 13, 1), 255), ((17, 40, 4), 65535), ((9, 8, 2), 255)], ids=str
)
def test_round_trips(method: str, shape: tuple[int, int, int], peak: int) -> None:
    """Any size, grey, alpha and 16 bits: of the same kind, and as near as the encoder announced."""
    pixels = picture(*shape, peak=peak)
    encoded = compress(Signal.from_array(pixels), method)
    decoded = inrcodec.decode(encoded.data)
    assert decoded.shape == pixels.shape and decoded.dtype == pixels.dtype
    mse = np.square(decoded.astype(float) - pixels).mean()
    assert 10 * np.log10(peak**2 / mse) == pytest.approx(encoded.psnr, abs=1e-6)
    assert len(container.read(encoded.data)[1]) == (2 if shape[2] in (2, 4) else 1)


@pytest.mark.parametrize("method", METHODS)
def test_adapted_patches_are_nearer(method: str) -> None:
    """The inner loop does something, even for random weights: with it a picture is nearer than its start."""
    own, y = model(method), torch.from_numpy(picture(8, 8).reshape(1, 64, 3).astype(np.float32) / 255)
    x = inrcodec.coordinates.patch_coordinates(8, 2)
    with torch.no_grad():
        phi = own.net.modulation.received(own.adapt(y, 5))
        before, after = ((own.net(p, x) - y).square().mean() for p in (own.net.start(1), phi))
    assert after < before


@pytest.mark.parametrize("method", METHODS)
def test_batch(method: str) -> None:
    """Items are coded one after the other, and any of them can be decoded alone."""
    values = np.stack([picture(9, 12, seed=k) for k in range(3)])
    encoded = compress(Signal(values, ImageFormat("uint8", 3)), method)
    whole = inrcodec.decode(encoded.data)
    assert whole.shape == values.shape
    for k in range(3):
        alone = inrcodec.decode(compress(Signal.from_array(values[k]), method).data)
        assert np.array_equal(inrcodec.decode(encoded.data, item=k), whole[k])
        assert np.array_equal(alone, whole[k])
    with pytest.raises(UsageError, match="no item 3"):
        inrcodec.decode(encoded.data, item=3)


@pytest.mark.parametrize("method", METHODS)
def test_must_fail(method: str) -> None:
    data = compress(Signal.from_array(picture(9, 12)), method).data
    header, (section,) = container.read(data)
    for cut in range(1, len(section) + 4):
        with pytest.raises(TruncatedStream):
            inrcodec.decode(data[:-cut])
    with pytest.raises(CorruptStream):
        inrcodec.decode(data + b"\0")
    points = model(method).points
    with pytest.raises(CorruptStream, match=f"operating point {points}; the base network has {points}"):
        inrcodec.decode(container.write(replace(header, operating_point=points), [section]))
    with pytest.raises(CorruptStream, match="1 sections|2 sections"):
        inrcodec.decode(container.write(header, [section, section]))
    with pytest.raises(CorruptStream):
        inrcodec.decode(container.write(header, [section + b"\1\2\3\4"]))
    with pytest.raises(CorruptStream):
        inrcodec.decode(container.write(header, [section + b"\0"]))
    with pytest.raises(CorruptStream, match="the stream is of method"):
        other = "functa" if method == "coinpp" else "coinpp"
        inrcodec.decode(container.write(replace(header, method=container.METHODS[other]), [section]))


@pytest.mark.parametrize("method", METHODS)
def test_symbols_do_not_hang_on_threads(method: str) -> None:
    data = (VECTORS / f"{method}.inr").read_bytes()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(list(meta_symbols(data)))
    finally:
        torch.set_num_threads(1)
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_trained_options_cannot_be_set() -> None:
    with pytest.raises(UsageError, match="has no options: those of base network tiny-coinpp are trained"):
        codec.compress(Signal.from_array(picture(8, 8)), Settings(model="tiny-coinpp", options={"latent": 3}))


def test_error_bounds_are_refused() -> None:
    with pytest.raises(UsageError, match="for method pyramid"):
        codec.compress(Signal.from_array(picture(8, 8)), Settings(model="tiny-coinpp", lossless=True))


# Fields


@pytest.mark.parametrize("method", METHODS)
def test_field(method: str) -> None:
    """At the centres of the samples it is the decoded picture; parts of the grid are parts of it; it can be derived."""
    height, width = 13, 18
    encoded = compress(Signal.from_array(picture(height, width)), method)
    field = codec.open_field(encoded.data)
    assert isinstance(field, PatchField)
    whole = field.grid()
    rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    at = torch.cartesian_prod(rows, columns).requires_grad_()
    values = field(at)
    torch.testing.assert_close(values.view(height, width, 3), whole, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(values.sum(), at)
    assert gradient.isfinite().all() and gradient.abs().max() > 0
    torch.testing.assert_close(field.grid(region=(5, 6, 9, 7)), whole[6:13, 5:14])
    assert field(torch.empty(0, 2)).shape == (0, 3)


@pytest.mark.parametrize("method", METHODS)
def test_scales(method: str) -> None:
    data = compress(Signal.from_array(picture(13, 18)), method).data
    assert inrcodec.decode(data, scale=2).shape == (26, 36, 3)
    assert inrcodec.decode(data, scale=0.5).shape == (6, 9, 3)
    assert inrcodec.decode(data, region=(3, 2, 6, 5), size=(30, 20)).shape == (20, 30, 3)
    field = codec.open_field(data)
    shrunk, whole = field.grid(size=(1, 1)), field.grid()
    torch.testing.assert_close(shrunk[0, 0], whole.mean((0, 1)), rtol=1e-3, atol=1e-4)  # it averages, without aliasing


@pytest.mark.parametrize("method", METHODS)
def test_adam_never_makes_a_patch_worse(method: str) -> None:
    """Even where it drives modulations beyond what the quantiser reaches."""
    own = model(method)
    y = own.patches(lambda _: torch.from_numpy(picture(24, 24, seed=5)).movedim(-1, 0).float() / 255, (24, 24))
    plain, refined = (own.error(own.symbols(y, 1, effort, lambda _: None), y, 1) for effort in (5, 9))
    assert (refined <= plain * (1 + 1e-6)).all()


def test_without_its_last_activation_every_latent_counts() -> None:
    torch.manual_seed(0)
    siren = Siren(2, 3, 16, 3, 20.0)

    def directions(last_activation: bool) -> int:
        gates = LowRankGates(24, siren, 24, 1, 8, last_activation)
        matrix = torch.autograd.functional.jacobian(lambda p: torch.cat(gates.gates(p), 1).flatten(), gates.start(1))
        values = torch.linalg.svdvals(matrix[:, 0])
        return int((values > 0.01 * values[0]).sum())

    assert directions(False) == 22  # normalisation takes two
    assert directions(True) < 20
