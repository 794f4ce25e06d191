"""Still images, through Pillow; imagecodecs and tifffile where Pillow would silently drop to 8 bits.

Values come out upright, in grey or sRGB, with straight alpha, as [H, W, C] uint8 or uint16.
"""

import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from inrcodec.errors import (
    InrcodecError,
    LimitExceeded,
    OutOfMemory,
    OutputFailed,
    UnreadableInput,
    UnsupportedInput,
    UsageError,
)
from inrcodec.formats import colour, tiff
from inrcodec.formats.source import leading_bytes, name_of
from inrcodec.signal import Signal

MAX_PIXELS = 2**28  # what a header may claim before `read` refuses
MAX_SAMPLES = 16  # of a pixel

# Pillow's name of the format, for reading (any file of it) and writing (chosen by suffix). TGA stays last:
# it has no magic, so its reader would look at files of the others.
SUFFIXES = {
    ".png": "PNG",
    ".apng": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".pnm": "PPM",
    ".jp2": "JPEG2000",
    ".avif": "AVIF",
    ".qoi": "QOI",
    ".sgi": "SGI",
    ".tga": "TGA",
}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))

MAGICS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF8",
    b"BM",
    b"qoif",
    b"\x01\xda",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
)
COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4}  # samples of a pixel by TIFF's photometric interpretation, of others 3
ALTERED = ("LAB", "HSV", "YCbCr", "La", "RGBa")  # modes from which there is no way back

# Pillow modes a format can hold, where it cannot hold all of L, LA, RGB and RGBA.
MODES = {
    "JPEG": ("L", "RGB"),
    "BMP": ("L", "RGB"),
    "GIF": ("L", "RGB", "RGBA"),
    "PPM": ("L", "RGB"),
    "QOI": ("RGB", "RGBA"),
    "SGI": ("L", "RGB", "RGBA"),
}
SAVE_OPTIONS: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}

STRIP_PIXELS = 2**20
ORIENTATION = ExifTags.Base.Orientation.value
ICC_TAG = 34675
PILLOW_STATE = threading.Lock()
logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else it prints about damage to stderr


def sniff(head: bytes, name: str) -> bool:
    """Whether a file with these leading bytes, or else with this name, is an image."""
    return (
        head.startswith(MAGICS + tiff.MAGICS)
        or (head[:1] == b"P" and head[1:2] in b"123456f" and head[2:3].isspace())
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"))
        or Path(name).suffix.lower() in SUFFIXES
    )


