"""New pictures from a base network: modulations drawn from its own prior, and decoded.

What is drawn is what the entropy decoder makes of random words: the tables are the coder's own, and the same seed
gives the same symbols everywhere.
"""

from functools import singledispatch
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec import functaset
from inrcodec.entropy import Decoder
from inrcodec.methods.coders import (
    Coder,
    FlowCoder,
    GridCoder,
    SparseCoder,
    Symbols,
    TransformCoder,
    UniformCoder,
    _Reader,
)
from inrcodec.methods.meta import MetaModel
from inrcodec.methods.method import Progress


def pictures(
    model: MetaModel, count: int, point: int, seed: int, progress: Progress = lambda *_: None
) -> list[NDArray[np.uint8]]:
    """Samples [side, side, 3] of `count` patches drawn at an operating point; picture k hangs on seed and k alone."""
    side, out = model.options.patch, []
    for number in range(count):
        drawn = torch.from_numpy(symbols(model.coder, point, seed, number)).to(model.device)
        with torch.no_grad():
            values = model.coder.dequantise(drawn, point)
        out.append(functaset.picture(model, values.cpu().numpy(), (side, side)))
        progress("drawing", (number + 1) / count)
    return out


def symbols(coder: Coder, point: int, seed: int, number: int) -> Symbols:
    """The symbols [1, D] of patch `number` of a seed, at an operating point."""
    width: Any = coder.codes if isinstance(coder, TransformCoder) else coder.size
    # no symbol takes more than 64 bits, those of an escape included
    words = np.random.Philox(key=np.array([seed, number], np.uint64)).random_raw(width + 1).astype("<u8")
    return _read(coder, point, words.tobytes() + b"\1")  # the last byte of a stream is not zero


def grid(pictures: list[NDArray[np.uint8]], gap: int = 2) -> NDArray[np.uint8]:
    """Pictures of one size → one picture [H, W, 3], in rows that make it nearly square, black between them."""
    columns = int(np.ceil(np.sqrt(len(pictures))))
    rows = -(-len(pictures) // columns)
    height, width, channels = pictures[0].shape
    out = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), np.uint8)
    for k, picture in enumerate(pictures):
        top, left = (k // columns) * (height + gap), (k % columns) * (width + gap)
        out[top : top + height, left : left + width] = picture
    return out


@singledispatch
def _read(coder: Coder, point: int, words: bytes) -> Symbols:
    """As `Coder.read` of one patch, but more words may follow."""
    raise TypeError(f"no prior to draw from in {type(coder).__name__}")


@_read.register
def _(coder: UniformCoder, point: int, words: bytes) -> Symbols:
    return Decoder(words, coder.tables()).decode(np.full(coder.size, point))[None]


@_read.register
def _(coder: SparseCoder, point: int, words: bytes) -> Symbols:
    decoder = Decoder(words, coder.tables())
    gates = decoder.decode(coder.level.cpu().numpy().astype(np.int64))
    gates[gates > 0] = 1 + decoder.decode(np.full(int(gates.sum()), coder.LEVELS + point))
    return gates[None]


@_read.register
def _(coder: TransformCoder, point: int, words: bytes) -> Symbols:
    drawn = Decoder(words, coder.tables()).decode(np.arange(coder.codes) + point * coder.codes)
    return np.asarray(drawn[None] + coder.low[point].cpu().numpy(), np.int32)


@_read.register
def _(coder: FlowCoder, point: int, words: bytes) -> Symbols:
    return coder._walk(np.zeros((1, coder.size), np.int32), point, _Reader(coder.tables(), words))


@_read.register
def _(coder: GridCoder, point: int, words: bytes) -> Symbols:
    whole = np.zeros((coder.channels, coder.side, coder.side), np.int32)
    return coder.split(coder._walk(whole, point, _Reader(coder.tables(), words)), (1, 1))
