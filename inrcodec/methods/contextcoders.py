"""Coders whose tables hang on the symbols known so far: a mean and a scale for every symbol, as in the pyramid."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import entropy
from inrcodec.methods.coders import CLIP, BitsCoder, Symbols
from inrcodec.priors.context import OPERATING_POINTS
from inrcodec.priors.flow import UNITS, Flow
from inrcodec.priors.tables import LatentTables, tail_lengths


class StepCoder(BitsCoder):
    """What the coders with located and scaled tables share: x = (φ − μ)/σ per dimension, y = round(x (2^b − 1) / 6).

    tails: the committed tables (`LatentTables`).
    """

    mean: Tensor  # [D]
    std: Tensor
    tails: Tensor

    def __init__(self, size: int, least: int, most: int):
        super().__init__(size, least, most)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.register_buffer("tails", torch.zeros(int(tail_lengths().sum()), dtype=torch.int32))

    def quantise(self, values: Tensor, point: int) -> Tensor:
        step = 2 * CLIP / self.cells(point)
        return torch.round(((values - self.mean) / self.std).clamp(-CLIP, CLIP) / step).int()

    def dequantise(self, symbols: Tensor, point: int) -> Tensor:
        return symbols * (2 * CLIP / self.cells(point)) * self.std + self.mean

    def new_tables(self) -> LatentTables:
        return LatentTables(self.tails.cpu().numpy())


class _Writer:
    """Known symbols and the (mean in eighths, scale index) of each part → parts for the entropy coder."""

    def __init__(self, tables: entropy.Tables):
        assert isinstance(tables, LatentTables)
        self.tables = tables
        self.parts: list[tuple[NDArray[np.integer], NDArray[np.integer]]] = []

    def __call__(self, y: Symbols, mean: NDArray[np.integer], index: Symbols) -> Symbols:
        self.parts += self.tables.parts(y.ravel(), mean.ravel(), index.ravel())
        return y


class _Reader:
    """The inverse of `_Writer`; `y` only tells the shape."""

    def __init__(self, decoder: entropy.Decoder):
        assert isinstance(decoder.tables, LatentTables)
        self.tables, self.decoder = decoder.tables, decoder

    def __call__(self, y: Symbols, mean: NDArray[np.integer], index: Symbols) -> Symbols:
        found = self.tables.read(self.decoder.decode, mean.ravel(), index.ravel())
        return found.reshape(y.shape).astype(np.int32)


class FlowCoder(StepCoder):
    """FlowCOIN (thesis, 6.4): quantisation per dimension, and a flow as the prior (`priors.flow`)."""

    def __init__(self, size: int, least: int, most: int, groups: int, width: int):
        super().__init__(size, least, most)
        self.groups, self.width = groups, width
        self.flow = Flow(size, groups, width)

    def _walk(self, symbols: Symbols, point: int, code: "_Writer | _Reader") -> Symbols:
        """symbols [P, D], filled in group by group when they are read."""
        cells, bounds = self.cells(point), self.flow.bounds
        op = torch.tensor([operating_point(point, self.points)], device=self.mean.device)

        def group(g: int, mean: Tensor, index: Tensor) -> Tensor:
            a, b = bounds[g], bounds[g + 1]
            m, k = (x[0].T.to("cpu", torch.int32).numpy() for x in (mean, index))
            eighths = (2 * m.astype(np.int64) * cells * 8 + 384) // 768  # 1/64 σ → 1/8 of Δ = 6 σ / cells
            symbols[:, a:b] = code(symbols[:, a:b], eighths, k)
            return seen(torch.from_numpy(symbols[:, a:b].T.copy())[None].to(self.mean.device), cells)

        with torch.no_grad(), torch.autocast(self.mean.device.type, enabled=False):
            self.flow.walk(len(symbols), op, group)
        return symbols

    def write(self, symbols: Symbols, point: int, grid: tuple[int, ...]) -> bytes:
        writer = _Writer(self.tables())
        self._walk(symbols.copy(), point, writer)
        return entropy.encode(writer.parts, writer.tables)

    def decode(self, decoder: entropy.Decoder, point: int, grid: tuple[int, ...]) -> Symbols:
        symbols = np.zeros((math.prod(grid), self.size), np.int32)
        return self._walk(symbols, point, _Reader(decoder))


def seen(y: Tensor, cells: int) -> Tensor:
    """Integers y in steps of 6 σ / cells → what a flow sees of them: float integers of σ/32 within ±127."""
    units = torch.div(2 * y.long() * (6 * UNITS) + cells, 2 * cells, rounding_mode="floor")
    return units.clamp(-127, 127).float()


def operating_point(point: int, points: int) -> int:
    """The operating point 0…255 of integer layers that stands for one of a coder."""
    return point * (OPERATING_POINTS - 1) // max(points - 1, 1)


class GridCoder(StepCoder):
    """Spatial functa: cells of all patches form one grid; every other cell is coded given its four neighbours.

    The mean of a channel is a share of the sum of its neighbours. first, second: scale indices [points, c] of the
    cells coded first and second; share: int32 [c], in 1/256.
    """

    first: Tensor
    second: Tensor
    share: Tensor

    def __init__(self, channels: int, cells: int, least: int, most: int):
        super().__init__(channels * cells**2, least, most)
        self.channels, self.side = channels, cells
        for name in ("first", "second"):
            self.register_buffer(name, torch.zeros(self.points, channels, dtype=torch.uint8))
        self.register_buffer("share", torch.zeros(channels, dtype=torch.int32))

    def whole(self, symbols: NDArray[Any], grid: tuple[int, ...]) -> NDArray[Any]:
        """[P, c·h·w] → [c, rows, columns] of all patches."""
        rows, columns = grid
        s = self.side
        parts = symbols.reshape(rows, columns, self.channels, s, s)
        return parts.transpose(2, 0, 3, 1, 4).reshape(self.channels, rows * s, columns * s)

    def split(self, whole: NDArray[Any], grid: tuple[int, ...]) -> NDArray[Any]:
        """The inverse of `whole`."""
        rows, columns = grid
        s = self.side
        parts = whole.reshape(self.channels, rows, s, columns, s).transpose(1, 3, 0, 2, 4)
        return np.ascontiguousarray(parts.reshape(rows * columns, -1))

    def _walk(self, whole: Symbols, point: int, code: "_Writer | _Reader") -> Symbols:
        odd = np.add.outer(np.arange(whole.shape[1]), np.arange(whole.shape[2])) % 2 == 1
        first, second = (np.array(k[point].tolist(), np.int32)[:, None] for k in (self.first, self.second))
        even = whole[:, ~odd]
        whole[:, ~odd] = code(even, np.zeros_like(even), np.broadcast_to(first, even.shape))
        mean = (neighbours(np.where(odd, 0, whole))[:, odd] * self.share.cpu().numpy()[:, None] * 8 + 128) >> 8
        whole[:, odd] = code(whole[:, odd], mean, np.broadcast_to(second, mean.shape))
        return whole

    def write(self, symbols: Symbols, point: int, grid: tuple[int, ...]) -> bytes:
        writer = _Writer(self.tables())
        self._walk(self.whole(symbols, grid).copy(), point, writer)
        return entropy.encode(writer.parts, writer.tables)

    def decode(self, decoder: entropy.Decoder, point: int, grid: tuple[int, ...]) -> Symbols:
        whole = self.whole(np.zeros((math.prod(grid), self.size), np.int32), grid).copy()
        return self.split(self._walk(whole, point, _Reader(decoder)), grid)


def neighbours(whole: NDArray[Any]) -> NDArray[np.int64]:
    """The sum of the four neighbours of every cell of [c, rows, columns]; zero beyond the border."""
    padded = np.pad(whole.astype(np.int64), ((0, 0), (1, 1), (1, 1)))
    around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return np.asarray(around)
