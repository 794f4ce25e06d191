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

from inrcodec.entropy import Decoder
from inrcodec.errors import CorruptStream
from inrcodec.fields.closing import STEP, Change, Closing
from inrcodec.fields.grids import beside, cut, depth_to_space, split_phases
from inrcodec.fields.pyramid import Synthesis, lmbda
from inrcodec.priors.context import SCALES, scale_of
from inrcodec.priors.tables import EACH, LARGEST, LARGEST_STRETCH, STRETCHES, UNIFORM, Ints, LatentTables, stretched
from inrcodec.window import Window

LARGEST_STEP = 255  # 0 says that there are no modulations
BAND = 1 << 15  # cells whose products are added up at once
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

    products [n, n] and moments [n, out] are sums over cells; n = in · 3^d + 1, out = 2^d · C.
    """

    def __init__(self, synthesis: Synthesis):
        config = synthesis.config
        self.synthesis = synthesis
        outputs = 2**config.dims * config.channels
        n = (config.widths[0] + outputs) * 3**config.dims + 1
        self.products = torch.zeros(n, n, dtype=torch.float64)
        self.moments = torch.zeros(n, outputs, dtype=torch.float64)
        self.left = torch.zeros(outputs, dtype=torch.float64)  # squared error of every output
        self.weights = torch.ones(outputs, dtype=torch.float64)  # of the squares of outputs in that of samples

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
        r, h, region = net(values, op, shape, window, places=places)
        unit = net.unit(0, op)
        w = r - net.guess(places, region) - unit * depth_to_space(net.correct[0](h), tuple(r.shape[2:]))
        # cells of which all samples are there; beyond the border of the signal there are zeros
        cells = tuple((a // 2, b // 2) for a, b in window)
        around = tuple((a, b + 2) for a, b in cells)
        origin = tuple((a // 2, 0) for a, _ in region)
        x = F.pad(beside([h, *split_phases(w, dims)]), [1] * 2 * dims)[cut(around, origin)]
        whole = tuple((2 * a, 2 * b) for a, b in cells)
        e = (target - r[cut(window, region)])[cut(whole, window)] / unit
        e = torch.cat(split_phases(e, dims), 1)
        if isinstance(unit, Tensor):
            self.weights = unit.flatten().square().double().cpu().repeat(2**dims)
        for a, b in _bands(tuple(b - a for a, b in cells)):
            rows = x[:, :, a : b + 2]
            for axis in range(2, 2 + dims):
                rows = rows.unfold(axis, 3, 1)
            rows = rows[0].movedim(0, dims).flatten(dims).flatten(0, dims - 1)  # [cells, in · 3^d]
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
            errors = e[0, :, a:b].flatten(1).T
            self.products += (rows.T @ rows).double().cpu()
            self.moments += (rows.T @ errors).double().cpu()
            self.left += errors.square().sum(0).double().cpu()

    def through(self, closing: Closing, first_only: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A [count, count] and c [count] of the squared error E(m) = E(0) − 2 c·m + m·A·m."""
        basis, weights = closing.flat().double().cpu(), self.weights.clone()
        if first_only:
            weights.view(-1, self.synthesis.config.channels)[:, 1:] = 0
        seen = torch.einsum("ij,kjo->kio", self.products, basis) * weights
        matrix = torch.einsum("kio,lio->kl", seen, basis)
        return matrix.numpy(), (basis * self.moments * weights).sum((1, 2)).numpy()


def _bands(cells: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Rows of cells that are handled at once."""
    rows = max(1, BAND // max(1, math.prod(cells[1:])))
    return ((a, min(a + rows, cells[0])) for a in range(0, cells[0], rows) if all(cells))


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
        symbols, own, wide = tables.to_alphabet(found.integers, np.zeros_like(index), index)
        out += [
            (stretch, np.full(1, STRETCHES, np.uint16)),
            (symbols, own),
            (wide, np.full(len(wide), UNIFORM, np.uint16)),
        ]
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
    mean = np.zeros_like(index)
    symbols = decoder.decode(tables.indices(mean, index))
    wide = decoder.decode(np.full(2 * int(tables.escapes(symbols, index).sum()), UNIFORM, np.uint16))
    integers = tables.from_alphabet(symbols, mean, index, wide)
    if np.abs(integers).max(initial=0) > LARGEST:
        raise CorruptStream(f"a modulation of {int(np.abs(integers).max())} is beyond ±{LARGEST}")
    return Modulations(step, integers.astype(np.int64))


Close = Callable[[list[Tensor]], Modulations]
"""What latents stand for, [1, n, *grid] a level → closing modulations."""
