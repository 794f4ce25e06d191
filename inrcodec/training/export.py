"""From a training checkpoint to a folder in models/: integer prior, committed tables, content id."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from inrcodec.fields.pyramid import PyramidConfig
from inrcodec.priors.context import FRACTION, scale_of
from inrcodec.priors.tables import TOTAL, tail_lengths
from inrcodec.training.networks import Trainee
from inrcodec.training.quantisation import TrainableLayer


def logistic_tails() -> NDArray[np.int32]:
    """The tails of the logistic distribution for every scale index, in counts."""
    rows = []
    for k, length in enumerate(tail_lengths()):
        x = np.arange(length) / FRACTION
        rows.append(np.rint(TOTAL / (1 + np.exp(np.minimum(x / float(scale_of(torch.tensor(k))), 60)))))
    return np.concatenate(rows).astype(np.int32)


def parts(net: Trainee) -> list[str]:
    """The networks of real numbers."""
    return ["synthesis", "analysis", "head"] + (["closing"] if net.closing is not None else [])


def to_bytes(net: Trainee, tails: NDArray[np.int32]) -> bytes:
    """All networks as the safetensors file that `PyramidModel.from_bytes` takes; real numbers as float16.

    Their streams have stretches, which training knows nothing of.
    """
    tensors: dict[str, torch.Tensor] = {}
    for part in parts(net):
        tensors |= {f"{part}.{k}": v.half() for k, v in getattr(net, part).state_dict().items()}
    for name, layer in net.prior.named_modules():
        if isinstance(layer, TrainableLayer):
            tensors |= {f"prior.{name}.{part}": value for part, value in layer.export().items()}
    config = json.dumps(asdict(net.synthesis.config) | {"stretches": True}).encode()
    tensors["config"] = torch.tensor(list(config), dtype=torch.uint8)
    tensors |= {"tails": torch.from_numpy(tails), "points": net.synthesis.points.table}
    if net.closing is not None:
        tensors["scales"] = net.closing.scales
    return safetensors.torch.save({k: v.detach().contiguous() for k, v in sorted(tensors.items())})


def from_bytes(data: bytes) -> Trainee:
    """The inverse of `to_bytes`, to train on: the prior comes back as it was quantised."""
    tensors = safetensors.torch.load(data)
    config = PyramidConfig.from_json(bytes(tensors.pop("config").tolist()))
    net = Trainee(config)
    for name, layer in net.prior.named_modules():
        if isinstance(layer, TrainableLayer):
            layer.restore(*(tensors[f"prior.{name}.{part}"] for part in ("weight", "shift", "bias")))
    for part in parts(net):
        own = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
        getattr(net, part).load_state_dict(own)
    if "points" in tensors:
        net.synthesis.points.load(tensors["points"])
    if net.closing is not None:
        net.closing.load(tensors["scales"])
    net.refresh()
    return net


def write(net: Trainee, tails: NDArray[np.int32], folder: Path, more: dict[str, object]) -> None:
    """Write weights.safetensors and model.toml; the folder's name is the model's.

    more: the other fields of `basemodels.ModelInfo`: modality, description, range, span.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = to_bytes(net, tails)
    (folder / "weights.safetensors").write_bytes(data)
    fields = {"name": folder.name, "method": "pyramid", "sha256": hashlib.sha256(data).hexdigest()} | more
    (folder / "model.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in fields.items()))
