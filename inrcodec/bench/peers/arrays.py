"""zfp, SZ3 and JPEG 2000 on fields and volumes, through imagecodecs.

The libraries store floating point only, or not even their own shape, so a small header of ours stands in front:

| codec    | bytes added | what                                                                                    |
| -------- | ----------- | --------------------------------------------------------------------------------------- |
| zfp      | 3           | dtype; the shape is in zfp's own header                                          |
| sz3      | 4 + 4 n     | dtype, number of axes n (uint8), their lengths (uint32)                                 |
| jpeg2000 | 13 + 4 D    | dtype, number of slices D (uint16, 0 for a field), least and greatest value (float32),  |
|          |             | the length of each slice's codestream (uint32; a field has none)                        |

All numbers are little-endian, and a dtype is NumPy's code for it, "<f4". Integers are coded as floating point and
rounded when they come back.
"""

import struct
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inrcodec.bench.model import Codec, Item, Values
from inrcodec.errors import UsageError

_ERRORS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""Greatest absolute error as a part of the item's value range."""

_QUALITIES = (24.0, 30.0, 36.0, 42.0, 48.0, 54.0, 60.0, 70.0, 80.0)
"""PSNR in dB that JPEG 2000 aims at in each slice, with the range of the 16 bits as the peak."""

_TOP = 65535


def _encode_zfp(item: Item, point: float) -> bytes:
    import imagecodecs

    values = _floats(item)
    bound = point * _span(values)
    coded = imagecodecs.zfp_encode(values, level=bound, mode="a", header=True, numthreads=1)  # type: ignore[arg-type]
    return _dtype_code(item.values.dtype) + coded


def _decode_zfp(file: bytes) -> Values:
    import imagecodecs

    return _as(imagecodecs.zfp_decode(file[3:], numthreads=1), np.dtype(file[:3].decode()))


def _encode_sz3(item: Item, point: float) -> bytes:
    import imagecodecs

    values = _floats(item)
    coded = imagecodecs.sz3_encode(values, mode="abs", abs=point * _span(values))
    shape = values.shape
    return _dtype_code(item.values.dtype) + struct.pack(f"<B{len(shape)}I", len(shape), *shape) + coded


def _decode_sz3(file: bytes) -> Values:
    import imagecodecs

    dtype, axes = np.dtype(file[:3].decode()), file[3]
    shape = struct.unpack_from(f"<{axes}I", file, 4)
    return _as(imagecodecs.sz3_decode(file[4 + 4 * axes :], shape, _coded_dtype(dtype)), dtype)


def _encode_jpeg2000(item: Item, point: float) -> bytes:
    """The irreversible wavelet on values scaled to uint16, slice by slice along the first axis of a volume."""
    import imagecodecs

    values = _floats(item)
    low, high = float(values.min()), float(values.max())
    scaled = np.rint((values.astype(np.float64) - low) * (_TOP / _span(values))).astype(np.uint16)
    streams = [
        imagecodecs.jpeg2k_encode(
            part,
            level=point,  # type: ignore[arg-type]
            reversible=False,
            codecformat="j2k",
            numthreads=1,
        )
        for part in (scaled if scaled.ndim == 3 else scaled[None])
    ]
    lengths = [len(stream) for stream in streams] if scaled.ndim == 3 else []
    head = struct.pack(f"<Hff{len(lengths)}I", len(lengths), low, high, *lengths)
    return _dtype_code(item.values.dtype) + head + b"".join(streams)


def _decode_jpeg2000(file: bytes) -> Values:
    import imagecodecs

    slices, low, high = struct.unpack_from("<Hff", file, 3)
    lengths = struct.unpack_from(f"<{slices}I", file, 13) or (len(file) - 13,)
    ends = 13 + 4 * slices + np.cumsum(lengths)
    scaled = np.stack(
        [
            imagecodecs.jpeg2k_decode(file[end - length : end], numthreads=1)
            for end, length in zip(ends, lengths, strict=True)
        ]
    )
    values = low + scaled.astype(np.float64) * ((high - low) / _TOP)
    return _as(values if slices else values[0], np.dtype(file[:3].decode()))


def _floats(item: Item) -> NDArray[np.floating]:
    """The values as float32 or float64. Raises UsageError for other shapes and for values that are not finite."""
    values = item.values
    if values.ndim not in (2, 3) or values.dtype.kind not in "iuf" or not values.size:
        raise UsageError(
            f"{item.name}: array codecs take 2 or 3 axes of numbers, not {list(values.shape)} {values.dtype}"
        )
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise UsageError(f"{item.name}: array codecs take finite values; {bad} of {values.size} are not")
    return np.ascontiguousarray(values, dtype=_coded_dtype(values.dtype))


def _coded_dtype(dtype: np.dtype) -> np.dtype:
    """float32 where it holds every value of `dtype`, else float64."""
    return np.result_type(dtype, np.float32)


def _span(values: NDArray[np.floating]) -> float:
    """The value range; that of one rounding step for a constant, which then comes back exactly."""
    return float(values.max()) - float(values.min()) or float(np.spacing(np.abs(values).max()))


def _dtype_code(dtype: np.dtype) -> bytes:
    return dtype.str.encode()


def _as(values: NDArray[np.floating], dtype: np.dtype) -> Values:
    """`values` in the item's dtype; integers rounded, and kept within what their type holds."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(dtype)


def _zfp(modality: Literal["field", "volume"]) -> Codec:
    import imagecodecs

    if not imagecodecs.ZFP.available:
        raise ImportError(name="imagecodecs with zfp")
    return Codec("zfp", modality, _version(imagecodecs.zfp_version()), _ERRORS, _encode_zfp, _decode_zfp)


def _sz3(modality: Literal["field", "volume"]) -> Codec:
    import imagecodecs

    if not imagecodecs.SZ3.available:
        raise ImportError(name="imagecodecs with sz3")
    return Codec("sz3", modality, _version(imagecodecs.sz3_version()), _ERRORS, _encode_sz3, _decode_sz3)


def _jpeg2000(modality: Literal["field", "volume"]) -> Codec:
    import imagecodecs

    if not imagecodecs.JPEG2K.available:
        raise ImportError(name="imagecodecs with openjpeg")
    library = _version(imagecodecs.jpeg2k_version())
    return Codec("jpeg2000", modality, library, _QUALITIES, _encode_jpeg2000, _decode_jpeg2000)


def _version(library: str) -> str:
    import imagecodecs

    return f"imagecodecs {imagecodecs.__version__}, {library}"


_MAKERS = {"zfp": _zfp, "sz3": _sz3, "jpeg2000": _jpeg2000}
FIELD_PEERS: dict[str, Callable[[], Codec]] = {name: partial(make, "field") for name, make in _MAKERS.items()}
VOLUME_PEERS: dict[str, Callable[[], Codec]] = {name: partial(make, "volume") for name, make in _MAKERS.items()}
