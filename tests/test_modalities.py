"""Fields, volumes, films, shapes and arrays through the whole codec, with tiny networks of random weights."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from conftest import picture
from numpy.typing import NDArray

from inrcodec import codec, container, errors, fitting, formats
from inrcodec.cli import main
from inrcodec.samples import special
from inrcodec.samples.video import VideoFormat
from inrcodec.settings import Settings
from inrcodec.signal import Signal

GLOBE = {"latitude": [88.0, -4.0], "longitude": [0.0, 4.0], "units": "K"}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"1d": "tiny-sound", "2d": "tiny-plane", "3d": "tiny-solid", "volume": "tiny-solid", "shape": "tiny-solid"}
    for kind, name in {**names, "field": "tiny-sphere", "video": "tiny-film"}.items():
        monkeypatch.setitem(fitting.DEFAULT, kind, name)


def smooth(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    """Waves and a step, between about −2 and 3."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    waves = sum(np.sin(rng.uniform(2, 9) * axis + rng.uniform(0, 6)) for axis in axes)
    return waves + (axes[0] > 0.6)


def encoded(signal: Signal, **settings: object) -> codec.Encoded:
    return codec.compress(signal, Settings(**{"effort": 0, "quality": 90, **settings}))  # type: ignore[arg-type]


def numbers(signal: Signal) -> NDArray[np.float64]:
    return np.asarray(signal.values[...]).astype(float)


@pytest.mark.parametrize("shape", [(200,), (1,), (31, 18), (1, 9), (9, 12, 17), (1, 1, 5)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8", "int64", "bool", "float16"])
def test_arrays(shape: tuple[int, ...], dtype: str) -> None:
    values = smooth(*shape)
    scaled = values > 0.5 if dtype == "bool" else np.round(values * 20 + 60) if np.dtype(dtype).kind in "iu" else values
    signal = Signal.numbers(scaled.astype(dtype))
    stream = encoded(signal, effort=1)
    decoded = codec.decode(stream.data)
    assert decoded.dtype == dtype and decoded.shape == (*shape, 1)
    error = numbers(signal) - decoded
    assert np.square(error).mean() == pytest.approx(stream.distortion.mse, abs=1e-12)
    assert np.abs(error).max() == pytest.approx(stream.distortion.largest)
    assert stream.distortion.rmse < 0.35 * np.ptp(numbers(signal)) + 1e-6
    assert container.describe(stream.data)["samples"] == dtype


def test_an_array_of_one_value_comes_back_exactly() -> None:
    for value in (0.0, 1e30, -7.25):
        stream = encoded(Signal.numbers(np.full((9, 9), value)))
        np.testing.assert_allclose(codec.decode(stream.data), np.full((9, 9, 1), value), rtol=0, atol=1e-28)


def test_channels_are_coded_one_by_one() -> None:
    values = np.stack([smooth(20, 24), -smooth(20, 24, seed=1)], -1).astype(np.float32)
    stream = encoded(Signal.numbers(values, dims=2))
    assert codec.decode(stream.data).shape == values.shape
    assert container.describe(stream.data)["channels"] == 2


def test_missing_values_come_back_exactly() -> None:
    values = smooth(6, 30, 20).astype(np.float32)
    values[:, 3:9, 4:7] = np.nan
    values[:, 0, 0], values[2, 5, 15], values[3, 20, 1] = -999, np.inf, -np.inf
    batch = values[..., None]
    signal = Signal.numbers(batch, "array", dims=2, special=special.find(batch, (-999.0,)))
    data = encoded(signal).data
    decoded = codec.decode(data)
    odd = ~np.isfinite(batch) | (batch == -999)
    np.testing.assert_array_equal(decoded[odd], batch[odd])
    assert np.isfinite(decoded[~odd]).all() and np.abs(decoded[~odd]).max() < 50
    np.testing.assert_array_equal(codec.decode(data, item=3), decoded[3])
    half = codec.decode(data, item=2, scale=0.5)
    assert half.shape == (15, 10, 1) and np.isnan(half[3, 2, 0])


def test_items_of_a_batch_decode_alone_and_share_the_header() -> None:
    batch = np.stack([smooth(12, 16, seed=k) for k in range(7)])[..., None].astype(np.float32)
    data = encoded(Signal.numbers(batch, dims=2)).data
    decoded = codec.decode(data)
    assert decoded.shape == batch.shape
    for k in (0, 6):
        np.testing.assert_array_equal(codec.decode(data, item=k), decoded[k])
    alone = sum(len(encoded(Signal.numbers(item, dims=2)).data) for item in batch)
    assert len(data) < alone - 6 * 25
    assert container.describe(data)["items"] == 7
    with pytest.raises(errors.UsageError, match="no item 7; the stream has 7"):
        codec.decode(data, item=7)


def test_a_batch_of_pictures_is_written_one_by_one(tmp_path: Path) -> None:
    images = Signal(np.stack([picture(9, 11, seed=k) for k in range(3)]), Signal.from_array(picture(9, 11)).format)
    (tmp_path / "three.inr").write_bytes(encoded(images, model="tiny").data)
    stream, out = str(tmp_path / "three.inr"), tmp_path / "one.png"
    assert main(["decode", stream, "-o", str(out)]) == errors.OutputFailed.exit_code
    assert main(["decode", stream, "-o", str(out), "--item", "1"]) == 0
    assert formats.read(out).shape == (9, 11)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda b: b[:10], "10 bytes"),
        (lambda b: b[:13] + b"\xff\xff\xff" + b[16:], "ends at byte"),
        (lambda b: b[:8] + bytes(4) + b[12:], "units of 0"),
        (lambda b: b[:12] + b"\x00" + b[13:], "0 channels"),
        (lambda b: b[:16] + b"\xff" + b[17:], "description of the samples"),
        (lambda b: b + b"\x01", "special values"),
        (lambda b: b + b"\x01" + bytes(4) + b"\x00", "places of special values"),
    ],
)
def test_damaged_descriptions_are_refused(change: Callable[[bytes], bytes], named: str) -> None:
    data = encoded(Signal.numbers(smooth(9, 8).astype(np.float32), "array", info={"variable": "t"})).data
    header, sections = container.read(data)
    with pytest.raises(errors.CorruptStream, match=named):
        codec.decode(container.write(replace(header, block=change(header.block)), sections))


