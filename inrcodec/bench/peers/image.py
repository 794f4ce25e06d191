"""Still images: JPEG, JPEG 2000, WebP and AVIF through Pillow, JPEG XL through imagecodecs, HEVC intra through PyAV.

PSNR is what the benchmark plots, so AVIF and HEVC are tuned for it; JPEG, WebP and JPEG XL have no such switch. All
files are without colour profile, EXIF or other metadata. Values are [H, W, 1 or 3] uint8; WebP has no greyscale.
"""

import io
from collections.abc import Callable
from functools import partial

import numpy as np

from inrcodec.bench.model import Codec, Item, Values
from inrcodec.bench.peers.video import X265, need_encoder, need_size, read, version, write
from inrcodec.errors import UsageError

_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
"""BT.601 with the full range, as in JFIF: Y' = 0.299 R + 0.587 G + 0.114 B, Cb = (B - Y') / 1.772, and so on."""
_ZERO = np.array([0.0, 128.0, 128.0])


def _encode_jpeg(item: Item, point: float) -> bytes:
    """point: quality, 1 to 95. 4:2:0, Huffman tables made for the image."""
    return _save(_pixels(item, "jpeg"), "JPEG", quality=round(point), subsampling="4:2:0", optimize=True)


def _encode_jpeg2000(item: Item, point: float) -> bytes:
    """point: bits per pixel to stay below. A raw codestream, irreversible wavelet and colour transform, one layer."""
    values = _pixels(item, "jpeg2000")
    depth = 8 * values.shape[2]  # bits per pixel uncoded: OpenJPEG wants a ratio
    rate = {"quality_mode": "rates", "quality_layers": [depth / point]}
    return _save(values, "JPEG2000", irreversible=True, mct=int(values.shape[2] == 3), no_jp2=True, **rate)


def _encode_webp(item: Item, point: float) -> bytes:
    """point: quality, 0 to 100. Lossy, always 4:2:0."""
    return _save(_pixels(item, "webp", channels=(3,)), "WEBP", quality=point, method=6)


def _encode_avif(item: Item, point: float) -> bytes:
    """point: quality, 0 to 100. libaom at speed 6, the default of avifenc, in 4:4:4 or 4:0:0."""
    values = _pixels(item, "avif")
    chroma = "4:4:4" if values.shape[2] == 3 else "4:0:0"
    settings = {"codec": "aom", "speed": 6, "advanced": {"tune": "psnr"}, "max_threads": 1}
    return _save(values, "AVIF", quality=round(point), subsampling=chroma, **settings)


def _encode_jpegxl(item: Item, point: float) -> bytes:
    """point: Butteraugli distance, falling as the rate rises. A raw codestream at effort 7, libjxl's default."""
    import imagecodecs

    values = _pixels(item, "jpegxl")
    values = values if values.shape[2] == 3 else values[..., 0]
    return bytes(imagecodecs.jpegxl_encode(values, effort=7, distance=point, usecontainer=False, numthreads=1))


def _encode_hevc(item: Item, point: float) -> bytes:
    """point: x265's constant QP, falling as the rate rises; it codes a lone intra frame 3 below.

    One frame in a raw stream, 4:4:4 Y'CbCr or grey, preset slow: what BPG does, without BPG's own header.
    """
    import av

    values = _pixels(item, "hevc")
    need_size(item, values.shape[:2], "hevc", least=16)  # x265 takes no less
    if values.shape[2] == 3:
        # In floating point, as swscale's tables lose 4 dB of the way there and back.
        planes = np.rint(np.clip(values @ _YCC.T + _ZERO, 0, 255)).astype(np.uint8).transpose(2, 0, 1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(planes), format="yuv444p")
    else:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values[..., 0]), format="gray")
    frame.color_range, frame.colorspace = 2, 5  # FFmpeg's numbers of full range and of BT.601
    options = {"preset": "slow", "tune": "psnr", "qp": str(round(point)), "x265-params": f"{X265}:keyint=1"}
    return write([frame], "libx265", "hevc", options)


