"""Error bounds and lossless coding: every sample, on every machine."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import VECTORS, picture, sound
from hypothesis import given, settings
from hypothesis import strategies as st

import inrcodec
from inrcodec import codec, container, stream
from inrcodec.cli import main
from inrcodec.errors import CorruptStream, UsageError
from inrcodec.fields.pyramidfield import PyramidField
from inrcodec.residual import coder, lattice, tables
from inrcodec.residual.fit import fit
from inrcodec.residual.plan import Plan
from inrcodec.residual.symbols import Reader, Writer
from inrcodec.samples import special
from inrcodec.settings import Encoded, Settings
from inrcodec.signal import Signal


def fields(kind: type = np.float32) -> np.ndarray:
    """[2, 12, 17, 1], smooth."""
    steps = np.random.default_rng(0).normal(size=(2, 12, 17, 1))
    return steps.cumsum(1).cumsum(2).astype(kind)


def within(values: np.ndarray, bound: float, **chosen: object) -> Encoded:
    signal = Signal.numbers(values, "field", dims=2, special=special.find(values))
    chosen = {"max_error": bound} | chosen
    return codec.compress(signal, Settings(model="tiny-plane", effort=0, **chosen))  # type: ignore[arg-type]


@pytest.mark.parametrize("quality", [None, 40])
def test_an_image_comes_back(quality: float | None) -> None:
    image = picture(19, 30)
    data = inrcodec.encode(image, lossless=True, quality=quality, effort=0, model="tiny")
    assert len(data) < image.size
    assert inrcodec.describe(data)["max_error"] == 0
    assert np.array_equal(inrcodec.decode(data), image)
    assert np.array_equal(inrcodec.decode(data, region=(5, 3, 11, 9)), image[3:12, 5:16])
    if quality is not None:
        assert inrcodec.decode(data, scale=2).shape == (38, 60, 3)


def test_a_stream_without_a_field_is_for_scale_1() -> None:
    data = (VECTORS / "bounded" / "sound.inr").read_bytes()
    assert inrcodec.decode(data, region=(20, 100)).shape == (100, 2)
    with pytest.raises(UsageError, match="no field"):
        inrcodec.decode(data, scale=2)
    field = inrcodec.open_field(data)
    with pytest.raises(UsageError, match="no field"):
        field(np.zeros((1, 1)))
    with pytest.raises(UsageError, match="no field"):
        field.grid()


def test_one_pixel_and_deep_pixels() -> None:
    for image in (picture(1, 1), picture(7, 1, 4), picture(6, 9, 1, peak=65535)):
        data = inrcodec.encode(image, lossless=True, effort=0, model="tiny")
        assert np.array_equal(inrcodec.decode(data), image)


def test_a_sound_comes_back() -> None:
    for values in (sound(1200, 2), sound(700, 1).astype(np.int32) << 16):
        signal = Signal.sound(values, 16000)
        encoded = codec.compress(signal, Settings(lossless=True, effort=0, model="tiny-sound"))
        assert encoded.bound == encoded.distortion.largest == 0
        assert np.array_equal(inrcodec.decode(encoded.data), values)


@pytest.mark.parametrize("quality", [None, 60])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
def test_every_sample_is_within_the_bound(kind: type, quality: float | None) -> None:
    values = fields(kind)
    bound = 0.05 if kind is not np.float16 else 0.5
    encoded = within(values, bound, quality=quality)
    decoded = inrcodec.decode(encoded.data)
    worst = np.abs(decoded.astype(np.float64) - values).max()
    assert 0.8 * bound < worst <= bound == encoded.bound
    assert worst == encoded.distortion.largest
    assert inrcodec.describe(encoded.data)["max_error"] == bound
    assert np.array_equal(inrcodec.decode(encoded.data, item=1), decoded[1])


def test_special_samples_and_a_relative_bound() -> None:
    values = fields()
    values[0, 3:6, 2:9], values[1, 0, 0] = np.nan, np.inf
    ordinary = np.isfinite(values)
    encoded = within(values, 0, max_error=None, max_rel_error=0.01)
    decoded = inrcodec.decode(encoded.data)
    assert np.array_equal(decoded[~ordinary], values[~ordinary], equal_nan=True)
    bound = 0.01 * float(np.ptp(values[ordinary]))
    assert np.abs(decoded[ordinary] - values[ordinary]).max() <= bound == pytest.approx(encoded.bound)


@pytest.mark.parametrize("quality", [None, 70])
def test_noise_of_other_machines_changes_nothing(quality: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The field of the decoder is off by what machines may differ by; samples are the same numbers still."""
    image, values = picture(40, 40), fields()
    coded = [
        inrcodec.encode(image, lossless=True, quality=quality, effort=0, model="tiny"),
        within(values, 1e-3, quality=quality).data,
        within(1e9 + values.astype(np.float64), 1e-5, quality=quality).data,
    ]
    expected = [inrcodec.decode(data) for data in coded]
    true, rng, calls = PyramidField.numbers, np.random.default_rng(1), 0

    def noisy(field: PyramidField) -> np.ndarray:
        nonlocal calls
        calls += 1
        ends = np.array([[0.0], [1.0]]).repeat(field.format.channels, 1)
        feature, exact = float(np.ptp(field.format.numbers(ends))), true(field)
        noise = feature * lattice.TOLERANCE + 4 * np.spacing(np.abs(exact).max())
        return exact + rng.uniform(-1, 1, exact.shape) * noise

    monkeypatch.setattr(PyramidField, "numbers", noisy)
    for data, samples in zip(coded, expected, strict=True):
        assert np.array_equal(inrcodec.decode(data), samples)
    assert calls == (5 if quality else 0)


