import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps, features

from inrcodec import formats
from inrcodec.errors import (
    InputNotFound,
    InrcodecError,
    LimitExceeded,
    OutputFailed,
    UnreadableInput,
    UnsupportedInput,
)
from inrcodec.formats import image as images
from inrcodec.signal import Signal

HEIGHT, WIDTH = 13, 17


def noise(channels: int, dtype: str = "uint8") -> np.ndarray:
    """[HEIGHT, WIDTH, channels] over the whole range of dtype."""
    info = np.iinfo(dtype)
    return np.random.default_rng(channels).integers(0, info.max, (HEIGHT, WIDTH, channels), dtype, endpoint=True)


def pillow(values: np.ndarray, mode: str | None = None) -> Image.Image:
    picture = Image.fromarray(values.squeeze(2) if values.shape[2] == 1 else values)
    return picture.convert(mode) if mode else picture


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def tiff(values: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, metadata=None, **options)
    return file.getvalue()


def deep_png(values: np.ndarray) -> bytes:
    return bytes(imagecodecs.png_encode(values))


def deep_jp2(values: np.ndarray, **options: Any) -> bytes:
    plane = values.squeeze(2) if values.shape[2] == 1 else values
    return bytes(imagecodecs.jpeg2k_encode(plane, level=0, **options))


def tiff_of(rows: bytes, bits: int) -> bytes:
    """An uncompressed RGB TIFF around rows of packed samples."""
    entries = [(256, 3, 1, WIDTH), (257, 3, 1, HEIGHT), (258, 3, 3, 122), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 128), (277, 3, 1, 3), (278, 3, 1, HEIGHT), (279, 4, 1, len(rows))]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    header = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    return header + struct.pack("<3H", bits, bits, bits) + rows


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk + png[33:]


def icc(space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ") -> bytes:
    """A version 2 ICC profile."""
    name = b"test " + space.strip()
    tags = tags | {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name + bytes(79),
        b"wtpt": xyz(0.9642, 1, 0.8249),
    }
    table, body = struct.pack(">I", len(tags)), b""
    for tag, data in tags.items():
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = bytes(4) + b"lcms\x02\x40\x00\x00" + b"mntr" + space + connection + bytes(12) + b"acsp"
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    profile = header.ljust(128, b"\0") + table + body
    return struct.pack(">I", len(profile)) + profile[4:]


def xyz(*numbers: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(number * 65536) for number in numbers))


def gamma(exponent: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256)) + bytes(2)


def rgb_profile(exponent: float = 1.8) -> bytes:
    """The primaries of Display P3 with a plain gamma."""
    primaries = {b"rXYZ": (0.5151, 0.2412, -0.0011), b"gXYZ": (0.2920, 0.6922, 0.0419)}
    primaries[b"bXYZ"] = (0.1571, 0.0666, 0.7841)
    tags = {name: xyz(*numbers) for name, numbers in primaries.items()}
    return icc(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(exponent)))


def table_profile() -> bytes:
    """sRGB as most files embed it: its primaries and 1024 points of its curve."""
    levels = np.linspace(0, 1, 1024)
    curve = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    points = np.rint(curve * 65535).astype(">u2").tobytes()
    tags = {b"rXYZ": xyz(0.4361, 0.2225, 0.0139), b"gXYZ": xyz(0.3851, 0.7169, 0.0971)}
    tags[b"bXYZ"] = xyz(0.1431, 0.0606, 0.7141)
    table = b"curv" + bytes(4) + struct.pack(">I", 1024) + points
    return icc(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), table))


def grey_profile() -> bytes:
    return icc(b"GRAY", {b"kTRC": gamma(1.0)})


def cmyk_profile() -> bytes:
    """Cyan, magenta and yellow do nothing and black makes black: a table of 2 ** 4 colours in Lab."""
    ramp = bytes(range(256))
    colours = b"".join(bytes([0 if corner & 1 else 255, 128, 128]) for corner in range(16))
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + colours + ramp * 3
    return icc(b"CMYK", {b"A2B0": table}, b"Lab ")


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def check(data: bytes, expected: np.ndarray, *notes: str) -> Signal:
    """The bytes read as these samples, with one note holding each text."""
    signal = images.read(data)
    assert signal.values.dtype == expected.dtype and signal.values.flags.c_contiguous
    np.testing.assert_array_equal(signal.values, expected)
    assert (signal.format.dtype, signal.format.channels) == (expected.dtype.name, expected.shape[2])
    assert len(signal.notes) == len(notes), signal.notes
    for note, text in zip(signal.notes, notes, strict=True):
        assert text in note and "\n" not in note
    return signal


