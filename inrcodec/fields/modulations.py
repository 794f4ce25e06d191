"""What is sent of a signal, and how it turns the base network into the one of that signal.

Every modulation maps φ [P, size] of P signals to what `Siren.forward` takes: shifts, or weights of their own.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inrcodec.fields.siren import Siren

Change = tuple[Tensor | None, list[Tensor | None] | None]
"""shifts and weights, as `Siren.forward` takes them."""


class Modulation(nn.Module, ABC):
    """φ, its start, and what it does. `size` values a signal."""

    size: int

    def start(self, count: int) -> Tensor:
        """φ [count, size] before any step of the inner loop: zeros unless the method learns it."""
        return torch.zeros(count, self.size)

    @abstractmethod
    def change(self, siren: Siren, phi: Tensor, x: Tensor) -> Change:
        """φ [P, size], coordinates x [N, d] or [P, N, d] in [−1, 1]."""

    def penalty(self, phi: Tensor) -> Tensor | float:
        """What the objective of the inner and the outer loop adds to the distortion of each signal, [P]."""
        return 0.0

    def sent(self, phi: Tensor) -> Tensor:
        """φ at the end of the inner loop → the values [P, D] that are quantised and sent."""
        return phi

    def received(self, values: Tensor) -> Tensor:
        """The inverse of `sent`."""
        return values


class LatentShifts(Modulation):
    """COIN++ and functa: φ → linear → shifts (thesis, 4.2.1)."""

    def __init__(self, size: int, siren: Siren, gain: float = 1.0):
        super().__init__()
        self.size = size
        width = siren.biases[0].numel()
        self.map = nn.Linear(size, siren.depth * width, bias=False)  # the biases of the SIREN are its bias
        with torch.no_grad():
            self.map.weight.normal_(0, gain / (siren.w0 * math.sqrt(size)))

    def change(self, siren: Siren, phi: Tensor, x: Tensor) -> Change:
        return self.map(phi)[:, None], None


class GridShifts(Modulation):
    """Spatial functa (Bauer et al. 2023; thesis, 6.1): latents on a grid, interpolated → linear → shifts of a point."""

    def __init__(self, channels: int, cells: int, dims: int, siren: Siren, gain: float = 1.0):
        super().__init__()
        self.size = channels * cells**dims
        self.grid = (channels, *[cells] * dims)
        self.map = nn.Linear(channels, siren.depth * siren.biases[0].numel(), bias=False)
        with torch.no_grad():
            self.map.weight.normal_(0, gain / (siren.w0 * math.sqrt(channels)))

    def change(self, siren: Siren, phi: Tensor, x: Tensor) -> Change:
        if self.grid[1:] and len(self.grid) != 3:
            raise ValueError("grids of latents are for signals of two axes")
        return self.map(self._interpolated(phi.view(-1, *self.grid), x)), None

    def _interpolated(self, grid: Tensor, x: Tensor) -> Tensor:
        """Latents [P, c, h, w] at coordinates x [N, 2] or [P, N, 2] → [P, N, c]; linear, constant past the centres."""
        count, channels, cells = grid.shape[:3]
        t = ((x + 1) * (cells / 2) - 0.5).clamp(0, cells - 1)
        low = t.floor().clamp(max=max(cells - 2, 0))
        fraction, low = t - low, low.long()
        flat = grid.flatten(2)  # [P, c, h·w]
        out: Tensor | float = 0.0
        for dy in (0, 1):
            for dx in (0, 1):
                at = (low[..., 0] + dy).clamp(max=cells - 1) * cells + (low[..., 1] + dx).clamp(max=cells - 1)
                weight = (fraction[..., 0] if dy else 1 - fraction[..., 0]) * (
                    fraction[..., 1] if dx else 1 - fraction[..., 1]
                )
                if x.ndim == 2:
                    part = flat[:, :, at] * weight
                else:
                    part = flat.gather(2, at[:, None].expand(-1, channels, -1)) * weight[:, None]
                out = out + part
        assert isinstance(out, Tensor) and len(out) == count
        return out.mT


GAMMA, ZETA, BETA = -0.1, 1.1, 2 / 3
"""The stretch and the temperature of the hard concrete distribution (Louizos et al. 2018)."""

GATE_UNIT = 30.0
"""log α₀ is trained in these units: it has to move by whole numbers, in steps of the size that weights need."""


def hard_concrete(log_alpha: Tensor, noisy: bool) -> Tensor:
    """Gates in [0, 1], exact zeros among them: sampled, or the estimate that is used at test time."""
    if noisy:
        u = torch.rand_like(log_alpha).clamp(1e-6, 1 - 1e-6)
        s = torch.sigmoid((u.log() - (1 - u).log() + log_alpha) / BETA)
    else:
        s = torch.sigmoid(log_alpha)
    return (s * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def open_probability(log_alpha: Tensor) -> Tensor:
    """1 − Q(s < 0): how likely a gate is not zero (MSCN, eq. 5)."""
    return torch.sigmoid(log_alpha - BETA * math.log(-GAMMA / ZETA))


class Gated(Modulation):
    """MSCN: values m times hard-concrete gates z, learned with the initialisation and adapted with m (eq. 8).

    φ = [m, δ]: log α = log α₀ + δ. Sent are the products z ⊙ m, zero where a gate is closed. `layers`: how many of them
    each layer has.
    """

    layers: list[int]

    def __init__(self, values: int, lmbda: float, log_alpha: float):
        super().__init__()
        self.size, self.values, self.lmbda = 2 * values, values, lmbda
        self.log_alpha = nn.Parameter(torch.full((values,), log_alpha / GATE_UNIT))

    def products(self, phi: Tensor) -> Tensor:
        m, delta = phi.split(self.values, 1)
        return m * hard_concrete(GATE_UNIT * self.log_alpha + delta, self.training)

    def penalty(self, phi: Tensor) -> Tensor:
        """λ times the expected share of open gates."""
        return self.lmbda * open_probability(GATE_UNIT * self.log_alpha + phi[:, self.values :]).mean(1)

    def sent(self, phi: Tensor) -> Tensor:
        return self.products(phi)

    def received(self, values: Tensor) -> Tensor:
        return torch.cat([values, torch.full_like(values, math.inf)], 1)  # what is sent has its gate wide open


class GatedShifts(Gated):
    """Structured sparse modulations (MSCN, 3.3.2): every shift of every layer has a gate."""

    def __init__(self, siren: Siren, lmbda: float, log_alpha: float):
        super().__init__(siren.depth * siren.biases[0].numel(), lmbda, log_alpha)
        self.layers = [siren.biases[0].numel()] * siren.depth
        self.unit = 1 / siren.w0

    def change(self, siren: Siren, phi: Tensor, x: Tensor) -> Change:
        return self.products(phi)[:, None] * self.unit, None


class GatedGradients(Gated):
    """Unstructured sparse gradients (MSCN, 3.3.1): every weight of the layers has an update with a gate."""

    def __init__(self, siren: Siren, lmbda: float, log_alpha: float):
        self_sizes = [w.numel() for w in siren.weights]
        super().__init__(sum(self_sizes), lmbda, log_alpha)
        self.layers = self_sizes
        self.unit = 1 / siren.w0

    def change(self, siren: Siren, phi: Tensor, x: Tensor) -> Change:
        updates = self.products(phi).split(self.layers, 1)
        own = [w + self.unit * u.view(-1, *w.shape) for w, u in zip(siren.weights, updates, strict=True)]
        return None, list(own)


class Residual(nn.Module):
    """A residual block of an MLP: h + W₂ a(W₁ h)."""

    def __init__(self, width: int, activation: nn.Module):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.activation = activation

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = h + self.second(self.activation(self.first(self.activation(h))))
        return out


class LowRankGates(Modulation):
    """VC-INR: φ → LayerNorm → residual MLP → U, V; G = σ(U Vᵀ) scales the weights of each layer (eq. 2 and 3).

    The first layer is not gated ("adapt first layer: false"), the last one if `gated_output`. φ starts from a learned
    point. last_activation: whether a leaky ReLU follows the MLP; it all but closes half of the hidden units, and with
    them as many directions of φ.
    """

    def __init__(
        self,
        size: int,
        siren: Siren,
        hidden: int,
        blocks: int,
        rank: int,
        last_activation: bool = True,
        gated_output: bool = False,
    ):
        super().__init__()
        self.size, self.rank, self.last_activation = size, rank, last_activation
        self.gated = slice(1, None if gated_output else -1)
        self.shapes = [tuple(w.shape) for w in siren.weights][self.gated]
        outputs = sum((m + n) * rank for m, n in self.shapes)
        self.first_phi = nn.Parameter(torch.randn(size))
        self.enter = nn.Linear(size, hidden)
        self.blocks = nn.Sequential(*(Residual(hidden, nn.LeakyReLU()) for _ in range(blocks)))
        self.leave = nn.Linear(hidden, outputs)
        with torch.no_grad():
            self.leave.weight.mul_(4)  # gates that differ from each other let the inner loop see what to change
            for w in list(siren.weights)[self.gated]:
                w.mul_(2)  # the gates start about one half, which would halve the variance that a SIREN needs

    def start(self, count: int) -> Tensor:
        return self.first_phi.expand(count, -1)

    def gates(self, phi: Tensor) -> list[Tensor]:
        """G of each gated layer, [P, out, in]."""
        h = F.layer_norm(phi, (self.size,))
        h = self.blocks(self.enter(h))
        uv = self.leave(F.leaky_relu(h) if self.last_activation else h)
        out, begin = [], 0
        for m, n in self.shapes:
            u = uv[:, begin : begin + m * self.rank].view(-1, m, self.rank)
            begin += m * self.rank
            v = uv[:, begin : begin + n * self.rank].view(-1, n, self.rank)
            begin += n * self.rank
            out.append(torch.sigmoid(u @ v.mT))
        return out

    def change(self, siren: Siren, phi: Tensor, x: Tensor) -> Change:
        weights: list[Tensor | None] = [None] * (siren.depth + 1)
        weights[self.gated] = [g * w for g, w in zip(self.gates(phi), list(siren.weights)[self.gated], strict=True)]
        return None, weights


AT_ONCE = 1 << 22  # random numbers that are made at once


class RandomProjection(Modulation):
    """D'OH: the weights of layer l are M_l φ, for a fixed random matrix M_l of each layer (eq. 2). φ starts in ±1.

    The entries of M_l are uniform in ±bound, such that the weights start with the variance of a SIREN (supplement 1):
    Var W = size · Var M · Var φ. They come from Philox4x64-10 with the key (seed, l): every row takes as many words as
    it needs, four numbers each, the lowest 16 bits u first; the entry is bound · ((2u + 1) / 2^16 − 1).
    """

    place: Tensor

    def __init__(self, size: int, siren: Siren, seed: int):
        super().__init__()
        self.size, self.seed = size, seed
        self.shapes = [(w.shape[0], w.shape[1]) for w in siren.weights]
        spread = [1 / n if layer == 0 else math.sqrt(6 / n) / siren.w0 for layer, (_, n) in enumerate(self.shapes)]
        self.bounds = [s * math.sqrt(3 / size) for s in spread]
        self.register_buffer("place", torch.empty(0), persistent=False)

    def start(self, count: int) -> Tensor:
        return torch.rand(count, self.size, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def rows(self, layer: int) -> Iterator[Tensor]:
        """M_l [out · in, size], some rows at a time."""
        left, words = math.prod(self.shapes[layer]), -(-self.size // 4)
        source = np.random.Philox(key=np.array([self.seed, layer], np.uint64))
        while left:
            count = min(left, max(1, AT_ONCE // self.size))
            raw = source.random_raw(count * words).astype("<u8", copy=False).view("<u2")
            u = raw.reshape(count, -1)[:, : self.size].astype(np.float32)
            yield torch.from_numpy((2 * u + 1) * np.float32(2**-16) - 1) * self.bounds[layer]
            left -= count

    def weight(self, layer: int, phi: Tensor) -> Tensor:
        """W_l [out, in] of φ [size] on the CPU, without keeping the matrix."""
        return torch.cat([rows @ phi for rows in self.rows(layer)]).view(self.shapes[layer])

    @cached_property
    def matrices(self) -> list[Tensor]:
        """All of them at once, for fitting: as many numbers as weights times values of φ. Where the module is."""
        out = []
        for layer, shape in enumerate(self.shapes):
            matrix, done = torch.empty(math.prod(shape), self.size, device=self.place.device), 0
            for rows in self.rows(layer):
                matrix[done : done + len(rows)] = rows
                done += len(rows)
            out.append(matrix)
        return out

    def change(self, siren: Siren, phi: Tensor, x: Tensor) -> Change:
        weights = zip(self.matrices, self.shapes, strict=True)
        return None, [(phi @ matrix.T).view(-1, *shape) for matrix, shape in weights]
