"""COIN (Dupont et al. 2021; thesis, chapter 3): a SIREN fitted to one signal; its weights are the stream.

A section: depth u8, width u16, w0 u8, bits u8, then the weights and biases of every layer: float16 if bits is 16, else
quantised over ± k standard deviations, every tensor on its own, and entropy coded (`perfile.write_tensors`).
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inrcodec.container import Header
from inrcodec.errors import CorruptStream
from inrcodec.fields.siren import Siren
from inrcodec.methods.method import Progress
from inrcodec.methods.perfile import (
    MAX_DEPTH,
    MAX_WIDTH,
    FileOptions,
    PerFileModel,
    check_limits,
    copies,
    fit,
    least_sections,
    new_siren,
    read_tensors,
    section_count,
    target_bits,
    write_tensors,
)
from inrcodec.quantisers import sigma_range
from inrcodec.window import Shape

__all__ = ["PRESETS", "Coin", "CoinOptions", "architecture", "least_sections", "load", "section_count"]

HEAD = struct.Struct("<BHBB")
HALF = 16  # bits: float16
DEPTHS = ((1024, 2), (5120, 5), (20480, 10), (math.inf, 13))
"""Layers of sines of a network of fewer parameters than this; close to the tables of the papers."""
SEARCHED = (2, 3, 4, 5, 7, 10, 13)
SEARCH_SHARE = 10  # a candidate of the search gets so many times fewer steps

Size = tuple[int, int]
"""Depth and width of a network."""


@dataclass(frozen=True)
class CoinOptions(FileOptions):
    """See `FileOptions`. bits 16: float16; fewer: quantised, and entropy coded.

    depth, width: of the network; 0: by the operating point. search: try the other depths first.
    """

    depth: int = 0
    width: int = 0
    search: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limits("depth", self.depth, 0, MAX_DEPTH)
        check_limits("width", self.width, 0, MAX_WIDTH)


PRESETS: dict[str, dict[str, object]] = {"paper": {"steps": 50000, "rate": 2e-4, "decay": False, "batch": 0}}
"""paper: as in appendix 3.A, every step on all positions."""


def load(data: bytes | None, options: Mapping[str, Any]) -> "Coin":
    """Raises TypeError, ValueError for options that are not."""
    return Coin(CoinOptions.of(options))


def parameters(dims: int, channels: int, width: int, depth: int) -> int:
    """How many weights and biases a network has."""
    return (dims + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * channels


def widest(dims: int, channels: int, depth: int, most: float) -> int:
    """The largest width of at most so many parameters, 2 at the least."""
    fits = [w for w in range(2, MAX_WIDTH + 1) if parameters(dims, channels, w, depth) <= most]
    return fits[-1] if fits else 2


def architecture(point: int, shape: Shape, channels: int, options: CoinOptions) -> Size:
    """Depth and width of the network for an operating point: depth by the number of parameters, then the widest."""
    most = target_bits(point, shape) / options.bits
    depth = options.depth or next(depth for below, depth in DEPTHS if most < below)
    return depth, options.width or widest(len(shape), channels, depth, most)


class Coin(PerFileModel[CoinOptions]):
    """See the head of this file."""

    def encode(self, y: Tensor, header: Header, steps: int, progress: Progress) -> list[bytes]:
        shape, channels, options = header.shape, y.shape[2], self.options

        def fitted(y: Tensor, size: Size, steps: int, report: Callable[[float], None]) -> tuple[Tensor, list[Tensor]]:
            depth, width = size
            siren = new_siren(len(shape), channels, width, depth, options.w0).to(self.device)
            own = copies(_tensors(siren), len(y))
            error = fit(lambda x: siren(x, None, own[0::2], own[1::2]), own, y, shape, options, width, steps, report)
            return error, own

        chosen = [architecture(header.operating_point, shape, channels, options)] * len(y)
        if options.search:
            most, errors = target_bits(header.operating_point, shape) / options.bits, []
            sizes = [(depth, widest(len(shape), channels, depth, most)) for depth in SEARCHED]
            for k, size in enumerate(sizes):

                def report(share: float, k: int = k) -> None:
                    progress("searching", (k + share) / len(SEARCHED))

                errors.append(fitted(y, size, max(1, steps // SEARCH_SHARE), report)[0])
            chosen = [sizes[k] for k in torch.stack(errors).argmin(0).tolist()]
        sections: dict[int, bytes] = {}
        for size in dict.fromkeys(chosen):
            items = [k for k, own in enumerate(chosen) if own == size]

            def advance(share: float, count: int = len(items), done: int = len(sections)) -> None:
                progress("adapting", (done + share * count) / len(y))

            _, tensors = fitted(y[items], size, steps, advance)
            sections |= {k: self._section(size, [t[n].detach() for t in tensors]) for n, k in enumerate(items)}
        return [sections[k] for k in range(len(y))]

    def _section(self, size: Size, tensors: list[Tensor]) -> bytes:
        """Weights and biases, layer by layer, as bytes."""
        head = HEAD.pack(*size, self.options.w0, self.options.bits)
        if self.options.bits < HALF:
            return head + write_tensors(tensors, self.options.bits, sigma_range)
        values, top = torch.cat([t.flatten() for t in tensors]).cpu().numpy(), np.finfo(np.float16).max
        return head + np.clip(values, -top, top).astype("<f2").tobytes()

    def decode(self, data: bytes, shape: Shape, channels: int) -> tuple[Siren, int]:
        (depth, width, w0, _), tensors = unpack(data, shape, channels)
        siren = new_siren(len(shape), channels, width, depth, w0).requires_grad_(False)
        for own, values in zip(_tensors(siren), tensors, strict=True):
            own.copy_(values)
        return siren.to(self.device), width


def unpack(data: bytes, shape: Shape, channels: int) -> tuple[tuple[int, ...], list[Tensor]]:
    """A section → its head; weights and biases, layer by layer. Raises CorruptStream."""
    if len(data) < HEAD.size:
        raise CorruptStream(f"a section of {len(data)} bytes; the head of a network has {HEAD.size}")
    head, data = HEAD.unpack_from(data), data[HEAD.size :]
    depth, width, w0, bits = head
    if not (1 <= depth <= MAX_DEPTH and 1 <= width <= MAX_WIDTH and w0 and 4 <= bits <= HALF):
        raise CorruptStream(f"a network of {depth} layers of {width}, w0 {w0}, {bits} bits")
    sizes = [len(shape), *[width] * depth, channels]
    shapes: list[tuple[int, ...]] = []
    for n, m in zip(sizes[:-1], sizes[1:], strict=True):
        shapes += [(m, n), (m,)]
    return head, _halves(data, shapes) if bits == HALF else read_tensors(data, shapes, bits)


def _tensors(siren: Siren) -> list[Tensor]:
    """Weights and biases, layer by layer."""
    return [t.detach() for pair in zip(siren.weights, siren.biases, strict=True) for t in pair]


def _halves(data: bytes, shapes: list[tuple[int, ...]]) -> list[Tensor]:
    counts = [math.prod(shape) for shape in shapes]
    if len(data) != 2 * sum(counts):
        raise CorruptStream(f"{sum(counts)} weights of 16 bits in {len(data)} bytes")
    values = torch.from_numpy(np.frombuffer(data, "<f2").astype(np.float32))
    if not values.isfinite().all():
        raise CorruptStream("a weight is not finite")
    return [part.view(shape) for part, shape in zip(values.split(counts), shapes, strict=True)]