def test_a_batch_may_be_lazy() -> None:
    from inrcodec.signal import Lazy

    batch = np.stack([smooth(12, 16, seed=k) for k in range(3)])[..., None].astype(np.float32)
    lazy = Lazy(lambda k: batch[k], batch.shape, batch.dtype)
    assert encoded(Signal.numbers(lazy, dims=2)).data == encoded(Signal.numbers(batch, dims=2)).data


def test_temperatures_on_the_globe_see_where_they_are() -> None:
    field = (270 + 10 * smooth(20, 40)).astype(np.float32)
    here = Signal.numbers(field, "field", info=GLOBE)
    there = Signal.numbers(field, "field", info=GLOBE | {"longitude": [100.0, 4.0]})
    celsius = Signal.numbers(field - np.float32(273.15), "field", info=GLOBE | {"units": "degC"})
    streams = [encoded(signal, model="tiny-sphere") for signal in (here, there, celsius)]
    payloads = [container.read(s.data)[1] for s in streams]
    assert payloads[0] != payloads[1]
    assert codec.decode(streams[2].data).mean() == pytest.approx(codec.decode(streams[0].data).mean() - 273.15, abs=0.2)
    region = codec.decode(streams[0].data, region=(10, 5, 12, 9))
    np.testing.assert_allclose(region, codec.decode(streams[0].data)[5:14, 10:22], atol=2e-3)


def test_the_network_on_the_sphere_is_for_the_grid_it_was_trained_on() -> None:
    fields = {
        "tiny-sphere": ((46, 90), {"latitude": [90.0, -4.0]}),
        "tiny-plane": ((46, 90), {"latitude": [-90.0, 4.0]}),
    }
    for name, (shape, place) in fields.items():
        info = fitting.choose(Signal.numbers(np.zeros(shape, np.float32), "field", info=GLOBE | place))
        assert info is not None and info.name == name
    info = fitting.choose(Signal.numbers(np.zeros((45, 90), np.float32), "field", info=GLOBE))
    assert info is not None and info.name == "tiny-plane"


