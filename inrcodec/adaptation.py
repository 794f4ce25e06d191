"""How modulations are found: a few rate-aware steps on the latents, the base network frozen.

    L = R + λ·D,   R in bits per sample position, D = 255²·MSE

From the amortised start, Adam on y alone with soft rounding annealed towards hard rounding (Agustsson and Theis 2020);
the start is kept wherever the steps did not help. Last steps that round straight through would undo what the others
gained: latents near a boundary flip by noise.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from inrcodec.fields.grids import cut, grid_sizes, phase_window, phases, split_phases, with_axes
from inrcodec.fields.pyramid import Synthesis, lmbda
from inrcodec.priors.context import FRACTION, ContextPrior, Rounding, half_up, scale_of, smooth, straight_through

EFFORT_STEPS = (0, 3, 6, 9, 12, 15, 30, 70, 150, 400)
"""Adaptation steps of effort 0…9."""

SHORT = 15  # steps up to which the step size does not depend on their number


def logistic_bits(y: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """−log2 of the probability of the unit cell around y under a logistic distribution."""
    d = (y - mean).abs()
    mass = torch.sigmoid((0.5 - d) / scale) - torch.sigmoid((-0.5 - d) / scale)
    return -torch.log2(mass.clamp(min=1e-9))


def estimated_bits(
    prior: ContextPrior,
    latents: list[Tensor],
    targets: list[Tensor],
    shape: tuple[int, ...],
    op: Tensor,
    rounding: Rounding = straight_through,
) -> Tensor:
    """Bits per item and level, [B, L], of `targets` where the context sees `latents`; both finest first."""
    dims, groups = prior.config.dims, prior.config.groups
    sizes, offsets = grid_sizes(shape, len(groups))[1:], phases(dims)
    seen = [split_phases(y, dims) for y in latents]
    coded = [split_phases(y, dims) for y in targets]
    bits = [torch.zeros(len(op), device=op.device) for _ in latents]

    def code(level: int, phase: int, group: int, mean: Tensor, index: Tensor) -> Tensor:
        y = coded[level][phase].split(groups[level], 1)[group]
        cost = logistic_bits(y, mean / FRACTION, scale_of(index))
        there = cut(phase_window(sizes[level], offsets[phase]))  # or it would be trained on what is never coded
        bits[level] = bits[level] + cost[there].flatten(1).sum(1)
        return seen[level][phase].split(groups[level], 1)[group]

    prior.walk(shape, op, code, rounding)
    return torch.stack(bits, 1)


def rate_distortion(bits: Tensor, x: Tensor, decoded: Tensor, op: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(L, bits per position, MSE), each [B], from bits [B] and signals [B, C, *grid]."""
    rate = bits / x[0, 0].numel()
    mse = (x - decoded).square().flatten(1).mean(1)
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
    steps: int,
    progress: Callable[[int], None],
    first_only: bool = False,
    places: Tensor | None = None,
    rate: float = 0.025,
) -> list[Tensor]:
    """Amortised latents before rounding, finest first, → integer latents after `steps` steps.

    x [B, C, *grid] in [0, 1]: the same grid of B items, each adapted as if alone. op [1]: their operating point. The
    networks must not require gradients. `progress` is told the B steps that are done, after each.
    first_only: the latents of all but the first group (a grey signal has no chroma) are held at zero.
    places: unit vectors [1, 3, *grid], for a network on the sphere.
    """
    shape = tuple(x.shape[2:])
    target = synthesis.from_signal(x)

    def objective(y: list[Tensor], rounding: Rounding) -> Tensor:
        decoded = synthesis(y, op, shape, places=places)[0]  # the colour space is orthonormal: the same distortion
        bits = estimated_bits(prior, y, y, shape, op.expand(len(x)), rounding).sum(1)
        return rate_distortion(bits, target, decoded, op)[0]

    if first_only:
        start = [_first_group(y, groups[0]) for y, groups in zip(start, prior.config.groups, strict=True)]
    first = [half_up(y) for y in start]
    if steps == 0:
        return first
    latents = [y.detach().clone().requires_grad_() for y in start]
    rate *= min(1.0, math.sqrt(SHORT / steps))  # or a long search drifts to where the relaxation is wrong
    optimiser = torch.optim.Adam(latents, lr=rate, betas=(0.9, 0.98))
    noise = torch.Generator(x.device).manual_seed(0)

    def jitter(v: Tensor) -> Tensor:
        return torch.rand(v.shape, generator=noise, device=v.device) - 0.5

    for step in range(steps):
        done = step / steps
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
        sharpness, spread = 2 + 8 * done, 0.5 * (1 - done)
        y = [soft_round(soft_round(v, sharpness) + spread * jitter(v), sharpness) for v in latents]
        if first_only:
            y = [_first_group(v, groups[0]) for v, groups in zip(y, prior.config.groups, strict=True)]
        loss = objective(y, smooth).sum()
        optimiser.zero_grad()
        loss.backward()
        if first_only:
            for v, groups in zip(latents, prior.config.groups, strict=True):
                v.grad = _first_group(v.grad, groups[0])
        optimiser.step()
        progress(len(x))
    with torch.no_grad():
        last = [half_up(v) for v in latents]
        better = objective(last, half_up) < objective(first, half_up)
        return [torch.where(with_axes(better, b.ndim - 1), a, b) for a, b in zip(last, first, strict=True)]


def _first_group(y: Tensor | None, count: int) -> Tensor:
    """y [B, n, *grid] with all but the first `count` channels zero."""
    assert y is not None
    return torch.cat([y[:, :count], torch.zeros_like(y[:, count:])], 1)
