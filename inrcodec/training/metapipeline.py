"""The whole of training a meta-learned method: base network, then the coder of its modulations, then a model folder."""

import hashlib
import json
import os
import platform
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from inrcodec import basemodels
from inrcodec.errors import UsageError
from inrcodec.fields.base import BaseNetwork
from inrcodec.fields.modulations import Gated
from inrcodec.methods import coinpp, flowcoin, functa, mscn, spatial_functa, vcinr
from inrcodec.methods.coders import SparseCoder
from inrcodec.methods.meta import MetaModel, unpacked
from inrcodec.methods.options import MetaOptions
from inrcodec.training import coders, meta
from inrcodec.training.checkpoint import Progress
from inrcodec.training.meta import Schedule
from inrcodec.training.patches import Patches, load
from inrcodec.training.quantisation import TrainableLayer

METHODS: dict[str, Any] = {
    "coinpp": coinpp,
    "functa": functa,
    "mscn": mscn,
    "vcinr": vcinr,
    "flowcoin": flowcoin,
    "spatial-functa": spatial_functa,
}
"""Methods that this trains; each has `PRESETS`."""


@dataclass(frozen=True)
class MetaRecipe:
    """What a training configuration for a meta-learned method may say; unknown keys are errors."""

    name: str
    method: str
    description: str
    options: MetaOptions
    schedule: Schedule
    shares: tuple[float, ...]  # of the data folders in a batch, in their order
    samples: int = 6000  # patches whose modulations the coder is fitted to
    efforts: tuple[int, ...] = (6,)  # at which they are adapted, in turn
    coder_steps: int = 4000
    features: int = 0  # VC-INR: steps that fit a SIREN to principal components, the start of training
    base: str = ""  # an installed model whose base network is taken over; only the coder is trained

    @classmethod
    def read(cls, path: Path) -> "MetaRecipe":
        """Raises UsageError if the file cannot be read or says something unknown."""
        try:
            fields: dict[str, Any] = tomllib.loads(path.read_text())
            method = fields["method"]
            preset: MetaOptions = METHODS[method].PRESETS[fields.pop("preset", "small")]
            options = type(preset).of(asdict(preset) | fields.pop("options", {}))
            schedule = Schedule(**fields.pop("schedule", {}))
            shares, efforts = tuple(fields.pop("shares", (1.0,))), tuple(fields.pop("efforts", cls.efforts))
            return cls(**fields, options=options, schedule=schedule, shares=shares, efforts=efforts)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{path}: {error}") from None


def train(recipe: MetaRecipe, folders: list[Path], out: Path, progress: Progress = lambda *_: None) -> Path:
    """Train on pictures; returns the model folder, `out/<name>`. Goes on where a run stopped. Raises NothingToDo."""
    if len(folders) != len(recipe.shares):
        raise UsageError(f"{len(folders)} data folders; the recipe has shares for {len(recipe.shares)}")
    patches = load(dict(zip(folders, recipe.shares, strict=True)), recipe.options.patch)
    if recipe.base:
        info = basemodels.by_name(recipe.base)
        model = basemodels.load(info, "cpu")
        if not isinstance(model, MetaModel):
            raise UsageError(f"base network {recipe.base} is of method {info.method}, which is not meta-learned")
        base = model.net
    else:
        base = meta.train(recipe.options, recipe.schedule, patches, out, progress, recipe.features)
    return finish(recipe, base, patches, out, progress)


def finish(recipe: MetaRecipe, base: BaseNetwork, patches: Patches, out: Path, progress: Progress) -> Path:
    """Fit the coder to the modulations of training patches, and write the model."""
    model = MetaModel(recipe.options, recipe.options.coder())
    model.net.load_state_dict(rounded(base.state_dict()))  # as it will be loaded
    device = base.alpha.device
    model.to(device).eval().requires_grad_(False)
    rng = np.random.default_rng(recipe.schedule.seed + 77)
    y = patches.batch(recipe.samples, recipe.options.patch, rng)
    values, parts = [], y.split(64)
    for k, part in enumerate(parts):
        values.append(model.adapt(part.to(device), recipe.efforts[k % len(recipe.efforts)]).cpu())
        progress(k + 1, len(parts), "modulations of training patches")
    flow = coders.fit(model.cpu(), y, torch.cat(values), recipe.coder_steps, progress)
    folder = out / recipe.name
    write(model, flow, folder, recipe)
    (folder / "CARD.md").write_text(card(recipe, model, out))
    return folder


