"""From the values of φ to bytes and back: quantiser and prior of the meta-learned methods.

Here are those whose tables are the same for every signal; `contextcoders` has those that look at what is known.

A coder has `points` operating points, 0 the coarsest. Its buffers come with the base network. Symbols are int32 arrays
[P, D] for P patches, in the order of the rows of a picture; `grid` says how many patches lie along each axis.
"""

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inrcodec import entropy
from inrcodec.fields.modulations import Residual
from inrcodec.priors.histogram import TOTAL, CountTables

Symbols = NDArray[np.int32]

CLIP = 3.0
"""Modulations beyond ± this many standard deviations are clipped (thesis, 4.2.3)."""


class Coder(nn.Module, ABC):
    """What the coders share; each says the rest. size: values of φ of a patch."""

    size: int
    _made: tuple[list[bytes], entropy.Tables] | None = None

    @property
    @abstractmethod
    def points(self) -> int:
        """Operating points."""

    @property
    def sent(self) -> int:
        """Symbols of a patch."""
        return self.size

    @abstractmethod
    def quantise(self, values: Tensor, point: int) -> Tensor:
        """Values of φ [P, D] → integers [P, sent]."""

    @abstractmethod
    def dequantise(self, symbols: Tensor, point: int) -> Tensor:
        """Integers [P, sent] → values of φ."""

    @abstractmethod
    def write(self, symbols: Symbols, point: int, grid: tuple[int, ...]) -> bytes:
        """Integers [P, sent] → a section."""

    def read(self, data: bytes, point: int, grid: tuple[int, ...]) -> Symbols:
        """The inverse of `write`. Raises CorruptStream."""
        decoder = entropy.Decoder(data, self.tables())
        symbols = self.decode(decoder, point, grid)
        decoder.finish()
        return symbols

    def tables(self) -> entropy.Tables:
        """Those of all operating points: the same while the buffers are, since entropy coding keeps models of them."""
        now = [b.cpu().numpy().tobytes() for b in self.buffers()]
        if self._made is None or self._made[0] != now:
            self._made = now, self.new_tables()
        return self._made[1]

    @abstractmethod
    def new_tables(self) -> entropy.Tables:
        """What `tables` keeps."""

    @abstractmethod
    def decode(self, decoder: entropy.Decoder, point: int, grid: tuple[int, ...]) -> Symbols:
        """What comes next in a decoder of `tables`."""


class BitsCoder(Coder):
    """Operating points that are numbers of bits b = least … most: 2^b − 1 steps in the range of ±3σ."""

    def __init__(self, size: int, least: int, most: int):
        super().__init__()
        self.size, self.least, self.most = size, least, most

    @property
    def points(self) -> int:
        return self.most - self.least + 1

    def cells(self, point: int) -> int:
        """Steps Δ in the range of ±3σ."""
        return int(2 ** (self.least + point) - 1)


class UniformCoder(BitsCoder):
    """COIN++: b bits over ±3σ, and the histogram of the training modulations (thesis, 4.2.3).

    mean, std: of all modulations, [1]; or of every dimension, [D] (thesis, 6.4.1). b runs from `least` on.
    """

    mean: Tensor
    std: Tensor
    counts: Tensor  # int32: the histograms of all b, one after the other

    def __init__(self, size: int, least: int, most: int, per_dimension: bool):
        super().__init__(size, least, most)
        width = size if per_dimension else 1
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("counts", torch.zeros(sum(2**b for b in range(least, most + 1)), dtype=torch.int32))

    def quantise(self, values: Tensor, point: int) -> Tensor:
        steps = self.cells(point)
        return torch.round((((values - self.mean) / self.std).clamp(-CLIP, CLIP) + CLIP) * (steps / (2 * CLIP))).int()

    def dequantise(self, symbols: Tensor, point: int) -> Tensor:
        steps = self.cells(point)
        return (symbols * (2 * CLIP / steps) - CLIP) * self.std + self.mean

    def new_tables(self) -> CountTables:
        sizes = 2 ** np.arange(self.least, self.most + 1)
        return CountTables.split(self.counts.cpu().numpy(), sizes)

    def write(self, symbols: Symbols, point: int, grid: tuple[int, ...]) -> bytes:
        flat = symbols.ravel()
        return entropy.encode([(flat, np.full(len(flat), point))], self.tables())

    def decode(self, decoder: entropy.Decoder, point: int, grid: tuple[int, ...]) -> Symbols:
        return decoder.decode(np.full(math.prod(grid) * self.size, point)).reshape(-1, self.size)


