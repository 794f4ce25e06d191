"""The training loop of the pyramid: one stage, amortised, resumable.

Crops, log λ drawn from the whole range, low rates a little more often, straight-through rounding for the synthesis and
the context, noise for the rate; the loss of each sample is divided by its own value, so that every rate counts alike.
Constant learning rate, then a linear decay over the last part of the run. The first steps may train the prior alone, of
a network from nothing over the bare wavelet. A last run may teach synthesis and prior what latents are like that a
search has found.
"""

import copy
import json
import math
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from inrcodec import basemodels
from inrcodec.adaptation import EFFORTS, estimated_bits, rate_distortion
from inrcodec.errors import UsageError
from inrcodec.fields.grids import channels_last, weights_last
from inrcodec.fields.pyramid import PyramidConfig
from inrcodec.priors.context import OPERATING_POINTS, half_up, straight_through
from inrcodec.training import data, export, fields, growth, shapes, skeleton, workers
from inrcodec.training.checkpoint import Progress, follow, restore, save
from inrcodec.training.networks import Trainee
from inrcodec.training.optimiser import Optimiser
from inrcodec.window import Shape

FEWER = 4
"""One in how many validation crops is searched."""

ALONE = 2.5
"""How much faster a prior from nothing learns while it is trained alone."""


@dataclass(frozen=True)
class Recipe(data.Variety):
    """What a training configuration file may say; unknown keys are errors."""

    name: str
    steps: int
    modality: str = "image"
    description: str = ""  # one line for `inrcodec models`
    decay: float = 0.35  # share of the steps at the end over which the learning rate falls to zero
    skeleton: int = 0  # steps at the start that train the prior alone: of a network from nothing, over the wavelet
    noise: float = 0.04  # share of the steps at the start with uniform noise in place of rounding
    batch: int = 6
    crop: int | tuple[int, ...] = 128  # samples a side, or of each axis
    searched: int = 0  # effort of a search whose latents synthesis and prior learn from; the analysis stays as it is
    large: float = 0.0  # share of the steps with crops of twice the side, and as many samples in all
    valid_crop: int | tuple[int, ...] = 192
    rate: float = 8e-4
    ratio: float = 15.0
    average: float = 0.998
    low_rates: float = 1.25  # 1 draws log λ uniformly; more draws low rates, which learn slowest, more often
    seed: int = 1
    valid_share: float = 0.05
    checkpoint: int = 500
    head_steps: int = 2000
    variable: str = ""  # which one to read, of fields
    range: tuple[float, float] | None = None  # kelvin that features 0 and 1 stand for, of a network for temperatures
    span: float = 1.0  # features that the range of plain numbers is spread over when they are coded
    skip: tuple[str, ...] = ()  # files with one of these in their names are left out: those that tests need
    start: str = ""  # the name of an installed model to go on from; it may be smaller (`growth`)
    network: PyramidConfig = PyramidConfig()

    @classmethod
    def load(cls, path: Path) -> "Recipe":
        """Raises UsageError if the file cannot be read or says something unknown."""
        try:
            fields = tomllib.loads(path.read_text())
            network = json.dumps(fields.pop("network", {})).encode()
            fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
            return cls(**fields, network=PyramidConfig.from_json(network))
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"{path}: {error}") from None

    def side(self, crop: int | tuple[int, ...]) -> Shape:
        """A crop, as samples of each axis."""
        return (crop,) * self.network.dims if isinstance(crop, int) else crop

    def draw(self, step: int) -> tuple[int, Shape]:
        """How many crops a step takes, and their size."""
        crop = self.side(self.crop)
        if data.generator(step).random() >= self.large:
            return self.batch, crop
        return max(1, self.batch >> len(crop)), tuple(2 * n for n in crop)

    def supply(self, folder: Path) -> data.Supply:
        """Where the signals come from. Raises NothingToDo, and UsageError for what the modality does not have."""
        self.check(self.modality, self.network.channels)
        if not 0 <= self.searched < len(EFFORTS):
            raise UsageError(f"searched of {self.searched}: an effort, 0 to {len(EFFORTS) - 1}")
        crop = tuple(2 * n if self.large else n for n in self.side(self.crop))
        if self.modality == "field":
            assert self.range is not None, "a network on the sphere needs a range"
            return fields.load(folder, self.variable, self.valid_share, self.range, self.skip)
        if self.modality == "shape":
            return shapes.load(folder, self.valid_share, crop, self.skip)
        kind = data.Kind(self.modality, self.network.channels, self)
        return data.load(folder, kind, crop, self.valid_share, self.skip)


Transforms = Literal["trained", "frozen", "wavelet"]
"""What stands around the prior in a training step."""


def learning_rate(recipe: Recipe, step: int) -> float:
    if step < recipe.skeleton:
        speed = 1.0 if recipe.start else ALONE
        return speed * recipe.rate * min(1.0, (step + 1) / 50, 2 * (1 - step / recipe.skeleton))
    left = (recipe.steps - step) / (recipe.decay * recipe.steps)
    return recipe.rate * min(1.0, (step - recipe.skeleton + 1) / 100, left)


