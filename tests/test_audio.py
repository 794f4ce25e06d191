"""Sounds: files in and out, the codec on one axis, and the command line."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import sound

import inrcodec
from inrcodec import codec, container, fitting, formats
from inrcodec import latents as latent_grids
from inrcodec.cli import main
from inrcodec.codec import Settings
from inrcodec.errors import CorruptStream, OutputFailed, UnreadableInput, UnsupportedInput, UsageError
from inrcodec.formats import audio
from inrcodec.samples.audio import AudioFormat
from inrcodec.signal import Signal

MODEL = "tiny-sound"
RATE = 16000


@pytest.fixture(autouse=True)
def small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fitting.DEFAULT, "audio", MODEL)


def compress(values: np.ndarray, **settings: Any) -> codec.Encoded:
    return codec.compress(Signal.sound(values, RATE), Settings(effort=0, **settings))


# Files


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(("dtype", "suffix"), [("int16", ".wav"), ("int16", ".flac"), ("int16", ".aiff")])
def test_lossless_round_trip(dtype: str, suffix: str, channels: int) -> None:
    signal = Signal.sound(sound(500, channels), 44100)
    read = formats.read(formats.write(signal, suffix))
    assert read.format == AudioFormat(dtype, channels, 44100)
    np.testing.assert_array_equal(read.values, signal.values)


def test_deep_round_trips() -> None:
    deep = sound(500, 2).astype(np.int32) * 65536 + 256
    for suffix in (".wav", ".flac"):
        np.testing.assert_array_equal(formats.read(formats.write(Signal.sound(deep, 48000), suffix)).values, deep)
    real = (sound(500, 1) / 5000).astype(np.float32)
    assert real.max() > 1  # a float file may exceed full scale, an integer one may not
    np.testing.assert_array_equal(formats.read(formats.write(Signal.sound(real, 8000), ".wav")).values, real)
    clipped = formats.read(formats.write(Signal.sound(real, 8000), ".flac"))
    assert clipped.format.dtype == "int32"
    np.testing.assert_allclose(clipped.values / 2.0**31, np.clip(real, -1, 1), atol=2e-7)


@pytest.mark.parametrize(("kind", "subtype", "step"), [("CAF", "ALAC_24", 256), ("WAV", "PCM_32", 1)])
def test_lossless_sounds_keep_all_their_bits(kind: str, subtype: str, step: int) -> None:
    file = io.BytesIO()
    deep = np.random.default_rng(0).integers(-1000, 1000, (300, 2)).astype(np.int32) * step
    soundfile.write(file, deep, RATE, subtype, format=kind)
    signal = formats.read(file.getvalue())
    np.testing.assert_array_equal(signal.values, deep)
    data = codec.compress(signal, Settings(effort=0, lossless=True)).data
    decoded = codec.reconstruct(data, None, None, None, None, False, "auto", codec.MAX_PIXELS, lambda *_: None)
    np.testing.assert_array_equal(formats.read(formats.write(decoded, ".wav")).values, deep)
    if step == 1:
        with pytest.raises(OutputFailed, match="FLAC holds 24 bits"):
            formats.write(decoded, ".flac")
    else:
        np.testing.assert_array_equal(formats.read(formats.write(decoded, ".flac")).values, deep)


def test_double_precision_is_rounded_with_a_note() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.array([0.1, 0.5]), RATE, "DOUBLE", format="WAV")
    assert formats.read(file.getvalue()).notes == ("64-bit samples rounded to 32 bits",)
    file = io.BytesIO()
    soundfile.write(file, np.array([0.25, 0.5]), RATE, "DOUBLE", format="WAV")
    assert formats.read(file.getvalue()).notes == ()


@pytest.mark.parametrize("suffix", [".ogg", ".mp3", ".opus"])
def test_lossy_files(suffix: str) -> None:
    signal = Signal.sound(sound(48000, 2), 48000)
    data = formats.write(signal, suffix)
    assert audio.sniff(data[:64], "")
    read = formats.read(data)
    assert read.format == AudioFormat("int16", 2, 48000)


def test_bad_files(tmp_path: Path) -> None:
    wav = formats.write(Signal.sound(sound(500, 1), RATE), ".wav")
    with pytest.raises(UnsupportedInput, match="damaged or unsupported sound"):
        formats.read(wav[:20])
    (tmp_path / "empty.wav").touch()
    with pytest.raises(UnreadableInput, match="zero bytes"):
        formats.read(tmp_path / "empty.wav")
    file = io.BytesIO()
    soundfile.write(file, np.zeros((0, 1), np.int16), RATE, format="WAV")
    with pytest.raises(UnsupportedInput, match="a sound without samples"):
        formats.read(file.getvalue())
    file = io.BytesIO()
    soundfile.write(file, np.zeros((10, 9), np.int16), RATE, format="WAV")
    with pytest.raises(UnsupportedInput, match="9 channels"):
        formats.read(file.getvalue())
    with pytest.raises(OutputFailed, match=r"cannot write '.png' files of kind 'audio'; known suffixes: .wav"):
        formats.write(Signal.sound(sound(500, 1), RATE), ".png")
    with pytest.raises(OutputFailed, match="OGG cannot hold 1 channels at 7000 Hz"):
        formats.write(Signal.sound(sound(500, 1), 7000), ".opus")


# Formats


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_header_round_trip(dtype: str, channels: int) -> None:
    form = AudioFormat(dtype, channels, 192000)
    assert AudioFormat.from_header(form.to_byte(), form.to_block()) == form
    with pytest.raises(CorruptStream, match="3 bytes, not 0"):
        AudioFormat.from_header(form.to_byte(), b"")


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_value_survives_features(channels: int) -> None:
    form = AudioFormat("int16", channels, RATE)
    values = np.stack([np.roll(np.arange(-32768, 32768), 7 * c) for c in range(channels)], 1).astype(np.int16)
    np.testing.assert_array_equal(form.from_features(form.to_features(values)), values)


# Codec


@pytest.mark.parametrize("length", [1, 2, 127, 128, 1001])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_any_length(length: int, channels: int) -> None:
    values = sound(length, channels)
    decoded = inrcodec.decode(compress(values).data)
    assert decoded.shape == values.shape and decoded.dtype == np.int16


def test_the_dtype_changes_nothing_but_the_scale() -> None:
    values = sound(4000, 1)
    plain = compress(values, quality=20)
    for same in (values.astype(np.int32) * 65536, (values / 32768).astype(np.float32)):
        assert container.read(compress(same, quality=20).data)[1] == container.read(plain.data)[1]
    better = compress(values, quality=95)
    assert better.psnr > plain.psnr and len(better.data) > len(plain.data)


def test_tiles_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    values = sound(3000, 1)
    whole = compress(values)
    monkeypatch.setitem(latent_grids.TILES, 1, 1024)
    parts = compress(values)
    assert container.read(parts.data)[1] != container.read(whole.data)[1]
    assert len(container.read(parts.data)[1]) == 9
    difference = np.abs(inrcodec.decode(parts.data).astype(int) - values)
    assert difference[1000:1050].max() <= 2 * difference.max()
    assert parts.psnr == pytest.approx(whole.psnr, abs=0.5)


def test_scale_and_region() -> None:
    data = compress(sound(2000, 2), quality=90).data
    whole = inrcodec.decode(data)
    apart = np.abs(inrcodec.decode(data, region=(300, 500)).astype(int) - whole[300:800])
    assert apart.max() <= 1 and apart.mean() < 0.01  # of 65536 steps: float32 may round what lies halfway either way
    assert inrcodec.decode(data, size=(777,)).shape == (777, 2)
    twice = inrcodec.decode(data, scale=2).astype(float)
    assert twice.shape == (4000, 2)
    assert np.corrcoef(twice.reshape(2000, 2, 2).mean(1)[:, 0], whole[:, 0])[0, 1] > 0.99
    for wrong in ({"size": (3, 3)}, {"region": (0, 0, 5, 5)}, {"region": (1990, 20)}):
        with pytest.raises(UsageError):
            inrcodec.decode(data, **wrong)  # type: ignore[arg-type]


def test_wrong_kind_of_network() -> None:
    with pytest.raises(UsageError, match="tiny is for 2 axes and 3 channels at once; this audio has 1 and 1"):
        compress(sound(100, 1), model="tiny")


# Command line


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "voice.flac"
    source.write_bytes(formats.write(Signal.sound(sound(3000, 2), RATE), ".flac"))
    assert main(["encode", str(source), "--effort", "0", "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert (fields["samples"], fields["rate"], fields["model"]) == (3000, RATE, MODEL)
    stream = tmp_path / "voice.inr"
    assert main(["info", str(stream), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["modality"], said["rate"], said["channels"], said["seconds"]) == ("audio", RATE, 2, 0.188)
    assert said["kilobits_per_second"] == pytest.approx(8 * stream.stat().st_size * RATE / 3000 / 1000, abs=1e-3)
    assert main(["decode", str(stream)]) == 0
    assert main(["decode", str(stream), "-o", str(tmp_path / "twice.flac"), "--scale", "2"]) == 0
    assert soundfile.info(tmp_path / "voice.wav").frames == 3000
    twice = soundfile.info(tmp_path / "twice.flac")
    assert (twice.frames, twice.samplerate) == (6000, 2 * RATE)
    capsys.readouterr()
    assert main(["decode", str(stream), "-o", str(tmp_path / "voice.png")]) == 8
    assert "kind 'audio'" in capsys.readouterr().err and not (tmp_path / "voice.png").exists()


def test_rates_of_sounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "voice.wav"
    source.write_bytes(formats.write(Signal.sound(sound(3001, 1), RATE), ".wav"))
    wanted = 8 * 2500 * RATE / 3001 / 1000
    assert main(["encode", str(source), "--effort", "0", "--target-kbps", str(wanted), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == pytest.approx(2500, rel=0.03)
    stream = str(tmp_path / "voice.inr")
    assert main(["decode", stream, "-o", str(tmp_path / "other.wav"), "--rate", "44100"]) == 0
    other = soundfile.info(tmp_path / "other.wav")
    assert (other.samplerate, other.frames) == (44100, round(3001 * 44100 / RATE))
    assert main(["decode", stream, "-o", str(tmp_path / "part.wav"), "--rate", "8000", "--region", "1000,500"]) == 0
    assert soundfile.info(tmp_path / "part.wav").frames == 250
    capsys.readouterr()
    picture_stream = str(Path(__file__).parent / "vectors" / "rgb.inr")
    for wrong in (
        ["encode", str(source), "--target-kbps", "9", "--quality", "5", "-o", str(tmp_path / "x.inr")],
        ["decode", stream, "--rate", "8000", "--scale", "2", "-o", str(tmp_path / "x.wav")],
        ["decode", stream, "--size", "8x8", "-o", str(tmp_path / "x.wav")],
        ["decode", stream, "--region", "5", "-o", str(tmp_path / "x.wav")],
        ["decode", picture_stream, "--rate", "8000", "-o", str(tmp_path / "x.png")],
    ):
        assert main(wrong) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.glob("x.*"))
