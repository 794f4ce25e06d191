"""Meta-learning of base networks: one trainer for every method that has an inner loop. Resumable.

    min_θ,α E [ L(f(x; θ, φ_K), y) ],   φ_K from K steps of the inner loop, differentiated through

Each step sees a batch of patches and a random part of their coordinates. The loss of each patch is divided by its own
value, so that all count alike on the scale of decibels. Muon for matrices, Adam for the rest; a running average of the
weights is what is kept.
"""

import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from inrcodec.coordinates import patch_coordinates
from inrcodec.fields.base import BaseNetwork
from inrcodec.innerloop import distortion, fit, inner_loop
from inrcodec.methods.options import MetaOptions
from inrcodec.training import principal
from inrcodec.training.checkpoint import Progress, follow, restore, save
from inrcodec.training.optimiser import Optimiser
from inrcodec.training.patches import Patches


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. minutes: 0 runs all steps; else the run ends after so many, its decay drawn in to fit."""

    steps: int = 20000
    minutes: float = 0.0
    batch: int = 16
    points: int = 256  # coordinates of each patch in a step
    rate: float = 5e-4
    ratio: float = 5.0
    decay: float = 0.4
    average: float = 0.998
    checkpoint: int = 500
    seed: int = 1


def train(
    options: MetaOptions,
    schedule: Schedule,
    patches: Patches,
    out: Path,
    progress: Progress = lambda *_: None,
    features: int = 0,
) -> BaseNetwork:
    """Train, or go on training, in folder `out`: base.safetensors and base.jsonl. Returns the average network.

    features: steps of `principal.start`, whose SIREN then stays as it is; 0 starts from random weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(schedule.seed)
    net = options.network()
    path, start, spent = out / "base.safetensors", 0, 0.0
    if features:
        if not path.exists():
            principal.start(net, patches, options.patch, features, schedule.seed, progress)
        net.siren.requires_grad_(False)
    net = net.to(device)
    average = copy.deepcopy(net).requires_grad_(False)
    optimiser = Optimiser(net, schedule.ratio, axes=2)
    if path.exists():
        about = restore(path, net, average, optimiser)
        start, spent = int(about["step"]), float(about["seconds"])
    x = patch_coordinates(options.patch, options.dims).to(device)
    held_out = [part.to(device) for part in patches.held_out(options.patch)]
    clock = time.monotonic() - spent
    for step in range(start, schedule.steps):
        done = step / schedule.steps
        if schedule.minutes:
            done = max(done, (time.monotonic() - clock) / 60 / schedule.minutes)
        rng = np.random.default_rng((schedule.seed, step))
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        y = patches.batch(schedule.batch, options.patch, rng).to(device)
        seen = torch.from_numpy(rng.permutation(len(x))[: schedule.points]).to(device)
        x_seen, y_seen = x[seen], y[:, seen]
        net.train()
        phi = inner_loop(net, x_seen, y_seen, options.inner_steps, create_graph=True)
        loss = distortion(net(phi, x_seen), y_seen) + net.modulation.penalty(phi)
        net.zero_grad()
        (loss / (loss.detach() + 1e-4)).mean().backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        if torch.isfinite(norm):
            optimiser.step(schedule.rate * min(1.0, (step + 1) / 100, max(1 - done, 0.0) / schedule.decay))
        follow(average, net, 1 - min(schedule.average, step / (step + 50)))
        last = step + 1 == schedule.steps or done >= 1
        if (step + 1) % schedule.checkpoint == 0 or last:
            about = {"step": str(step + 1), "seconds": str(time.monotonic() - clock), "options": options.to_json()}
            save(path, net, average, optimiser, about)
            figures = validate(average, options, x, held_out)
            row = {"step": step + 1, "seconds": round(time.monotonic() - clock, 1), "psnr": figures}
            with (out / "base.jsonl").open("a") as log:
                print(json.dumps(row), file=log)
            progress(step + 1, schedule.steps, "valid " + " ".join(f"{v:.2f}" for v in figures) + " dB")
        elif (step + 1) % 10 == 0:
            progress(step + 1, schedule.steps, f"{-10 * math.log10(loss.detach().mean().item()):.2f} dB")
        if last:
            break
    return average.eval()


def validate(net: BaseNetwork, options: MetaOptions, x: Tensor, held_out: list[Tensor]) -> list[float]:
    """PSNR before quantisation, per source: after the steps of training, then after those of encoding."""
    net.eval()
    figures = []
    for steps in (options.inner_steps, options.test_steps):
        for y in held_out:
            with torch.no_grad():
                decoded = net(fit(net, x, y, steps), x)
            figures.append(round((-10 * distortion(decoded, y).log10()).mean().item(), 3))
    return figures
