"""What COIN and D'OH share: a network is fitted to every item from scratch, and its values are all that is sent.

A stream has one section for every item; all channels, alpha too, are outputs of one network. Small items of a batch
are fitted side by side: their networks have one architecture, and Adam treats every value on its own.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from inrcodec.adam import Adam
from inrcodec.container import Header
from inrcodec.errors import CorruptStream, TruncatedStream
from inrcodec.fields.grids import with_axes
from inrcodec.fields.siren import Siren
from inrcodec.fields.wholefield import ACTIVATIONS, WholeField, network_coordinates
from inrcodec.methods.method import Progress, plane_features
from inrcodec.methods.options import Options
from inrcodec.quantisers import uniform_dequantise, uniform_quantise
from inrcodec.residual.symbols import Reader, Writer
from inrcodec.signal import SampleFormat, Signal
from inrcodec.window import Shape

POINTS = 256
LOWEST_RATE, HIGHEST_RATE = 0.03, 12.0  # bits per position at the ends of the operating points

EFFORT_STEPS = (50, 100, 200, 400, 700, 1000, 2000, 5000, 15000, 50000)
"""Steps of Adam at effort 0…9, unless the options say how many."""

JUDGED = 1 << 16  # positions by which iterates are compared
JUDGEMENTS = 25  # how often
TOGETHER = 1 << 17  # positions of items that are fitted at once

MAX_DEPTH, MAX_WIDTH = 64, 1024
VALUES_A_BYTE = 16  # that entropy coding may reach; what claims more is refused before it is decoded


@dataclass(frozen=True)
class FileOptions(Options):
    """bits: of a value that is sent. The others say how the network is fitted."""

    bits: int = 16
    w0: int = 30
    steps: int = 0  # of Adam; 0: by effort
    rate: float = 0.001  # step size of Adam; twice that loses networks of ten layers
    decay: bool = True  # it falls to zero along a cosine
    batch: int = 1 << 14  # positions that a step sees, drawn at random; 0: all of them

    def __post_init__(self) -> None:
        limits = {"bits": (4, 16), "w0": (1, 255), "steps": (0, 10**7), "batch": (0, 1 << 24)}
        for name, (low, high) in limits.items():
            check_limits(name, getattr(self, name), low, high)
        if not 0 < self.rate < 1:
            raise ValueError(f"option 'rate' must be within 0 and 1, not {self.rate}")


def check_limits(name: str, value: int, low: int, high: int) -> None:
    """Raises ValueError."""
    if not low <= value <= high:
        raise ValueError(f"option '{name}' must be within {low} and {high}, not {value}")


O = TypeVar("O", bound=FileOptions)  # noqa: E741


def least_sections(header: Header) -> int:
    """How many sections a stream has at the least, whatever its samples are."""
    return header.items or 1


def section_count(header: Header, form: SampleFormat) -> int:
    """How many sections a stream has."""
    return least_sections(header)


def target_bits(point: int, shape: Shape) -> float:
    """What an operating point allows for an item: evenly spaced on a logarithmic scale of bits per position."""
    return LOWEST_RATE * (HIGHEST_RATE / LOWEST_RATE) ** (point / (POINTS - 1)) * math.prod(shape)


class PerFileModel(ABC, Generic[O]):
    """Nothing but options, and a device to work on."""

    points = POINTS
    dims, channels = 3, 255  # at the most

    def __init__(self, options: O):
        self.options = options
        self.device = torch.device("cpu")

    def to(self, device: str, /) -> Self:
        self.device = torch.device(device)
        return self

    def write(self, signal: Signal, header: Header, effort: int, progress: Progress) -> list[bytes]:
        """Fit a network to every item, quantise and code it."""
        steps, sections = self.options.steps or EFFORT_STEPS[effort], []
        together = max(1, TOGETHER // math.prod(header.shape))
        for first in range(0, signal.items, together):
            items = range(first, min(first + together, signal.items))

            def advance(what: str, share: float, items: range = items) -> None:
                progress(what, (items.start + share * len(items)) / signal.items)

            sections += self.encode(torch.stack([item_features(signal, k) for k in items]), header, steps, advance)
        return sections

    def read(self, header: Header, form: SampleFormat, sections: list[bytes], item: int) -> WholeField:
        """The inverse of `write`, of one item. Raises CorruptStream, TruncatedStream."""
        if len(sections) <= item:
            raise TruncatedStream(f"{len(sections)} whole sections are there; item {item} has section {item}")
        net, width = self.decode(sections[item], header.shape, form.channels)
        return WholeField(net, width, header.shape, form, self.device, item)

    @abstractmethod
    def encode(self, y: Tensor, header: Header, steps: int, progress: Progress) -> list[bytes]:
        """Features [P, N, C] of P items on one grid → a section each."""

    @abstractmethod
    def decode(self, data: bytes, shape: Shape, channels: int) -> tuple[Callable[[Tensor], Tensor], int]:
        """A section → the network, coordinates [N, d] → features [N, C], and its width. Raises CorruptStream."""


def item_features(signal: Signal, item: int) -> Tensor:
    """Features of all channels, [N, C]; special samples are filled in."""
    whole = tuple((0, n) for n in signal.shape)
    planes = [plane_features(signal, item, channels, len(channels))(whole) for channels in signal.format.planes]
    return torch.cat(planes).flatten(1).T.contiguous()


def new_siren(inputs: int, outputs: int, width: int, depth: int, w0: float) -> Siren:
    """Always with the same weights, and without touching the state of torch's random numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Siren(inputs, outputs, width, depth, w0)


