"""Round trips through bytes: every kind of image, size and option."""

import numpy as np
import pytest
import torch
from conftest import picture

import inrcodec
from inrcodec import basemodels, codec, container, entropy
from inrcodec import latents as latent_grids
from inrcodec.codec import Settings
from inrcodec.errors import (
    CorruptStream,
    InrcodecError,
    LimitExceeded,
    ModelMismatch,
    TruncatedStream,
    UnknownModel,
    UsageError,
)
from inrcodec.methods import pyramid
from inrcodec.methods.pyramid import PyramidModel
from inrcodec.priors.tables import EACH, LARGEST_STRETCH, STRETCHES, LatentTables
from inrcodec.signal import Signal


def encode(values: np.ndarray, **settings: object) -> bytes:
    return inrcodec.encode(values, **{"model": "tiny", "effort": 0, "quality": 80, **settings})


def psnr(a: np.ndarray, b: np.ndarray, peak: int = 255) -> float:
    return float(10 * np.log10(peak**2 / np.mean(np.square(a.astype(float) - b))))


@pytest.mark.parametrize("peak", [255, 65535])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_kinds(channels: int, peak: int) -> None:
    values = picture(45, 52, channels, peak=peak)
    decoded = inrcodec.decode(encode(values))
    assert decoded.shape == values.shape and decoded.dtype == values.dtype
    assert psnr(decoded, values, peak) > 30


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (3, 1), (16, 16), (17, 33), (64, 31)])
def test_any_size(size: tuple[int, int]) -> None:
    values = picture(*size)
    decoded = inrcodec.decode(encode(values, quality=100))
    assert decoded.shape == values.shape
    assert psnr(decoded, values) > 30


def test_odd_sizes_cost_no_padding() -> None:
    values = picture(65, 129)
    even = len(encode(values[:64, :128]))
    assert len(encode(values)) < even * 1.06  # 2.4 % more samples