def refused(error: type[InrcodecError], source: bytes | Path, *texts: str) -> None:
    with pytest.raises(error) as caught:
        formats.read(source)
    assert type(caught.value) is error
    message = str(caught.value)
    assert "\n" not in message and "0x7f" not in message
    assert all(text in message for text in texts), message


# Kinds of samples


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_8_bit(kind: str, channels: int) -> None:
    check(saved(pillow(noise(channels)), kind), noise(channels))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png(channels: int) -> None:
    values = noise(channels, "uint16")
    check(deep_png(values), values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_tiff(channels: int, compression: str | None, order: str) -> None:
    values = noise(channels, "uint16")
    data = tiff(
        values.squeeze(2) if channels == 1 else values,
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig=None if channels == 1 else "contig",
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression=compression,
        byteorder=order,
    )
    check(data, values)


def test_16_bit_tiff_variants() -> None:
    values = noise(3, "uint16")
    check(tiff(np.moveaxis(values, 2, 0), photometric="rgb", planarconfig="separate"), values)
    check(tiff(values[..., 0], photometric="miniswhite"), 65535 - values[..., :1])
    rgbx = np.concatenate([values, values[..., :1]], axis=2)
    check(tiff(rgbx, photometric="rgb", extrasamples=["unspecified"]), values, "1 extra sample")


def test_16_bit_tiff_premultiplied_alpha() -> None:
    straight = noise(4, "uint16")
    straight[..., 3] |= 0x8000
    premultiplied = straight.copy()
    premultiplied[..., :3] = np.rint(straight[..., :3] * (straight[..., 3:] / 65535))
    read = images.read(tiff(premultiplied, photometric="rgb", extrasamples=["assocalpha"])).values
    assert np.abs(read.astype(int) - straight).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_jpeg2000(channels: int) -> None:
    values = noise(channels, "uint16")
    check(deep_jp2(values), values)


def test_16_bit_pgm() -> None:
    values = noise(1, "uint16")
    header = b"P5\n%d %d\n65535\n" % (WIDTH, HEIGHT)
    check(header + values.astype(">u2").tobytes(), values)


def test_12_bits_are_stretched() -> None:
    values = noise(3, "uint16") >> 4
    expected = np.rint(values * (65535 / 4095)).astype(np.uint16)
    data = deep_jp2(values, bitspersample=12)
    check(data, expected, "12-bit samples stretched to 16 bits")
    packed = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 4:]
    rows = np.packbits(packed.reshape(HEIGHT, -1), axis=1).tobytes()
    check(tiff_of(rows, bits=12), expected, "12-bit samples stretched to 16 bits")


def test_lost_bits_are_noted() -> None:
    values = noise(3, "uint16")
    header = b"P6\n%d %d\n65535\n" % (WIDTH, HEIGHT)
    signal = images.read(header + values.astype(">u2").tobytes())
    assert signal.format.dtype == "uint8" and signal.notes == ("16-bit samples reduced to 8 bits",)
    assert np.abs(signal.values - values / 257).max() <= 1
    cmyk = tiff(noise(4, "uint16"), photometric="separated")
    assert "16-bit samples reduced to 8 bits" in images.read(cmyk).notes


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_lost_bits_of_avif_are_noted() -> None:
    data = bytes(imagecodecs.avif_encode(noise(3, "uint16") >> 6, bitspersample=10))
    assert images.read(data).notes == ("10-bit samples reduced to 8 bits",)


def test_palette() -> None:
    palette = pillow(noise(3)).quantize(16)
    check(saved(palette, "PNG"), np.asarray(palette.convert("RGB")))
    transparent = np.asarray(palette.convert("RGBA")).copy()
    transparent[np.asarray(palette) == 3, 3] = 0
    check(saved(palette, "PNG", transparency=3), transparent)
    check(saved(palette, "GIF"), np.asarray(palette.convert("RGB")))


