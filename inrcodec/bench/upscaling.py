"""How well the field fills in: code a reduced image, decode at twice the size, compare with the original."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inrcodec import codec
from inrcodec.bench import datasets
from inrcodec.bench.model import Source
from inrcodec.errors import NothingToDo
from inrcodec.signal import Signal


def _psnr(a: NDArray[np.integer], b: NDArray[np.integer]) -> float:
    return float(10 * np.log10(255**2 / np.mean(np.square(a.astype(float) - b))))


def run(sources: list[Source], quality: float, effort: int, progress: Callable[[int, int], None]) -> str:
    """Means over the 8-bit colour images: bpp, PSNR of the field at scale 2 and of bicubic enlargement.

    The original, cut to even sides, is halved with a Lanczos filter and coded; Pillow's bicubic enlarges the plain
    decode. Raises NothingToDo.
    """
    rows = []
    for done, source in enumerate(sources, 1):
        values = datasets.read(source).values
        if source.modality != "image" or values.dtype != np.uint8 or values.shape[2] != 3 or min(values.shape[:2]) < 4:
            continue
        original = values[: values.shape[0] // 2 * 2, : values.shape[1] // 2 * 2]
        height, width = original.shape[0] // 2, original.shape[1] // 2
        reduced = np.asarray(Image.fromarray(original).resize((width, height), Image.Resampling.LANCZOS))
        encoded = codec.compress(Signal.from_array(reduced), codec.Settings(quality=quality, effort=effort))
        plain = Image.fromarray(codec.decode(encoded.data))
        bicubic = np.asarray(plain.resize((2 * width, 2 * height), Image.Resampling.BICUBIC))
        field = codec.decode(encoded.data, scale=2)
        rows.append((encoded.bpp, _psnr(field, original), _psnr(bicubic, original)))
        progress(done, len(sources))
    if not rows:
        raise NothingToDo(f"no 8-bit colour images among the {len(sources)} items")
    bpp, field_psnr, bicubic_psnr = np.mean(rows, 0)
    return (
        f"{len(rows)} images reduced by 2, {bpp:.3f} bpp of the reduced image; PSNR against the original: "
        f"decode --scale 2 {field_psnr:.3f} dB, bicubic of the plain decode {bicubic_psnr:.3f} dB, "
        f"gain {field_psnr - bicubic_psnr:+.3f} dB"
    )
