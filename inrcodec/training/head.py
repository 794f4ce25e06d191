"""Training of the per-coordinate head, the codec frozen: decode a reduced signal, ask for the original's."""

import json
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inrcodec.errors import UsageError
from inrcodec.fields.grids import channels_last
from inrcodec.priors.context import half_up
from inrcodec.training import data
from inrcodec.training.checkpoint import Progress
from inrcodec.training.loop import Recipe
from inrcodec.training.networks import Trainee
from inrcodec.training.optimiser import Optimiser

BATCH = 4
CROPS = {1: 1 << 14, 2: 192, 3: 40}  # of the original, by axes
SAMPLES = 6000  # coordinates per signal and step
SCALES = (1.3, 4.0)
POINTS = (60, 230)  # operating points


def reduce(x: Tensor, side: int) -> Tensor:
    """Antialiased reduction of [B, C, *grid] to sides of `side`, axis by axis; colour is rounded to 8 bits."""
    for axis in range(2, x.ndim):
        rows = x.movedim(axis, -1)
        lines = rows.reshape(len(x), -1, 1, rows.shape[-1])
        small = F.interpolate(lines, (1, side), mode="bicubic", antialias=True)
        x = small.view(*rows.shape[:-1], side).movedim(-1, axis)
    return half_up(x.clamp(0, 1) * 255) / 255 if x.shape[1] == 3 else x


def step_loss(net: Trainee, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """(MSE of the field, MSE of cubic interpolation alone) at random coordinates of x [B, C, *crop]."""
    rng = data.generator(seed)
    scale = 2.0 if rng.random() < 0.5 else rng.uniform(*SCALES)
    crop, dims = x.shape[-1], x.ndim - 2
    small = channels_last(reduce(x, round(crop / scale)))
    n = small.shape[-1]
    op = torch.from_numpy(rng.integers(*POINTS, len(x)))
    with torch.no_grad():
        _, decoded, h = net.analysis(small, op, net.synthesis, half_up)
        r = net.synthesis.from_signal(decoded)
    g = net.head(r, h)
    field, cubic = torch.zeros(()), torch.zeros(())
    for k in range(len(x)):
        at = torch.from_numpy(rng.integers(0, crop, (dims, SAMPLES)))
        target = net.synthesis.from_signal(x[(slice(k, k + 1), slice(None), *at)])[0].T
        positions = (at.T + 0.5) * (n / crop) - 0.5
        field = field + F.mse_loss(net.head.evaluate(r[k : k + 1], g[k : k + 1], positions), target)
        with torch.no_grad():
            plain = net.head.evaluate(r[k : k + 1], torch.zeros_like(g[k : k + 1]), positions)
            cubic = cubic + F.mse_loss(plain, target)
    return field / len(x), cubic / len(x)


def train(net: Trainee, recipe: Recipe, folder: Path, out: Path, progress: Progress, rate: float = 6e-4) -> None:
    """Train `net.head` in place; a line of validation figures every 200 steps into out/head.jsonl."""
    net.requires_grad_(False)
    net.head.requires_grad_(True)
    steps, crop = recipe.head_steps, (CROPS[recipe.network.dims],) * recipe.network.dims
    if not steps:  # plain cubic interpolation
        for parameter in net.head.leave.parameters():
            nn.init.zeros_(parameter)
        return
    if recipe.network.sphere:
        raise UsageError("there is no training of the head on the sphere: head_steps must be 0")
    supply = replace(recipe, crop=crop).supply(folder)
    held_out, _ = supply.centres(crop)
    optimiser = Optimiser(net.head)
    clock = time.monotonic()
    with (out / "head.jsonl").open("w") as log:
        for step in range(steps):
            x, _ = supply.batch(BATCH, crop, 2_000_006 + step)
            loss, _ = step_loss(net, x, step)
            net.head.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.head.parameters(), 0.1)
            optimiser.step(rate * min(1.0, (step + 1) / 50, 2 * (1 - step / steps)))
            if (step + 1) % 200 == 0 or step + 1 == steps:
                with torch.no_grad():
                    pairs = [step_loss(net, x, k) for k, x in enumerate(held_out.split(8))]
                gain = sum(10 * torch.log10(cubic / field).item() for field, cubic in pairs) / len(pairs)
                row = {"step": step + 1, "seconds": round(time.monotonic() - clock, 1), "gain_db": round(gain, 3)}
                print(json.dumps(row), file=log, flush=True)
                progress(step + 1, steps, f"head {gain:+.3f} dB over cubic")
