"""The pyramid as a method: {pyramid field, grids of latents, few-step adaptation, learned gain, context prior}.

`write_symbols` and `read_symbols` mirror each other. A large grid is cut into tiles for the entropy coder and for
the search; the synthesis knows of no tiles, so there are no seams.
"""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inrcodec import entropy
from inrcodec.adaptation import adapt
from inrcodec.errors import CorruptStream
from inrcodec.fields.grids import Index, channels_last, cut, grid_sizes, phases, split_phases, weights_last
from inrcodec.fields.head import Head
from inrcodec.fields.pyramid import Analysis, PyramidConfig, Synthesis
from inrcodec.priors.context import ContextPrior, IntegerLayer, half_up
from inrcodec.priors.tables import LARGEST, UNIFORM, LatentTables
from inrcodec.window import Window

TILES = {1: 1 << 16, 2: 1024, 3: 96}  # samples a side, by the number of axes: multiples of every stride
HALOS = {1: 1024, 2: 64, 3: 16}  # what a tile sees of its neighbours while its latents are found; multiples, too
SECTIONS = 3  # of a tile: all coarse levels, stride 4, stride 2; of a tile in a batch: one

Latents = list[Tensor]
"""int16 [n, *grid] per level, finest first: one plane of a signal."""


class PyramidModel(nn.Module):
    """The networks and tables of one base network."""

    def __init__(self, config: PyramidConfig, tails: NDArray[np.int32]):
        super().__init__()
        self.config = config
        self.synthesis = Synthesis(config)
        self.analysis = Analysis(config)
        self.prior = ContextPrior(config.prior, IntegerLayer)
        self.head = Head(config.dims, config.channels, config.widths[0])
        self.tables = LatentTables(tails)

    @classmethod
    def from_bytes(cls, data: bytes) -> "PyramidModel":
        """From the bytes of a safetensors file. Raises ValueError, KeyError or RuntimeError if it is not one."""
        tensors = safetensors.torch.load(data)
        config = PyramidConfig.from_json(bytes(tensors.pop("config").tolist()))
        model = cls(config, tensors.pop("tails").numpy())
        for name, layer in model.prior.named_modules():
            if isinstance(layer, IntegerLayer):
                layer.load(*(tensors.pop(f"prior.{name}.{part}") for part in ("weight", "shift", "bias")))
        state = model.state_dict()
        model.load_state_dict(tensors | {k: v for k, v in state.items() if k.startswith("prior.")})
        model.requires_grad_(False).eval()
        return weights_last(model)

    @property
    def device(self) -> torch.device:
        return self.synthesis.colour.device