def test_longitude_goes_around() -> None:
    columns = np.cos(np.linspace(0, 2 * np.pi, 36, endpoint=False))
    values = (280 + 9 * columns * np.linspace(0, 1, 18)[:, None]).astype(np.float32)
    globe = GLOBE | {"longitude": [0.0, 10.0]}
    field = codec.open_field(encoded(Signal.numbers(values, "field", info=globe)).data)
    rows = torch.linspace(0.1, 0.9, 9)
    left, right, on = (field(torch.stack([rows, torch.full_like(rows, x)], 1)) for x in (0.0, 1.0, 2.0))
    torch.testing.assert_close(left, right)
    torch.testing.assert_close(left, on)
    beside = field(torch.stack([rows, torch.full_like(rows, 1 - 1e-4)], 1))
    torch.testing.assert_close(left, beside, atol=1e-3, rtol=0)
    # half way between the last column and the first
    last, first = field.grid()[:, -1, 0], field.grid()[:, 0, 0]
    middle = field(torch.stack([(torch.arange(18) + 0.5) / 18, torch.zeros(18)], 1))[:, 0]
    assert (middle - (last + first) / 2).abs().max() < 0.6 * (last - first).abs().max() + 0.02
    regional = codec.open_field(encoded(Signal.numbers(values, "field", info=GLOBE)).data)
    ends = [regional(torch.stack([rows, torch.full_like(rows, x)], 1)) for x in (0.0, 1.0)]
    assert not torch.allclose(*ends, atol=1e-3)


def test_other_fields_take_the_network_for_any_plane() -> None:
    field = smooth(20, 40).astype(np.float32)
    stream = encoded(Signal.numbers(field, "field", info=GLOBE | {"units": "Pa"}))
    assert container.describe(stream.data)["units"] == "Pa"
    with pytest.raises(errors.UsageError, match="tiny-sphere is for temperatures"):
        encoded(Signal.numbers(field, "field", info=GLOBE | {"units": "Pa"}), model="tiny-sphere")


def film(frames: int, chunks: int = 0, sound: bytes = b"sound") -> Signal:
    values = np.stack([picture(20, 24, seed=k) for k in range(max(frames, chunks * 4))])
    form = VideoFormat(Fraction(30000, 1001), frames, sound)
    return Signal(values.reshape(chunks, 4, 20, 24, 3) if chunks else values, form)


def test_films() -> None:
    data = encoded(film(9)).data
    whole = codec.reconstruct(data, None, None, None, None, False, "auto", codec.MAX_PIXELS, lambda *_: None)
    assert whole.values.shape == (9, 20, 24, 3) and whole.values.dtype == np.uint8
    assert whole.format == film(9).format
    assert container.describe(data)["frame_rate"] == 29.97
    slow = codec.reconstruct(data, None, None, (24, 20, 18), None, False, "auto", codec.MAX_PIXELS, lambda *_: None)
    assert slow.values.shape == (18, 20, 24, 3) and slow.format.rate == 2 * Fraction(30000, 1001)  # type: ignore[union-attr]


def test_chunks_of_a_film() -> None:
    data = encoded(film(10, 3)).data
    whole = codec.reconstruct(data, None, None, None, None, False, "auto", codec.MAX_PIXELS, lambda *_: None)
    assert whole.values.shape == (3, 4, 20, 24, 3) and whole.format.frames == 10  # type: ignore[union-attr]
    last = codec.reconstruct(data, 2, None, None, None, False, "auto", codec.MAX_PIXELS, lambda *_: None)
    np.testing.assert_array_equal(last.values[...], whole.values[2])
    assert last.format.frames == 2  # type: ignore[union-attr]
    with pytest.raises(errors.UsageError, match="3 chunks of 4 frames"):
        codec.reconstruct(data, None, None, None, (0, 0, 1, 24, 20, 2), False, "auto", 1 << 28, lambda *_: None)
    data = encoded(film(5, 2)).data
    with pytest.raises(errors.UsageError, match="2 chunks of 4 frames"):  # three are half of the film, but not a chunk
        codec.reconstruct(data, None, None, None, (0, 0, 0, 24, 20, 3), False, "auto", 1 << 28, lambda *_: None)


