"""The pyramid field: grids of latents at strides 2, 4, …, 2^L become a signal, coarse to fine.

Decoding at level i, from features h and a signal estimate r at stride 2^i:

    1. z_i = (y_i + points(y_i, what the prior expected)) / gain_i(λ)
    2. h ← up(h) + in_i(z_i, r); h ← residual blocks, conditioned on λ
    3. r ← inverse wavelet step of (r, detail bands of z_i) + unit_i(λ) · correction_i(h)

At the finest level the signal may change the correction (`closing`). The wavelet is the skeleton; the networks are
what training adds. `Analysis` is the mirror image: bottom-up features and the forward wavelet give the amortised start
of y.

On the sphere, where a place means something, features of the place (a SIREN of the unit vector, `Places`) enter at
every level, and a first guess that needs no latents is subtracted before all else.
"""

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inrcodec import devices
from inrcodec.fields import wavelet
from inrcodec.fields.closing import Change, Closing
from inrcodec.fields.grids import (
    CONV,
    CONVOLVE,
    beside,
    channels_last,
    cut,
    depth_to_space,
    grid_sizes,
    split_phases,
    with_axes,
)
from inrcodec.priors.context import OPERATING_POINTS, PriorConfig
from inrcodec.priors.points import Points
from inrcodec.window import Window

# λ of R + λ·D, D the mean squared error in units of a 255-step scale, over the operating points 0…255.
LMBDA_CENTRE = -3.565  # ln λ at the middle
LMBDA_HALF_RANGE = 4.26


