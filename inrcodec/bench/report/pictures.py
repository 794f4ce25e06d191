"""Decoded pictures of several codecs at one rate, for the eye."""

import math
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from inrcodec.bench import metrics
from inrcodec.bench.model import Codec, Item, Values

STEPS = 2**8 - 1
"""Places on a codec's range that a search tells apart: as many as eight encodes can."""


@dataclass(frozen=True)
class Coded:
    """One codec's version. image: a lossless WebP file; psnr: dB, infinite if nothing differs."""

    image: bytes
    bpp: float
    psnr: float


@dataclass(frozen=True)
class Picture:
    """One item as several codecs give it back. bpp: the rate asked for; original: a lossless WebP file."""

    item: str
    width: int
    height: int
    bpp: float
    original: bytes
    coded: dict[str, Coded]


def at_equal_rate(items: list[Item], codecs: list[Codec], bpp: float, tolerance: float = 0.03) -> list[Picture]:
    """Every image among the items through every image codec, each at the rate nearest to bpp that it reaches.

    At most eight encodes per picture and codec; a search ends early within `tolerance`, relative to bpp.
    """
    return [
        Picture(
            item=item.name,
            width=item.values.shape[1],
            height=item.values.shape[0],
            bpp=bpp,
            original=_webp(item.values),
            coded={codec.name: _coded(item, codec, bpp, tolerance) for codec in codecs if codec.modality == "image"},
        )
        for item in items
        if item.modality == "image"
    ]


def _coded(item: Item, codec: Codec, bpp: float, tolerance: float) -> Coded:
    data = _nearest(item, codec, bpp, tolerance)
    values = codec.decode(data)
    measured = metrics.measure(item, values, len(data))
    return Coded(_webp(values), measured["bpp"], measured["psnr"])


def _nearest(item: Item, codec: Codec, bpp: float, tolerance: float) -> bytes:
    """The file nearest to a rate, by bisection along the codec's operating points."""
    best, least = b"", math.inf
    low, high = 0, STEPS - 1 if len(codec.points) > 1 else 0
    while low <= high and least > math.log1p(tolerance):
        middle = (low + high) // 2
        data = codec.encode(item, _point(codec, middle / (STEPS - 1)))
        excess = math.log(8 * len(data) / item.positions / bpp)
        if abs(excess) < least:
            best, least = data, abs(excess)
        if excess < 0:
            low = middle + 1
        else:
            high = middle - 1
    return best


def _point(codec: Codec, way: float) -> float:
    """The operating point at a share of the way from the first to the last, where each step counts the same.

    Points are chosen about evenly in rate, so this is far straighter in rate than the line between the ends.
    """
    at = np.linspace(0, 1, len(codec.points))
    return float(np.interp(way, at, codec.points))


def _webp(values: Values) -> bytes:
    """[H, W, C] uint8 or uint16 → a lossless WebP of 8 bits, as a browser shows it."""
    shown = (values.astype(np.uint16) >> 8).astype(np.uint8) if values.dtype == np.uint16 else values
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[shown.shape[2]]
    picture = Image.frombytes(mode, shown.shape[1::-1], np.ascontiguousarray(shown).tobytes())
    out = BytesIO()
    picture.convert("RGBA" if mode.endswith("A") else "RGB").save(out, "WEBP", lossless=True, exact=True)
    return out.getvalue()