def read(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Signal:
    """Read an image file, or the bytes of one; of several frames the first, with a note.

    Raises InputNotFound, UnreadableInput (unreadable or empty), UnsupportedInput (not an image, damaged,
    floating point or more than 16 bits), LimitExceeded (the header claims more than `max_pixels`) or
    OutOfMemory.
    """
    head, name = leading_bytes(source), name_of(source)
    notes: list[str] = []
    try:
        with _pillow_quiet():
            values = None
            if head.startswith(tiff.MAGICS):
                values = _read_deep_tiff(source, max_pixels, notes)
            if values is None:
                values = _read_pillow(source, max_pixels, notes)
        signal = Signal.from_array(values)
    except UnidentifiedImageError:
        raise UnsupportedInput(f"{name}: not an image any reader recognises, or its header is damaged") from None
    except MemoryError:
        raise OutOfMemory(f"{name}: not enough memory to read it") from None
    except UsageError as error:
        raise UnsupportedInput(f"{name}: {error}") from None
    except InrcodecError as error:
        raise type(error)(f"{name}: {error}") from None
    # Given a damaged file, decoders raise nearly everything: SyntaxError, KeyError, struct.error, ...
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise UnreadableInput(f"{name}: cannot be read ({error.strerror})") from None
        reason = f"{type(error).__name__}: {error}"
        raise UnsupportedInput(f"{name}: damaged or unsupported image ({reason})") from None
    return Signal(signal.values, signal.format, notes=tuple(notes))


@contextmanager
def _pillow_quiet() -> Iterator[None]:
    """Lift Pillow's pixel limit, since ours holds, and mute its warnings; both are process-wide."""
    with PILLOW_STATE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise LimitExceeded(f"{width} x {height} = {width * height} pixels are more than the limit of {max_pixels}")


def _note_frames(frames: int, notes: list[str]) -> None:
    if frames > 1:
        notes.append(f"the file holds {frames} images or frames: only the first is coded")


def _read_pillow(source: Path | bytes, max_pixels: int, notes: list[str]) -> NDArray[np.integer]:
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
        _check_size(*image.size, max_pixels)
        _note_frames(getattr(image, "n_frames", 1), notes)
        bits = _stored_bits(image, leading_bytes(source, 2**20))
        if image.format in ("PNG", "JPEG2000") and bits > 8:
            values = _stretched(_decode_deep(source, image.format), bits, notes)
            colour.note_dropped(image.info.get("icc_profile"), notes)
        else:
            values = _to_array(_to_plain(image, notes))
            if values.dtype == np.uint8 and bits > 8:
                notes.append(f"{bits}-bit samples reduced to 8 bits")
        orientation = _orientation(image)
        image.close()  # frees Pillow's samples before turning copies ours
    return _upright(values, orientation)


def _stored_bits(image: ImageFile.ImageFile, head: bytes) -> int:
    """Bits per sample in the file, as far as its head tells: Pillow hands out colour in 8 bits."""
    decoder = image.tile[0].args if image.tile else ""
    if ";16" in str(decoder):
        return 16
    if image.format == "PPM" and isinstance(decoder, tuple) and isinstance(decoder[-1], int):
        return max(decoder[-1].bit_length(), 8)
    if image.format == "JPEG2000" and 0 <= (size := head.find(b"\xff\x4f\xff\x51")) < len(head) - 42:
        return (head[size + 42] & 127) + 1
    if image.format == "AVIF" and 0 <= (config := head.find(b"av1C")) < len(head) - 6:
        return 8 if not head[config + 6] & 0x40 else 12 if head[config + 6] & 0x20 else 10
    return 8


def _decode_deep(source: Path | bytes, pillow_format: str) -> NDArray[np.integer]:
    """Decode PNG or JPEG 2000 of more than 8 bits, where Pillow drops bits or turns near-white black."""
    import imagecodecs

    decode = imagecodecs.png_decode if pillow_format == "PNG" else imagecodecs.jpeg2k_decode
    values = decode(source if isinstance(source, bytes) else source.read_bytes())
    return values.reshape(*values.shape[:2], -1)


def _stretched(values: NDArray[np.integer], bits: int, notes: list[str]) -> NDArray[np.integer]:
    """uint16 samples of 9 to 16 bits, over the whole range of 16."""
    if bits == 16:
        return values
    notes.append(f"{bits}-bit samples stretched to 16 bits")
    peak = 2**bits - 1
    return ((values.astype(np.uint32) * 65535 + peak // 2) // peak).astype(values.dtype)


def _read_deep_tiff(source: Path | bytes, max_pixels: int, notes: list[str]) -> NDArray[np.integer] | None:
    """Read a TIFF of 16-bit grey or RGB samples; None if it has 8 bits or a palette, which Pillow reads."""
    with tiff.opened(source) as file:
        page = file.pages.first
        if page.is_reduced:
            raise UnsupportedInput("the first page is only a thumbnail, as in camera raw files")
        _check_size(page.imagewidth, page.imagelength, max_pixels)
        if page.samplesperpixel > MAX_SAMPLES:
            raise LimitExceeded(f"{page.samplesperpixel} samples per pixel; the limit is {MAX_SAMPLES}")
        if page.dtype in (np.bool_, np.uint8) or (page.dtype == np.uint16 and page.photometric > 2):
            _kept(page, COLOURS.get(page.photometric, 3), notes)
            return None
        if page.dtype != np.uint16 or page.axes not in ("YX", "YXS", "SYX"):
            raise UnsupportedInput(
                f"{page.bitspersample}-bit samples of type {page.dtype} in axes {page.axes} are not supported"
            )
        _note_frames(len(file.pages), notes)
        values = _stretched(page.asarray(), page.bitspersample, notes)
        orientation = page.tags.valueof(ORIENTATION, 1)
        profile = page.tags.valueof(ICC_TAG)

    values = np.moveaxis(values, 0, -1) if page.axes == "SYX" else values.reshape(*values.shape[:2], -1)
    if page.photometric == 0:
        values = 65535 - values
    colours = 3 if page.photometric == 2 else 1
    kept = _kept(page, colours, notes)
    values = values[..., :kept]
    if kept > colours and page.extrasamples and page.extrasamples[0] == 1:
        notes.append("colours divided by the alpha that they were multiplied by")
        values = _unpremultiplied(values)
    colour.note_dropped(profile, notes)
    return _upright(values, orientation)


def _kept(page: Any, colours: int, notes: list[str]) -> int:
    """How many samples of a pixel count: the colours, and an alpha."""
    extras = page.samplesperpixel - colours
    kept = colours + (extras > 0 and (not page.extrasamples or page.extrasamples[0] > 0))
    if kept < page.samplesperpixel:
        notes.append(f"{page.samplesperpixel - kept} extra samples per pixel left out")
    return kept


def _unpremultiplied(values: NDArray[np.integer]) -> NDArray[np.integer]:
    """uint16 [H, W, C] whose colours were multiplied by the alpha in the last channel, without that."""
    alpha = np.maximum(values[..., -1:], 1).astype(np.uint32)
    colours = (values[..., :-1].astype(np.uint32) * 65535 + alpha // 2) // alpha
    return np.concatenate([np.minimum(colours, 65535).astype(np.uint16), values[..., -1:]], axis=2)


def _to_plain(image: Image.Image, notes: list[str]) -> Image.Image:
    """Convert any Pillow image to mode L, LA, RGB, RGBA or 16-bit grey (I, I;16)."""
    image.load()
    if image.mode.startswith("I"):
        extrema = np.array(image.getextrema())
        if extrema.min() < 0 or extrema.max() > 65535:
            raise UnsupportedInput(f"samples from {extrema[0]} to {extrema[1]} (mode I) do not fit 16 bits")
        return image
    if image.mode == "F":
        raise UnsupportedInput("floating-point samples (mode F) are not supported")

    icc = image.info.get("icc_profile") if image.mode != "LAB" else None
    profile = colour.Profile.parse(icc) if icc else None
    if image.mode == "CMYK":
        if profile and profile.mode == "CMYK":
            notes.append(f"CMYK converted to sRGB through its ICC profile '{profile.label}'")
            return profile.transform.apply(image)
        notes.append("CMYK without a usable ICC profile converted to RGB by Pillow's plain formula")
        return image.convert("RGB")
    plain = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    plain += "A" if image.has_transparency_data else ""
    if image.mode in ALTERED:
        notes.append(f"{image.mode} samples converted to {plain}")
    if image.mode != plain:
        image = image.convert(plain)
    if icc and not profile:
        notes.append("unusable ICC profile ignored")
    return colour.to_srgb(image, profile, notes) if profile else image


def _to_array(image: Image.Image) -> NDArray[np.integer]:
    """Copy to [H, W, C], in strips of rows because Pillow's own export holds everything twice."""
    width, height = image.size
    dtype = np.uint16 if image.mode.startswith("I") else np.uint8
    values = np.empty((height, width, len(image.getbands())), dtype)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = np.asarray(image.crop((0, top, width, min(top + rows, height))))
        values[top : top + rows] = strip.reshape(-1, width, values.shape[2])
    return values


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation still to be applied: Pillow itself turns TIFF upright."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged metadata must not lose the picture
        return 1


def _upright(values: NDArray[np.integer], orientation: int) -> NDArray[np.integer]:
    """Apply an EXIF orientation, 1 to 8 (TIFF 6.0, section 8), to [H, W, C]."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def write(signal: Signal, suffix: str) -> bytes:
    """An image → the bytes of a file of the format that a suffix such as ".png" names.

    PNG and TIFF keep 16 bits; for the others samples are rounded to 8. Where a format has no alpha (JPEG,
    BMP, PPM) the image is laid over white. JPEG and AVIF are written at quality 95 in 4:4:4, GIF in 256
    colours; the others are lossless.
    Raises OutputFailed if the format cannot hold the image.
    """
    pillow_format = SUFFIXES[suffix.lower()]
    values: NDArray[np.integer] = np.ascontiguousarray(signal.values)
    if values.dtype == np.uint16:
        if pillow_format == "PNG":
            return _write_deep_png(values)
        if pillow_format == "TIFF":
            return _write_deep_tiff(values)
        values = (values // 257 + (values % 257 > 128)).astype(np.uint8)
    image = _fitted(Image.fromarray(values.squeeze(2) if values.shape[2] == 1 else values), pillow_format)
    file = io.BytesIO()
    try:
        image.save(file, pillow_format, **SAVE_OPTIONS.get(pillow_format, {}))
    except Exception as error:  # each encoder has its own way to refuse
        size = f"{image.width} x {image.height} {image.mode}"
        raise OutputFailed(f"cannot write a {size} image as {pillow_format} ({error})") from None
    return file.getvalue()


def _fitted(image: Image.Image, pillow_format: str) -> Image.Image:
    """Convert to a mode the format can hold, over white if it has no alpha."""
    modes = MODES.get(pillow_format, (image.mode,))
    if image.mode.endswith("A") and not any(mode.endswith("A") for mode in modes):
        opaque = Image.new(image.mode[:-1], image.size, "white")
        opaque.paste(image.convert(opaque.mode), mask=image.getchannel("A"))
        image = opaque
    if image.mode in modes:
        return image
    return image.convert("RGBA" if image.mode.endswith("A") else "RGB")


def _write_deep_png(values: NDArray[np.integer]) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.png_encode(values))


def _write_deep_tiff(values: NDArray[np.integer]) -> bytes:
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(
        file,
        values.squeeze(2) if values.shape[2] == 1 else values,
        photometric="rgb" if values.shape[2] > 2 else "minisblack",
        planarconfig="contig" if values.shape[2] > 1 else None,
        extrasamples=["unassalpha"] if values.shape[2] in (2, 4) else None,
        compression="zlib",
        metadata=None,
    )
    return file.getvalue()
