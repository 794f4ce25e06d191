"""How closing modulations are found, and how they are coded.

The samples are linear in them, so R + λ·D of a signal is a quadratic form and the bits of the integers. Its matrix is
small: the normal equations of all the weights of the last layer are added up once, window by window, and then seen
through the basis.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import grad

from inrcodec.entropy import Decoder
from inrcodec.errors import CorruptStream
from inrcodec.fields.closing import STEP, Change, Closing
from inrcodec.fields.grids import channels_last, cut, split_phases
from inrcodec.fields.pyramid import Synthesis, lmbda
from inrcodec.priors.context import SCALES, scale_of
from inrcodec.priors.tables import EACH, LARGEST, LARGEST_STRETCH, STRETCHES, UNIFORM, Ints, LatentTables, stretched
from inrcodec.window import Window

LARGEST_STEP = 255  # 0 says that there are no modulations
WEIGHT_GRADIENT: dict[int, Callable[..., Tensor]] = {
    1: grad.conv1d_weight,
    2: grad.conv2d_weight,
    3: grad.conv3d_weight,
}
DEVIATION = math.pi / math.sqrt(3)  # of a logistic distribution of scale 1


@dataclass(frozen=True)
class Modulations:
    """Integers [count] in steps of e^(−0.12 · step); step 0: none."""

    step: int = 0
    integers: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def change(self, closing: Closing | None) -> Change | None:
        """What they change of the last layer."""
        return closing.change(torch.from_numpy(self.integers), self.step) if closing is not None and self.step else None


class Equations:
    """Normal equations of the last layer: what it reads, against what it leaves of the signal.

    Sums over the whole cells of the grid. The product of what two taps of a convolution read hangs on their distance
    alone, and costs one correlation, where a ring of cells around the grid counts too; that of the ring is taken away.
    """

    def __init__(self, synthesis: Synthesis, like: "Equations | None" = None):
        """like: those of nearly the same latents, whose products are taken over: they cost more than the rest."""
        config = synthesis.config
        self.synthesis, self.like = synthesis, like
        self.matrix: NDArray[np.float64] | None = None  # of the products through the basis, once it was asked for
        outputs, n = config.outputs, config.closing_inputs
        self.correlations = torch.zeros(n, n, *[5] * config.dims, dtype=torch.float64)
        self.responses = torch.zeros(outputs, n, *[3] * config.dims, dtype=torch.float64)  # of errors to what is read
        self.sums = torch.zeros(n, dtype=torch.float64)
        self.errors = torch.zeros(outputs, dtype=torch.float64)
        self.left = torch.zeros(outputs, dtype=torch.float64)  # squared error of every output
        self.weights = torch.ones(outputs, dtype=torch.float64)  # of the squares of outputs in that of samples
        self.ring = torch.zeros(n * 3**config.dims + 1, n * 3**config.dims + 1, dtype=torch.float64)
        self.count = 0  # with the ring

    @torch.no_grad()
    def add(
        self,
        values: list[Tensor],
        op: Tensor,
        shape: tuple[int, ...],
        window: Window,
        target: Tensor,
        places: Tensor | None = None,
    ) -> None:
        """A window that starts at even samples, of what latents [1, n, *grid] stand for; target [1, C, *window] in the
        colour space of the network."""
        net, dims = self.synthesis, len(shape)
        r, made, region = net(values, op, shape, window, places=places, exact=False)
        unit = net.unit(0, op)
        cells = _cells(window)  # beyond the border of the signal there are zeros
        around = tuple((a, b + 4) for a, b in cells)
        read = F.pad(net.read(made), [2] * 2 * dims)
        read = channels_last(read[cut(around, tuple((a, 0) for a, _ in _cells(region)))])
        cut_off = [b % 2 for _, b in window]  # a cell of which not all samples are there
        whole = tuple((a, b - n) for (a, b), n in zip(window, cut_off, strict=True))
        e = (target - r[cut(window, region)])[cut(whole, window)] / unit
        e = channels_last(torch.cat(split_phases(e, dims), 1))
        near = read[cut(tuple((1, n - 1 - k) for n, k in zip(read.shape[2:], cut_off, strict=True)))]
        gradient = WEIGHT_GRADIENT[dims]
        if e.numel():
            self.responses += gradient(channels_last(near), self.responses.shape, e).double().cpu()
        for total, part in ((self.errors, e), (self.left, e.square())):
            total += _summed(part)
        if self.like is None:
            inner = channels_last(read[cut(tuple((2, n - 2) for n in read.shape[2:]))])
            self.correlations += gradient(read, self.correlations.shape, inner).double().cpu()
            self.sums += _summed(inner)
            for taps in _ring_taps(read, window, shape):
                self.ring += (taps.T @ taps).double().cpu()
        if isinstance(unit, Tensor):
            self.weights = unit.flatten().square().double().cpu().repeat(2**dims)
        self.count = math.prod(-(-n // 2) + 2 for n in shape)

    def products(self) -> Tensor:
        """[n, n], n = in · 3^d + 1: of all that an output reads, as `Closing.flat` has it."""
        dims = self.correlations.ndim - 2
        taps = torch.arange(3)
        found = self.correlations
        for _ in range(dims):
            found = found.movedim(2, -1)[..., taps - taps[:, None] + 2]
        rows, columns = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
        n = len(self.sums) * 3**dims
        sums = self.sums.repeat_interleave(3**dims)[:, None]
        found = torch.cat([found.permute(0, *rows, 1, *columns).reshape(n, n), sums], 1)
        return torch.cat([found, torch.cat([sums.T, sums.new_full((1, 1), self.count)], 1)]) - self.ring

    def moments(self) -> Tensor:
        """[n, out]: of what an output reads with what it leaves."""
        return torch.cat([self.responses.flatten(1).T, self.errors[None]])

    def through(self, closing: Closing, first_only: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A [count, count] and c [count] of the squared error E(m) = E(0) − 2 c·m + m·A·m."""
        basis, weights = closing.flat().double().cpu(), self.weights.clone()
        if first_only:
            weights.view(-1, self.synthesis.config.channels)[:, 1:] = 0
        source = self.like or self
        if source.matrix is None:
            seen = torch.einsum("ij,kjo->kio", source.products(), basis) * weights
            source.matrix = torch.einsum("kio,lio->kl", seen, basis).numpy()
        return source.matrix, (basis * self.moments() * weights).sum((1, 2)).numpy()


