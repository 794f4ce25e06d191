"""The pyramid as a method: {pyramid field, grids of latents, few-step adaptation, learned gain, context prior}.

A signal on its own has `latents.SECTIONS` sections for every tile of every plane, all the coarse ones first, so that
a prefix is a preview. A batch has one for every tile of every plane, item by item: each decodes without the others.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from functools import cached_property, partial
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inrcodec import closing, latents
from inrcodec.adaptation import EFFORTS, adapt
from inrcodec.closing import Equations, Modulations
from inrcodec.container import Header
from inrcodec.coordinates import unit_vectors
from inrcodec.errors import CorruptStream, TruncatedStream
from inrcodec.fields.closing import Change
from inrcodec.fields.grids import channels_last, compact_tiles, cut, grid_sizes, weights_last
from inrcodec.fields.head import Head
from inrcodec.fields.pyramid import Analysis, PyramidConfig, Synthesis
from inrcodec.fields.pyramidfield import PyramidField
from inrcodec.latents import CodedLatents, Latents, cells_under, tile_count
from inrcodec.methods.method import Progress, plane_features
from inrcodec.priors.context import OPERATING_POINTS, ContextPrior, IntegerLayer, half_up
from inrcodec.priors.tables import LARGEST, LatentTables
from inrcodec.recovery import Sections
from inrcodec.signal import SampleFormat, Signal
from inrcodec.window import Shape, Window

TOGETHER = 1 << 15  # positions of items of a batch that are adapted at once
TILES = {1: 1 << 16, 2: 768, 3: 112}  # samples a side, or as many in all, that are searched at once, by axes
HALOS = {1: 1024, 2: 64, 3: 32}  # what such a tile sees of its neighbours: two cells of the coarsest level


def least_sections(header: Header) -> int:
    """How many sections a stream has at the least, whatever its samples are."""
    return tile_count(header.shape) * (header.items or 1)


def section_count(header: Header, form: SampleFormat) -> int:
    """How many sections a stream has."""
    return _runs(header) * len(form.planes) * least_sections(header)


def load(data: bytes | None, options: Mapping[str, Any]) -> "PyramidModel":
    """From the bytes of a safetensors file. Raises ValueError, KeyError or RuntimeError if it is not one."""
    if data is None or options:
        raise TypeError("a pyramid needs a base network, and has no options")
    return PyramidModel.from_bytes(data)


def _runs(header: Header) -> int:
    return latents.SECTIONS if header.items is None else 1


class PyramidModel(nn.Module):
    """The networks and tables of one base network."""

    def __init__(self, config: PyramidConfig, tails: NDArray[np.int32]):
        super().__init__()
        self.config = config
        self.synthesis = Synthesis(config)
        self.analysis = Analysis(config)
        self.prior = ContextPrior(config.prior, IntegerLayer)
        self.head = Head(config.dims, config.channels, config.widths[0])
        self.closing = config.closing_basis()
        self.tables = LatentTables(tails)

    @classmethod
    def from_bytes(cls, data: bytes) -> "PyramidModel":
        """From the bytes of a safetensors file. Raises ValueError, KeyError or RuntimeError if it is not one."""
        tensors = safetensors.torch.load(data)
        config = PyramidConfig.from_json(bytes(tensors.pop("config").tolist()))
        model = cls(config, tensors.pop("tails").numpy())
        if model.closing is not None:
            model.closing.load(tensors.pop("scales"))
        if "points" in tensors:  # else symbols stand for themselves
            model.synthesis.points.load(tensors.pop("points"))
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

    @cached_property
    def precise(self) -> "PyramidModel":
        """The same with a synthesis in float64."""
        twin = copy(self)  # shares all modules but those that are replaced
        names = ["synthesis"] if self.closing is None else ["synthesis", "closing"]
        twin._modules = dict(self._modules) | {name: deepcopy(getattr(self, name)).double() for name in names}
        return twin

    @property
    def points(self) -> int:
        return OPERATING_POINTS

    @property
    def dims(self) -> int:
        return self.config.dims

    @property
    def channels(self) -> int:
        return self.config.channels

    def write(self, signal: Signal, header: Header, effort: int, progress: Progress) -> list[bytes]:
        """Find the latents of every item, and code them."""
        planes, runs, point = signal.format.planes, _runs(header), header.operating_point
        total = signal.items * len(planes) * len(self.tiles(header.shape)) * max(sum(EFFORTS[effort]), 1)
        places = self.places(signal.format, header.shape)
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress("adapting", done / total)

        sections: list[list[bytes]] = [[] for _ in range(runs)]
        together = max(1, TOGETHER // math.prod(header.shape))
        for first in range(0, signal.items, together):
            items = range(first, min(first + together, signal.items))
            found, sources = [], []
            closed = effort > 0 and latents.basis(self, runs) is not None
            for channels in planes:
                features = [plane_features(signal, k, channels, self.channels) for k in items]
                first_only = len(channels) < self.channels
                found.append(
                    find_latents(self, features, header.shape, point, first_only, effort, advance, places, closed)
                )
                sources.append(features)
            for k in range(len(items)):
                for channels, own, features in zip(planes, found, sources, strict=True):
                    first_only = len(channels) < self.channels
                    close = None
                    if closed:
                        close = Closer(self, features[k], header.shape, point, first_only, places)
                    coded = latents.write_symbols(self, own[k], header.shape, point, first_only, runs, close)
                    for run, tiles in zip(sections, coded, strict=True):
                        run += tiles
        return [section for run in sections for section in run]

    def read(self, header: Header, form: SampleFormat, sections: Sections, item: int) -> PyramidField:
        """The inverse of `write`, of one item; sections that a prefix lacks, or that are None and lost, leave the
        finest latents at zero.

        Raises TruncatedStream; the field raises CorruptStream when it is evaluated.
        """
        planes, tiles, runs = form.planes, tile_count(header.shape), _runs(header)
        per_run = len(planes) * tiles
        if header.items is not None:
            sections = sections[item * per_run : (item + 1) * per_run]
        whole = len(sections) // per_run
        if not whole:
            raise TruncatedStream(f"{len(sections)} whole sections of item {item} are there; {per_run} are needed")
        found = []
        for p, channels in enumerate(planes):
            own = [sections[k * per_run + p * tiles : k * per_run + (p + 1) * tiles] for k in range(whole)]
            first_only = len(channels) < self.channels
            found.append(CodedLatents(self, own, header.shape, header.operating_point, first_only, runs))
        places = self.places(form, header.shape)
        return PyramidField(self, header.shape, header.operating_point, form, found, places, item)

    def tiles(self, shape: Shape) -> list[Window]:
        """The parts of a grid that are adapted one after another; they meet where cells of every level do."""
        return compact_tiles(shape, TILES[len(shape)] ** len(shape), 2**self.config.levels)

    def places(self, form: SampleFormat, shape: Shape) -> Tensor | None:
        """Unit vectors [1, 3, *shape], if the network asks for them. Raises CorruptStream if the stream has none."""
        if not self.config.sphere:
            return None
        try:
            return unit_vectors(getattr(form, "info", {}), shape).to(self.synthesis.colour)
        except (KeyError, TypeError, ValueError):
            raise CorruptStream("the base network is for the sphere; latitude and longitude are not known") from None


class Closer:
    """From what latents stand for to closing modulations, of one signal.

    From the second time on, with the products of the first: what the last layer reads changes little along a search.
    """

    def __init__(
        self,
        model: PyramidModel,
        features: Callable[[Window], Tensor],
        shape: Shape,
        point: int,
        first_only: bool,
        places: Tensor | None,
    ):
        """features: [C, *window] of a window of the grid. first_only: the signal has the first channel only."""
        self.model, self.features, self.shape, self.first_only, self.places = model, features, shape, first_only, places
        self.op = torch.tensor([point], device=model.device)
        self.first: Equations | None = None

    def __call__(self, values: list[Tensor]) -> Modulations:
        """values [1, n, *grid], finest first."""
        model = self.model
        assert model.closing is not None
        equations = Equations(model.synthesis, self.first)
        for window in model.tiles(self.shape):
            target = model.synthesis.from_signal(self.features(window)[None].to(model.device))
            equations.add(values, self.op, self.shape, window, target, self.places)
        self.first = self.first or equations
        return closing.find(model.closing, model.tables, equations, self.op * model.config.aim, self.first_only)

    def change(self, values: list[Tensor]) -> Change | None:
        """What they change of the last layer."""
        return self(values).change(self.model.closing)


def find_latents(
    model: PyramidModel,
    features: Sequence[Callable[[Window], Tensor]],
    shape: tuple[int, ...],
    operating_point: int,
    first_only: bool,
    effort: int,
    progress: Callable[[int], None],
    places: Tensor | None = None,
    closed: bool = False,
) -> list[Latents]:
    """Features of a window [C, *window] of each item → the latents of its whole grid. One tile of all at a time.

    places: unit vectors [1, 3, *shape], for a network on the sphere. closed: whether there are closing modulations.
    """
    levels = model.config.levels
    sizes = grid_sizes(shape, levels)
    out = [
        torch.zeros(len(features), model.config.latents(i), *size, dtype=torch.int16)
        for i, size in enumerate(sizes[1:])
    ]
    op, halo = torch.tensor([operating_point], device=model.device), HALOS[len(shape)]
    for tile in model.tiles(shape):
        window = tuple((max(0, a - halo), min(n, b + halo)) for (a, b), n in zip(tile, shape, strict=True))
        x = channels_last(torch.stack([part(window) for part in features]).to(model.device))
        here = None if places is None else places[cut(window)]
        with torch.no_grad():
            start, _, _ = model.analysis(x, op, model.synthesis, half_up, here)
        change = None
        if closed:
            source = partial(_cut, x[0])
            change = Closer(model, source, tuple(x.shape[2:]), operating_point, first_only, here).change
        found = adapt(start, x, op, model.synthesis, model.prior, effort, progress, first_only, here, change)
        for i, (whole, part) in enumerate(zip(out, found, strict=True)):
            cells = cells_under(tile, i)
            values = part[cut(cells, cells_under(window, i))].clamp(-LARGEST, LARGEST)
            whole[cut(cells)] = values.to("cpu", torch.int16)
    return [list(item) for item in zip(*out, strict=True)]


def _cut(x: Tensor, window: Window) -> Tensor:
    return x[cut(window)]