def copies(tensors: Iterable[Tensor], count: int) -> list[Tensor]:
    """[*shape] each → parameters [count, *shape], the same for every item."""
    return [t.detach().expand(count, *t.shape).clone().requires_grad_() for t in tensors]


def fit(
    net: Callable[[Tensor], Tensor],
    parameters: Sequence[Tensor],
    y: Tensor,
    shape: Shape,
    options: FileOptions,
    width: int,
    steps: int,
    progress: Callable[[float], None],
) -> Tensor:
    """Adam on the parameters [P, …] of P networks, coordinates [N, d] → features [P, N, C], towards y [P, N, C].

    The best iterate of each is kept; gives their mean squared errors, [P]. Iterates are compared on the same positions,
    JUDGED of them at the most. Memory is bounded: positions are evaluated in parts, whatever the batch.
    """
    draw = torch.Generator().manual_seed(0)
    device, positions, part = parameters[0].device, y.shape[1], max(1, ACTIVATIONS // (width * len(y)))
    everything = torch.arange(positions)
    judged = everything if positions <= JUDGED else torch.randint(positions, (JUDGED,), generator=draw)
    whole = options.batch == 0 or options.batch >= positions

    def error(index: Tensor) -> Tensor:
        at = torch.stack(torch.unravel_index(index.to(device), shape), 1).double()
        return (net(network_coordinates(at, shape)) - y[:, index].to(device)).square().mean((1, 2))

    @torch.no_grad()
    def judge() -> Tensor:
        return torch.stack([error(p) * (len(p) / len(judged)) for p in judged.split(part)]).sum(0)

    lowest, best = judge(), [p.detach().clone() for p in parameters]
    optimiser = Adam(parameters)
    every = max(1, steps // JUDGEMENTS)
    for step in range(steps):
        rate = options.rate * ((1 + math.cos(math.pi * step / steps)) / 2 if options.decay else 1.0)
        index = everything if whole else torch.randint(positions, (options.batch,), generator=draw)
        for p in index.split(part):
            (error(p) * (len(p) / len(index))).sum().backward()
        optimiser.step(rate)
        progress((step + 1) / steps)
        if (step + 1) % every == 0 or step + 1 == steps:
            reached = judge()
            better, lowest = reached < lowest, torch.minimum(reached, lowest)
            pairs = zip(parameters, best, strict=True)
            best = [torch.where(with_axes(better, p.ndim - 1), p.detach(), kept) for p, kept in pairs]
    with torch.no_grad():
        for p, kept in zip(parameters, best, strict=True):
            p.copy_(kept)
    return lowest


Range = Callable[[Tensor, int], tuple[float, float]]
"""Values, bits → the lowest and the highest number that symbols stand for."""


def write_tensors(tensors: Sequence[Tensor], bits: int, ranges: Range) -> bytes:
    """The range of each tensor, two float16; then all symbols, entropy coded."""
    head, out = b"", Writer()
    for values in tensors:
        low, high = _outward(*ranges(values, bits))
        head += np.array([low, high], "<f2").tobytes()
        symbols = uniform_quantise(values, low, high, bits).flatten().cpu().numpy().astype(np.int64)
        middle = int(np.median(symbols))
        out.put(np.array([middle]))
        out.put(symbols - middle)
    return head + out.finish()


def read_tensors(data: bytes, shapes: Sequence[tuple[int, ...]], bits: int) -> list[Tensor]:
    """The inverse of `write_tensors`. Raises CorruptStream."""
    count = sum(map(math.prod, shapes))
    if 4 * len(shapes) > len(data) or count > VALUES_A_BYTE * len(data):
        raise CorruptStream(f"{count} values of {len(shapes)} tensors cannot be in {len(data)} bytes")
    head, source = np.frombuffer(data, "<f2", 2 * len(shapes)).astype(np.float32), Reader(data[4 * len(shapes) :])
    if not np.isfinite(head).all() or (head[0::2] > head[1::2]).any():
        raise CorruptStream("the range of a tensor is no range")
    tensors = []
    for shape, low, high in zip(shapes, head[0::2].tolist(), head[1::2].tolist(), strict=True):
        middle = int(source.take(1)[0])
        symbols = source.take(math.prod(shape)) + middle
        if symbols.min() < 0 or symbols.max() >= 1 << bits:
            raise CorruptStream(f"symbols from {symbols.min()} to {symbols.max()}, of {bits} bits each")
        tensors.append(uniform_dequantise(torch.from_numpy(symbols), low, high, bits).view(shape))
    source.finish()
    return tensors


def _outward(low: float, high: float) -> tuple[float, float]:
    """The next float16 numbers around a range."""
    top = float(np.finfo(np.float16).max)
    near = np.clip([low, high], -top, top).astype(np.float16)
    first = near[0] if near[0] <= low else np.nextafter(near[0], np.float16(-np.inf))
    last = near[1] if near[1] >= high else np.nextafter(near[1], np.float16(np.inf))
    return float(first), float(last)
