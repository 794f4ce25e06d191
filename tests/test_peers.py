"""The peer codecs: whole files that decode by themselves, to the item's shape and dtype, better at a higher rate."""

import builtins
import pickle
import sys
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from inrcodec.bench import peers
from inrcodec.bench.model import Codec, Item, Modality, Values
from inrcodec.errors import UsageError

NAMES: dict[Modality, tuple[str, ...]] = {
    "image": ("jpeg", "jpeg2000", "webp", "avif", "jpegxl", "hevc"),
    "audio": ("mp3", "opus", "aac", "flac"),
    "field": ("zfp", "sz3", "jpeg2000"),
    "volume": ("zfp", "sz3", "jpeg2000"),
    "video": ("x264", "x265", "av1"),
}
NEEDS_AV = {"hevc", *NAMES["audio"], *NAMES["video"]}
ALL: list[tuple[Modality, str]] = [(modality, name) for modality, names in NAMES.items() for name in names]


def picture(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """Coloured waves with a little noise."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 70 * np.sin(x / (5 + channel)) * np.cos(y / 7 + channel) for channel in range(channels)]
    noise = np.random.default_rng(0).normal(0, 4, (height, width, channels))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def sound(length: int, channels: int, rate: int) -> NDArray[np.int16]:
    """A chirp in every channel: shifted by one sample, it is another signal."""
    time = np.arange(length)[:, None] / rate
    sweep = np.sin(2 * np.pi * (200 + 100 * np.arange(channels) + 900 * time) * time)
    noise = np.random.default_rng(0).normal(0, 30, sweep.shape)
    return np.rint(9000 * sweep + noise).astype(np.int16)


def temperature(height: int, width: int) -> NDArray[np.float32]:
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 0.1, x.shape)
    return (280 + 20 * np.sin(x / 9) * np.cos(y / 7) + noise).astype(np.float32)


def film(frames: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.stack([np.roll(picture(height, width), 2 * frame, axis=1) for frame in range(frames)])


ITEMS: dict[Modality, Callable[[], Item]] = {
    "image": lambda: Item("waves", "image", picture(49, 67)),
    "audio": lambda: Item("chirp", "audio", sound(8137, 1, 16000), rate=16000),
    "field": lambda: Item("field", "field", temperature(45, 90), unit="K"),
    "volume": lambda: Item("block", "volume", np.stack([temperature(20, 31) + z for z in range(5)])),
    "video": lambda: Item("film", "video", film(5, 64, 82), rate=29.97),
}


def find(name: str, modality: Modality) -> Codec:
    return peers.PEERS[modality][name]()


def there_and_back(item: Item, name: str, point: float | None = None) -> Values:
    codec = find(name, item.modality)
    return codec.decode(codec.encode(item, codec.points[-1] if point is None else point))


def error(item: Item, decoded: Values) -> float:
    return float(np.sqrt(np.mean(np.square(decoded.astype(np.float64) - item.values.astype(np.float64)))))


@pytest.mark.parametrize(("modality", "name"), ALL)
def test_more_bytes_mean_less_error(modality: Modality, name: str) -> None:
    if name in NEEDS_AV:
        pytest.importorskip("av")
    item, codec = ITEMS[modality](), pickle.loads(pickle.dumps(find(name, modality)))
    first, middle, last = codec.points[0], (codec.points[0] + codec.points[-1]) / 2, codec.points[-1]
    files = [codec.encode(item, point) for point in (first, middle, last)]
    decoded = [codec.decode(file) for file in files]
    assert (codec.name, codec.modality) == (name, modality)
    assert all(type(file) is bytes for file in files)
    assert all(values.shape == item.values.shape and values.dtype == item.values.dtype for values in decoded)
    errors = [error(item, values) for values in decoded]
    if name == "flac":
        assert errors == [0, 0, 0]
        return
    assert len(codec.points) >= 6
    assert len(files[0]) < len(files[2]) and len(files[0]) <= len(files[1]) <= len(files[2])
    # LAME scales the waveform, so that its error hardly falls beyond some rate
    assert errors[0] > errors[2] and errors[1] > 0.99 * errors[2]
    # 4:2:0 loses much of these small coloured waves
    assert errors[2] < 0.2 * np.std(item.values.astype(np.float64))


@pytest.mark.parametrize(("modality", "name"), ALL)
def test_the_same_item_gives_the_same_bytes(modality: Modality, name: str) -> None:
    if name in NEEDS_AV:
        pytest.importorskip("av")
    item, codec = ITEMS[modality](), find(name, modality)
    assert codec.encode(item, codec.points[0]) == codec.encode(item, codec.points[0])


@pytest.mark.parametrize("name", ["jpeg", "jpeg2000", "avif", "jpegxl", "hevc"])
def test_a_grey_image_stays_one_channel(name: str) -> None:
    if name == "hevc":
        pytest.importorskip("av")
    item = Item("grey", "image", picture(33, 47, channels=1))
    decoded = there_and_back(item, name)
    assert decoded.shape == (33, 47, 1)
    assert error(item, decoded) < 4


@pytest.mark.parametrize("name", NAMES["image"])
def test_images_carry_no_metadata(name: str) -> None:
    if name == "hevc":
        pytest.importorskip("av")
    codec = find(name, "image")
    file = codec.encode(ITEMS["image"](), codec.points[0])
    assert not [word for word in (b"Exif", b"ICC", b"iCCP", b"http", b"x265") if word in file]


@pytest.mark.parametrize("name", NAMES["image"])
@pytest.mark.parametrize("values", [picture(32, 32, 4), picture(32, 32).astype(np.uint16)])
def test_alpha_and_16_bits_are_refused(name: str, values: Values) -> None:
    if name == "hevc":
        pytest.importorskip("av")
    codec = find(name, "image")
    with pytest.raises(UsageError, match=rf"{name} takes .* not \[32, 32, {values.shape[2]}\] {values.dtype}"):
        codec.encode(Item("x", "image", values), codec.points[0])


def test_hevc_refuses_what_x265_cannot_code() -> None:
    pytest.importorskip("av")
    with pytest.raises(UsageError, match="16 by 16 pixels or more, not 20 by 15"):
        there_and_back(Item("x", "image", picture(15, 20)), "hevc")
    with pytest.raises(UsageError, match="64 by 64 pixels or more, not 48 by 64"):
        there_and_back(Item("x", "video", film(2, 64, 48), rate=25), "x265")


def test_jpeg2000_keeps_to_its_rate() -> None:
    item = Item("noise", "image", np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8))
    codec = find("jpeg2000", "image")
    for rate in (1.0, 2.0, 3.0):
        assert 0.9 * rate < 8 * len(codec.encode(item, rate)) / 128**2 <= 1.02 * rate


@pytest.mark.parametrize("name", ["mp3", "opus", "aac", "flac"])
@pytest.mark.parametrize(("length", "channels", "rate"), [(4033, 1, 16000), (5003, 2, 44100), (1153, 1, 8000)])
def test_audio_comes_back_aligned_and_no_sample_longer(name: str, length: int, channels: int, rate: int) -> None:
    """4033 and 1153 are lengths whose padding FFmpeg notes wrongly in MP3; Opus has to resample 44.1 kHz."""
    pytest.importorskip("av")
    item = Item("chirp", "audio", sound(length, channels, rate), rate=rate)
    decoded = there_and_back(item, name)
    assert decoded.shape == item.values.shape and decoded.dtype == np.int16
    inner = item.values[100:-100].astype(np.float64)
    shifts = {k: float(np.sum(inner * decoded[100 + k : length - 100 + k])) for k in range(-8, 9)}
    assert max(shifts, key=lambda k: shifts[k]) == 0


@pytest.mark.parametrize("name", ["mp3", "aac"])
def test_an_unknown_sample_rate_is_refused(name: str) -> None:
    pytest.importorskip("av")
    with pytest.raises(UsageError, match=f"{name} takes .* samples per second, not 5000"):
        there_and_back(Item("x", "audio", sound(500, 1, 5000), rate=5000), name)


@pytest.mark.parametrize("values", [sound(63, 1, 8000), sound(500, 3, 8000), sound(500, 1, 8000).astype(np.int32)])
def test_other_audio_is_refused(values: Values) -> None:
    pytest.importorskip("av")
    with pytest.raises(UsageError, match=rf"not \[{len(values)}, {values.shape[1]}\] {values.dtype}"):
        there_and_back(Item("x", "audio", values, rate=8000), "opus")


@pytest.mark.parametrize("name", ["zfp", "sz3"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int16, np.int32])
def test_error_bounds_hold(name: str, dtype: type) -> None:
    values: Values = np.stack([temperature(21, 30) - 200 + z for z in range(3)]).astype(dtype)
    item = Item("block", "volume", values)
    span = float(np.ptp(values.astype(np.float64)))
    for point in (1e-1, 1e-2, 1e-3):
        decoded = there_and_back(item, name, point)
        assert decoded.dtype == dtype
        worst = np.abs(decoded.astype(np.float64) - values.astype(np.float64)).max()
        assert worst <= (1 + 1e-3) * point * span
        assert np.issubdtype(dtype, np.floating) or worst <= np.ceil(point * span)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int16])
def test_jpeg2000_reaches_the_quality_it_is_asked_for(dtype: type) -> None:
    values: Values = np.stack([3 * (temperature(40, 50) - 250) + z for z in range(3)]).astype(dtype)
    item = Item("block", "volume", values)
    decoded = there_and_back(item, "jpeg2000", 45.0)
    psnr = 20 * np.log10(np.ptp(values.astype(np.float64)) / error(item, decoded))
    assert decoded.dtype == dtype
    assert psnr > 43.5


@pytest.mark.parametrize("name", NAMES["field"])
@pytest.mark.parametrize("value", [7.25, 0.0, -1e30])
def test_constants_survive(name: str, value: float) -> None:
    item = Item("flat", "field", np.full((20, 24), value, np.float32))
    assert np.array_equal(there_and_back(item, name, find(name, "field").points[0]), item.values)


@pytest.mark.parametrize("name", NAMES["field"])
def test_values_that_are_not_finite_are_refused(name: str) -> None:
    values = temperature(8, 9)
    values[3, 4:6] = np.nan
    with pytest.raises(UsageError, match="2 of 72 are not"):
        there_and_back(Item("x", "field", values), name)


@pytest.mark.parametrize("name", ["x264", "x265"])
def test_odd_frames_are_refused_where_the_stream_cannot_say_them(name: str) -> None:
    pytest.importorskip("av")
    with pytest.raises(UsageError, match="even sizes, not 33 by 20"):
        there_and_back(Item("x", "video", film(2, 20, 33), rate=25), name)


def test_av1_takes_odd_frames() -> None:
    pytest.importorskip("av")
    assert there_and_back(Item("x", "video", film(2, 21, 33), rate=25), "av1").shape == (2, 21, 33, 3)


@pytest.mark.parametrize("name", NAMES["video"])
def test_video_frames_keep_their_order(name: str) -> None:
    """B-frames are coded out of order; each frame must come back nearest to itself."""
    pytest.importorskip("av")
    item = Item("film", "video", film(7, 64, 64), rate=25)
    decoded = there_and_back(item, name).astype(np.float64)
    distances = np.abs(decoded[:, None] - item.values[None]).mean(axis=(2, 3, 4))
    assert distances.argmin(axis=1).tolist() == list(range(7))


def test_video_streams_do_not_carry_the_encoder_settings() -> None:
    pytest.importorskip("av")
    for name in ("x264", "x265"):
        codec = find(name, "video")
        assert b"options" not in codec.encode(ITEMS["video"](), codec.points[0])


def test_every_codec_is_available_or_noted() -> None:
    for modality, names in NAMES.items():
        codecs, notes = peers.available(modality)
        named = {codec.name for codec in codecs} | {note.split(":")[0] for note in notes}
        assert named == set(peers.PEERS[modality]) >= set(names)
        for codec in codecs:
            falling = list(codec.points) == sorted(codec.points, reverse=True)
            assert falling or list(codec.points) == sorted(codec.points)
            assert all(a != b for a, b in pairwise(codec.points))
    assert peers.available("shape") == ([], [])


def test_a_missing_library_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name == "av" or name.startswith("imagecodecs"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    for name in [name for name in sys.modules if name.split(".")[0] in ("av", "imagecodecs")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    codecs, notes = peers.available("image")
    assert [codec.name for codec in codecs] == ["jpeg", "jpeg2000", "webp", "avif"]
    assert {"jpegxl: skipped, needs imagecodecs", "hevc: skipped, needs av"} < set(notes)
    assert peers.available("video") == ([], [f"{name}: skipped, needs av" for name in NAMES["video"]])