GLOBE = {"latitude": [90.0, -7.5], "longitude": [0.0, 10.0], "units": "K"}
SIGNALS = {
    "tiny": Signal.from_array(picture(48, 40)),
    "tiny-sound": Signal.sound(sound(2100, 1), 16000),
    "tiny-sphere": Signal.numbers(280 + picture(24, 36, 1).astype(np.float32) / 25, "field", dims=2, info=GLOBE),
}


@pytest.mark.parametrize("model", SIGNALS)
def test_the_margin(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rounding does to the field in float32, and so 2^−29 of that in float64, is far below the margin.

    So is what threads do, and windows of another size.
    """
    data = codec.compress(SIGNALS[model], Settings(model=model, effort=0, quality=80)).data
    field = codec.open_field(data, device="cpu")
    ends = field.format.numbers(np.array([[0.0], [1.0]]).repeat(field.format.channels, 1))
    feature, exact = np.abs(np.diff(ends, axis=0)).max(), field.precise().numbers()
    single = np.abs(field.numbers() - exact).max() / feature
    assert 0 < single * 2.0**-29 < lattice.TOLERANCE / 1000
    torch.set_num_threads(2)
    monkeypatch.setattr("inrcodec.fields.field.TILES", {1: 600, 2: 8})
    again = codec.open_field(data, device="cpu").precise().numbers()
    torch.set_num_threads(1)
    assert np.abs(again - exact).max() / feature < lattice.TOLERANCE / 1000


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("image", "289f09bcc92b132e5d5d96380c68fe821388b31721053bf592bfd4000752f828"),
        ("sound", "d88f8ca2f146877c67ac65197244e21f540d815b5fb4c8e805047b8fbc8756aa"),
        ("fields", "b3d6dcac5665d4f7145b69fe23999c6e2b0e9549e0f2db5c0cb177073260a79b"),
    ],
)
def test_streams_of_old_decode(name: str, digest: str) -> None:
    """Not to the same samples about, as other golden streams, but to the same bytes."""
    decoded = inrcodec.decode(VECTORS / "bounded" / f"{name}.inr")
    assert hashlib.sha256(np.ascontiguousarray(decoded).tobytes()).hexdigest() == digest


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, samples, out = tmp_path / "a.png", tmp_path / "a.npy", tmp_path / "b.png"
    image.write_bytes(inrcodec.formats.image.write(Signal.from_array(picture(17, 23)), ".png"))
    np.save(samples, fields()[0, ..., 0])
    assert main(["encode", str(image), "--lossless", "--effort", "0", "--model", "tiny"]) == 0
    assert "lossless" in capsys.readouterr().out
    assert main(["decode", str(tmp_path / "a.inr"), "-o", str(out)]) == 0
    assert np.array_equal(inrcodec.formats.read(out).values, picture(17, 23))
    bound = ["--max-error", "0.125", "--effort", "0", "--model", "tiny-plane", "-o", str(tmp_path / "c.inr")]
    assert main(["encode", str(samples), *bound]) == 0
    assert "of 0.125" in capsys.readouterr().out
    assert main(["encode", str(samples), "--lossless", "-f"]) == 2
    assert "--max-error" in capsys.readouterr().err


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_doubts_of_the_guide(numbers: list[float], seed: int) -> None:
    scaled = np.array([*numbers, *(np.floor(numbers) + 0.5), *(np.floor(numbers) + 0.5 + 1e-5)])
    out = Writer()
    guide = lattice.round_guide(scaled, 0, out)
    noise = np.random.default_rng(seed).uniform(-1, 1, scaled.shape) * lattice.DOUBTFUL * 0.999
    assert np.array_equal(lattice.read_guide(scaled + noise, 0, Reader(out.finish())), guide)


@pytest.mark.parametrize("shape", [(1, 1), (5000, 2), (13, 21, 3), (5, 6, 7, 1), (1, 40, 1), (40, 1, 5)])
@pytest.mark.parametrize("guided", [False, True])
def test_integers(shape: tuple[int, ...], guided: bool) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(0, 300, shape).cumsum(0).astype(np.int64)
    values.flat[rng.integers(values.size, size=3)] = 1 << 39  # escapes
    guide = 8 * values + rng.integers(-40, 40, shape) if guided else None
    plan = Plan.from_bytes(fit([(values, guide)]).to_bytes(), shape[:-1], shape[-1], guided)
    data = coder.encode(plan, values, guide)
    assert np.array_equal(coder.decode(plan, data, shape[:-1], guide), values)


def test_a_guide_is_used() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(-1000, 1000, (40, 40, 1))
    plain, guided = (len(coder.encode(fit([(values, g)]), values, g)) for g in (None, 8 * values + 3))
    assert guided < plain / 4


def test_tables() -> None:
    """Counts that nobody may change: streams are coded with them."""
    for table in (0, 8 * 16 + 3, 8 * 31 + 7):
        counts = tables.TABLES.counts(table)
        assert counts.sum() == tables.TOTAL and counts.min() >= 0
    assert tables.TABLES.counts(8 * 16)[tables.reach(16) - 1 : tables.reach(16) + 2].tolist() == [
        3153714,
        3939418,
        3153714,
    ]


def test_damage_is_found() -> None:
    data = inrcodec.encode(picture(20, 20), lossless=True, effort=0, quality=30, model="tiny")
    header, sections = container.read(data)
    own, rest = stream.split(header, sections)
    assert len(rest) == 2 and rest[1] is not None
    for k in (0, 5, 40, len(rest[1]) - 2):
        hurt = bytearray(rest[1])
        hurt[k] ^= 1
        with pytest.raises(CorruptStream):
            inrcodec.decode(container.write(header, [*own, rest[0], bytes(hurt)]))
    for cut in (0, 8, 20):
        with pytest.raises(CorruptStream):
            inrcodec.decode(container.write(header, [*own, rest[0], rest[1][:cut]]))
        with pytest.raises(CorruptStream):
            inrcodec.decode(container.write(header, [*own, rest[0][:cut], rest[1]]))
    with pytest.raises(CorruptStream, match="sections"):
        inrcodec.decode(container.write(header, [*own, rest[0]]))


def test_what_cannot_be() -> None:
    values = fields()
    with pytest.raises(UsageError, match="lossless"):
        within(values, 0, max_error=None, lossless=True)
    with pytest.raises(UsageError, match="precision"):
        within(values, 1e-9)
    for kind in (np.int32, np.float32):
        with pytest.raises(UsageError, match=r"1e\+308 does not bound samples of"):
            within(values.astype(kind), 1e308)
    with pytest.raises(UsageError, match=r"beyond ±2\^53"):
        within(np.array([[0, 2**54, -(2**54), 5, 7]] * 4), 100)
    with pytest.raises(UsageError, match="all of them"):
        within(np.ones_like(values), 0, max_error=None, max_rel_error=0.1)
    with pytest.raises(UsageError, match="exclude"):
        Settings(max_error=1, lossless=True)
    with pytest.raises(UsageError, match="exclude"):
        Settings(max_error=1, target_psnr=40)
    with pytest.raises(UsageError, match="positive"):
        Settings(max_error=0)