@dataclass(frozen=True)
class PyramidConfig:
    """Sizes of a pyramid network. Lists run from the finest level (stride 2) to the coarsest."""

    dims: int = 2
    channels: int = 3
    widths: tuple[int, ...] = (32, 48, 64, 64, 64)
    blocks: tuple[int, ...] = (1, 1, 1, 1, 1)
    prior_widths: tuple[int, ...] = (48, 48, 48, 48, 48)
    colour: tuple[tuple[float, ...], ...] = field(
        default=((0.57735, 0.57735, 0.57735), (0.707107, 0.0, -0.707107), (-0.408248, 0.816497, -0.408248))
    )
    in_steps: bool = False  # corrections count in quantisation steps, so they shrink as the rate grows
    magnitudes: bool = False  # the prior sees the magnitudes of symbols beside their values
    apart: bool = False  # the prior codes the bands of luma, then the other channels, one after another
    stretches: bool = False  # a stream says how much wider or narrower its symbols are than the prior expects
    aim: float = 1.0  # a search minimises R + λ·D at the λ of so many times the operating point of the networks
    closing: int = 0  # how many modulations of the last layer a signal has
    sphere: bool = False  # the network sees where on the sphere it is; one channel, two axes: latitude, longitude

    @classmethod
    def from_json(cls, text: bytes) -> "PyramidConfig":
        """As written by `json.dumps(asdict(config))`. Raises ValueError or TypeError."""
        fields: dict[str, Any] = {k: _tuples(v) for k, v in json.loads(text).items()}
        config = cls(**fields)
        if not 0.5 <= config.aim <= 2:
            raise ValueError(f"an aim of {config.aim}; 0.5 to 2 are allowed")
        return config

    @property
    def levels(self) -> int:
        return len(self.widths)

    def closing_basis(self) -> Closing | None:
        """What the closing modulations of a signal choose from, to be trained or loaded."""
        return Closing(self.dims, self.closing, self.closing_inputs, self.outputs) if self.closing else None

    @property
    def outputs(self) -> int:
        """Channels of the last layer: the samples of a cell."""
        return 2**self.dims * self.channels

    @property
    def closing_inputs(self) -> int:
        """Channels that closing modulations read; see `Synthesis.read`."""
        return self.widths[0] + self.outputs

    @property
    def margin(self) -> int:
        """Cells around a window that its samples depend on, at each level: the 3^d convolutions, then the wavelet."""
        return 2 * max(self.blocks) + 6

    def latents(self, level: int) -> int:
        """Latents per cell: the detail bands of every channel, and at the coarsest level the low band too."""
        return self.channels * (2**self.dims - (level + 1 < self.levels))

    @property
    def prior(self) -> PriorConfig:
        """The first channel (luma) is coded before the others (chroma)."""
        per_channel = [self.latents(i) // self.channels for i in range(self.levels)]
        rest = self.channels - 1
        if self.apart:
            groups = tuple((1,) * n + (n,) * rest for n in per_channel)
        else:
            groups = tuple((n, n * rest) if rest else (n,) for n in per_channel)
        return PriorConfig(self.dims, groups, self.prior_widths, self.magnitudes, self.apart)

    def luma(self, level: int) -> int:
        """How many groups of latents of a cell, the first ones, are of the first channel."""
        return self.latents(level) // self.channels if self.apart else 1


def cell_regions(sizes: list[tuple[int, ...]], window: Window, margin: int, stop: int = 0) -> dict[int, Window]:
    """The cells of each level that a window of the grid at stride 2^stop depends on, `margin` cells at each level."""
    regions = {}
    for i in range(stop, len(sizes) - 1):
        window = tuple(
            (max(0, a // 2 - margin), min(n, (b + 1) // 2 + margin))
            for (a, b), n in zip(window, sizes[i + 1], strict=True)
        )
        regions[i] = window
    return regions


def _tuples(value: object) -> object:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def lmbda(op: Tensor) -> Tensor:
    """Operating point 0…255 → λ of R + λ·D (R in bits per sample position, D = 255²·MSE)."""
    return torch.exp(LMBDA_CENTRE + LMBDA_HALF_RANGE * _centred(op))


def operating_point(lmbda: float, aim: float = 1.0) -> int:
    """The operating point of which `aim` times it has the nearest λ."""
    t = (math.log(lmbda) - LMBDA_CENTRE) / LMBDA_HALF_RANGE
    return min(max(round((t + 1) / 2 * (OPERATING_POINTS - 1) / aim), 0), OPERATING_POINTS - 1)


def _centred(op: Tensor) -> Tensor:
    half = (OPERATING_POINTS - 1) / 2
    return ((op if op.is_floating_point() else op.float()) - half) / half


def embed(op: Tensor) -> Tensor:
    """Operating points [B] → [B, 2]: t and t² − 1/3, t in −1…1."""
    t = _centred(op)
    return torch.stack([t, t * t - 1 / 3], -1)


class Block(nn.Module):
    """x + conv(gelu(scale(λ)·conv(x) + shift(λ))), both convolutions 3^d."""

    def __init__(self, dims: int, width: int):
        super().__init__()
        self.dims = dims
        self.conv1 = CONV[dims](width, width, 3, padding=1)
        self.conv2 = CONV[dims](width, width, 3, padding=1)
        self.film = nn.Linear(2, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        with torch.no_grad():
            self.conv2.weight *= 0.1

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        scale, shift = self.film(t).chunk(2, 1)
        if len(t) == 1:  # one operating point: the conditioning moves into the weights, which saves a pass
            weight = self.conv1.weight * with_axes(1 + scale[0], self.dims + 1)
            bias = shift[0] + self.conv1.bias * (1 + scale[0])
            inner = CONVOLVE[self.dims](x, weight, bias, padding=1)
        else:
            inner = torch.addcmul(with_axes(shift, self.dims), self.conv1(x), with_axes(1 + scale, self.dims))
        return x + self.conv2(F.gelu(inner))


def light(x: Tensor, exact: bool = False) -> AbstractContextManager[None]:
    """Networks compute in bfloat16 where that is quicker; if they are to be exact, only on the way to a gradient."""
    reduced = (x.requires_grad or not exact) and devices.multiplies_bfloat16(x.device)
    return torch.autocast(x.device.type, torch.bfloat16) if reduced else nullcontext()


def deepen(x: Tensor, blocks: nn.Module, t: Tensor) -> Tensor:
    """x after the blocks of a level."""
    for block in blocks.children():
        x = block(x, t)
    return x


class Made(NamedTuple):
    """What the last layer of a level reads, and what it adds to."""

    h: Tensor  # features [B, w_i, *cells]
    w: Tensor  # the inverse wavelet step [B, C, *grid]


def _small(conv: Any) -> nn.Module:
    """A convolution that starts as a small perturbation of nothing."""
    with torch.no_grad():
        conv.weight *= 0.1
        nn.init.zeros_(conv.bias)
    return conv


class Places(nn.Module):
    """What the place on the sphere alone says: features for every level, and a first guess of the signal.

    Places are unit vectors [B, 3, *grid] of all samples of the grid; a cell has that of its middle sample.
    """

    WIDTH = 96
    FREQUENCIES = (2.0, 24.0)  # of the first layer, radians per unit; half of the features each

    def __init__(self, config: PyramidConfig):
        super().__init__()
        self.first = nn.Conv2d(3, self.WIDTH, 1)
        self.second = nn.Conv2d(self.WIDTH, self.WIDTH, 1)
        self.levels = nn.ModuleList(nn.Conv2d(self.WIDTH, w, 1) for w in config.widths)
        self.guess = nn.Conv2d(self.WIDTH, config.channels, 1)
        with torch.no_grad():
            low, high = self.first.weight.chunk(2)
            for part, frequency in zip((low, high), self.FREQUENCIES, strict=True):
                part.copy_(torch.randn_like(part) * frequency)
            for conv in (*self.levels, self.guess):
                conv.weight.mul_(0.1)
                conv.bias.zero_()

    def _features(self, places: Tensor) -> Tensor:
        x = torch.sin(self.first(places))
        return x + torch.sin(self.second(x))

    def at_level(self, level: int, places: Tensor, cells: Window) -> Tensor:
        """Places of the whole grid → features [B, w_i, *cells] of a window of cells."""
        stride = 2 ** (level + 1)
        rows, columns = (
            (torch.arange(a, b, device=places.device) * stride + stride // 2).clamp(max=n - 1)
            for (a, b), n in zip(cells, places.shape[2:], strict=True)
        )
        return self.levels[level](self._features(places[:, :, rows[:, None], columns]))

    def first_guess(self, places: Tensor, window: Window) -> Tensor:
        """Places of the whole grid → a signal [B, C, *window]."""
        return self.guess(self._features(places[cut(window)]))


class Synthesis(nn.Module):
    """Latents → signal: the decoder."""

    colour: Tensor

    def __init__(self, config: PyramidConfig):
        super().__init__()
        self.config = c = config
        conv, levels = CONV[c.dims], range(c.levels)
        self.register_buffer("colour", torch.tensor(c.colour))
        n = max(c.latents(i) for i in levels)
        self.gain_log = nn.Parameter(torch.tensor([2.1, 2.0, 0.0]).repeat(c.levels, n, 1))
        self.enter = nn.ModuleList(
            conv(c.latents(i) + (c.channels if i + 1 < c.levels else 0), c.widths[i], 3, padding=1) for i in levels
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(Block(c.dims, c.widths[i]) for _ in range(c.blocks[i])) for i in levels
        )
        self.up = nn.ModuleList(conv(c.widths[i + 1], 2**c.dims * c.widths[i], 1) for i in levels[:-1])
        self.correct = nn.ModuleList(_small(conv(c.widths[i], 2**c.dims * c.channels, 3, padding=1)) for i in levels)
        self.places = Places(c) if c.sphere else None
        self.points = Points(c.levels)

    def place(self, i: int, places: Tensor | None, cells: Window) -> Tensor | None:
        """What the places of a window of cells add to the features of a level."""
        return None if self.places is None or places is None else self.places.at_level(i, places, cells)

    def guess(self, places: Tensor | None, window: Window) -> Tensor | float:
        """What is known of a window of the grid without latents."""
        return 0.0 if self.places is None or places is None else self.places.first_guess(places, window)

    def gain(self, level: int, op: Tensor) -> Tensor:
        """Latents per unit of signal, [B, n, 1, …]: the quantiser's inverse step."""
        t = embed(op)
        a, b, c = self.gain_log[level, : self.config.latents(level)].unbind(-1)
        return with_axes(torch.exp(a + t[:, :1] * b + t[:, 1:] * c), self.config.dims)

    def unit(self, level: int, op: Tensor) -> Tensor | float:
        """What a correction of one is worth: 1, or the quantisation step of each channel, [B, C, 1, …]."""
        c = self.config
        if not c.in_steps:
            return 1.0
        return self.gain(level, op).log().unflatten(1, (c.channels, -1)).mean(2).neg().exp()

    def step(
        self,
        i: int,
        h: Tensor | None,
        r: Tensor | None,
        y: Tensor,
        op: Tensor,
        size: tuple[int, ...],
        place: Tensor | None = None,
        change: Change | None = None,
        exact: bool = True,
    ) -> tuple[Made, Tensor]:
        """One level. h [B, w_i, *cells], r [B, C, *cells], y [B, n, *cells] → r [B, C, *size], one stride finer, and
        what it is made from. exact: as a decoder has it, where there is no way to a gradient."""
        c = self.config
        z = y / self.gain(i, op)
        channels = z.unflatten(1, (c.channels, -1))  # [B, C, bands, *cells]
        if r is None:
            x, r, details = z, channels[:, :, 0], channels[:, :, 1:]
        else:
            x, details = torch.cat([z, r], 1), channels
        with light(y, exact):
            parts = [self.enter[i](x), *(part for part in (h, place) if part is not None)]
            h = deepen(reduce(torch.add, parts), self.blocks[i], embed(op))
        made = Made(h, wavelet.synthesise([r, *details.unbind(2)], size))
        with light(y, exact):
            correction = self.correct[i](h) if change is None else self._changed(made, change)
        return made, made.w + self.unit(i, op) * depth_to_space(correction, size)

    def read(self, made: Made) -> Tensor:
        """What a last layer with closing modulations reads, [B, n, *cells]."""
        parts = [made.h.to(made.w), *split_phases(made.w, self.config.dims)]
        return torch.cat(parts, 1) if made.h.requires_grad else beside(parts)

    def _changed(self, made: Made, change: Change) -> Tensor:
        """The correction of the finest level with closing modulations."""
        last: Any = self.correct[0]
        own = F.pad(last.weight, [0, 0] * self.config.dims + [0, change[0].shape[1] - last.weight.shape[1]])
        x = self.read(made)
        return CONVOLVE[self.config.dims](x, channels_last(own + change[0]), last.bias + change[1], padding=1)

    def rise(self, i: int, h: Tensor, size: tuple[int, ...], exact: bool = True) -> Tensor:
        """Features of level i → start of the features of level i − 1 on its grid `size`."""
        with light(h, exact):
            return depth_to_space(self.up[i - 1](h), size)

    def forward(
        self,
        latents: list[Tensor],
        op: Tensor,
        shape: tuple[int, ...],
        window: Window | None = None,
        stop: int = 0,
        places: Tensor | None = None,
        change: Change | None = None,
        exact: bool = True,
    ) -> tuple[Tensor, Made, Window]:
        """Latents [B, n, *grid] with their shifts (`points`), finest first → the signal on a window of the grid.

        places: unit vectors [B or 1, 3, *shape], for a network on the sphere. change: of the last layer (`closing`).
        exact: as in `step`.

        Returns r [B, C, *region] in the colour space of the network, what the last level made it from, and the region:
        at least the window, so that cells at its border have seen all that they should.
        With `stop` > 0 the levels finer than that are not read, and r, h and region live at stride 2^stop.
        """
        dims = self.config.dims
        sizes = grid_sizes(shape, self.config.levels)
        regions = cell_regions(sizes, window or tuple((0, n) for n in sizes[stop]), self.config.margin, stop)
        h = r = made = None
        output: Window = ()
        for i in range(self.config.levels - 1, stop - 1, -1):
            cells = regions[i]
            y = latents[i][cut(cells)].to(self.colour)
            if h is not None and r is not None:
                inner = cut(cells, output)
                h, r = h[inner], r[inner]
            output = tuple((2 * a, min(2 * b, n)) for (a, b), n in zip(cells, sizes[i], strict=True))
            size = tuple(b - a for a, b in output)
            made, r = self.step(i, h, r, y, op, size, self.place(i, places, cells), None if i else change, exact)
            h = self.rise(i, made.h, size, exact) if i > stop else None
        assert made is not None and r is not None and len(output) == dims
        return (r if stop else r + self.guess(places, output)), made, output

    def to_signal(self, r: Tensor) -> Tensor:
        """The orthonormal colour space, centred → features."""
        return torch.einsum("oc,bo...->bc...", self.colour, r) + 0.5

    def from_signal(self, x: Tensor) -> Tensor:
        """The inverse of `to_signal`."""
        return torch.einsum("oc,bc...->bo...", self.colour, x - 0.5)


class Analysis(nn.Module):
    """Signal → latents before rounding: the amortised start."""

    def __init__(self, config: PyramidConfig):
        super().__init__()
        self.config = c = config
        conv, levels = CONV[c.dims], range(c.levels)
        self.enter = nn.ModuleList(
            conv(
                2**c.dims * (c.widths[i - 1] if i else c.channels),
                c.widths[i],
                1 if i else 3,
                padding=0 if i else 1,
            )
            for i in levels
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(Block(c.dims, c.widths[i]) for _ in range(c.blocks[i])) for i in levels
        )
        self.leave = nn.ModuleList(_small(conv(2 * c.widths[i], c.latents(i), 3, padding=1)) for i in levels)

    def forward(
        self,
        x: Tensor,
        op: Tensor,
        synthesis: Synthesis,
        quantise: Callable[[Tensor], Tensor],
        places: Tensor | None = None,
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """x [B, C, *grid] in [0, 1] → latents before rounding, finest first; the decoded signal; its features.

        Each level sees what the decoder has by then, so `quantise` (rounding or a relaxation) runs inside.
        """
        c = self.config
        sizes = grid_sizes(tuple(x.shape[2:]), c.levels)
        t = embed(op)
        guess = synthesis.guess(places, tuple((0, n) for n in sizes[0]))
        low, bands = synthesis.from_signal(x) - guess, []
        f, features = x - 0.5 - guess, []  # there is a guess for signals of one channel only
        for i in range(c.levels):
            with light(f):
                f = deepen(self.enter[i](torch.cat(split_phases(f, c.dims), 1)), self.blocks[i], t)
            features.append(f)
            low, *details = wavelet.analyse(low, c.dims)
            bands.append(([low] if i + 1 == c.levels else []) + details)
        h = r = None
        latents: list[Tensor] = []
        for i in reversed(range(c.levels)):
            seen = torch.zeros_like(features[i]) if h is None else h
            y = channels_last(torch.stack(bands[i], 2).flatten(1, 2))
            with light(seen):
                change = self.leave[i](torch.cat([features[i], seen], 1))
            gain = synthesis.gain(i, op)
            latents.insert(0, y * gain + change if c.in_steps else (y + change) * gain)
            cells = tuple((0, n) for n in sizes[i + 1])
            place = synthesis.place(i, places, cells)
            made, r = synthesis.step(i, h, r, quantise(latents[0]), op, sizes[i], place, exact=False)
            h = synthesis.rise(i, made.h, sizes[i], exact=False) if i > 0 else made.h
        assert h is not None and r is not None
        return latents, synthesis.to_signal(r + guess), h.float()