def test_targets_in_the_units_of_a_variable() -> None:
    packed = np.round(smooth(30, 40) * 100).astype(np.int16)
    signal = Signal.numbers(packed, "field", info=GLOBE | {"units": "m", "scale_factor": 0.01})
    stream = encoded(signal, quality=None, target_rmse=0.02)
    assert stream.distortion.rmse * 0.01 == pytest.approx(0.02, rel=0.03)
    stream = encoded(signal, quality=None, target_snr=30)
    assert stream.distortion.snr == pytest.approx(30, abs=0.9)


@pytest.mark.parametrize("target", ["target_psnr", "target_snr"])
def test_targets_of_what_has_no_error_anywhere(target: str) -> None:
    values = np.full(64, 7, np.int16)
    stream = codec.compress(Signal.from_array(values), Settings(effort=1, **{target: 20}))
    assert "nearest reachable" in stream.notes[0]
    np.testing.assert_array_equal(codec.decode(stream.data)[:, 0], values)


def test_packed_upside_down() -> None:
    """A negative scale_factor, on the network for temperatures."""
    kelvin = 280 + 5 * smooth(30, 40)
    signal = Signal.numbers(
        np.round((kelvin - 280) / -0.01).astype(np.int16),
        "field",
        info=GLOBE | {"scale_factor": -0.01, "add_offset": 280.0},
    )
    stream = encoded(signal)
    assert stream.distortion.rmse * 0.01 < 3
    assert encoded(signal, quality=None, max_error=0.5).distortion.largest <= 50


def test_arrays_with_missing_samples() -> None:
    values = (280 + smooth(20, 30)).astype(np.float32)
    values[3, 4], values[5:7, 9], values[8, 8] = np.nan, np.inf, -np.inf
    decoded = codec.decode(encoded(Signal.from_array(values)).data)[..., 0]
    ordinary = np.isfinite(values)
    np.testing.assert_array_equal(decoded[~ordinary], values[~ordinary])
    assert np.abs(decoded[ordinary] - values[ordinary]).max() < 1
    with pytest.raises(errors.UsageError, match="all 6 samples are missing"):
        Signal.from_array(np.full((2, 3), np.nan))


def test_finer_than_any_operating_point() -> None:
    values = smooth(40, 50).astype(np.float64)
    stream = encoded(Signal.numbers(values), quality=None, target_psnr=70)
    assert stream.psnr == pytest.approx(70, abs=0.5) and not stream.notes
    assert np.abs(codec.decode(stream.data)[..., 0] - values).max() < 1e-2


def test_levels_are_octaves_and_operating_points() -> None:
    assert [fitting.split(level) for level in (-128, -1, 0, 255, 256, 383, 384)] == [
        *((-1, 0), (-1, 127), (0, 0), (0, 255), (1, 128), (1, 255), (2, 128))
    ]


def test_numbers_that_cannot_be_coded() -> None:
    for values, named in (
        (np.zeros((2, 2), complex), "complex128"),
        (np.zeros((0, 3)), "no samples"),
        (np.zeros((2, 2, 2, 2, 2, 2)), "1 to 3 axes"),
        (np.array([1e300, -1e300]), "float32"),
    ):
        with pytest.raises(errors.UsageError, match=named):
            encoded(Signal.numbers(values))


def test_fill_is_smooth_and_leaves_the_rest() -> None:
    values = smooth(33, 21).astype(np.float32)
    hole = np.zeros(values.shape, bool)
    hole[8:20, 5:11] = True
    filled = special.fill(np.where(hole, np.float32(np.nan), values), hole)
    np.testing.assert_array_equal(filled[~hole], values[~hole])
    assert values.min() <= filled.min() and filled.max() <= values.max()


