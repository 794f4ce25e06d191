"""New pictures from a base network: modulations drawn from its own prior, and decoded.

What is drawn is what the entropy decoder makes of random words: the tables are the coder's own, and the same seed
gives the same symbols everywhere.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from inrcodec import functaset
from inrcodec.entropy import Decoder
from inrcodec.methods.coders import Coder, Symbols
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
    # no symbol takes more than 64 bits, those of an escape included
    words = np.random.Philox(key=np.array([seed, number], np.uint64)).random_raw(coder.sent + 1).astype("<u8")
    decoder = Decoder(words.tobytes() + b"\1", coder.tables())  # the last byte of a stream is not zero
    return coder.decode(decoder, point, (1, 1))


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
