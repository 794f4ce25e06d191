"""VC-INR from principal components: a start from which few steps of meta-learning are left to do.

Gates of the output layer are nearly linear in φ about their middle. With two layers of sines whose outputs span the
principal subspace of training patches, and an identity between φ and the gates, the network is a linear decoder: φ are
principal components, and a step of gradient descent of the right size finds them. Training goes on as from any other
start, but for the SIREN, which stays as it is.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inrcodec.coordinates import patch_coordinates
from inrcodec.fields.base import BaseNetwork
from inrcodec.fields.modulations import LowRankGates, Residual
from inrcodec.training.checkpoint import Progress
from inrcodec.training.patches import Patches

PATCHES = 20000
CANCELLING = 16  # units of the second layer that take away what the gates let through at φ₀
SPREAD = 0.4  # standard deviation of the logits of output gates: σ is straight to a few percent over ± three of them
AMPLITUDE = 0.2  # of φ, beside the two large values that keep LayerNorm from scaling it
ROUGH = 0.3  # weight of what differs from interpolation between samples
RIDGE = 1e-3  # how far features may be from independent: in shares of their power


def start(net: BaseNetwork, patches: Patches, side: int, steps: int, seed: int, progress: Progress) -> None:
    """Set all weights of a VC-INR with two layers of sines, `rank` ≥ 3 and a hidden width of dim φ."""
    gates = net.modulation
    assert isinstance(gates, LowRankGates) and net.siren.depth == 2 and gates.enter.weight.shape == (gates.size,) * 2
    rng = np.random.default_rng(seed)
    y = torch.cat([patches.batch(1000, side, rng) for _ in range(PATCHES // 1000)])
    mean = y.mean(0)
    centred = y - mean
    spatial = sum(centred[:, :, c].T @ centred[:, :, c] for c in range(y.shape[2])) / len(y)
    assert isinstance(spatial, Tensor)
    places = _places(side)
    torch.manual_seed(seed)
    _features(net, places, spatial, steps, progress)
    _gates(net, places, centred, mean, progress)


class Places(NamedTuple):
    """Coordinates x of the N samples of a patch and x_fine of a grid twice as fine; bicubic interpolation [4 N, N]."""

    x: Tensor
    x_fine: Tensor
    fine: Tensor


def _places(side: int) -> Places:
    units = torch.eye(side * side).view(-1, 1, side, side)
    fine = F.interpolate(units, scale_factor=2, mode="bicubic").flatten(1).T
    return Places(patch_coordinates(side, 2), patch_coordinates(2 * side, 2), fine)


def _features(net: BaseNetwork, places: Places, spatial: Tensor, steps: int, progress: Progress) -> None:
    """Both layers of sines, such that the part of the covariance [N, N] outside the span of their outputs is least; and
    what they say between the samples nearest to what interpolation would."""
    siren, total = net.siren, spatial.trace()
    x, x_fine, fine = places
    width = len(siren.biases[0])
    free = width - CANCELLING
    highest = math.pi * math.isqrt(len(x)) / 2
    own = [
        torch.randn(width, 2) * (highest / 4),
        torch.rand(width) * (2 * math.pi),
        (2 * torch.rand(width, width) - 1) * (0.5 * math.sqrt(6 / width)),
        torch.rand(width) * (2 * math.pi),
    ]
    parameters = [nn.Parameter(p) for p in own]
    optimiser = torch.optim.Adam(
        [{"params": parameters[:2], "lr": 0.02}, {"params": parameters[2:], "lr": 0.006}], betas=(0.9, 0.99)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: min(1.0, (k + 1) / 20) * (1 - k / steps))
    for step in range(steps):
        w1, b1, w2, b2 = parameters
        h, h_fine = (
            torch.sin(torch.sin(at @ w1.T + b1) @ w2[:free].T + b2[:free]) * math.sqrt(2 / len(x)) for at in (x, x_fine)
        )
        factor = torch.linalg.cholesky(h.T @ h + RIDGE * torch.eye(free))
        axes = torch.linalg.solve_triangular(factor, h.T, upper=False)
        left = total - ((axes @ spatial) * axes).sum()
        apart = fine - h_fine @ torch.cholesky_solve(h.T, factor)
        rough = ((apart @ spatial) * apart).sum() / 4
        optimiser.zero_grad()
        (left + ROUGH * rough).backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            inside = -10 * math.log10(left.item() / (3 * len(x)))
            smooth = -10 * math.log10(rough.item() / (3 * len(x)))
            progress(
                step + 1, steps, f"features: what lies outside is at {inside:.2f} dB, between samples {smooth:.2f} dB"
            )
    with torch.no_grad():
        for k, p in enumerate(parameters):
            (siren.biases if k % 2 else siren.weights)[k // 2].copy_(p / siren.w0)


def _gates(net: BaseNetwork, places: Places, centred: Tensor, mean: Tensor, progress: Progress) -> None:
    """The output layer, its gates, and φ₀. centred: patches less their mean, [n, N, C]."""
    siren, gates = net.siren, net.modulation
    assert isinstance(gates, LowRankGates)
    x, x_fine, fine = places
    size, width, channels = gates.size, len(siren.biases[1]), centred.shape[2]
    free = width - CANCELLING  # features; the units that cancel come after them
    w1, b1, w2, b2 = (p.detach().double() * siren.w0 for k in (0, 1) for p in (siren.weights[k], siren.biases[k]))
    h = torch.sin(torch.sin(x.double() @ w1.T + b1) @ w2[:free].T + b2[:free])

    # Patches as coefficients of orthonormal combinations of features, and the principal components of those.
    q, r = torch.linalg.qr(h)
    t = torch.einsum("nk,pnc->pkc", q.float(), centred).flatten(1).double()
    values, vectors = torch.linalg.eigh(t.T @ t / len(t))
    count = size - 2
    components = vectors.flip(1)[:, :count]
    # LayerNorm takes the mean of φ away: turned such that the last component is the one that goes with it.
    mirror = torch.full((count,), -1 / math.sqrt(count), dtype=torch.float64)
    mirror[-1] += 1
    mirror /= mirror.norm()
    turned = components - 2 * torch.outer(components @ mirror, mirror)

    unit = AMPLITUDE * math.sqrt(size / float(values.flip(0)[:count].sum()))
    linear = torch.linalg.solve_triangular(r, turned.reshape(free, -1), upper=True).view(free, channels, count)
    spread = (linear.flatten(0, 1) @ (t @ turned).T).std(1).view(free, channels)
    output = spread * (4 / SPREAD)  # σ'(0) = 1/4
    logits = 4 / output[..., None] * linear / unit  # [k, c, count]: of the gates, by φ
    every, wanted = torch.cat([x, x_fine]).double(), torch.cat([mean, fine @ mean]).double() - 0.5
    h1 = torch.sin(every @ w1.T + b1)
    offset = wanted - torch.sin(h1 @ w2[:free].T + b2[:free]) @ (output / 2)
    weights, w2[free:], b2[free:] = _cancelling(h1, w2[free:], b2[free:], offset, progress)

    with torch.no_grad():
        siren.weights[1].copy_(2 * w2 / siren.w0)
        siren.biases[1].copy_(b2 / siren.w0)
        siren.weights[2].copy_(torch.cat([output.T, 2 * weights.T], 1))
        siren.biases[2].fill_(0.5)
        gates.first_phi.zero_()[:2] = torch.tensor([1.0, -1.0]) * math.sqrt(size / 2)
        nn.init.eye_(gates.enter.weight)
        nn.init.zeros_(gates.enter.bias)
        for block in gates.blocks:
            assert isinstance(block, Residual)
            block.first.weight[:, :2] = 0
            block.second.weight.mul_(0.01)
            nn.init.zeros_(block.second.bias)
        leave, bias = gates.leave.weight.zero_(), gates.leave.bias.zero_()
        # of both layers, U is constant and V moves with φ; of the hidden one, only once training has moved it
        hidden, rank = 2 * width * gates.rank, gates.rank
        bias[: width * rank] = torch.randn(width * rank)
        bias[hidden : hidden + channels * rank] = torch.eye(channels, rank).flatten()
        v = leave[hidden + channels * rank :].view(width, rank, size)
        v[:free, :channels, 2:] = logits
        net.alpha.fill_(1.5 * len(x) * unit**2 / net.rate)


def _cancelling(h1: Tensor, w: Tensor, b: Tensor, target: Tensor, progress: Progress) -> tuple[Tensor, Tensor, Tensor]:
    """Output weights [k, C], and weights and biases of k units whose sum is nearest to the target [N, C]."""
    w, b = nn.Parameter(w.clone()), nn.Parameter(b.clone())
    optimiser = torch.optim.LBFGS([w, b], lr=1, max_iter=2000, history_size=50, line_search_fn="strong_wolfe")
    eye = 1e-6 * torch.eye(len(w), dtype=w.dtype)

    def solved() -> tuple[Tensor, Tensor]:
        h = torch.sin(h1 @ w.T + b)
        a = torch.linalg.solve(h.T @ h + eye, h.T @ target)
        return a, (h @ a - target).square().mean()

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = solved()[1]
        loss.backward()
        return loss

    optimiser.step(closure)
    a, loss = solved()
    progress(1, 1, f"start: {-10 * math.log10(loss.item()):.2f} dB from the mean")
    return a.detach(), w.detach(), b.detach()