def rounded(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As they are once they have been in a file."""
    return unpacked(packed(tensors))


LARGE = 1 << 19
"""Elements of a matrix from which on it is stored in 8 bits, with a scale for every row."""


def packed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Real numbers in 16 bits; large matrices in 8."""
    out = {}
    for key, value in tensors.items():
        if not value.is_floating_point():
            out[key] = value
        elif value.ndim == 2 and value.numel() >= LARGE:
            scale = (value.abs().amax(1, keepdim=True) / 127).clamp(min=1e-7).half()
            out[key] = (value / scale.float()).round().clamp(-127, 127).to(torch.int8)
            out[f"{key}.scale"] = scale
        else:
            out[key] = value.half()
    return out


def to_bytes(model: MetaModel, flow: nn.Module | None) -> bytes:
    """The safetensors file that `MetaModel.from_bytes` takes; statistics as they are."""
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("coder.flow.")}
    exact = {k: v for k, v in state.items() if k.startswith(("coder.mean", "coder.std"))}
    tensors = packed({k: v for k, v in state.items() if k not in exact}) | exact
    for name, layer in flow.named_modules() if flow is not None else ():
        if isinstance(layer, TrainableLayer):
            tensors |= {f"coder.flow.{name}.{part}": value for part, value in layer.export().items()}
    tensors["config"] = torch.tensor(list(model.options.to_json().encode()), dtype=torch.uint8)
    return safetensors.torch.save({k: v.detach().contiguous() for k, v in sorted(tensors.items())})


def write(model: MetaModel, flow: nn.Module | None, folder: Path, recipe: MetaRecipe) -> None:
    """weights.safetensors and model.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    data = to_bytes(model, flow)
    (folder / "weights.safetensors").write_bytes(data)
    fields = {
        "name": recipe.name,
        "method": recipe.method,
        "sha256": hashlib.sha256(data).hexdigest(),
        "modality": "image",
        "description": recipe.description,
    }
    (folder / "model.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in fields.items()))


def card(recipe: MetaRecipe, model: MetaModel, out: Path) -> str:
    """What the model is and how it came to be, from the log of the run."""
    log = out / "base.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    options = json.dumps(asdict(recipe.options))
    efforts = " ".join(map(str, recipe.efforts))
    hardware = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    lines = [
        f"# {recipe.name}",
        "",
        f"{recipe.description} Method {recipe.method}.",
        "",
        f"Options: `{options}`.",
        "",
        f"Schedule: `{json.dumps(asdict(recipe.schedule))}`; coder fitted to {recipe.samples} training patches, adapted"
        f" at effort {efforts}. Hardware: {hardware}.",
        "",
        "## Training curve",
        "",
        f"PSNR before quantisation on held-out pictures: each source after {recipe.options.inner_steps} steps of the"
        f" inner loop, then after {recipe.options.test_steps}.",
        "",
        "| step | seconds | PSNR |",
        "| ---: | ---: | --- |",
    ]
    every = max(1, len(rows) // 12)
    sparsity: list[str] = []
    if isinstance(model.coder, SparseCoder) and isinstance(model.net.modulation, Gated):
        is_open = ((model.coder.level + 0.5) / SparseCoder.LEVELS).split(model.net.modulation.layers)
        shares = ", ".join(f"{100 * float(layer.mean()):.0f} %" for layer in is_open)
        sparsity = ["", f"Open gates of each layer, on average over training patches: {shares}."]
    for k, row in enumerate(rows):
        if k % every == 0 or k + 1 == len(rows):
            lines.append(f"| {row['step']} | {row['seconds']:.0f} | {' '.join(f'{v:.2f}' for v in row['psnr'])} |")
    return "\n".join([*lines, *sparsity, ""])