class SparseCoder(BitsCoder):
    """MSCN: which gates are open, a bit each; then the values behind the open ones, b bits over ±3σ of a dimension.

    level: how likely a gate is open, (level + 1/2) / 64, [D]. counts: of open values, all b, one after the other.
    """

    std: Tensor  # [D], of open values
    level: Tensor  # uint8 [D]
    counts: Tensor

    LEVELS = 64

    def __init__(self, size: int, least: int, most: int):
        super().__init__(size, least, most)
        self.register_buffer("std", torch.ones(size))
        self.register_buffer("level", torch.zeros(size, dtype=torch.uint8))
        self.register_buffer("counts", torch.zeros(sum(2**b for b in range(least, most + 1)), dtype=torch.int32))

    def quantise(self, values: Tensor, point: int) -> Tensor:
        """0 where a gate is closed, else 1 + the cell of the value."""
        steps = self.cells(point)
        cell = torch.round(((values / self.std).clamp(-CLIP, CLIP) + CLIP) * (steps / (2 * CLIP))).int()
        return torch.where(values == 0, torch.zeros_like(cell), 1 + cell)

    def dequantise(self, symbols: Tensor, point: int) -> Tensor:
        steps = self.cells(point)
        values = ((symbols - 1) * (2 * CLIP / steps) - CLIP) * self.std
        return torch.where(symbols == 0, torch.zeros_like(values), values)

    def new_tables(self) -> CountTables:
        """A table of two symbols for every level, then one for every b."""
        share = TOTAL // (2 * self.LEVELS)
        gates = [np.array([TOTAL - share * (2 * k + 1), share * (2 * k + 1)]) for k in range(self.LEVELS)]
        edges = np.cumsum(2 ** np.arange(self.least, self.most + 1))[:-1]
        return CountTables([*gates, *np.split(self.counts.cpu().numpy().astype(np.int64), edges)])

    def write(self, symbols: Symbols, point: int, grid: tuple[int, ...]) -> bytes:
        gates = (symbols > 0).astype(np.int32)
        levels = np.broadcast_to(self.level.cpu().numpy().astype(np.int64), symbols.shape)
        values = symbols[symbols > 0] - 1
        parts = [(gates.ravel(), levels.ravel()), (values, np.full(len(values), self.LEVELS + point))]
        return entropy.encode(parts, self.tables())

    def decode(self, decoder: entropy.Decoder, point: int, grid: tuple[int, ...]) -> Symbols:
        levels = np.broadcast_to(self.level.cpu().numpy().astype(np.int64), (math.prod(grid), self.size))
        symbols = decoder.decode(levels.ravel()).reshape(levels.shape)
        values = decoder.decode(np.full(int(symbols.sum()), self.LEVELS + point))
        symbols[symbols > 0] = values + 1
        return symbols


class TransformCoder(Coder):
    """VC-INR: z = g_a(φ), rounded, under a deep factorised prior; φ̂ = g_s(ẑ) (3.4).

    g_a, g_s: `Transform` on standardised φ. In the paper every λ has transforms of its own; here every λ
    has gains of its own, [points, z], and its own tables: one network for all rates.
    """

    mean: Tensor  # [D]
    std: Tensor
    gains: Tensor  # log, [points, Z]
    low: Tensor  # int32 [points, Z]: the least symbol of each table
    sizes: Tensor  # int32 [points, Z]: of each alphabet
    counts: Tensor  # int32: all tables, one after the other

    def __init__(self, size: int, codes: int, hidden: int, blocks: int, lmbdas: int, linear: bool = True):
        super().__init__()
        self.size, self.codes = size, codes
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.analysis = Transform(size, hidden, blocks, codes, linear)
        self.synthesis = Transform(codes, hidden, blocks, size, linear)
        self.gains = nn.Parameter(torch.zeros(lmbdas, codes))
        self.register_buffer("low", torch.zeros(lmbdas, codes, dtype=torch.int32))
        self.register_buffer("sizes", torch.ones(lmbdas, codes, dtype=torch.int32))
        self.register_buffer("counts", torch.zeros(0, dtype=torch.int32))

    @property
    def points(self) -> int:
        return len(self.gains)

    @property
    def sent(self) -> int:
        return self.codes

    def analyse(self, values: Tensor, point: int | Tensor) -> Tensor:
        """φ [P, D] → z [P, Z] before rounding."""
        z: Tensor = self.analysis((values - self.mean) / self.std) * self.gains[point].exp()
        return z

    def synthesise(self, z: Tensor, point: int | Tensor) -> Tensor:
        """ẑ [P, Z] → φ̂ [P, D]."""
        values: Tensor = self.synthesis(z * (-self.gains[point]).exp()) * self.std + self.mean
        return values

    def quantise(self, values: Tensor, point: int) -> Tensor:
        low = self.low[point]
        z = torch.round(self.analyse(values, point)).int()
        return torch.minimum(torch.maximum(z, low), low + self.sizes[point] - 1)

    def dequantise(self, symbols: Tensor, point: int) -> Tensor:
        return self.synthesise(symbols.float(), point)

    def new_tables(self) -> CountTables:
        return CountTables.split(self.counts.cpu().numpy(), self.sizes.cpu().numpy().ravel().astype(np.int64))

    def _indices(self, point: int, patches: int) -> NDArray[np.int64]:
        return np.tile(np.arange(self.codes) + point * self.codes, patches)

    def write(self, symbols: Symbols, point: int, grid: tuple[int, ...]) -> bytes:
        low = self.low[point].cpu().numpy()
        return entropy.encode([((symbols - low).ravel(), self._indices(point, len(symbols)))], self.tables())

    def decode(self, decoder: entropy.Decoder, point: int, grid: tuple[int, ...]) -> Symbols:
        symbols = decoder.decode(self._indices(point, math.prod(grid))).reshape(-1, self.codes)
        return np.asarray(symbols + self.low[point].cpu().numpy(), np.int32)


class Transform(nn.Module):
    """g(x) = A x + MLP(x), or x + MLP(x). The first part lets rates reach the distortion that φ itself has."""

    def __init__(self, inputs: int, hidden: int, blocks: int, outputs: int, linear: bool):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False) if linear else nn.Identity()
        layers = [Residual(hidden, nn.SELU()) for _ in range(blocks)]
        self.enter = nn.Sequential(nn.Linear(inputs, hidden), *layers, nn.SELU())
        self.leave = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x) + self.leave(self.enter(x))
        return out
