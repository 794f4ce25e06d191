"""Grids of latents ⇄ bytes, tile by tile. `write_symbols` and `CodedLatents` mirror each other.

A large grid is cut into tiles for the entropy coder and for the search; the synthesis knows of no tiles, so there are
no seams.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from inrcodec import closing, entropy
from inrcodec.closing import Close, Modulations
from inrcodec.errors import CorruptStream
from inrcodec.fields.closing import Closing
from inrcodec.fields.grids import Index, cut, grid_sizes, merge_phases, phase_window, phases, split_phases
from inrcodec.fields.pyramid import cell_regions
from inrcodec.priors.tables import EACH, LARGEST_STRETCH, STRETCHES, Ints, stretched
from inrcodec.window import Window

if TYPE_CHECKING:
    from inrcodec.methods.pyramid import PyramidModel

TILES = {1: 1 << 16, 2: 1024, 3: 96}  # samples a side, by the number of axes: multiples of every stride
SECTIONS = 3  # of a tile: all coarse levels, stride 4, stride 2; of a tile in a batch: one

Latents = list[Tensor]
"""[n, *grid] per level, finest first: one plane of a signal. Symbols are int16, what they stand for float32."""


def tile_count(shape: tuple[int, ...]) -> int:
    """How many tiles a grid is cut into."""
    return math.prod(-(-n // TILES[len(shape)]) for n in shape)


def tiles(shape: tuple[int, ...]) -> list[Window]:
    """The tiles of a grid, row by row."""
    side = TILES[len(shape)]
    return list(product(*([(a, min(a + side, n)) for a in range(0, n, side)] for n in shape)))


class _Parts:
    """Where the symbols of a part are: what the two directions of coding share."""

    def __init__(self, model: "PyramidModel", shape: tuple[int, ...], first_only: bool, runs: int):
        self.runs = runs
        self.tables = model.tables
        self.groups = model.config.prior.groups
        self.luma = model.config.luma
        self.stretches = model.config.stretches
        self.first_only = first_only  # grey: all channels are one, the others are zero and not coded
        self.sizes = grid_sizes(shape, model.config.levels)
        self.offsets = phases(model.config.dims)
        self.points = model.synthesis.points
        self.values: list[list[list[Tensor]]] = [[[] for _ in self.offsets] for _ in self.groups]

    def valid(self, level: int, phase: int) -> Index:
        """Cells of a phase that exist."""
        return cut(phase_window(self.sizes[level + 1], self.offsets[phase]))

    def section(self, level: int) -> int:
        return self.runs - 1 - min(level, self.runs - 1)

    def grid(self, level: int) -> Tensor:
        """What the symbols of a level stand for: [1, n, *grid]."""
        parts = [torch.cat(groups, 1) for groups in self.values[level]]
        return merge_phases(parts, self.sizes[level + 1])


def _integers(x: Tensor, valid: Index) -> Ints:
    """[1, n, *grid] → [n, cells]."""
    return x[0][valid].flatten(1).to("cpu", torch.int32).numpy()


def _stretch(symbols: Ints) -> Ints:
    """Symbols of table STRETCHES, as `best_stretches` finds them → stretches of all latents or each: [1 or n, 1]."""
    return (symbols[-max(1, len(symbols) - 1) :, None] - LARGEST_STRETCH).astype(np.int32)


class _Writer(_Parts):
    def __init__(
        self,
        model: "PyramidModel",
        latents: Latents,
        shape: tuple[int, ...],
        op: Tensor,
        first_only: bool,
        runs: int,
        valued: bool,
    ):
        super().__init__(model, shape, first_only, runs)
        dims = model.config.dims
        self.op, self.valued = op, valued  # valued: whether what symbols stand for is wanted
        self.known = [split_phases(y[None].to(model.device, torch.float32), dims) for y in latents]
        self.parts: list[tuple[tuple[int, int], tuple[Ints, Ints, Ints]]] = []

    def __call__(self, level: int, phase: int, group: int, mean: Tensor, index: Tensor) -> Tensor:
        part = self.known[level][phase].split(self.groups[level], 1)[group]
        coded = not (self.first_only and group >= self.luma(level))
        if self.valued:
            shift = self.points(level, part, mean, index, self.op) if coded else 0.0
            self.values[level][phase].append(part + shift)
        if not coded:
            return torch.zeros_like(part)
        valid = self.valid(level, phase)
        y, m, k = (_integers(x, valid) for x in (part, mean, index))
        self.parts.append(((level, group), (y, m, k)))
        return part

    def encode(self, front: Sequence[tuple[Ints, Ints]] = ()) -> list[bytes]:
        """What was visited, as sections; what comes first in the finest one."""
        sections: list[list] = [[] for _ in range(self.runs)]
        sections[-1] += front
        stretches: dict[tuple[int, int], Ints] = {}
        for where, (y, mean, index) in self.parts:
            out = sections[self.section(where[0])]
            if self.stretches:
                if where not in stretches:
                    symbols = self.tables.best_stretches([part for there, part in self.parts if there == where])
                    out += [(part, np.full(len(part), STRETCHES, np.uint16)) for part in (symbols[:1], symbols[1:])]
                    stretches[where] = _stretch(symbols)
                index = stretched(index, stretches[where])
            out += self.tables.parts(y.ravel(), mean.ravel(), index.ravel())
        return [entropy.encode(parts, self.tables) for parts in sections]


class _Reader(_Parts):
    def __init__(
        self,
        model: "PyramidModel",
        sections: list[bytes],
        shape: tuple[int, ...],
        op: Tensor,
        first_only: bool,
        runs: int,
    ):
        super().__init__(model, shape, first_only, runs)
        self.op = op
        self.decoders = [entropy.Decoder(data, model.tables) for data in sections]
        self.stretch: dict[tuple[int, int], Ints] = {}

    def __call__(self, level: int, phase: int, group: int, mean: Tensor, index: Tensor) -> Tensor:
        part = torch.zeros_like(mean)
        if self.first_only and group >= self.luma(level):
            self.values[level][phase].append(part)
            return part
        valid = self.valid(level, phase)
        decoder = self.decoders[self.section(level)]
        m, k = _integers(mean, valid), _integers(index, valid)
        if self.stretches:
            if phase == 0:
                self.stretch[level, group] = self._read_stretch(decoder, len(m))
            k = stretched(k, self.stretch[level, group])
        y = self.tables.read(decoder.decode, m.ravel(), k.ravel())
        inner = part[0][valid]
        inner.copy_(torch.from_numpy(y.astype(np.float32)).view(inner.shape))
        self.values[level][phase].append(part + self.points(level, part, mean, index, self.op))
        return part

    @staticmethod
    def _read_stretch(decoder: entropy.Decoder, latents: int) -> Ints:
        symbols = decoder.decode(np.full(1, STRETCHES, np.uint16))
        if symbols[0] == EACH:
            own = decoder.decode(np.full(latents, STRETCHES, np.uint16))
            if (own == EACH).any():
                raise CorruptStream("the stretch of one latent is announced as several")
            symbols = np.append(symbols, own)
        return _stretch(symbols)


def cells_under(window: Window, level: int) -> Window:
    """The cells of a level under a window that starts at a multiple of its stride."""
    stride = 2 ** (level + 1)
    return tuple((a // stride, -(-b // stride)) for a, b in window)


def _tile_of(latents: Latents, tile: Window) -> Latents:
    """Views of the latents under a tile."""
    return [y[cut(cells_under(tile, i))] for i, y in enumerate(latents)]


def _intact(sections: Iterable[bytes | None]) -> list[bytes]:
    """Those before the first that is lost."""
    found: list[bytes] = []
    for section in sections:
        if section is None:
            break
        found.append(section)
    return found


def write_symbols(
    model: "PyramidModel",
    latents: Latents,
    shape: tuple[int, ...],
    operating_point: int,
    first_only: bool,
    runs: int = SECTIONS,
    close: Close | None = None,
) -> list[list[bytes]]:
    """Latents → [section, coarse to fine][tile] → bytes; `runs` sections a tile.

    close: finds closing modulations, where the network has them; they come first in the finest section of all.
    """
    op = torch.tensor([operating_point], device=model.device)
    half = len(tiles(shape)) > 1  # closing modulations of a large signal need no more, and it is large
    values = [torch.zeros(y.shape, dtype=torch.float16 if half else torch.float32) for y in latents] if close else []
    first: _Writer | None = None  # it waits for what all tiles are needed for
    out: list[list[bytes]] = [[] for _ in range(runs)]
    for tile in tiles(shape):
        size = tuple(b - a for a, b in tile)
        writer = _Writer(model, _tile_of(latents, tile), size, op, first_only, runs, close is not None)
        with torch.no_grad():
            model.prior.walk(size, op, writer)
        for level, whole in enumerate(_tile_of(values, tile)):
            whole.copy_(writer.grid(level)[0])
        writer.values = []
        if first is None:
            first = writer
            continue
        for run, section in zip(out, writer.encode(), strict=True):
            run.append(section)
    assert first is not None
    front = []
    if (own := basis(model, runs)) is not None:
        found = close([y[None] for y in values]) if close else Modulations()
        front = closing.parts(own, model.tables, found)
    for run, section in zip(out, first.encode(front), strict=True):
        run.insert(0, section)
    return out


def basis(model: "PyramidModel", runs: int) -> Closing | None:
    """What closing modulations choose from: none for the items of a batch, which are small and many."""
    return model.closing if runs == SECTIONS else None


class CodedLatents:
    """The latents of one plane of a stream: a tile is decoded when something that depends on it is asked for.

    sections: [section, coarse to fine][tile] → bytes, as of `write_symbols`; with fewer than all sections, the finest
    levels stay zero. None is a section that is lost, and the finer ones of its tile with it.
    """

    def __init__(
        self,
        model: "PyramidModel",
        sections: Sequence[Sequence[bytes | None]],
        shape: tuple[int, ...],
        operating_point: int,
        first_only: bool,
        runs: int = SECTIONS,
    ):
        self.model, self.sections, self.first_only, self.runs = model, sections, first_only, runs
        self.op = torch.tensor([operating_point], device=model.device)
        self.sizes = grid_sizes(shape, model.config.levels)
        self.left = dict(enumerate(tiles(shape)))
        counts = map(model.config.latents, range(model.config.levels))
        self.found = [torch.zeros(n, *size) for n, size in zip(counts, self.sizes[1:], strict=True)]

    @cached_property
    def modulations(self) -> Modulations:
        """Those of the last layer; none where their section is lost or not there yet. Raises CorruptStream."""
        intact = _intact(tiles_of[0] for tiles_of in self.sections)
        own = basis(self.model, self.runs)
        if own is None or len(intact) < self.runs:
            return Modulations()
        return closing.read(own, self.model.tables, entropy.Decoder(intact[-1], self.model.tables))

    def whole(self) -> Latents:
        """What all of them stand for. Raises CorruptStream."""
        return self.around(tuple((0, n) for n in self.sizes[0]))

    def around(self, window: Window) -> Latents:
        """The grids of the whole plane, in which those that a window of samples depends on are decoded.

        Raises CorruptStream.
        """
        regions = cell_regions(self.sizes, window, self.model.config.margin)
        for t, tile in list(self.left.items()):
            if any(_meet(cells_under(tile, level), region) for level, region in regions.items()):
                self._decode(t, tile)
                del self.left[t]
        return self.found

    def _decode(self, t: int, tile: Window) -> None:
        size = tuple(b - a for a, b in tile)
        intact = _intact(tiles_of[t] for tiles_of in self.sections)
        if not intact:
            return
        reader = _Reader(self.model, intact, size, self.op, self.first_only, self.runs)
        stop = self.runs - len(intact)
        if t == 0 and not stop and (own := basis(self.model, self.runs)) is not None:  # `modulations` has them
            closing.read(own, self.model.tables, reader.decoders[-1])
        with torch.no_grad():
            self.model.prior.walk(size, self.op, reader, stop=stop)
        for decoder in reader.decoders:
            decoder.finish()
        for level, whole in list(enumerate(_tile_of(self.found, tile)))[stop:]:
            whole.copy_(reader.grid(level)[0])


def _meet(a: Window, b: Window) -> bool:
    return all(start < other_stop and other < stop for (start, stop), (other, other_stop) in zip(a, b, strict=True))