# Through the command line: files in, files of the same kind out


def files(folder: Path) -> dict[str, str]:
    """A file of every kind, and the suffix it decodes to."""
    values = (280 + 5 * smooth(4, 18, 30)).astype(np.float32)
    field = Signal.numbers(
        values[..., None], "field", dims=2, info=GLOBE | {"latitude": [85.0, -10.0], "variable": "t"}
    )
    signals = {
        "field.nc": field,
        "volume.nii.gz": Signal.numbers(np.round(smooth(12, 14, 10) * 50).astype(np.int16), "volume"),
        "film.mkv": film(6, sound=b""),
        "array.npy": Signal.numbers(smooth(12, 14)),
    }
    for name, signal in signals.items():
        data = formats.write(signal, "." + name.split(".", 1)[1])
        (folder / name).write_bytes(data)
    return {name: "." + name.split(".", 1)[1] for name in signals}


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, suffix in files(tmp_path).items():
        source, stem = tmp_path / name, name.split(".")[0]
        assert main(["encode", str(source), "--effort", "0", "--quality", "90"]) == 0
        stream = tmp_path / f"{stem}.inr"
        assert main(["info", str(stream)]) == 0
        original = formats.read(source)
        source.unlink()
        assert main(["decode", str(stream)]) == 0, capsys.readouterr().err
        decoded = formats.read(tmp_path / f"{stem}{suffix}")
        assert decoded.format.modality == original.format.modality
        a, b = numbers(original), numbers(decoded)
        assert a.shape == b.shape and np.sqrt(np.square(a - b).mean()) < 0.25 * np.ptp(a)


def test_voxels_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ball = np.square(np.mgrid[-7:8, -7:8, -7:8]).sum(0) < 30
    np.save(tmp_path / "ball.npy", ball)
    ball_at = str(tmp_path / "ball.npy")
    assert main(["encode", ball_at, "--modality", "shape", "--quality", "100", "--effort", "0"]) == 0
    assert main(["decode", str(tmp_path / "ball.inr"), "--force"]) == 0, capsys.readouterr().err
    assert (np.load(tmp_path / "ball.npy").astype(bool) == ball).mean() > 0.97
    mesh = str(tmp_path / "ball.ply")
    assert main(["decode", str(tmp_path / "ball.inr"), "--scale", "2", "-o", mesh]) == 0
    assert len(trimesh.load(mesh).faces) > 500


def test_items_regions_and_wrong_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files(tmp_path)
    stream = str(tmp_path / "field.inr")
    assert main(["encode", str(tmp_path / "field.nc"), "--effort", "0", "--target-rmse", "1"]) == 0
    assert "RMSE" in capsys.readouterr().out
    out = str(tmp_path / "part.nc")
    assert main(["decode", stream, "--item", "2", "--region", "3,2,8,6", "--scale", "2", "-o", out]) == 0
    part = formats.read(Path(out))
    assert part.shape == (12, 16) and part.format.info["longitude"][1] == pytest.approx(2)  # type: ignore[union-attr]
    assert main(["decode", stream, "--item", "9", "-o", out, "--force"]) == errors.UsageError.exit_code
    assert main(["decode", stream, "-o", str(tmp_path / "x.png")]) == errors.OutputFailed.exit_code
    np.savez(tmp_path / "two.npz", a=np.zeros((3, 3)), b=np.ones(5))
    assert main(["encode", str(tmp_path / "two.npz"), "--effort", "0"]) == errors.UsageError.exit_code
    assert main(["encode", str(tmp_path / "two.npz"), "--variable", "b", "--effort", "0"]) == 0
    assert main(["encode", str(tmp_path / "film.mkv"), "--variable", "b"]) == errors.UsageError.exit_code
    np.save(tmp_path / "nothing.npy", np.full((4, 4), np.nan))
    assert main(["encode", str(tmp_path / "nothing.npy")]) == errors.UnsupportedInput.exit_code
    assert "nothing.npy: all 16 samples are missing" in capsys.readouterr().err