def training_loss(
    net: Trainee, x: Tensor, op: Tensor, noisy: bool, places: Tensor | None = None, transforms: Transforms = "trained"
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-like loss (scalar), rate [B], MSE [B] of a batch x [B, C, *grid]."""

    def noise(y: Tensor) -> Tensor:
        return y + torch.rand_like(y) - 0.5

    quantise = noise if noisy else straight_through
    with torch.set_grad_enabled(transforms == "trained"):
        if transforms == "wavelet":
            y, decoded = skeleton.code(net.synthesis, x, op, quantise)
        else:
            y, decoded, _ = net.analysis(x, op, net.synthesis, quantise, places)
    shape = tuple(x.shape[2:])
    bits = estimated_bits(net.prior, [straight_through(v) for v in y], [noise(v) for v in y], shape, op)
    loss, rate, mse = rate_distortion(bits.sum(1), x, decoded, op)
    return (loss / (loss.detach() + 0.05)).mean(), rate, mse


def searched_loss(
    net: Trainee, x: Tensor, op: Tensor, effort: int, places: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """`training_loss` of synthesis and prior where latents are those that a search finds; op [B], all the same."""
    y = net.symbols(x, op, effort, places)
    net.synthesis.requires_grad_()
    net.prior.requires_grad_()
    shape = tuple(x.shape[2:])
    decoded = net.synthesis.to_signal(net.synthesis(y, op, shape, places=places)[0])
    loss, rate, mse = rate_distortion(estimated_bits(net.prior, y, y, shape, op).sum(1), x, decoded, op)
    return (loss / (loss.detach() + 0.05)).mean(), rate, mse


@torch.no_grad()
def validate(net: Trainee, crops: data.Batch, effort: int = 0) -> dict[str, list[float]]:
    """Mean ln(R + λD), rate and PSNR with true rounding, at five operating points; effort: of the search, if any."""
    rows: dict[str, list[float]] = {"J": [], "bpp": [], "psnr": []}
    for point in (40, 85, 130, 175, 220):
        losses, rates, psnrs = [], [], []
        for k in range(0, len(crops[0]), 8):
            x, places = (None if part is None else channels_last(part[k : k + 8]) for part in crops)
            assert x is not None
            op = torch.full((len(x),), point)
            shape = tuple(x.shape[2:])
            y = net.symbols(x, op, effort, places)
            decoded = net.synthesis.to_signal(net.synthesis(y, op, shape, places=places)[0])
            bits = estimated_bits(net.prior, y, y, shape, op, half_up)
            loss, rate, mse = rate_distortion(bits.sum(1), x, decoded, op)
            losses.append(loss.log())
            rates.append(rate)
            psnrs.append(-10 * mse.log10())
        for key, values in zip(rows, (losses, rates, psnrs), strict=True):
            rows[key].append(round(torch.cat(values).mean().item(), 4))
    return rows


def train(recipe: Recipe, folder: Path, out: Path, progress: Progress = lambda *_: None) -> Trainee:
    """Train, or go on training, in folder `out`: checkpoint.safetensors and log.jsonl. Returns the average network."""
    out.mkdir(parents=True, exist_ok=True)
    if recipe.skeleton and not recipe.start and recipe.network.sphere:
        raise UsageError("skeleton of a network from nothing is for those that are not on the sphere: it must be 0")
    torch.manual_seed(recipe.seed)
    net = Trainee(recipe.network)
    if recipe.start:
        growth.grow(net, export.from_bytes(basemodels.verify(basemodels.by_name(recipe.start))))
    net = weights_last(net)
    supply, path, start = recipe.supply(folder), out / "checkpoint.safetensors", 0
    crops = supply.centres(recipe.side(recipe.valid_crop))
    if recipe.searched:  # which takes its time
        crops = crops[0][::FEWER], None if crops[1] is None else crops[1][::FEWER]
    alone: Transforms = "frozen" if recipe.start else "wavelet"
    if recipe.skeleton and not recipe.start:
        skeleton.prepare(net, supply.batch(16, recipe.side(recipe.crop), 9_000_007)[0])
    average = copy.deepcopy(net).eval()
    optimiser = Optimiser(net.codec, recipe.ratio)
    if path.exists():
        start = int(restore(path, net, average, optimiser)["step"])
    rank, count = workers.join()
    clock, rates, mses = time.monotonic(), [], []
    for step in range(start, recipe.steps):
        if step % 50 == 0:
            net.refresh()
        torch.manual_seed((recipe.seed * 1_000_003 + step) * count + rank)
        x, places = supply.batch(*recipe.draw(step), step * count + rank)
        x = channels_last(x)
        op = (torch.rand(len(x)) ** recipe.low_rates * OPERATING_POINTS).long()
        transforms = alone if step < recipe.skeleton else "trained"
        if recipe.searched:
            loss, rate, mse = searched_loss(net, x, op[:1].expand(len(x)), recipe.searched, places)
        else:
            loss, rate, mse = training_loss(net, x, op, step < recipe.noise * recipe.steps, places, transforms)
        net.zero_grad()
        loss.backward()
        if count > 1:
            workers.share_gradients(net.codec)
        norm = nn.utils.clip_grad_norm_(net.codec.parameters(), 1.0)
        if torch.isfinite(norm):
            optimiser.step(learning_rate(recipe, step))
        follow(average, net, 1 - min(recipe.average, step / (step + 100)))
        rates.append(rate.mean().item())
        mses.append(mse.mean().item())
        if rank:
            continue
        if (step + 1) % recipe.checkpoint == 0 or step + 1 == recipe.steps:
            about = {"step": str(step + 1), "recipe": json.dumps(asdict(recipe))}
            save(path, net, average, optimiser, about)
            average.refresh()
            figures = validate(average, crops, recipe.searched)
            row = {"step": step + 1, "seconds": round(time.monotonic() - clock, 1), **figures}
            with (out / "log.jsonl").open("a") as log:
                print(json.dumps(row), file=log)
            progress(step + 1, recipe.steps, f"valid ln(R + λD) {sum(figures['J']) / 5:.4f}")
            rates, mses = [], []
        elif (step + 1) % 10 == 0:
            recent = slice(-50, None)
            bpp, error = (sum(v[recent]) / len(v[recent]) for v in (rates, mses))
            progress(step + 1, recipe.steps, f"{bpp:.3f} bpp {-10 * math.log10(error):.2f} dB")
    average.refresh()
    return average
