"""From a trained base network to the coder of its modulations: statistics, histograms, flows, transforms."""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inrcodec.adaptation import logistic_bits
from inrcodec.coordinates import patch_coordinates
from inrcodec.innerloop import distortion
from inrcodec.methods.coders import SparseCoder, TransformCoder, UniformCoder
from inrcodec.methods.contextcoders import FlowCoder, GridCoder, StepCoder, neighbours, operating_point, seen
from inrcodec.methods.meta import MetaModel
from inrcodec.priors.context import FRACTION, SCALES, half_up, scale_of, straight_through
from inrcodec.priors.factorised import FactorisedDensity
from inrcodec.priors.flow import MEAN_UNITS, Flow
from inrcodec.priors.histogram import to_counts
from inrcodec.training.checkpoint import Progress
from inrcodec.training.export import logistic_tails
from inrcodec.training.quantisation import TrainableLayer


def fit(model: MetaModel, y: Tensor, values: Tensor, steps: int, progress: Progress) -> nn.Module | None:
    """Fit the coder of a model to training patches y [n, N, C] and the values [n, D] of their modulations.

    steps: of the parts that are trained by gradients. Returns the trainable flow of FlowCOIN, whose integer layers
    `export` takes; None for all others.
    """
    coder = model.coder
    if isinstance(coder, UniformCoder):
        fit_uniform(coder, values)
    elif isinstance(coder, SparseCoder):
        _sparse(coder, values)
    elif isinstance(coder, TransformCoder):
        _transform(model, coder, y, values, steps, progress)
    elif isinstance(coder, GridCoder):
        _steps(coder, values)
        _grid(coder, values)
    elif isinstance(coder, FlowCoder):
        _steps(coder, values)
        return _flow(coder, values, steps, progress)
    return None


def fit_uniform(coder: UniformCoder, values: Tensor) -> None:
    """Statistics and histograms of values [n, D] of modulations of training patches."""
    whole = len(coder.mean) == 1
    coder.mean.copy_(values.mean() if whole else values.mean(0))
    coder.std.copy_(values.std() if whole else values.std(0))
    rows = []
    for point in range(coder.points):
        symbols = coder.quantise(values, point).numpy().ravel()
        rows.append(to_counts(np.bincount(symbols, minlength=2 ** (coder.least + point)) + 0.5))
    coder.counts.copy_(torch.from_numpy(np.concatenate(rows)))


def _sparse(coder: SparseCoder, values: Tensor) -> None:
    is_open = values != 0
    coder.level.copy_((is_open.float().mean(0) * coder.LEVELS).long().clamp(0, coder.LEVELS - 1))
    power = (values.square().sum(0) / is_open.sum(0).clamp(min=1)).sqrt()
    coder.std.copy_(torch.where(power > 0, power, power.mean()))
    rows = []
    for point in range(coder.points):
        symbols = coder.quantise(values, point).numpy().ravel()
        counts = np.bincount(symbols[symbols > 0] - 1, minlength=2 ** (coder.least + point))
        rows.append(to_counts(counts + 0.5))
    coder.counts.copy_(torch.from_numpy(np.concatenate(rows)))


def _steps(coder: StepCoder, values: Tensor) -> None:
    coder.mean.copy_(values.mean(0))
    coder.std.copy_(values.std(0).clamp(min=1e-9))
    coder.tails.copy_(torch.from_numpy(logistic_tails()))


def _scale_index(residual: np.ndarray) -> int:
    """The scale index whose logistic codes residuals [n] in the fewest bits."""
    d = torch.from_numpy(residual.astype(np.float32))
    bits = [float(logistic_bits(d, torch.zeros(()), scale_of(torch.tensor(k))).sum()) for k in range(0, SCALES, 2)]
    return 2 * int(np.argmin(bits))


def _grid(coder: GridCoder, values: Tensor) -> None:
    """Shares by least squares, then scales. The training patches stand alone: their borders have fewer neighbours."""
    side = coder.side
    odd = np.add.outer(np.arange(side), np.arange(side)) % 2 == 1
    for point in range(coder.points - 1, -1, -1):
        symbols = coder.quantise(values, point).numpy()
        cells = symbols.reshape(-1, side, side)  # [n · c, h, w]
        around = neighbours(np.where(odd, 0, cells)).reshape(len(values), coder.channels, side, side)
        own = symbols.reshape(len(values), coder.channels, side, side)
        for c in range(coder.channels):
            target, near = own[:, c][:, odd].ravel(), around[:, c][:, odd].ravel()
            if point == coder.points - 1:  # the finest steps tell most of the shares
                coder.share[c] = round(256 * float(near @ target) / max(float(near @ near), 1.0))
            mean = (near * int(coder.share[c]) * 8 + 128) >> 8
            coder.first[point, c] = _scale_index(own[:, c][:, ~odd].ravel())
            coder.second[point, c] = _scale_index(target - mean / FRACTION)


