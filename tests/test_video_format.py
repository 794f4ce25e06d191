"""Films in and out: frames, their count, rate and colours, the sound beside them, and files that are no films."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inrcodec.errors import InputNotFound, LimitExceeded, OutputFailed, UnreadableInput, UnsupportedInput
from inrcodec.formats import soundtrack, video
from inrcodec.samples.video import VideoFormat
from inrcodec.signal import Signal

av = pytest.importorskip("av")

NTSC = Fraction(30000, 1001)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def film(frames: np.ndarray, rate: Fraction = NTSC, count: int | None = None, sound: bytes = b"") -> Signal:
    return Signal(frames, VideoFormat(rate, count or len(frames), sound))


def made(
    kind: str,
    codec: str,
    pixels: str,
    frames: np.ndarray,
    sounds: tuple[str, ...] = (),
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
    **properties: Any,
) -> bytes:
    """A file at 25 frames per second that this package did not write; frames: RGB, or the planes of `pixels`."""
    out = io.BytesIO()
    given = "rgb24" if frames.shape[-1] == 3 else pixels
    with av.open(out, "w", kind) as container:
        stream = container.add_stream(codec, 25, options)
        stream.height, stream.width = frames.shape[1:3] if given == "rgb24" else frames.shape[2:4]
        stream.pix_fmt = pixels
        for name, value in properties.items():
            if name == "rotation":
                stream.set_display_rotation(**value)
            else:
                setattr(stream, name, value)
        tracks = [container.add_stream(name, 44100, layout="mono") for name in sounds]
        for t, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, given)
            picture.pts, picture.time_base = times[t] if times else t, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        for track in tracks:
            hum = (np.sin(np.arange(9216) / 9) * 9999).astype(np.int16)
            block = av.AudioFrame.from_ndarray(hum[None], "s16", "mono")
            block.sample_rate, block.pts = 44100, 0
            resampler = av.AudioResampler(track.format, "mono", 44100, track.codec_context.frame_size or None)
            for piece in resampler.resample(block) + resampler.resample(None):
                container.mux(track.encode(piece))
            container.mux(track.encode())
    return out.getvalue()


def sound_packets(data: bytes) -> list[tuple[float, bytes]]:
    """Times in seconds and bytes of the packets of the first sound."""
    with av.open(io.BytesIO(data)) as container:
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(audio=0) if p.size]


@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 23), (1, 1)])
def test_matroska_is_lossless(height: int, width: int) -> None:
    frames = noise(5, height, width)
    again = video.read(video.write(film(frames), ".mkv"))
    np.testing.assert_array_equal(again.values, frames)
    assert again.notes == ()


def test_writing_is_deterministic() -> None:
    signal = film(noise(3, 16, 16))
    assert video.write(signal, ".mkv") == video.write(signal, ".mkv")


@pytest.mark.parametrize("suffix", [".mkv", ".y4m", ".mp4", ".MOV"])
@pytest.mark.parametrize("rate", [NTSC, Fraction(12), Fraction(1, 10)])
def test_count_and_rate_survive(suffix: str, rate: Fraction) -> None:
    again = video.read(video.write(film(noise(7, 16, 24), rate), suffix))
    assert again.values.shape == (7, 16, 24, 3)
    assert again.format == VideoFormat(rate, 7)


def test_y4m_only_rounds() -> None:
    frames = noise(2, 600, 16)
    again = video.read(video.write(film(frames), ".y4m"))
    assert np.abs(again.values.astype(int) - frames).max() <= 2


@pytest.mark.parametrize(("height", "width", "matrix"), [(16, 24, 5), (17, 23, 5), (600, 16, 1)])
def test_mp4_keeps_smooth_colours_and_says_the_matrix(height: int, width: int, matrix: int) -> None:
    y, x = np.mgrid[:height, :width]
    frame = np.stack([255 * y / height, 90 + 64 * x / width, 128 + 0 * x], 2).astype(np.uint8)
    data = video.write(film(np.stack([frame] * 3)), ".mp4")
    error = video.read(data).values.astype(float) - frame
    assert np.sqrt(np.mean(error**2)) < 4
    with av.open(io.BytesIO(data)) as container:
        found = next(container.decode(video=0))
    assert found.colorspace in ((matrix, 6) if matrix == 5 else (matrix,))  # 5 and 6 are the same matrix
    assert found.color_range == 1


@pytest.mark.parametrize(
    ("height", "colorspace", "color_range", "red", "blue", "low", "span", "chroma"),
    [
        (16, 1, 1, 0.2126, 0.0722, 16, 219, 224),
        (16, 5, 1, 0.299, 0.114, 16, 219, 224),
        (16, 2, 1, 0.299, 0.114, 16, 219, 224),
        (600, 2, 1, 0.2126, 0.0722, 16, 219, 224),
        (16, 1, 2, 0.2126, 0.0722, 0, 255, 255),
        (16, 9, 1, 0.2627, 0.0593, 16, 219, 224),
    ],
)
def test_colours_follow_the_stream(
    height: int, colorspace: int, color_range: int, red: float, blue: float, low: int, span: int, chroma: int
) -> None:
    luma, cb, cr = 120, 100, 150
    planes = np.empty((1, 3, height, 16), np.uint8)
    planes[0] = np.array([luma, cb, cr])[:, None, None]
    data = made("matroska", "ffv1", "yuv444p", planes, colorspace=colorspace, color_range=color_range)
    y, b, r = (luma - low) / span, (cb - 128) / chroma, (cr - 128) / chroma
    rgb = np.array([y + 2 * (1 - red) * r, 0, y + 2 * (1 - blue) * b])
    rgb[1] = (y - red * rgb[0] - blue * rgb[2]) / (1 - red - blue)
    np.testing.assert_allclose(video.read(data).values[0, 0, 0], rgb * 255, atol=1.1)


@pytest.mark.parametrize(("count", "chunk"), [(64, None), (65, 48), (96, 48), (128, 64), (130, 48), (150, 32)])
def test_a_long_film_is_a_batch_of_chunks(count: int, chunk: int | None) -> None:
    frames = noise(count, 2, 4)
    signal = video.read(video.write(film(frames), ".mkv"))
    assert signal.format.frames == count
    if chunk is None:
        assert signal.shape == (count, 2, 4) and not signal.batch
        return
    assert signal.shape == (chunk, 2, 4) and signal.items == -(-count // chunk)
    whole = np.concatenate([signal.item(k) for k in range(signal.items)])
    np.testing.assert_array_equal(whole[:count], frames)
    assert (whole[count:] == frames[-1]).all()


def test_chunks_in_any_order_and_from_a_path(tmp_path: Path) -> None:
    frames = noise(140, 2, 4)
    path = tmp_path / "film.mkv"
    path.write_bytes(video.write(film(frames), ".mkv"))
    values = video.read(path).values
    whole = np.concatenate([frames, frames[-1:].repeat(4, 0)]).reshape(3, 48, 2, 4, 3)
    assert values.shape == whole.shape and values.dtype == np.uint8
    for where in (2, 0, (1, 5), (0, slice(3, 5), 1), -1, slice(1, 3), np.int64(1)):
        np.testing.assert_array_equal(values[where], whole[where])
    with pytest.raises(IndexError):
        values[3]


def test_a_file_that_changes_after_reading(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    path.write_bytes(video.write(film(noise(140, 2, 4)), ".mkv"))
    values = video.read(path).values
    path.write_bytes(video.write(film(noise(100, 2, 4)), ".mkv"))
    with pytest.raises(UnreadableInput, match="film.mkv: 100 of 140 frames"):
        values[2]


def test_a_batch_is_written_up_to_its_count() -> None:
    frames = noise(70, 4, 4)
    batch = video.read(video.write(film(frames), ".mkv"))
    assert batch.batch
    again = video.read(video.write(batch, ".mkv"))
    assert again.format.frames == 70
    np.testing.assert_array_equal(np.concatenate(again.values[:])[:70], frames)
    few = film(noise(2, 3, 4, 4), count=4)
    assert video.read(video.write(few, ".mkv")).values.shape == (4, 4, 4, 3)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_sound_passes_through_unchanged(suffix: str) -> None:
    original = made("mp4", "libx264", "yuv420p", noise(4, 16, 16), ("aac",))
    signal = video.read(original)
    written = video.write(signal, suffix)
    expected = [data for _, data in sound_packets(original)]
    assert len(expected) > 5
    for copy in (signal.format.sound, written, video.read(written).format.sound):
        assert [data for _, data in sound_packets(copy)] == expected
    assert signal.format.sound == video.read(original).format.sound


def test_sound_keeps_its_time() -> None:
    """Here it begins three frames, 0.12 s, before the film, and earlier by what its decoder needs to warm up."""
    original = made("mp4", "libx264", "yuv420p", noise(4, 16, 16), ("aac",), times=[3, 4, 5, 6])
    lead = sound_packets(original)[0][0] - 0.12
    assert lead < -0.13
    signal = video.read(original)
    assert sound_packets(signal.format.sound)[0][0] == pytest.approx(lead, abs=1e-3)
    for suffix in (".mkv", ".mp4"):
        written = video.write(signal, suffix)
        with av.open(io.BytesIO(written)) as container:
            start = float(next(container.decode(video=0)).time)
        assert sound_packets(written)[0][0] - start == pytest.approx(lead, abs=2e-3)


def test_sound_that_a_kind_of_file_cannot_hold_is_left_out() -> None:
    signal = video.read(made("matroska", "ffv1", "bgr0", noise(4, 16, 16), ("wavpack",)))
    assert signal.format.sound and signal.notes == ()
    for suffix, held in ((".mkv", True), (".mp4", False), (".y4m", False)):
        again = video.read(video.write(signal, suffix))
        assert again.format.frames == 4
        assert bool(again.format.sound) == held, suffix


def test_sound_that_cannot_be_copied_is_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    signal = video.read(made("flv", "flv1", "yuv420p", noise(4, 16, 16), ("adpcm_swf",)))
    assert signal.format.sound == b"" and "adpcm_swf" in signal.notes[0]
    data = made("avi", "mpeg4", "yuv420p", noise(4, 16, 16), ("pcm_s16le",))
    monkeypatch.setattr(soundtrack, "MAX_BYTES", 18_000)
    signal = video.read(data)
    assert signal.format.sound == b"" and "more than 18000 bytes" in signal.notes[0]
    monkeypatch.setattr(soundtrack, "MAX_BYTES", 18_432)
    assert video.read(data).notes == ()


def test_further_streams_are_left_out_with_a_note() -> None:
    signal = video.read(made("matroska", "ffv1", "bgr0", noise(4, 16, 16), ("flac", "pcm_s16le")))
    assert signal.notes == ("1 further streams left out (audio)",)
    assert signal.format.sound == video.read(made("matroska", "ffv1", "bgr0", noise(4, 16, 16), ("flac",))).format.sound


def test_a_header_that_lies_about_the_count() -> None:
    data = bytearray(made("avi", "mpeg4", "yuv420p", noise(9, 16, 16)))
    at = data.index(b"strh") + 8 + 32
    assert data[at : at + 4] == (9).to_bytes(4, "little")
    data[at : at + 4] = (40).to_bytes(4, "little")
    signal = video.read(bytes(data))
    assert signal.shape[0] == signal.format.frames == 9
    assert signal.notes == ("the header tells of 40 frames, but there are 9",)
    assert signal.format.rate == 25


def test_frames_at_changing_intervals() -> None:
    times = [0, 1, 2, 3, 4, 8, 12, 16, 20, 24]
    signal = video.read(made("matroska", "ffv1", "bgr0", noise(10, 4, 4), times=times))
    assert float(signal.format.rate) == pytest.approx(9 / (24 / 25), rel=1e-5)
    assert signal.notes == ("frames at changing intervals taken at their average rate of 9.375 per second",)


@pytest.mark.parametrize(
    ("rotation", "turned"),
    [
        ({"degrees": 90}, lambda x: np.rot90(x, 1, (1, 2))),
        ({"degrees": -90}, lambda x: np.rot90(x, -1, (1, 2))),
        ({"degrees": 180}, lambda x: np.rot90(x, 2, (1, 2))),
        ({"degrees": 0, "hflip": True}, lambda x: x[:, :, ::-1]),
    ],
)
def test_frames_are_turned_upright(rotation: dict[str, Any], turned: Any) -> None:
    frames = noise(3, 8, 12)
    data = made("mp4", "libx264rgb", "rgb24", frames, options={"qp": "0"}, rotation=rotation)
    signal = video.read(data)
    np.testing.assert_array_equal(signal.values, turned(frames))
    assert signal.notes == ("frames turned upright, as the file asks for",)


def test_notes_on_what_is_lost() -> None:
    deep = video.read(made("matroska", "ffv1", "yuv420p10le", noise(2, 16, 16)))
    assert deep.notes == ("10-bit samples reduced to 8 bits",)
    fields = made("matroska", "mpeg2video", "yuv420p", noise(2, 32, 32), options={"flags": "+ildct+ilme"})
    assert video.read(fields).notes == ("the two fields of 2 interlaced frames taken as one picture",)
    wide = video.write(film(noise(2, 16, 16)), ".y4m").split(b"\n", 1)
    wide[0] = wide[0].replace(b" A0:0", b" A4:3")
    assert video.read(b"\n".join(wide)).notes == ("pixels 4:3 wide taken as square ones",)
    clear = made("matroska", "ffv1", "bgra", np.zeros((2, 16, 16, 3), np.uint8))
    assert video.read(clear).notes == ("transparency left out",)


def test_limit() -> None:
    data = video.write(film(noise(5, 4, 4)), ".mkv")
    assert video.read(data, max_samples=80).format.frames == 5
    with pytest.raises(LimitExceeded, match="the input: 5 or more frames of 4 x 4 pixels; the limit is 79 pixels"):
        video.read(data, max_samples=79)


def test_kinds_that_are_only_read() -> None:
    with pytest.raises(OutputFailed, match="'.avi', only as .mkv .mp4 .m4v .mov .y4m"):
        video.write(film(noise(2, 4, 4)), ".avi")


def test_sound_without_a_decoder_is_left_out() -> None:
    data = made("matroska", "ffv1", "bgr0", noise(4, 16, 16), ("flac",)).replace(b"A_FLAC", b"A_ZZZZ")
    signal = video.read(data)
    assert signal.format.frames == 4 and signal.format.sound == b""
    assert signal.notes[0].startswith("sound left out")


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n"


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    whole = made("mp4", "libx264", "yuv420p", noise(20, 32, 32))
    sound = io.BytesIO()
    with av.open(sound, "w", "matroska") as container:
        track = container.add_stream("pcm_s16le", 8000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        block.sample_rate = 8000
        container.mux(track.encode(block))
    other = tmp_path / "other.mkv"
    other.write_bytes(video.write(film(noise(3, 4, 4)), ".mkv"))
    damaged = {
        "truncated": whole[: len(whole) // 2],
        "text": b"This is a letter, not a film.\n" * 99,
        "sound": sound.getvalue(),
        "head": whole[:40],
        "playlist": PLAYLIST.format(other).encode(),
    }
    for name, data in damaged.items():
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(data)
        with pytest.raises(UnsupportedInput, match=f"{name}.mp4: "):
            video.read(path)
        with pytest.raises(UnsupportedInput, match="the input: "):
            video.read(data)
    with pytest.raises(UnsupportedInput, match="only: audio"):
        video.read(sound.getvalue())
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(UnreadableInput, match="empty.mp4: zero bytes"):
        video.read(tmp_path / "empty.mp4")
    with pytest.raises(InputNotFound, match="missing.mp4"):
        video.read(tmp_path / "missing.mp4")


def test_a_film_that_breaks_off_is_read_as_far_as_it_goes() -> None:
    frames = noise(20, 16, 16)
    data = video.write(film(frames), ".y4m")
    signal = video.read(data[: len(data) // 2])
    assert 8 <= signal.format.frames <= 10
    assert np.abs(signal.values[:8].astype(int) - frames[:8]).max() <= 2


@pytest.mark.parametrize(
    ("kind", "codec", "pixels"),
    [
        ("mp4", "libx264", "yuv420p"),
        ("mov", "libx264", "yuv420p"),
        ("3gp", "h263", "yuv420p"),
        ("matroska", "ffv1", "bgr0"),
        ("webm", "libvpx-vp9", "yuv420p"),
        ("avi", "mpeg4", "yuv420p"),
        ("yuv4mpegpipe", "rawvideo", "yuv420p"),
        ("flv", "flv1", "yuv420p"),
        ("mpegts", "mpeg2video", "yuv420p"),
        ("mpeg", "mpeg2video", "yuv420p"),
        ("asf", "msmpeg4v3", "yuv420p"),
    ],
)
def test_films_are_known_by_their_leading_bytes(kind: str, codec: str, pixels: str) -> None:
    data = made(kind, codec, pixels, noise(3, 96, 128))
    assert video.sniff(data[:4096], "")
    assert video.read(data).values.shape == (3, 96, 128, 3)


@pytest.mark.parametrize(
    "head",
    [
        b"\x00\x00\x00\x1cftypavif",
        b"\x00\x00\x00\x1cftypheic",
        b"\x00\x00\x00\x1cftypM4A ",
        b"GIF89a" + bytes(400),
        b"RIFF\x00\x00\x00\x00WEBPVP8X",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"\x89PNG\r\n\x1a\n",
        b"OggS",
        b"\x89HDF\r\n\x1a\n",
        b"GGG",
    ],
)
def test_other_files_are_not_taken_for_films(head: bytes) -> None:
    assert not video.sniff(head, "")


def test_suffixes() -> None:
    assert video.sniff(b"anything", "holiday.MP4")
    assert not video.sniff(b"anything", "holiday.gif")