def test_quality_is_monotone() -> None:
    values = picture(64, 64)
    sizes = [len(encode(values, quality=q)) for q in range(0, 101, 20)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_adaptation_lowers_the_objective() -> None:
    values = picture(48, 48)
    signal = Signal.from_array(values)
    costs = []
    for effort in (0, 6):
        e = codec.compress(signal, Settings(model="tiny", effort=effort, quality=50))
        mse = 255**2 / 10 ** (e.psnr / 10)
        costs.append(e.bpp + float(pyramid_lmbda(e.header.operating_point)) * mse)
    assert costs[1] < 0.98 * costs[0]


def pyramid_lmbda(point: int) -> torch.Tensor:
    from inrcodec.fields.pyramid import lmbda

    return lmbda(torch.tensor(point))


def test_report_is_what_decoding_gives() -> None:
    values = picture(40, 50)
    encoded = codec.compress(Signal.from_array(values), Settings(model="tiny", effort=1))
    assert encoded.psnr == pytest.approx(psnr(inrcodec.decode(encoded.data), values), abs=1e-6)
    assert encoded.bpp == pytest.approx(8 * len(encoded.data) / values[..., 0].size)


@pytest.mark.parametrize(("name", "value"), [("target_bpp", 2.0), ("target_bytes", 700), ("target_psnr", 33.0)])
def test_targets(name: str, value: float) -> None:
    settings = Settings(model="tiny", effort=1, **{name: value})
    encoded = codec.compress(Signal.from_array(picture(48, 64)), settings)
    reached = {"target_bpp": encoded.bpp, "target_bytes": len(encoded.data), "target_psnr": encoded.psnr}[name]
    assert reached == pytest.approx(value, rel=0.03) and not encoded.notes


def test_unreachable_target_is_said() -> None:
    encoded = codec.compress(Signal.from_array(picture(32, 32)), Settings(model="tiny", effort=0, target_bpp=1e-3))
    assert encoded.header.operating_point == 0
    assert "nearest reachable" in encoded.notes[0]


def test_what_is_searched_at_once_sees_two_of_the_coarsest_cells_around() -> None:
    for info in basemodels.installed():
        if info.method == "pyramid":
            model = basemodels.load(info, "cpu")
            assert isinstance(model, PyramidModel)
            assert pyramid.HALOS[model.dims] >= 2 * 2**model.config.levels, info.name


def test_tiles_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    values = picture(96, 130, seed=3)
    whole = codec.compress(Signal.from_array(values), Settings(model="tiny", effort=0))
    monkeypatch.setitem(latent_grids.TILES, 2, 32)
    tiled = codec.compress(Signal.from_array(values), Settings(model="tiny", effort=0))
    assert len(container.read(tiled.data)[1]) == 3 * 3 * 5
    assert abs(tiled.psnr - whole.psnr) < 0.1
    decoded = inrcodec.decode(tiled.data).astype(float)
    at_seams = np.abs(decoded - values)[:, [31, 32, 63, 64]].mean()
    assert at_seams < 1.3 * np.abs(decoded - values).mean()


def test_threads_and_precision_do_not_change_symbols() -> None:
    data = encode(picture(70, 90), quality=60)
    header, sections = container.read(data)
    model = basemodels.load(basemodels.by_name("tiny"), "cpu")
    grouped = [[s] for s in sections]

    def symbols() -> list[torch.Tensor]:
        return latent_grids.CodedLatents(model, grouped, header.shape, header.operating_point, False).whole()

    reference = symbols()
    try:
        torch.set_num_threads(2)
        threaded = symbols()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            reduced = symbols()
    finally:
        torch.set_num_threads(1)
    for a, b, c in zip(reference, threaded, reduced, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)


def test_autocast_changes_samples_little() -> None:
    data = encode(picture(70, 90), quality=60)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = inrcodec.decode(data).astype(float)
    assert 0 < np.abs(reduced - inrcodec.decode(data)).mean() < 1


@pytest.mark.parametrize("name", ["tiny", "tiny-stretched", "tiny-apart", "tiny-closing"])
def test_rewriting_decoded_symbols_gives_the_same_bytes(name: str) -> None:
    data = encode(picture(50, 70), quality=95, model=name)
    header, sections = container.read(data)
    model = basemodels.load(basemodels.by_name(name), "cpu")
    coded = latent_grids.CodedLatents(model, [[s] for s in sections], header.shape, header.operating_point, False)
    again = latent_grids.write_symbols(
        model, coded.whole(), header.shape, header.operating_point, False, close=lambda _: coded.modulations
    )
    assert [s for (s,) in again] == sections


@pytest.mark.parametrize("name", ["tiny", "tiny-stretched", "tiny-apart", "tiny-closing"])
def test_extreme_latents_survive(name: str) -> None:
    model = basemodels.load(basemodels.by_name(name), "cpu")
    rng = torch.Generator().manual_seed(1)
    shape = (37, 20)
    latents = [
        torch.randint(-32000, 32001, (model.config.latents(i), *size), generator=rng).to(torch.int16)
        for i, size in enumerate(latent_grids.grid_sizes(shape, model.config.levels)[1:])
    ]
    sections = latent_grids.write_symbols(model, latents, shape, 3, False)
    for a, b in zip(latents, latent_grids.CodedLatents(model, sections, shape, 3, False).whole(), strict=True):
        assert torch.equal(a, b)


def test_stretches_save_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    values = picture(64, 64)
    stretched = encode(values, model="tiny-stretched")
    monkeypatch.setattr(LatentTables, "best_stretches", lambda *_: np.array([LARGEST_STRETCH]))
    plain = encode(values, model="tiny-stretched")
    assert len(stretched) < 0.95 * len(plain)
    np.testing.assert_array_equal(inrcodec.decode(stretched), inrcodec.decode(plain))


def test_stretches_within_stretches_are_refused() -> None:
    model = basemodels.load(basemodels.by_name("tiny-stretched"), "cpu")
    parts = [(np.full(n, EACH), np.full(n, STRETCHES)) for n in (1, 4)]
    sections = [[entropy.encode(parts, model.tables)], [b""], [b""]]
    with pytest.raises(CorruptStream, match="several"):
        latent_grids.CodedLatents(model, sections, (16, 16), 100, False).whole()


def test_a_region_decodes_the_tiles_it_depends_on_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(latent_grids.TILES, 2, 32)
    data = encode(picture(40, 400), effort=0)
    whole = inrcodec.decode(data)
    field = inrcodec.open_field(data)
    coded = field.planes[0]  # type: ignore[attr-defined]
    assert len(coded.left) == 26
    part = field.samples(region=(0, 8, 20, 24))
    assert 0 < len(coded.left) < 26
    np.testing.assert_array_equal(part, whole[8:32, :20])


def test_preview_of_every_prefix() -> None:
    values = picture(64, 80)
    data = encode(values, quality=70)
    _, lengths, start = container.read_header(data)
    with pytest.raises(TruncatedStream):
        inrcodec.decode(data[: start + lengths[0] - 1], preview=True)
    quality = []
    for k in (1, 2, 3):
        decoded = inrcodec.decode(data[: start + sum(lengths[:k]) + 1], preview=True)
        assert decoded.shape == values.shape
        quality.append(psnr(decoded, values))
    assert quality == sorted(quality) and quality[0] > 15


def test_every_flip_and_cut_is_an_error() -> None:
    data = encode(picture(24, 24))
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(data)
        broken[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        with pytest.raises(InrcodecError):
            inrcodec.decode(bytes(broken))
    for end in range(0, len(data), 7):
        with pytest.raises(InrcodecError):
            inrcodec.decode(data[:end])


def test_corrupt_payload_behind_a_good_check_sum_is_not_a_crash() -> None:
    header, sections = container.read(encode(picture(24, 24)))
    rng = np.random.default_rng(1)
    for _ in range(40):
        damaged = [bytes(rng.integers(0, 256, len(s), dtype=np.uint8)) for s in sections]
        with pytest.raises(InrcodecError):
            inrcodec.decode(container.write(header, damaged))


def test_named_refusals() -> None:
    data = encode(picture(20, 20))
    header, sections = container.read(data)
    other = container.Header(**{**vars(header), "model_id": b"same"})
    with pytest.raises(ModelMismatch, match="73616d65"):
        inrcodec.decode(container.write(other, sections))
    with pytest.raises(LimitExceeded, match="400 samples"):
        inrcodec.decode(data, max_pixels=399)
    with pytest.raises(LimitExceeded):
        inrcodec.decode(data, scale=1000, max_pixels=10**6)
    with pytest.raises(UnknownModel, match="tiny"):
        inrcodec.encode(picture(8, 8), model="no-such")


@pytest.mark.parametrize(
    "settings",
    [
        {"quality": 101},
        {"quality": -1},
        {"quality": float("nan")},
        {"quality": 50, "lmbda": 0.1},
        {"lmbda": 0},
        {"target_bpp": -1},
        {"effort": 10},
    ],
)
def test_bad_settings(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Settings(**settings)  # type: ignore[arg-type]


def test_describe() -> None:
    data = encode(picture(30, 40))
    said = inrcodec.describe(data)
    assert (said["width"], said["height"]) == (40, 30)
