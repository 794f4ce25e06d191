"""How modulations are found: rate-aware steps on the latents, the base network frozen.

    L = R + λ·D,   R in bits per sample position, D = 255²·MSE

From the amortised start, two searches. `relax` is gradient descent on y alone, with soft rounding annealed towards hard
rounding (Agustsson and Theis 2020). Gains make a step of any latent about as steep, and a search of few steps has no
time for momentum to turn: plain descent of ten steps finds what Adam's usual momentum does not in eighteen. The
relaxation prefers values between integers, the more the longer it runs, and noise is what holds it back: a short search
does best with noise that vanishes, a long one with noise that stays. `refine` then
works on integers, where the objective is true, from what the first found or, where that is worse, the amortised start:
in each pass a random part of those latents of which a step up or down promises to help takes it; an item that is worse
for it goes back, and takes half as many. What a step does to the bits of its own latent is known exactly; its effect
on the context of others and on the distortion is the gradient's. Where a signal has closing modulations, both decode
with those that suit the latents of the moment.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from inrcodec.fields.closing import Change
from inrcodec.fields.grids import with_axes
from inrcodec.fields.pyramid import Synthesis, lmbda
from inrcodec.priors.context import (
    FRACTION,
    ContextPrior,
    Expected,
    Rounding,
    half_up,
    scale_of,
    smooth,
    straight_through,
)

EFFORTS = ((0, 0), (1, 2), (3, 3), (5, 4), (7, 5), (10, 7), (20, 10), (60, 14), (160, 20), (600, 40))
"""Steps of the relaxed search and gradients of the refinement, of effort 0…9."""

SHORT = 15  # steps up to which a relaxed search does not depend on their number
RECKON = 6  # steps of the relaxed search after which closing modulations are found anew
RATE = 1.6e-3  # of descent at its start, symbols per bit
FARTHEST = 0.25  # symbols that a latent moves in one step
SHARE = 0.5  # of the steps that promise to help, those taken at first
LEAST_GAIN = 0.3  # bits that a step has to promise
DOUBT = 0.1  # share of what the gradient says that may be wrong


def logistic_bits(y: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """−log2 of the probability of the unit cell around y under a logistic distribution."""
    d = (y - mean).abs()
    mass = torch.sigmoid((0.5 - d) / scale) - torch.sigmoid((-0.5 - d) / scale)
    return -torch.log2(mass.clamp(min=1e-9))


def expected_bits(y: Tensor, expected: Expected) -> Tensor:
    """The same under what the prior expects."""
    mean, index = expected
    return logistic_bits(y, mean / FRACTION, scale_of(index))


def estimated_bits(
    prior: ContextPrior,
    latents: list[Tensor],
    targets: list[Tensor],
    shape: tuple[int, ...],
    op: Tensor,
    rounding: Rounding = straight_through,
) -> Tensor:
    """Bits per item and level, [B, L], of `targets` where the context sees `latents`; both finest first."""
    expected = prior.expect(latents, shape, op, rounding)
    return torch.stack([expected_bits(y, p).flatten(1).sum(1) for y, p in zip(targets, expected, strict=True)], 1)


def rate_distortion(bits: Tensor, x: Tensor, decoded: Tensor, op: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(L, bits per position, MSE), each [B], from bits [B] and signals [B, C, *grid]."""
    rate = bits / x[0, 0].numel()
    mse = (x - decoded).square().mean(tuple(range(1, x.ndim)))  # in whatever layout
    return rate + lmbda(op) * 255**2 * mse, rate, mse


def soft_round(y: Tensor, sharpness: float) -> Tensor:
    """A smooth map between the identity (sharpness → 0) and rounding (→ ∞)."""
    middle = torch.floor(y) + 0.5
    return middle + torch.tanh(sharpness * (y - middle)) / (2 * math.tanh(sharpness / 2))


