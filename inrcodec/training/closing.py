"""The basis of closing modulations, the networks finished: what last layers of many signals have in common.

Every signal gives normal equations (`closing.Equations`), from which the error that any modulations leave of it follows
without looking at the signal again. The basis that leaves the least, on average of the logarithm, is found by gradient
descent from the principal components of the best last layers.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from inrcodec.closing import DEVIATION, Equations
from inrcodec.fields.closing import STEP, Closing
from inrcodec.priors.context import half_up
from inrcodec.training.calibration import Batch
from inrcodec.training.checkpoint import Progress
from inrcodec.training.networks import Trainee

STEPS = 300
BATCH = 24
RATE = 1e-3
SIGNALS = 4000
EFFORT = 0
RIDGE = 3e-3  # of the diagonal, in the last layer of one signal alone
PULL = 2e-4  # share of the squared error that a modulation of 1 has to save


@dataclass
class Sample:
    """Normal equations of one signal as shares of its squared error: products [n, n], moments [n, out], float32."""

    products: Tensor
    moments: Tensor


@torch.no_grad()
def sample(net: Trainee, x: Tensor, op: Tensor, effort: int, places: Tensor | None = None) -> Sample:
    """x [1, C, *grid], op [1], places as `Synthesis` takes them: what is left of x after a search."""
    shape = tuple(x.shape[2:])
    y = net.symbols(x, op, effort, places)
    expected = net.prior.expect(y, shape, op, half_up)
    points = net.synthesis.points
    values = [v + points(k, v, *p, op) for k, (v, p) in enumerate(zip(y, expected, strict=True))]
    equations = Equations(net.synthesis)
    equations.add(values, op, shape, tuple((0, n) for n in shape), net.synthesis.from_signal(x), places)
    root = equations.weights.sqrt()  # outputs as samples see them
    left = float((equations.left * equations.weights).sum())
    return Sample((equations.products() / left).float(), (equations.moments() * root / left).float())


def fit(closing: Closing, samples: list[Sample], progress: Progress = lambda *_: None) -> float:
    """Find basis and scales, in place; returns the mean share of the squared error that they save of these signals."""
    count = len(closing.scales)
    mean = torch.zeros_like(samples[0].products, dtype=torch.float64)
    for s in samples:
        mean += s.products / s.products.diagonal().mean() / len(samples)
    root = torch.linalg.cholesky(mean / mean.diagonal().mean() + 1e-5 * torch.eye(len(mean))).T.float()
    basis = _components(samples, root, count).requires_grad_()
    optimiser = torch.optim.Adam([basis], lr=RATE)
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(step))[:BATCH]
        flat = _unwhitened(basis, root)
        saved = torch.stack([_saved(flat, samples[k])[0] for k in order.tolist()])
        optimiser.zero_grad()
        torch.log1p(-saved).mean().backward()
        optimiser.step()
        if (step + 1) % 50 == 0:
            progress(step + 1, STEPS, f"closing basis saves {100 * saved.detach().mean():.2f} % of the squared error")
    with torch.no_grad():
        return _settle(closing, _unwhitened(basis, root), samples)


def _components(samples: list[Sample], root: Tensor, count: int) -> Tensor:
    """The first principal components [count, n, out] of the best last layers, as the mean products see them."""
    rows = []
    for s in samples:
        ridge = RIDGE * s.products.diagonal().mean() * torch.eye(len(s.products))
        best = root @ torch.linalg.solve(s.products + ridge, s.moments)
        rows.append(best.flatten() / best.norm().clamp(min=1e-9).sqrt())
    return torch.linalg.svd(torch.stack(rows), full_matrices=False)[2][:count].reshape(-1, *samples[0].moments.shape)


def _unwhitened(basis: Tensor, root: Tensor) -> Tensor:
    """[count, n, out] from coordinates in which the mean products are the identity."""
    count, n, out = basis.shape
    flat = torch.linalg.solve_triangular(root, basis.transpose(0, 1).reshape(n, -1), upper=True)
    return flat.view(n, count, out).transpose(0, 1)


def _saved(flat: Tensor, s: Sample) -> tuple[Tensor, Tensor, Tensor]:
    """What a basis saves of the squared error, the modulations that do, and the matrix of their quadratic form."""
    seen = torch.einsum("ij,kjo->kio", s.products, flat)
    matrix = torch.einsum("kio,lio->kl", seen, flat)
    moments = (flat * s.moments).sum((1, 2))
    best = torch.linalg.solve(matrix + PULL * torch.eye(len(matrix)), moments)
    return 2 * best @ moments - best @ matrix @ best, best, matrix


@torch.no_grad()
def _settle(closing: Closing, flat: Tensor, samples: list[Sample]) -> float:
    """The same span in coordinates where modulations cost alike and do not correlate, the largest first."""
    for _ in range(2):
        found = [_saved(flat, s) for s in samples]
        matrix = torch.stack([m for _, _, m in found]).mean(0).double()
        root = torch.linalg.cholesky(matrix + 1e-9 * torch.eye(len(matrix)))
        best = torch.stack([b for _, b, _ in found]).double() @ root  # modulations of the basis root⁻¹ · flat
        axes = torch.linalg.eigh(best.T @ best)[1].flip(1)
        turn = torch.linalg.solve_triangular(root, torch.eye(len(root), dtype=torch.float64), upper=False)
        flat = torch.einsum("lk,lij->kij", (turn.T @ axes).float(), flat)
    weight, bias = flat.transpose(1, 2).split([flat.shape[1] - 1, 1], 2)
    closing.weight.copy_(weight.reshape(closing.weight.shape))
    closing.bias.copy_(bias[..., 0])
    found = [_saved(closing.flat(), s) for s in samples]
    deviations = torch.stack([b for _, b, _ in found]).square().mean(0).sqrt()
    closing.scales.copy_(((deviations / DEVIATION / 0.04).log() / STEP).round().clamp(-127, 127))
    return float(torch.stack([saved for saved, _, _ in found]).mean())


def samples(net: Trainee, batches: Iterable[Batch]) -> list[Sample]:
    """Of every signal of batches (x, operating points, places)."""
    return [
        sample(net, x[k : k + 1], op[k : k + 1], EFFORT, None if places is None else places[k : k + 1])
        for x, op, places in batches
        for k in range(len(x))
    ]