def _summed(x: Tensor) -> Tensor:
    """[1, n, *cells] → [n], float64."""
    return x.double().flatten(2).sum((0, 2)).cpu()


def _cells(window: Window) -> Window:
    """Those of the finest level under a window that starts at even samples."""
    return tuple((a // 2, -(-b // 2)) for a, b in window)


def _ring_taps(read: Tensor, window: Window, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """What is read around the grid, and by cells of which not all samples are there, [n, in · 3^d + 1].

    read [1, in, *cells]: two cells more than those under the window at every side.
    """
    dims = len(window)
    ends = [(a == 0, b == n) for (a, b), n in zip(window, shape, strict=True)]
    inner = [slice(1, -1 - b % 2) for _, b in window]
    outer = [slice(0 if first else 1, None if last else -1) for first, last in ends]
    for axis, (_, b) in enumerate(window):
        for there, side in zip(ends[axis], (slice(0, 3), slice(-3 - b % 2, None)), strict=True):
            taps = read[(0, slice(None), *inner[:axis], side, *outer[axis + 1 :])]
            if there and min(taps.shape[1:]) >= 3:
                for k in range(dims):
                    taps = taps.unfold(1 + k, 3, 1)
                taps = taps.flatten(1 + dims).movedim(0, dims).flatten(dims).flatten(0, dims - 1)
                yield torch.cat([taps, taps.new_ones(len(taps), 1)], 1)


def find(
    closing: Closing, tables: LatentTables, equations: Equations, op: Tensor, first_only: bool = False
) -> Modulations:
    """The modulations of the least R + λ·D; op [1] is that whose λ counts."""
    matrix, moments = equations.through(closing, first_only)
    price = 255**2 * float(lmbda(op)) / equations.synthesis.config.channels  # bits that a squared error of one is worth
    curve = price * matrix.trace() / len(matrix)
    if not curve > 0:
        return Modulations()
    step = round(-math.log(math.sqrt(6 / (math.log(2) * curve))) / STEP)  # the best of a uniform quantiser
    step = min(max(step, 1), LARGEST_STEP)
    unit = math.exp(-STEP * step)
    matrix, moments = matrix * price * unit**2, moments * price * unit
    index = indices(closing, step)
    for _ in range(2):  # the second time with the stretch that the first one asks for
        integers = _integers(matrix, moments, index, tables)
        index = stretched(indices(closing, step), int(_stretch(tables, integers, index)[0]) - LARGEST_STRETCH)
    gain = integers @ (2 * moments - matrix @ integers)
    none = not integers.any() or gain <= tables.bits(integers, index).sum()
    return Modulations() if none else Modulations(step, integers)


def indices(closing: Closing, step: int) -> Ints:
    """Scale indices of the integers of modulations."""
    return np.clip(closing.scales.cpu().numpy().astype(np.int32) + step, 0, SCALES - 1)


def _integers(
    matrix: NDArray[np.float64], moments: NDArray[np.float64], index: Ints, tables: LatentTables
) -> NDArray[np.int64]:
    """Integers q of little q·A·q − 2 c·q + bits(q): near the minimum over the reals, then one better at a time."""
    deviation = DEVIATION * scale_of(torch.from_numpy(index)).double().numpy()
    pull = np.diag(1 / (2 * math.log(2) * np.square(deviation)))  # bits of a normal distribution
    q = np.rint(np.linalg.solve(matrix + pull, moments)).astype(np.int64).clip(-LARGEST, LARGEST)
    bits = tables.bits(q, index)
    for _ in range(8 * len(q)):
        slope = 2 * (matrix @ q - moments)
        moves = np.stack([np.ones_like(q), -np.ones_like(q), -q])
        costs = np.stack([tables.bits(q + move, index) for move in moves])
        change = costs - bits + moves * (slope + np.diag(matrix) * moves)
        best = np.unravel_index(change.argmin(), change.shape)
        if not change[best] < -1e-6:
            break
        q[best[1]] += moves[best]
        bits[best[1]] = costs[best]
    return q


def _stretch(tables: LatentTables, integers: Ints, index: Ints) -> Ints:
    """The symbol [1] of table STRETCHES that suits integers best: all of them are one latent."""
    return tables.best_stretches([(integers[None], np.zeros_like(index)[None], index[None])])[:1]


Part = tuple[Ints, Ints]
"""(symbols, tables)"""


def parts(closing: Closing, tables: LatentTables, found: Modulations) -> list[Part]:
    """What an entropy coder is to code of modulations, in decoding order."""
    out: list[Part] = [(np.array([found.step]), np.full(1, UNIFORM, np.uint16))]
    if found.step:
        index = indices(closing, found.step)
        stretch = _stretch(tables, found.integers, index)
        index = stretched(index, int(stretch[0]) - LARGEST_STRETCH)
        out += [(stretch, np.full(1, STRETCHES, np.uint16)), *tables.parts(found.integers, np.zeros_like(index), index)]
    return out


def read(closing: Closing, tables: LatentTables, decoder: Decoder) -> Modulations:
    """The inverse of `parts`. Raises CorruptStream."""
    step = int(decoder.decode(np.full(1, UNIFORM, np.uint16))[0])
    if not step:
        return Modulations()
    stretch = int(decoder.decode(np.full(1, STRETCHES, np.uint16))[0])
    if stretch == EACH:
        raise CorruptStream("the stretch of closing modulations is announced as several")
    index = stretched(indices(closing, step), stretch - LARGEST_STRETCH)
    return Modulations(step, tables.read(decoder.decode, np.zeros_like(index), index).astype(np.int64))


Close = Callable[[list[Tensor]], Modulations]
"""What latents stand for, [1, n, *grid] a level → closing modulations."""