def adapt(
    start: list[Tensor],
    x: Tensor,
    op: Tensor,
    synthesis: Synthesis,
    prior: ContextPrior,
    effort: int,
    progress: Callable[[int], None],
    first_only: bool = False,
    places: Tensor | None = None,
    close: Callable[[list[Tensor]], Change | None] | None = None,
) -> list[Tensor]:
    """Amortised latents before rounding, finest first, → integer latents.

    x [B, C, *grid] in [0, 1]: the same grid of B items, each adapted as if alone. op [1]: the operating point of the
    networks. They must not require gradients. `progress` is told B after every step, at least once.
    first_only: the latents of all but the first channel (a grey signal has no chroma) are held at zero.
    places: unit vectors [1, 3, *grid], for a network on the sphere. close: from what latents stand for to what closing
    modulations change, which both searches reckon with.
    """
    search = _Search(x, op, synthesis, prior, progress, first_only, places, close)
    first = [half_up(y) for y in search.masked(start)]
    if effort == 0:
        progress(len(x))
        return first
    steps, passes = EFFORTS[effort]
    relaxed = search.relax(start, steps)
    with torch.no_grad():
        limit = search.loss(first, smooth)
    search.reckon(relaxed)
    return search.refine(relaxed, passes, first, limit)


class _Search:
    """What the searches of one adaptation share; see `adapt`."""

    def __init__(
        self,
        x: Tensor,
        op: Tensor,
        synthesis: Synthesis,
        prior: ContextPrior,
        progress: Callable[[int], None],
        first_only: bool,
        places: Tensor | None,
        close: Callable[[list[Tensor]], Change | None] | None = None,
    ):
        self.target = synthesis.from_signal(x)  # the colour space is orthonormal: the same distortion
        self.op, self.shape, self.synthesis, self.prior = op, tuple(x.shape[2:]), synthesis, prior
        self.aim = op * synthesis.config.aim
        self.progress, self.first_only, self.places = progress, first_only, places
        self.noise = torch.Generator(x.device).manual_seed(0)
        self.close = close
        self.change: Change | None = None

    @torch.no_grad()
    def reckon(self, y: list[Tensor]) -> None:
        """From now on, decode with the closing modulations that suit integers best."""
        if self.close is not None:
            self.change = self.close(self.values(y, self.expected(y, smooth)))

    def masked(self, latents: list[Tensor]) -> list[Tensor]:
        """Latents with those that are held at zero at zero."""
        if not self.first_only:
            return latents
        config = self.synthesis.config
        counts = [config.latents(i) // config.channels for i in range(config.levels)]
        return [torch.cat([y[:, :n], torch.zeros_like(y[:, n:])], 1) for y, n in zip(latents, counts, strict=True)]

    def random(self, like: Tensor) -> Tensor:
        """Uniform in 0…1."""
        return torch.rand(like.shape, generator=self.noise, device=like.device)

    def expected(self, seen: list[Tensor], rounding: Rounding) -> list[Expected]:
        """What the prior expects of all items."""
        return self.prior.expect(seen, self.shape, self.op.expand(len(self.target)), rounding)

    def values(self, latents: list[Tensor], expected: list[Expected]) -> list[Tensor]:
        """What latents stand for."""
        with torch.no_grad():
            points, y = self.synthesis.points, [half_up(v) for v in latents]
            shifts = self.masked([points(k, v, *p, self.op) for k, (v, p) in enumerate(zip(y, expected, strict=True))])
        return [v + shift for v, shift in zip(latents, shifts, strict=True)]

    def weigh(self, latents: list[Tensor], expected: list[Expected], bits: list[Tensor]) -> Tensor:
        """L of every item, [B], from the bits of every latent."""
        values = self.values(latents, expected)
        decoded = self.synthesis(values, self.op, self.shape, places=self.places, change=self.change, exact=False)[0]
        total = torch.stack([b.flatten(1).sum(1) for b in bits]).sum(0)
        return rate_distortion(total, self.target, decoded, self.aim)[0]

    def loss(self, y: list[Tensor], rounding: Rounding) -> Tensor:
        """L of every item, [B]."""
        expected = self.expected(y, rounding)
        return self.weigh(y, expected, [expected_bits(v, p) for v, p in zip(y, expected, strict=True)])

    def relax(self, start: list[Tensor], steps: int) -> list[Tensor]:
        """Latents before rounding → integers, by gradient descent."""
        latents = [y.detach().clone().requires_grad_() for y in start]
        long = max(0.0, 1 - SHORT / steps)  # 0: short, towards 1: long
        for step in range(steps):
            if step % RECKON == 0:
                self.reckon([half_up(v) for v in self.masked(latents)])
            done = step / steps
            rate = RATE * (1 - long) ** 0.25 * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
            sharpness, spread = 4 + 6 * done, (0.5 + 0.3 * long) * (1 - done) + 0.6 * long * done
            y = [soft_round(soft_round(v, sharpness) + spread * (self.random(v) - 0.5), sharpness) for v in latents]
            loss = self.loss(self.masked(y), smooth).sum() * math.prod(self.shape)
            loss.backward()
            with torch.no_grad():
                for v in latents:
                    assert v.grad is not None
                    v -= (rate * v.grad).clamp(-FARTHEST, FARTHEST)
                    v.grad = None
            self.progress(len(self.target))
        with torch.no_grad():
            return [half_up(v) for v in self.masked(latents)]

    def refine(self, y: list[Tensor], passes: int, instead: list[Tensor], limit: Tensor) -> list[Tensor]:
        """Integers → better integers: of every item the best that was met.

        It goes on from `instead` where L of y is not below the limit [B].
        """
        curves = self._curves(y)
        best, steps, tried = instead, [torch.zeros_like(v) for v in y], y
        least, share = limit, torch.full_like(limit, SHARE)
        for k in range(passes):
            loss, promising = self._promising(tried, curves)
            better = loss < least
            best, steps = self.where(better, tried, best), self.where(better, promising, steps)
            least, share = torch.minimum(loss, least), torch.where(better, share, share / 2)
            if k == 0:  # anything is better than what nothing is known of
                least, share = torch.where(better, least, math.inf), torch.full_like(share, SHARE)
            tried = [
                v + step * (self.random(v) < with_axes(share, v.ndim - 1)) for v, step in zip(best, steps, strict=True)
            ]
            self.progress(len(self.target))
        return best

    @staticmethod
    def where(condition: Tensor, a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
        """Of the items [B] for which it holds those of a, of the others those of b."""
        return [torch.where(with_axes(condition, v.ndim - 1), v, w) for v, w in zip(a, b, strict=True)]

    def _curves(self, y: list[Tensor]) -> list[Tensor]:
        """Bits that a step of one costs by the curvature of the distortion: [1, n, 1, …] per level, finest first.

        As of an orthonormal transform, or more: the mean of the diagonal of JᵀJ, of the Jacobian of the synthesis,
        from the gradient of random signs (Hutchinson 1989).
        """
        latents = [v.detach().clone().requires_grad_() for v in y]
        decoded = self.synthesis(latents, self.op, self.shape, places=self.places)[0]
        (decoded * torch.where(self.random(decoded) < 0.5, -1.0, 1.0)).sum().backward()
        price = 255**2 * lmbda(self.aim) / self.target.shape[1]  # bits that a squared error of one is worth
        curves = []
        for level, v in enumerate(latents):
            assert v.grad is not None
            mean = v.grad.square().mean((0, *range(2, v.ndim)), keepdim=True)
            curves.append(price * torch.maximum(mean, self.synthesis.gain(level, self.op) ** -2).detach())
        return curves

    def _promising(self, y: list[Tensor], curves: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Integers → their L [B], and of every latent the step, −1, 0 or 1, that promises to help."""
        seen = [v.detach().clone().requires_grad_() for v in y]
        expected = self.expected(seen, smooth)
        bits = [expected_bits(v, p) for v, p in zip(y, expected, strict=True)]
        loss = self.weigh(seen, expected, bits)
        (loss.sum() * math.prod(self.shape)).backward()
        steps = []
        with torch.no_grad():
            for v, own, others, p, curve in zip(y, bits, seen, expected, curves, strict=True):
                slope = others.grad
                assert slope is not None
                fixed = curve - own + DOUBT * slope.abs()
                up, down = expected_bits(v + 1, p) + slope + fixed, expected_bits(v - 1, p) - slope + fixed
                step = torch.where(up < down, 1.0, -1.0)
                steps.append(torch.where(torch.minimum(up, down) < -LEAST_GAIN, step, 0.0))
        return loss.detach(), self.masked(steps)
