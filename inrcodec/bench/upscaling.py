"""How well the field fills in: code a reduced image, decode at twice the size, compare with the original."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inrcodec import codec, formats
from inrcodec.errors import NothingToDo
from inrcodec.signal import Signal


def _psnr(a: NDArray[np.integer], b: NDArray[np.integer]) -> float:
    return float(10 * np.log10(255**2 / np.mean(np.square(a.astype(float) - b))))


def run(folder: Path, quality: float, effort: int, limit: int | None, progress: Callable[[int, int], None]) -> str:
    """Means over the 8-bit colour images of a folder: bpp, PSNR of the field at scale 2 and of bicubic enlargement.

    The original, cut to even sides, is halved with a Lanczos filter and coded; Pillow's bicubic enlarges the plain
    decode. Raises NothingToDo.
    """
    rows = []
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in formats.SUFFIXES)[:limit]
    for done, path in enumerate(paths, 1):
        values = formats.read(path).values
        if values.dtype != np.uint8 or values.shape[2] != 3 or min(values.shape[:2]) < 4:
            continue
        original = values[: values.shape[0] // 2 * 2, : values.shape[1] // 2 * 2]
        height, width = original.shape[0] // 2, original.shape[1] // 2
        reduced = np.asarray(Image.fromarray(original).resize((width, height), Image.Resampling.LANCZOS))
        encoded = codec.compress(Signal.from_array(reduced), codec.Settings(quality=quality, effort=effort))
        plain = Image.fromarray(codec.decode(encoded.data))
        bicubic = np.asarray(plain.resize((2 * width, 2 * height), Image.Resampling.BICUBIC))
        field = codec.decode(encoded.data, scale=2)
        rows.append((encoded.bpp, _psnr(field, original), _psnr(bicubic, original)))
        progress(done, len(paths))
    if not rows:
        raise NothingToDo(f"{folder}: no 8-bit colour images")
    bpp, field_psnr, bicubic_psnr = np.mean(rows, 0)
    return (
        f"{len(rows)} images reduced by 2, {bpp:.3f} bpp of the reduced image; PSNR against the original: "
        f"decode --scale 2 {field_psnr:.3f} dB, bicubic of the plain decode {bicubic_psnr:.3f} dB, "
        f"gain {field_psnr - bicubic_psnr:+.3f} dB"
    )