def _flow(coder: FlowCoder, values: Tensor, steps: int, progress: Progress) -> nn.Module:
    """Maximum likelihood of quantised modulations, all operating points mixed."""
    flow = Flow(coder.size, coder.groups, coder.width, TrainableLayer)
    optimiser = torch.optim.Adam(flow.parameters(), lr=2e-3)
    held = len(values) // 20
    best, lowest, chosen = 0, math.inf, copy.deepcopy(flow.state_dict())
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 50) * (1 - step / steps)
        if step % 20 == 0:
            _refresh(flow)
        generator = torch.Generator().manual_seed(step)
        point = int(torch.randint(coder.points, (), generator=generator))
        which = torch.randint(held, len(values), (256,), generator=generator)
        bits = flow_bits(coder, flow, values[which], point)
        optimiser.zero_grad()
        bits.mean().backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % 250 == 0 or step + 1 == steps:
            _refresh(flow)
            with torch.no_grad():
                cost = [float(flow_bits(coder, flow, values[:held], p).mean()) for p in range(coder.points)]
            if sum(cost) < lowest:
                best, lowest, chosen = step + 1, sum(cost), copy.deepcopy(flow.state_dict())
            text = " ".join(f"{c:.3f}" for c in cost)
            progress(step + 1, steps, f"bits per modulation at each b: {text} (best so far at {best})")
    flow.load_state_dict(chosen)
    _refresh(flow)
    return flow


def flow_bits(coder: FlowCoder, flow: Flow, values: Tensor, point: int) -> Tensor:
    """Bits per modulation [P, D], estimated, of values [P, D]."""
    y = coder.quantise(values, point)
    cells, bounds = coder.cells(point), flow.bounds
    parts: list[Tensor] = []

    def group(g: int, mean: Tensor, index: Tensor) -> Tensor:
        own = y[:, bounds[g] : bounds[g + 1]]
        located = mean[0].T * (cells / (6 * MEAN_UNITS))
        parts.append(logistic_bits(own.float(), located, scale_of(index[0].T)))
        return seen(own.T[None], cells)

    flow.walk(len(values), torch.tensor([operating_point(point, coder.points)]), group, straight_through)
    return torch.cat(parts, 1)


def _refresh(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, TrainableLayer):
            layer.refresh()


LMBDAS = (20.0, 10000.0)
"""λ of the coarsest and the finest operating point: R in bits per patch sample, D in 255² · MSE … on a log scale."""


def _transform(
    model: MetaModel, coder: TransformCoder, y: Tensor, values: Tensor, steps: int, progress: Progress
) -> None:
    """R + λ D on the data (eq. 4 and 5), uniform noise for rounding, all λ mixed; then the tables from the density."""
    coder.mean.copy_(values.mean(0))
    coder.std.copy_(values.std(0).clamp(min=1e-9))
    points = coder.points
    lmbdas = torch.logspace(math.log10(LMBDAS[0]), math.log10(LMBDAS[1]), points)
    _plain(model, coder, values, lmbdas)
    with torch.no_grad():
        found = torch.stack([coder.analyse(values, point).std(0) for point in range(points)])
    density = FactorisedDensity((found * (math.sqrt(3) / math.pi)).clamp(min=0.08))  # logistic, of that deviation
    trained = [coder.gains, *coder.analysis.parameters(), *coder.synthesis.parameters(), *density.parameters()]
    for p in trained:
        p.requires_grad_()
    optimiser = torch.optim.Adam(trained, lr=1e-3)
    x = patch_coordinates(model.options.patch, model.dims)
    count, samples = 32, len(x)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 100) * max(0.02, min(1.0, 2 * (1 - step / steps)))
        generator = torch.Generator().manual_seed(step)
        which = torch.randint(len(values), (count,), generator=generator)
        at = torch.randperm(samples, generator=generator)[:256]
        point = torch.randint(points, (count,), generator=generator)
        z = coder.analyse(values[which], point)
        noisy = z + torch.rand(z.shape, generator=generator) - 0.5
        rate = density.bits(noisy, point).sum(1) / samples
        # rounding, straight through, for what is decoded; noise for the rate (Minnen and Singh 2020)
        rounded = straight_through(z)
        phi = model.net.modulation.received(coder.synthesise(rounded, point))
        error = distortion(model.net(phi, x[at]), y[which][:, at])
        loss = rate + lmbdas[point] * error
        optimiser.zero_grad()
        (loss / (loss.detach() + 0.01)).mean().backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        if (step + 1) % 250 == 0:
            told, left = rate.detach(), float(error.detach().mean())
            bpp = " ".join(f"{float(told[point == k].mean()):.2f}" for k in range(points) if (point == k).any())
            progress(step + 1, steps, f"bits per sample {bpp}, {-10 * math.log10(left):.2f} dB")
    for p in trained:
        p.requires_grad_(False)
    _tables(coder, density, values)