def tile_count(shape: tuple[int, ...]) -> int:
    """How many tiles a grid is cut into."""
    return math.prod(-(-n // TILES[len(shape)]) for n in shape)


def tiles(shape: tuple[int, ...]) -> list[Window]:
    """The tiles of a grid, row by row."""
    side = TILES[len(shape)]
    return list(product(*([(a, min(a + side, n)) for a in range(0, n, side)] for n in shape)))


def find_latents(
    model: PyramidModel,
    features: Callable[[Window], Tensor],
    shape: tuple[int, ...],
    operating_point: int,
    first_only: bool,
    steps: int,
    progress: Callable[[int], None],
    places: Tensor | None = None,
) -> Latents:
    """Features of a window [C, *window] → the latents of the whole grid. One tile at a time.

    places: unit vectors [1, 3, *shape], for a network on the sphere.
    """
    levels = model.config.levels
    sizes = grid_sizes(shape, levels)
    latents = [torch.zeros(model.config.latents(i), *size, dtype=torch.int16) for i, size in enumerate(sizes[1:])]
    op, halo = torch.tensor([operating_point], device=model.device), HALOS[len(shape)]
    for tile in tiles(shape):
        window = tuple((max(0, a - halo), min(n, b + halo)) for (a, b), n in zip(tile, shape, strict=True))
        x = channels_last(features(window)[None].to(model.device))
        here = None if places is None else places[cut(window)]
        with torch.no_grad():
            start, _, _ = model.analysis(x, op, model.synthesis, half_up, here)
        found = adapt(start, x, op, model.synthesis, model.prior, steps, progress, first_only, here)
        for i, (whole, part) in enumerate(zip(latents, found, strict=True)):
            cells = _cells(tile, i)
            values = part[0][cut(cells, _cells(window, i))].clamp(-LARGEST, LARGEST)
            whole[cut(cells)] = values.to("cpu", torch.int16)
    return latents


class _Parts:
    """Where the symbols of a part are: what the two directions of coding share."""

    def __init__(self, model: PyramidModel, shape: tuple[int, ...], first_only: bool, runs: int):
        self.runs = runs
        self.tables = model.tables
        self.groups = model.config.prior.groups
        self.first_only = first_only  # grey: all channels are one, the others are zero and not coded
        self.sizes = grid_sizes(shape, model.config.levels)
        self.offsets = phases(model.config.dims)

    def valid(self, level: int, phase: int) -> Index:
        """Cells of a phase that exist; an odd side leaves some phases shorter."""
        cells = self.sizes[level + 1]
        return cut(tuple((0, (n - o + 1) // 2) for n, o in zip(cells, self.offsets[phase], strict=True)))

    def section(self, level: int) -> int:
        return self.runs - 1 - min(level, self.runs - 1)


def _integers(x: Tensor, valid: Index) -> NDArray[np.int32]:
    return x[0][valid].to("cpu", torch.int32).numpy().ravel()


class _Writer(_Parts):
    def __init__(self, model: PyramidModel, latents: Latents, shape: tuple[int, ...], first_only: bool, runs: int):
        super().__init__(model, shape, first_only, runs)
        dims = model.config.dims
        self.known = [split_phases(y[None].to(model.device, torch.float32), dims) for y in latents]
        self.sections: list[list] = [[] for _ in range(runs)]

    def __call__(self, level: int, phase: int, group: int, mean: Tensor, index: Tensor) -> Tensor:
        part = self.known[level][phase].split(self.groups[level], 1)[group]
        if group and self.first_only:
            return torch.zeros_like(part)
        valid = self.valid(level, phase)
        y, m, k = (_integers(x, valid) for x in (part, mean, index))
        symbols, indices, wide = self.tables.to_alphabet(y, m, k)
        out = self.sections[self.section(level)]
        out.append((symbols, indices))
        out.append((wide, np.full(len(wide), UNIFORM, np.uint16)))
        return part


class _Reader(_Parts):
    def __init__(self, model: PyramidModel, sections: list[bytes], shape: tuple[int, ...], first_only: bool, runs: int):
        super().__init__(model, shape, first_only, runs)
        self.decoders = [entropy.Decoder(data, model.tables) for data in sections]

    def __call__(self, level: int, phase: int, group: int, mean: Tensor, index: Tensor) -> Tensor:
        part = torch.zeros_like(mean)
        if group and self.first_only:
            return part
        valid = self.valid(level, phase)
        m, k = _integers(mean, valid), _integers(index, valid)
        decoder = self.decoders[self.section(level)]
        indices = self.tables.indices(m, k)
        symbols = decoder.decode(indices)
        escapes = int(self.tables.escapes(symbols, k).sum())
        wide = decoder.decode(np.full(2 * escapes, UNIFORM, np.uint16))
        y = self.tables.from_alphabet(symbols, m, k, wide)
        if np.abs(y).max(initial=0) > LARGEST:
            raise CorruptStream(f"a latent of {int(np.abs(y).max())} is beyond ±{LARGEST}")
        inner = part[0][valid]
        inner.copy_(torch.from_numpy(y.astype(np.float32)).view(inner.shape))
        return part


def _cells(window: Window, level: int) -> Window:
    """The cells of a level under a window that starts at a multiple of its stride."""
    stride = 2 ** (level + 1)
    return tuple((a // stride, -(-b // stride)) for a, b in window)


def _tile_of(latents: Latents, tile: Window) -> Latents:
    """Views of the latents under a tile."""
    return [y[cut(_cells(tile, i))] for i, y in enumerate(latents)]


def write_symbols(
    model: PyramidModel,
    latents: Latents,
    shape: tuple[int, ...],
    operating_point: int,
    first_only: bool,
    runs: int = SECTIONS,
) -> list[list[bytes]]:
    """Latents → [section, coarse to fine][tile] → bytes; `runs` sections a tile."""
    op = torch.tensor([operating_point], device=model.device)
    out: list[list[bytes]] = [[] for _ in range(runs)]
    for tile in tiles(shape):
        size = tuple(b - a for a, b in tile)
        writer = _Writer(model, _tile_of(latents, tile), size, first_only, runs)
        with torch.no_grad():
            model.prior.walk(size, op, writer)
        for k, parts in enumerate(writer.sections):
            out[k].append(entropy.encode(parts, model.tables))
    return out


def read_symbols(
    model: PyramidModel,
    sections: list[list[bytes]],
    shape: tuple[int, ...],
    operating_point: int,
    first_only: bool,
    runs: int = SECTIONS,
) -> Latents:
    """The inverse of `write_symbols`; with fewer than all sections, the finest levels stay zero.

    Raises CorruptStream.
    """
    levels = model.config.levels
    sizes = grid_sizes(shape, levels)
    latents = [torch.zeros(model.config.latents(i), *size, dtype=torch.int16) for i, size in enumerate(sizes[1:])]
    op = torch.tensor([operating_point], device=model.device)
    for t, tile in enumerate(tiles(shape)):
        size = tuple(b - a for a, b in tile)
        reader = _Reader(model, [tiles_of[t] for tiles_of in sections], size, first_only, runs)
        stop = runs - len(sections)
        with torch.no_grad():
            found = model.prior.walk(size, op, reader, stop=stop)
        for decoder in reader.decoders:
            decoder.finish()
        for whole, part in zip(_tile_of(latents, tile)[stop:], found, strict=True):
            whole.copy_(part[0])
    return latents