def _decode_pillow(file: bytes) -> Values:
    from PIL import Image

    with Image.open(io.BytesIO(file)) as image:
        values = np.asarray(image)
    return values if values.ndim == 3 else values[..., None]


def _decode_jpegxl(file: bytes) -> Values:
    import imagecodecs

    values = imagecodecs.jpegxl_decode(file, numthreads=1)
    return values if values.ndim == 3 else values[..., None]


def _decode_hevc(file: bytes) -> Values:
    [frame] = read(file, "hevc")
    planes = frame.to_ndarray()
    if planes.ndim == 2:
        return planes[..., None]
    values = (planes.transpose(1, 2, 0) - _ZERO) @ np.linalg.inv(_YCC).T
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _pixels(item: Item, name: str, channels: tuple[int, ...] = (1, 3)) -> Values:
    """Raises UsageError for values that the codec, as we drive it, does not take."""
    values = item.values
    if values.ndim != 3 or values.shape[2] not in channels or values.dtype != np.uint8:
        wanted = " or ".join(map(str, channels))
        raise UsageError(f"{item.name}: {name} takes [H, W, {wanted}] uint8, not {list(values.shape)} {values.dtype}")
    return values


def _save(values: Values, form: str, **settings: object) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(values if values.shape[2] == 3 else values[..., 0]).save(file, form, **settings)
    return file.getvalue()


def _pillow(
    name: str,
    feature: str,
    settings: str,
    points: tuple[float, ...],
    encode: Callable[[Item, float], bytes],
) -> Codec:
    import PIL
    from PIL import features

    if not features.check(feature):
        raise ImportError(name=f"Pillow with {feature}")
    library = f"Pillow {PIL.__version__}, {feature} {features.version(feature)}, {settings}"
    return Codec(name, "image", library, points, encode, _decode_pillow, batches=False)


def _jpegxl() -> Codec:
    import imagecodecs

    if not imagecodecs.JPEGXL.available:
        raise ImportError(name="imagecodecs with libjxl")
    library = f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}, effort 7"
    distances = (20.0, 12.0, 8.0, 5.0, 3.2, 2.0, 1.2, 0.7, 0.4)
    return Codec("jpegxl", "image", library, distances, _encode_jpegxl, _decode_jpegxl, batches=False)


def _hevc() -> Codec:
    need_encoder("libx265")
    points = (47.0, 42.0, 37.0, 32.0, 27.0, 22.0, 17.0)  # those of the BPG curve that CompressAI publishes
    return Codec("hevc", "image", f"{version()}, x265 slow 4:4:4", points, _encode_hevc, _decode_hevc, batches=False)


def _vvc() -> Codec:
    raise ImportError(name="an encoder of 4:4:4 that installs from a package: PyAV has none")


_JPEG = (5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 75.0, 85.0, 92.0, 95.0)
_JPEG2000 = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_WEBP = (0.0, 10.0, 25.0, 45.0, 60.0, 75.0, 85.0, 92.0, 97.0)
_AVIF = (5.0, 15.0, 30.0, 45.0, 58.0, 70.0, 80.0, 88.0, 93.0)

PEERS: dict[str, Callable[[], Codec]] = {
    "jpeg": partial(_pillow, "jpeg", "libjpeg_turbo", "4:2:0 optimised", _JPEG, _encode_jpeg),
    "jpeg2000": partial(_pillow, "jpeg2000", "jpg_2000", "9/7", _JPEG2000, _encode_jpeg2000),
    "webp": partial(_pillow, "webp", "webp", "method 6", _WEBP, _encode_webp),
    "avif": partial(_pillow, "avif", "avif", "aom speed 6 4:4:4", _AVIF, _encode_avif),
    "jpegxl": _jpegxl,
    "hevc": _hevc,
    "vvc": _vvc,
}