def _plain(model: MetaModel, coder: TransformCoder, values: Tensor, lmbdas: Tensor) -> None:
    """Start with little of the MLPs, on principal components if there is a linear part, and with the steps Δ that
    are best at high rates: λ dD/dΔ = −dR/dΔ, with D = Δ² s² / 12 of a value that moves features by s per unit.
    """
    moved = _sensitivity(model, values)  # of φ
    with torch.no_grad():
        for transform in (coder.analysis, coder.synthesis):
            transform.leave.weight.mul_(0.1)
        own = coder.std * moved
        if isinstance(coder.analysis.linear, nn.Linear) and isinstance(coder.synthesis.linear, nn.Linear):
            axes = _principal(coder, values)
            own = (axes.square() @ own.square()).sqrt()
            for linear, matrix in ((coder.analysis.linear, axes), (coder.synthesis.linear, axes.T)):
                linear.weight.zero_()[: len(matrix), : matrix.shape[1]] = matrix
        samples = model.options.patch**model.dims
        step = (6 / (math.log(2) * samples * lmbdas)).sqrt()  # in features
        gains = own.clamp(min=1e-9).log() - step.log()[:, None]
        coder.gains.copy_(F.pad(gains, (0, coder.codes - gains.shape[1])))


def _sensitivity(model: MetaModel, values: Tensor, probes: int = 64) -> Tensor:
    """How far each value of φ moves the features, [D]: the root of ∂features/∂φ squared, mean over features.

    Hutchinson's estimate, at as many training patches as there are probes.
    """
    x = patch_coordinates(model.options.patch, model.dims)
    own, total = values[:probes], torch.zeros(values.shape[1])
    generator = torch.Generator().manual_seed(0)
    for part in own.split(8):
        phi = part.clone().requires_grad_()
        with torch.enable_grad():
            features = model.net(model.net.modulation.received(phi), x)
        signs = torch.randint(2, features.shape, generator=generator).float() * 2 - 1
        (gradient,) = torch.autograd.grad(features, phi, signs)
        total += gradient.square().sum(0)
    return (total / (len(own) * features[0].numel())).sqrt()


def _principal(coder: TransformCoder, values: Tensor) -> Tensor:
    """Principal axes of standardised φ, rows, no more than there are codes."""
    x = (values - coder.mean) / coder.std
    axes: Tensor = torch.linalg.eigh(x.T @ x).eigenvectors.T.flip(0)[: coder.codes]
    return axes


@torch.no_grad()
def _tables(coder: TransformCoder, density: FactorisedDensity, values: Tensor) -> None:
    """The density over each unit cell that training symbols reach, and two more on either side, as counts."""
    low, sizes, counts = [], [], []
    for point in range(coder.points):
        z = half_up(coder.analyse(values, point))
        least, most = z.amin(0).long() - 2, z.amax(0).long() + 2
        width = int((most - least).max()) + 1
        cells = least + torch.arange(width)[:, None]  # [A, Z]
        mass = (-density.bits(cells.float(), torch.full((width,), point))).exp2().numpy()
        for k in range(coder.codes):
            size = int(most[k] - least[k]) + 1
            counts.append(to_counts(mass[:size, k]))
            sizes.append(size)
        low.append(least)
    coder.low.copy_(torch.stack(low))
    coder.sizes.copy_(torch.tensor(sizes).view_as(coder.sizes))
    coder.counts = torch.from_numpy(np.concatenate(counts))
