"""What the training loops share: an average of the weights, checkpoints, and how they say how far they are."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from inrcodec.training.optimiser import Optimiser

Progress = Callable[[int, int, str], None]
"""(steps done, steps in all, how it stands)"""


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, weight: float) -> None:
    """Move the average towards the network."""
    for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        mean.lerp_(value, weight)


def save(path: Path, net: nn.Module, average: nn.Module, optimiser: Optimiser, about: Mapping[str, str]) -> None:
    """Everything that a resumed run needs, written whole or not at all."""
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    tensors |= optimiser.state()
    temporary = path.with_suffix(".part")
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, temporary, dict(about))
    temporary.replace(path)


def restore(path: Path, net: nn.Module, average: nn.Module, optimiser: Optimiser) -> dict[str, str]:
    """The inverse of `save`; gives what it was told about the run."""
    with safe_open(path, "pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (not a dict)
        about = dict(file.metadata())
    for prefix, module in (("net.", net), ("average.", average)):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    optimiser.load(tensors)
    return about