def test_transparent_colour() -> None:
    grey, colour = noise(1), noise(3)
    opaque = np.full_like(grey, 255)
    for values in (grey, colour):
        keyed = np.concatenate([values, opaque], axis=2)
        keyed[(values == values[0, 0]).all(axis=2), -1] = 0
        key = tuple(values[0, 0].tolist())
        check(saved(pillow(values), "PNG", transparency=key if len(key) > 1 else key[0]), keyed)
    deep = noise(3, "uint16")
    data = with_chunk(deep_png(deep), b"tRNS", deep[0, 0].astype(">u2").tobytes())
    assert images.read(data).values[0, 0, 3] == 0


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_one_bit(kind: str) -> None:
    bits = noise(1) > 127
    check(saved(Image.fromarray(bits.squeeze(2)), kind), (bits * 255).astype(np.uint8))


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_colour_spaces(mode: str) -> None:
    if mode == "LAB":
        picture = Image.fromarray(noise(3), "LAB")
    else:
        picture = pillow(noise(3), mode)
    check(saved(picture, "TIFF"), np.asarray(picture.convert("RGB")), f"{mode} samples converted to RGB")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind: str) -> None:
    data = saved(pillow(noise(3), "CMYK"), kind)
    plain = Image.open(io.BytesIO(data)).convert("RGB")
    check(data, np.asarray(plain), "CMYK without")
    check(saved(pillow(noise(3), "CMYK"), kind, icc_profile=rgb_profile()), np.asarray(plain), "CMYK without")


def test_cmyk_through_its_profile() -> None:
    inks = np.zeros((2, 2, 4), np.uint8)
    inks[0, :, :3] = 200
    inks[1, :, 3] = 255
    data = saved(Image.fromarray(inks, "CMYK"), "TIFF", icc_profile=cmyk_profile())
    signal = images.read(data)
    assert signal.values[0].min() >= 250 and signal.values[1].max() <= 5
    assert signal.notes == ("CMYK converted to sRGB through its ICC profile 'test CMYK'",)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (tiff(np.ones((4, 5), np.float32)), "float32"),
        (tiff(np.ones((4, 5, 3), np.float16), photometric="rgb"), "float16"),
        (tiff(np.ones((4, 5), np.float64)), "float64"),
        (tiff(np.ones((4, 5), np.uint32)), "uint32"),
        (tiff(np.ones((4, 5), np.int16)), "int16"),
        (b"Pf\n5 4\n-1.0\n" + bytes(80), "mode F"),
    ],
)
def test_other_samples_are_refused(data: bytes, named: str) -> None:
    refused(UnsupportedInput, data, named)


