"""D'OH (Gordon et al. 2024): the weights of a SIREN are fixed random projections of one code; code and biases are sent.

The rate follows the length of the code; the target network stays the same. A section: depth u8, width u16, w0 u8,
bits u8, frequencies u8, seed u16, length of the code u16; then code and biases of every layer, each quantised from its
least to its largest value and entropy coded (`perfile.write_tensors`).
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inrcodec.container import Header
from inrcodec.errors import CorruptStream
from inrcodec.fields.modulations import RandomProjection
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
from inrcodec.quantisers import extent_range
from inrcodec.window import Shape

__all__ = ["PRESETS", "Doh", "DohOptions", "architecture", "least_sections", "load", "section_count"]

HEAD = struct.Struct("<BHBBBHH")
MAX_CODE = (1 << 16) - 1
MAX_ENTRIES = 1 << 28  # of the random matrices: 1 GiB of float32 while a network is fitted
MAX_FREQUENCIES = 16
BIAS_SHARE = 4  # biases take at most a quarter of the values
DEPTHS, NARROW = (10, 5, 2), 16  # shallower where the biases leave no width of 16


@dataclass(frozen=True)
class DohOptions(FileOptions):
    """See `FileOptions`. The target network is `depth` layers of `width` sines, or smaller if its biases would take
    too much of the rate. frequencies: octaves of the positional encoding; 0 is none.
    """

    bits: int = 8
    rate: float = 0.03
    depth: int = 10
    width: int = 40
    frequencies: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limits("depth", self.depth, 1, MAX_DEPTH)
        check_limits("width", self.width, 1, MAX_WIDTH)
        check_limits("frequencies", self.frequencies, 0, MAX_FREQUENCIES)
        check_limits("seed", self.seed, 0, (1 << 16) - 1)


PRESETS: dict[str, dict[str, object]] = {"paper": {"steps": 768000, "batch": 1024}}
"""paper: table 1 for Kodak, 2000 epochs of batches of 1024."""


def load(data: bytes | None, options: Mapping[str, Any]) -> "Doh":
    """Raises TypeError, ValueError for options that are not."""
    return Doh(DohOptions.of(options))


def architecture(point: int, shape: Shape, channels: int, options: DohOptions) -> tuple[int, int, int]:
    """Depth and width of the target network, and the length of the code, for an operating point."""
    values = target_bits(point, shape) / options.bits
    depth = width = 1
    for depth in (options.depth, *(d for d in DEPTHS if d < options.depth)):
        width = min(options.width, max(2, int((values / BIAS_SHARE - channels) / depth)))
        if width >= min(NARROW, options.width):
            break
    inputs = encoded_dims(len(shape), options.frequencies)
    weights = (inputs + (depth - 1) * width + channels) * width
    most = min(weights, MAX_CODE, MAX_ENTRIES // weights)
    return depth, width, max(1, min(most, int(values) - depth * width - channels))


def encoded_dims(dims: int, frequencies: int) -> int:
    return dims * (1 + 2 * frequencies)


def encoded(x: Tensor, frequencies: int) -> Tensor:
    """Coordinates [N, d] → [x, sin 2^j π x, cos 2^j π x for j = 0, 1, …], [N, d·(1 + 2·frequencies)]."""
    waves = (x[:, None] * (math.pi * 2.0 ** torch.arange(frequencies, device=x.device))[:, None]).flatten(1)
    return torch.cat([x, waves.sin(), waves.cos()], 1)


class Doh(PerFileModel[DohOptions]):
    """See the head of this file."""

    def encode(self, y: Tensor, header: Header, steps: int, progress: Progress) -> list[bytes]:
        shape, channels, o = header.shape, y.shape[2], self.options
        depth, width, length = architecture(header.operating_point, shape, channels, o)
        siren, projection = _network(shape, channels, depth, width, o.w0, o.frequencies, length, o.seed)
        siren, projection = siren.to(self.device), projection.to(self.device)
        phi, *biases = own = copies([projection.start(1)[0].to(self.device), *siren.biases], len(y))

        def net(x: Tensor) -> Tensor:
            x = encoded(x, o.frequencies)
            return siren(x, *projection.change(siren, phi, x), biases)

        fit(net, own, y, shape, o, width, steps, lambda share: progress("adapting", share))
        head = HEAD.pack(depth, width, o.w0, o.bits, o.frequencies, o.seed, length)
        return [head + write_tensors([t[k].detach() for t in own], o.bits, extent_range) for k in range(len(y))]

    def decode(self, data: bytes, shape: Shape, channels: int) -> tuple[Callable[[Tensor], Tensor], int]:
        (depth, width, w0, _, frequencies, seed, length), (phi, *biases) = unpack(data, shape, channels)
        siren, projection = _network(shape, channels, depth, width, w0, frequencies, length, seed)
        siren.requires_grad_(False)
        for layer, bias in enumerate(biases):
            siren.weights[layer].copy_(projection.weight(layer, phi))
            siren.biases[layer].copy_(bias)
        siren = siren.to(self.device)
        return lambda x: siren(encoded(x, frequencies)), width


def unpack(data: bytes, shape: Shape, channels: int) -> tuple[tuple[int, ...], list[Tensor]]:
    """A section → its head; the code, and the biases of every layer. Raises CorruptStream."""
    if len(data) < HEAD.size:
        raise CorruptStream(f"a section of {len(data)} bytes; the head of a network has {HEAD.size}")
    head = HEAD.unpack_from(data)
    depth, width, w0, bits, frequencies, _, length = head
    allowed = 1 <= depth <= MAX_DEPTH and 1 <= width <= MAX_WIDTH and w0 and 4 <= bits <= 16 and length
    if not allowed or frequencies > MAX_FREQUENCIES:
        raise CorruptStream(
            f"a network of {depth} layers of {width}, w0 {w0}, {frequencies} frequencies; a code of {length} values"
            f" of {bits} bits"
        )
    weights = (encoded_dims(len(shape), frequencies) + (depth - 1) * width + channels) * width
    if weights * length > MAX_ENTRIES:
        raise CorruptStream(f"{weights} weights from a code of {length}: more than {MAX_ENTRIES} random numbers")
    return head, read_tensors(data[HEAD.size :], [(length,), *[(width,)] * depth, (channels,)], bits)


def _network(
    shape: Shape, channels: int, depth: int, width: int, w0: int, frequencies: int, length: int, seed: int
) -> tuple[Siren, RandomProjection]:
    """Biases start at zero, those of the output at 1/2."""
    siren = new_siren(encoded_dims(len(shape), frequencies), channels, width, depth, w0)
    with torch.no_grad():
        for bias in list(siren.biases)[:-1]:
            bias.zero_()
    return siren, RandomProjection(length, siren, seed)
