"""Lossless coding, and coding within an error bound, beside the codecs that people use for them.

python -m inrcodec.bench.lossless SET [--limit N] [--max-error E] [--effort N]

SET: a data set of `inrcodec bench` of images, sounds or fields. One line for each item: bytes of every codec, complete
files; of ours, the bytes of header and field, and whether the field was worth using; how many samples of ours are
beyond the bound, decoded with one and with two threads. The peers get a batch of fields as one array of three axes and
frame by frame; the line has the smaller of the two.
"""

import argparse
import io
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec import codec, container, stream
from inrcodec.bench import datasets
from inrcodec.bench.model import Item
from inrcodec.bench.ours import signal_of
from inrcodec.residual.lattice import Lattice

Sizes = dict[str, int]


def _images(item: Item, _: float) -> Sizes:
    import imagecodecs
    from PIL import Image

    def pillow(form: str, **settings: object) -> int:
        file = io.BytesIO()
        Image.fromarray(item.values.squeeze()).save(file, form, **settings)
        return len(file.getvalue())

    jpegxl = {
        f"jpegxl-e{e}": len(imagecodecs.jpegxl_encode(item.values, effort=e, lossless=True, usecontainer=False))
        for e in (7, 9)
    }
    return {"png": pillow("PNG", optimize=True), "webp": pillow("WEBP", lossless=True, quality=100, method=6), **jpegxl}


def _sounds(item: Item, _: float) -> Sizes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, item.values, round(item.rate), format="FLAC", subtype="PCM_16", compression_level=1.0)
    return {"flac": len(file.getvalue())}


def _fields(item: Item, bound: float) -> Sizes:
    import imagecodecs

    def zfp(values: NDArray) -> int:
        return len(imagecodecs.zfp_encode(values, level=bound, mode="a", header=True))  # type: ignore[arg-type]

    def sz3(values: NDArray) -> int:
        return len(imagecodecs.sz3_encode(values, mode="abs", abs=bound))

    whole = np.ascontiguousarray(item.values)
    frames = whole.reshape(-1, *whole.shape[-2:])
    return {size.__name__: min(size(whole), sum(size(frame) for frame in frames)) for size in (zfp, sz3)}


PEERS: dict[str, Callable[[Item, float], Sizes]] = {"image": _images, "audio": _sounds, "field": _fields}


def beyond(item: Item, data: bytes, bound: float, threads: int) -> int:
    """Samples that decode with more than the error allowed."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    decoded = codec.decode(data).reshape(item.values.shape)
    torch.set_num_threads(before)
    return int((np.abs(decoded.astype(np.float64) - item.values) > bound).sum())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m inrcodec.bench.lossless")
    parser.add_argument("set")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--max-error", type=float)
    parser.add_argument("--effort", type=int, default=0)
    given = parser.parse_args()
    total: Sizes = {}
    bound = given.max_error or 0.0
    settings = codec.Settings(max_error=given.max_error, lossless=not bound, effort=given.effort)
    for source in datasets.sources(given.set, None, given.limit):
        item = datasets.read(source)
        encoded = codec.compress(signal_of(item), settings)
        _, rest = stream.split(*container.read(encoded.data))
        exact = [part for part in rest if part is not None]
        sizes = {"inrcodec": len(encoded.data), "field": len(encoded.data) - sum(map(len, exact))}
        sizes["guided"] = int(Lattice.read(exact[0])[0].guided)
        sizes |= PEERS[item.modality](item, bound) | {"samples": item.values.size}
        sizes |= {f"beyond-{n}": beyond(item, encoded.data, bound, n) for n in (1, 2)}
        total = {name: total.get(name, 0) + size for name, size in sizes.items()}
        print(item.name, *(f"{name} {size}" for name, size in sizes.items()), f"{encoded.seconds:.1f} s", flush=True)
    print("all", *(f"{name} {size}" for name, size in total.items()))


if __name__ == "__main__":
    main()