def test_thumbnail_of_a_raw_file_is_refused() -> None:
    refused(UnsupportedInput, tiff(noise(3), photometric="rgb", subfiletype=1), "thumbnail")


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_orientation(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(pillow(noise(3)), kind, exif=exif, **options)
    marked = pillow(noise(3))
    marked.getexif()[0x0112] = orientation
    check(data, np.asarray(ImageOps.exif_transpose(marked)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_16_bit(orientation: int) -> None:
    values = noise(3, "uint16")
    index = Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.int32).reshape(HEIGHT, WIDTH))
    index.getexif()[0x0112] = orientation
    expected = values.reshape(-1, 3)[np.asarray(ImageOps.exif_transpose(index))]
    exif = Image.Exif()
    exif[0x0112] = orientation
    png = with_chunk(deep_png(values), b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    check(png, expected)
    check(tiff(values, photometric="rgb", extratags=[(0x0112, 3, 1, orientation, True)]), expected)


def test_damaged_exif_keeps_the_picture() -> None:
    check(saved(pillow(noise(3)), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), noise(3))


# Colour profiles


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_srgb_profile_is_left_alone(channels: int) -> None:
    for profile in (SRGB, table_profile()):
        check(saved(pillow(noise(channels)), "PNG", icc_profile=profile), noise(channels))


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_profile_is_converted(channels: int) -> None:
    profile = rgb_profile()
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    colours = ImageCms.profileToProfile(pillow(noise(channels), "RGB"), source, srgb, outputMode="RGB")
    expected = noise(channels)
    expected[..., :3] = np.asarray(colours)
    assert np.abs(expected.astype(int) - noise(channels)).max() > 20
    data = saved(pillow(noise(channels)), "PNG", icc_profile=profile)
    check(data, expected, "ICC profile 'test RGB' converted to sRGB")


@pytest.mark.parametrize("channels", [1, 2])
def test_grey_profile_is_converted(channels: int) -> None:
    linear = noise(channels)[..., :1] / 255
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    signal = images.read(saved(pillow(noise(channels)), "PNG", icc_profile=grey_profile()))
    assert signal.notes == ("ICC profile 'test GRAY' converted to sRGB",)
    assert np.abs(signal.values[..., :1] - curved).max() < 1.5
    np.testing.assert_array_equal(signal.values[..., 1:], noise(channels)[..., 1:])


def test_grey_image_with_colour_profile() -> None:
    signal = images.read(saved(pillow(noise(1)), "PNG", icc_profile=rgb_profile(1.0)))
    assert signal.format.channels == 1 and "converted to sRGB" in signal.notes[0]


def test_useless_profiles_are_ignored() -> None:
    check(saved(pillow(noise(3)), "PNG", icc_profile=grey_profile()), noise(3), "'test GRAY' ignored")
    check(saved(pillow(noise(3)), "PNG", icc_profile=cmyk_profile()), noise(3), "'test CMYK' ignored")
    check(saved(pillow(noise(3)), "PNG", icc_profile=b"not a profile"), noise(3), "unusable ICC profile")


def test_profile_of_16_bit_is_dropped() -> None:
    values = noise(3, "uint16")

    def tagged(profile: bytes) -> Sequence[bytes]:
        chunk = b"name\0\0" + zlib.compress(profile)
        png = with_chunk(deep_png(values), b"iCCP", chunk)
        return png, tiff(values, photometric="rgb", iccprofile=profile)

    for data in tagged(rgb_profile()):
        check(data, values, "ICC profile 'test RGB' dropped")
    for data in tagged(SRGB):
        check(data, values)


# Several frames


def test_animation() -> None:
    first, second = pillow(noise(3)), ImageOps.invert(pillow(noise(3)))
    for kind in ("PNG", "TIFF"):
        data = saved(first, kind, save_all=True, append_images=[second, first])
        check(data, noise(3), "3 images or frames: only the first")
    data = saved(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    check(data, noise(3), "2 images or frames")
    palette = first.quantize(16)
    data = saved(palette, "GIF", save_all=True, append_images=[palette.transpose(Image.Transpose.ROTATE_180)])
    check(data, np.asarray(palette.convert("RGB")), "2 images or frames")
    deep = noise(3, "uint16")
    check(tiff(np.stack([deep, deep]), photometric="rgb"), deep, "2 images or frames")


# Refusals


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000"])
def test_truncated(kind: str) -> None:
    data = saved(pillow(noise(3)), kind)
    for length in (20, len(data) // 2):
        refused(UnsupportedInput, data[:length])


def test_truncated_16_bit() -> None:
    values = noise(3, "uint16")
    options: dict[str, Any] = {"photometric": "rgb"}
    for data in (
        deep_png(values),
        tiff(values, **options),
        tiff(values, compression="zlib", **options),
    ):
        for length in (20, 150, len(data) // 2):
            refused(UnsupportedInput, data[:length])


def test_flipped_byte_in_png() -> None:
    for data in (saved(pillow(noise(3)), "PNG"), deep_png(noise(3, "uint16"))):
        damaged = bytearray(data)
        damaged[len(data) // 2] ^= 0xFF
        refused(UnsupportedInput, bytes(damaged))


def test_not_an_image(tmp_path: Path) -> None:
    refused(UnsupportedInput, b"hello", "68 65 6c 6c 6f")
    notes = tmp_path / "notes.txt"
    notes.write_text("hello")
    refused(UnsupportedInput, notes, "notes.txt", "68 65 6c 6c 6f")
    for suffix in images.SUFFIXES:
        pretended = tmp_path / f"pretended{suffix}"
        pretended.write_bytes(b"hello, I am not an image at all" * 9)
        refused(UnsupportedInput, pretended, pretended.name)


def test_unreadable(tmp_path: Path) -> None:
    refused(InputNotFound, tmp_path / "missing.png", "missing.png")
    refused(UnreadableInput, tmp_path, "directory")
    refused(UnreadableInput, b"", "zero bytes")
    (tmp_path / "empty.png").touch()
    refused(UnreadableInput, tmp_path / "empty.png", "empty.png", "zero bytes")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_too_many_pixels(suffix: str, dtype: str) -> None:
    data = images.write(Signal.from_array(noise(3, dtype)), suffix)
    assert images.read(data, max_pixels=HEIGHT * WIDTH).values.shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(LimitExceeded, match=f"{WIDTH} x {HEIGHT} = 221 pixels .* limit of 220"):
        images.read(data, max_pixels=220)


def test_absurd_header() -> None:
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    refused(LimitExceeded, with_chunk(png, b"IDAT", b""), "4611686014132420609", str(images.MAX_PIXELS))


def test_pillow_limit_is_lifted_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    data = images.write(Signal.from_array(noise(3)), ".png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(4) as pool:
            for signal in pool.map(images.read, [data] * 8):
                np.testing.assert_array_equal(signal.values, noise(3))
    assert Image.MAX_IMAGE_PIXELS == 10


# Sniffing


def test_sniff() -> None:
    for suffix in images.SUFFIXES:
        data = images.write(Signal.from_array(noise(3)), suffix)
        assert images.sniff(data[:64], "") or suffix == ".tga", suffix
        assert images.sniff(b"anything", f"photo{suffix.upper()}")
        formats.read(data) if suffix != ".tga" else images.read(data)
    assert not images.sniff(b"\x89HDF\r\n\x1a\n", "field.h5")
    assert not images.sniff(b"P", "") and not images.sniff(b"Pro", "notes.txt")


# Writing

LOSSLESS = sorted(set(images.SUFFIXES) - {".jpg", ".jpeg", ".jpe", ".jfif", ".avif", ".gif"})


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", LOSSLESS)
def test_write_lossless(suffix: str, channels: int) -> None:
    values = noise(channels)
    read = images.read(images.write(Signal.from_array(values), suffix)).values
    if channels in (2, 4) and images.SUFFIXES[suffix] in ("BMP", "PPM"):
        alpha = values[..., -1:] / 255
        assert np.abs(read - (values[..., :-1] * alpha + 255 * (1 - alpha))).max() <= 1
        return
    if read.shape[2] != channels:  # grey stored as colour
        values = np.concatenate([values[..., :1].repeat(3, axis=2), values[..., 1:]], axis=2)
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".jpg", ".avif", ".gif", ".webp"])
def test_write_lossy(suffix: str, channels: int) -> None:
    values = np.full((32, 32, channels), 200, np.uint8)
    if channels in (2, 4):
        values[..., -1] = 255
        values[:16, :, -1] = 0
    read = images.read(images.write(Signal.from_array(values), suffix)).values
    assert np.abs(read[24:, :, 0].astype(int) - 200).max() <= 3
    if channels in (2, 4):
        assert read[:8].min() > 250 if suffix == ".jpg" else read[:8, :, -1].max() < 5


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
def test_write_16_bit(suffix: str, channels: int) -> None:
    values = noise(channels, "uint16")
    check(images.write(Signal.from_array(values), suffix), values)
    check(images.write(Signal.from_array(values[::-1, ::2]), suffix), values[::-1, ::2])


def test_write_16_bit_reduced() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    read = images.read(images.write(Signal.from_array(values), ".bmp")).values
    np.testing.assert_array_equal(read, np.rint(values / 257))


def test_write_refusals() -> None:
    for suffix in (".xyz", "", "png", ".pdf"):
        with pytest.raises(OutputFailed, match=r"known suffixes: \.png"):
            formats.write(Signal.from_array(noise(3)), suffix)
    with pytest.raises(OutputFailed, match="20000 x 1 L image as WEBP") as caught:
        images.write(Signal.from_array(np.zeros((1, 20000, 1), np.uint8)), ".webp")
    assert "\n" not in str(caught.value)
