"""The context prior of the pyramid: from the symbols known so far to table indices, in integers only.

    P(y) = Π P(y_phase,group | coarser levels, phases and groups of this level already coded)

Levels go coarse to fine; inside a level the 2^d phases of the grid follow one another, each on the grid of the next
coarser level; inside a phase the latents of the first feature (luma) go before the others (chroma), together or one
after another. Everything that reaches the entropy coder is an integer: weights are int8, activations 0…255, biases a
table per operating point. The arithmetic runs in float32 tensors whose values are integers, with every partial sum
proven below 2^24 at load: such sums are exact in any order, hence equal on every device, thread count and batch size.
The walk of an encoder or a decoder runs on bytes where the processor multiplies those at once (`int8`): the same
integers, sooner.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inrcodec import devices
from inrcodec.fields.grids import (
    CONVOLVE,
    beside,
    channels_last,
    depth_to_space,
    grid_sizes,
    merge_phases,
    split_phases,
)
from inrcodec.priors import int8
from inrcodec.priors.int8 import ByteConvolution

OPERATING_POINTS = 256
ACTIVATION_MAX = 255
ACTIVATION_UNIT = 64  # an activation of 64 stands for 1.0
FRACTION = 8  # means and scale indices come on a grid of 1/8
SCALES = 80
BIAS_BITS = 16
MAX_SHIFT = 20
MAX_BYTE_SHIFT = 14  # sums of 2^22 and more, where float32 has no quarters, are then beyond the clamp of bytes
EXACT = 1 << 24  # integers up to here are exact in float32

Code = Callable[[int, int, int, Tensor, Tensor], Tensor]
"""(level, phase, group, mean·8 [B, C, *grid], scale index [B, C, *grid]) → the symbols [B, C, *grid] of that part."""

Rounding = Callable[[Tensor], Tensor]

Expected = tuple[Tensor, Tensor]
"""Means in eighths and scale indices, [B, n, *grid] each: what the prior expects of the latents of a level."""

Phase = Callable[[int, int, Tensor], Tensor]
"""(level, phase, features [B, w, *grid]) → what the context sees of the symbols of that phase [B, n, *grid]."""

Runs = Sequence[tuple[int, int]]
"""Where among its inputs a layer has the values of symbols, which have signs: from, up to."""


def half_up(x: Tensor) -> Tensor:
    """The rounding of the format: ⌊x + 1/2⌋."""
    return torch.floor(x + 0.5)


def smooth(x: Tensor) -> Tensor:
    """No rounding: the relaxation through which adaptation takes gradients."""
    return x


def straight_through(x: Tensor) -> Tensor:
    """Rounds forward, passes gradients unchanged: what training uses."""
    return x + (half_up(x) - x).detach()


def working(x: Tensor, rounding: Rounding, head: bool = False) -> Tensor:
    """x in the precision that a layer computes in: exact where it rounds as the format says.

    Relaxed and in training, bfloat16 does for hidden layers where the processor multiplies it at once: integers up to
    256 keep their value, and gradients are as good. Without any rounding it does for heads too.
    """
    exact = rounding is half_up or (head and rounding is not smooth)
    return x.float() if exact or not devices.multiplies_bfloat16(x.device) else x.bfloat16()


def scale_of(index: Tensor) -> Tensor:
    """The scale of the logistic distribution, in symbols, that a scale index 0…79 stands for."""
    return 0.04 * torch.exp(0.12 * index)


def compand(symbols: Tensor, rounding: Rounding) -> Tensor:
    """Symbols → what the context sees: 20·asinh(y) within ±127."""
    if rounding is smooth:  # off by 0.2 of −127 at worst, and ten times as quick as torch's
        y = F.hardtanh(symbols, -290, 290)  # beyond, where ±127 is reached, the logarithm would be of zero
        return F.hardtanh(20 * torch.log(y + torch.sqrt(y * y + 1)), -127, 127)
    return rounding(F.hardtanh(20 * torch.asinh(symbols), -127, 127))


def finish(y: Tensor, head: bool, rounding: Rounding) -> Tensor:
    """Sums in units of 1/64 → activations 0…255, or for heads integers in units of 1/8 without a clamp."""
    return rounding(y * (FRACTION / ACTIVATION_UNIT)) if head else F.hardtanh(rounding(y), 0, ACTIVATION_MAX)


@dataclass(frozen=True)
class PriorConfig:
    """Sizes of a context prior. Lists run from the finest level to the coarsest."""

    dims: int
    groups: tuple[tuple[int, ...], ...]  # latents per group, per level: ((3, 6), …, (4, 8)) for RGB
    widths: tuple[int, ...]
    magnitudes: bool = False  # the context sees the magnitude of every symbol beside its value
    full_joins: bool = False  # joins are as wide as the level, not half of it

    def inputs(self, symbols: int) -> int:
        """Channels in which a context sees so many symbols of a cell."""
        return symbols * (1 + self.magnitudes)

    def join(self, level: int) -> int:
        """Width of the joins of a level."""
        return self.widths[level] if self.full_joins else self.widths[level] // 2

    def signed(self, features: int, symbols: Sequence[int]) -> Runs:
        """The runs of a layer that reads so many features, and then what is seen of so many symbols each."""
        starts = [features + sum(self.inputs(n) for n in symbols[:k]) for k in range(len(symbols))]
        return [(start, start + n) for start, n in zip(starts, symbols, strict=True)]

    def seen(self, symbols: Tensor, rounding: Rounding, in_bytes: bool = False) -> tuple[Tensor, ...]:
        """Symbols [B, n, *grid] → what a context sees of them: the values, and the magnitudes, each [B, n, *grid].

        A layer cannot add up the magnitudes of signed neighbours: its sum comes before its clamp.
        in_bytes: those above zero and those below in place of the values, uint8.
        """
        values = compand(symbols, rounding)
        if in_bytes:
            parts = (values.clamp(min=0), (-values).clamp(min=0), values.abs())
            return tuple(part.to(torch.uint8) for part in parts[: 2 + self.magnitudes])
        values = working(values, rounding)
        return (values, values.abs()) if self.magnitudes else (values,)


class IntegerLayer(nn.Module):
    """A convolution on integers: out = clamp(⌊(w * x + bias[op]) / 2^shift + 1/2⌋), for one operating point.

    Weights and biases are kept divided by 2^shift: a power of two, so the sums stay as exact as those of integers.
    """

    weight: Tensor  # [out, in, *kernel], integers in −127…127, times 2^−shift
    bias: Tensor  # [operating points, out], integers times 2^−shift
    unit: Tensor  # [out], 2^−shift

    def __init__(self, dims: int, inputs: int, outputs: int, kernel: int, head: bool = False, signed: Runs = ()):
        super().__init__()
        self.head, self.signed = head, signed
        self.conv = CONVOLVE[dims]
        self.register_buffer("weight", torch.zeros(outputs, inputs, *[kernel] * dims))
        self.register_buffer("bias", torch.zeros(OPERATING_POINTS, outputs))
        self.register_buffer("unit", torch.ones(outputs))
        self.fits_bytes = True
        self.narrow: ByteConvolution | None = None  # made when bytes first ask for it

    def load(self, weight: Tensor, shift: Tensor, bias: Tensor) -> None:
        """weight int8, shift int8, bias int64 [3, out]: coefficients of a quadratic in 2·op − 255, in 2^−16.

        Raises ValueError if a sum, rounding included, could leave the range in which float32 holds every integer.
        """
        if not (0 <= shift.min() and shift.max() <= MAX_SHIFT and bias.abs().max() < 1 << 45 and weight.min() >= -127):
            found = f"shifts of {shift.min()} to {shift.max()}, a bias of {bias.abs().max()}"
            raise ValueError(f"{found} or a weight of {weight.min()}")
        u = 2 * torch.arange(OPERATING_POINTS)[:, None] - (OPERATING_POINTS - 1)
        integers = (bias[0] + bias[1] * u + bias[2] * u * u) >> BIAS_BITS
        worst = weight.long().abs().flatten(1).sum(1) * ACTIVATION_MAX + integers.abs().amax(0)
        worst = worst + 2 ** shift.long() * (ACTIVATION_UNIT // FRACTION)
        if not worst.max() < EXACT:
            raise ValueError(f"a sum may reach {int(worst.max())}, beyond the exact range {EXACT}")
        self.unit.copy_(torch.exp2(-shift.float()))
        self.weight.copy_(weight * self.unit.view(-1, *[1] * (weight.ndim - 1)))
        self.bias.copy_(integers * self.unit)
        self.fits_bytes, self.narrow = bool(shift.max() <= MAX_BYTE_SHIFT), None

    @staticmethod
    def condition(op: Tensor) -> Tensor:
        """What the layers want to know of the operating points [B]."""
        return op

    def terms(self, op: Tensor, rounding: Rounding) -> tuple[Tensor, Tensor]:
        """Weight and bias [out] at the operating points op [B] int64, all the same."""
        return working(self.weight, rounding, self.head), working(self.bias[op[0]], rounding, self.head)

    def sums(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return self.conv(x, weight, bias, padding=weight.shape[-1] // 2)

    def forward(self, x: Tensor, op: Tensor, rounding: Rounding) -> Tensor:
        """x [B, in, *grid] integers, op [B] int64, all the same → [B, out, *grid], integers if `rounding` rounds."""
        if x.dtype == torch.uint8:
            return self.of_bytes(x, self.bias[op[0]])
        x = working(x, rounding, self.head)
        return finish(self.sums(x, *self.terms(op, rounding)), self.head, rounding)

    def of_bytes(self, x: Tensor, bias: Tensor) -> Tensor:
        """The same of bytes, where values of symbols come in two: bytes again, or of a head float32."""
        if self.narrow is None:
            ends = [0, *(end for _, end in self.signed), self.weight.shape[1]]
            parts = list(self.weight.split([b - a for a, b in pairwise(ends)], 1))
            for k, (start, end) in enumerate(self.signed):
                parts[k] = torch.cat([parts[k], -self.weight[:, start:end]], 1)
            weight = torch.cat(parts, 1) / self.unit.view(-1, *[1] * (self.weight.ndim - 1))
            self.narrow = ByteConvolution(weight.to(torch.int8), self.unit)
        if self.head:
            return finish(self.narrow(x, bias, torch.float32), True, half_up)
        # a quarter of the last place: what lies halfway is then rounded up, and nothing else otherwise
        return self.narrow(x, bias + self.unit / 4, torch.uint8)


Layer = Any
"""The class of a layer: `IntegerLayer`, or its trainable twin with the same arguments and methods."""


def side_by_side(
    layers: list[Layer], columns: list[Tensor], x: Tensor, op: Tensor, rounding: Rounding, rows: Tensor | None = None
) -> Tensor:
    """What several layers make of those channels of x that each reads, one after another, or in the order of rows.

    Computed as one layer, which is quicker: the sums are the same, with zeros among them.
    """
    weights, biases = zip(*(layer.terms(op, rounding) for layer in layers), strict=True)
    wide = [
        w.new_zeros(len(w), x.shape[1], *w.shape[2:]).index_copy(1, own.to(w.device), w)
        for w, own in zip(weights, columns, strict=True)
    ]
    channel = min(1, biases[0].ndim - 1)  # biases are [out] of one operating point, or [B, out, 1, …]
    bias = torch.cat(biases, channel)
    weight, head = torch.cat(wide), layers[0].head
    if rows is not None:
        weight, bias = (t.index_select(axis, rows.to(t.device)) for t, axis in ((weight, 0), (bias, channel)))
    return finish(layers[0].sums(working(x, rounding, head), channels_last(weight), bias), head, rounding)


class LevelPrior(nn.Module):
    """The networks of one level."""

    spatial: nn.ModuleList  # per phase
    pointwise: nn.ModuleList
    joins: nn.ModuleList  # per phase and group after the first
    heads: nn.ModuleList

    def __init__(self, config: PriorConfig, level: int, layer: Layer):
        super().__init__()
        d, groups, w = config.dims, config.groups[level], config.widths[level]
        seen = config.inputs(sum(groups))
        coarsest = level + 1 == len(config.widths)
        above = 1 if coarsest else config.widths[level + 1]
        whole = sum(groups)
        self.spatial = nn.ModuleList(
            layer(d, above + k * seen, w, 3, signed=config.signed(above, [whole] * k)) for k in range(2**d)
        )
        self.pointwise = nn.ModuleList(layer(d, w, w, 1) for _ in range(2**d))
        join = config.join(level)
        self.joins = nn.ModuleList(
            nn.ModuleList(
                layer(d, w + config.inputs(sum(groups[:g])), join, 1, signed=config.signed(w, groups[:g]))
                for g in range(1, len(groups))
            )
            for _ in range(2**d)
        )
        self.heads = nn.ModuleList(
            nn.ModuleList(layer(d, join if g else w, 2 * c, 1, head=True) for g, c in enumerate(groups))
            for _ in range(2**d)
        )
        if level > 0:  # what the next finer level sees of this one and of all coarser ones
            self.state_up = layer(d, above, 2**d * (w // 2), 1)
            self.state_in = layer(d, w // 2 + seen, w, 3, signed=config.signed(w // 2, [whole]))
            self.state_out = layer(d, w, w, 3)


class ContextPrior(nn.Module):
    """All levels, and the one walk over them that training, adaptation, encoder and decoder share."""

    def __init__(self, config: PriorConfig, layer: Layer = IntegerLayer):
        super().__init__()
        self.config = config
        self.condition = layer.condition
        self.levels = nn.ModuleList(LevelPrior(config, i, layer) for i in range(len(config.widths)))

    def walk(self, shape: tuple[int, ...], op: Tensor, code: Code, rounding: Rounding = half_up, stop: int = 0) -> None:
        """Visit every part in coding order; `code` returns its symbols: decoded, or known and encoded.

        shape: size of the signal; op [B] int64: operating points. Levels finer than `stop` are left out (a preview).
        """
        condition, in_bytes = self.condition(op), rounding is half_up and self._fits_bytes(op.device)

        def phase(i: int, k: int, h: Tensor) -> Tensor:
            net: Any = self.levels[i]
            groups: list[tuple[Tensor, ...]] = []
            for g, head in enumerate(net.heads[k]):
                known = [y for group in groups for y in group]
                features = net.joins[k][g - 1](beside([h, *known]), condition, rounding) if g else h
                mean, index = head(features, condition, rounding).chunk(2, 1)
                symbols = code(i, k, g, mean, index.clamp(0, SCALES - 1))
                groups.append(self.config.seen(symbols, rounding, in_bytes))
            return beside([y for kind in zip(*groups, strict=True) for y in kind])

        self._walk(shape, op, phase, rounding, stop, in_bytes)

    def _fits_bytes(self, device: torch.device) -> bool:
        """Whether all layers can run on bytes there, and sooner: in three dimensions oneDNN takes longer for them."""
        fit = [layer.fits_bytes for layer in self.modules() if isinstance(layer, IntegerLayer)]
        return self.config.dims < 3 and bool(fit) and all(fit) and int8.exact(device)

    def expect(
        self, latents: list[Tensor], shape: tuple[int, ...], op: Tensor, rounding: Rounding = half_up
    ) -> list[Expected]:
        """What `walk` expects of latents that are all known, finest first, and so are visited phase by phase."""
        dims, condition = self.config.dims, self.condition(op)
        seen = [split_phases(torch.cat(self.config.seen(y, rounding), 1), dims) for y in latents]
        found: list[list[Tensor]] = [[] for _ in latents]

        def phase(i: int, k: int, h: Tensor) -> Tensor:
            net: Any = self.levels[i]
            joins, heads = self._columns(i)
            if joins:
                x = torch.cat([h, seen[i][k]], 1)
                h = torch.cat([h, side_by_side(net.joins[k], joins, x, condition, rounding)], 1)
            found[i].append(side_by_side(net.heads[k], heads, h, condition, rounding, self._means_first(i)))
            return seen[i][k]

        self._walk(shape, op, phase, rounding)
        out = []
        for y, parts in zip(latents, found, strict=True):
            mean, index = merge_phases(parts, tuple(y.shape[2:])).float().chunk(2, 1)
            out.append((mean, index.clamp(0, SCALES - 1)))
        return out

    def _columns(self, i: int) -> tuple[list[Tensor], list[Tensor]]:
        """Which channels the joins of level i read of features and what is seen of a whole phase; and its heads, of
        features and what all joins make."""
        groups, w = self.config.groups[i], self.config.widths[i]
        kinds, n = self.config.inputs(1), sum(groups)
        starts = [sum(groups[:g]) for g in range(len(groups))]
        known = [
            [w + kind * n + a + c for kind in range(kinds) for c in range(count)]
            for a, count in zip(starts, groups, strict=True)
        ]
        joins = [torch.tensor([*range(w), *(c for part in known[:g] for c in part)]) for g in range(1, len(groups))]
        join = self.config.join(i)
        return joins, [torch.arange(w), *(torch.arange(join) + w + k * join for k in range(len(joins)))]

    def _means_first(self, i: int) -> Tensor:
        """The outputs of all heads of level i, each a mean and a scale index: first the means of all."""
        sizes = [c for c in self.config.groups[i] for _ in range(2)]
        halves = torch.arange(sum(sizes)).split(sizes)
        return torch.cat([*halves[::2], *halves[1::2]])

    def _walk(
        self,
        shape: tuple[int, ...],
        op: Tensor,
        phase: Phase,
        rounding: Rounding,
        stop: int = 0,
        in_bytes: bool = False,
    ) -> None:
        with torch.autocast(op.device.type, enabled=False):  # reduced precision would not be exact
            sizes = grid_sizes(shape, len(self.levels) + 1)
            state = torch.zeros(len(op), 1, *sizes[-1], device=op.device)
            state = state.to(torch.uint8) if in_bytes else working(state, rounding)
            condition = self.condition(op)
            for i in range(len(self.levels) - 1, stop - 1, -1):
                net: LevelPrior = self.levels[i]  # type: ignore[assignment]
                seen: list[Tensor] = []
                for k, (spatial, pointwise) in enumerate(zip(net.spatial, net.pointwise, strict=True)):
                    h = pointwise(spatial(torch.cat([state, *seen], 1), condition, rounding), condition, rounding)
                    seen.append(phase(i, k, h))
                if i > stop:
                    up = depth_to_space(net.state_up(state, condition, rounding), sizes[i + 1])
                    state = torch.cat([up, merge_phases(seen, sizes[i + 1])], 1)
                    state = net.state_out(net.state_in(state, condition, rounding), condition, rounding)
