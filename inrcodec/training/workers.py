"""Training by several processes side by side (`torchrun`): each draws its own crops, all take the mean gradient."""

import os

import torch
import torch.distributed as dist
from torch import nn


def join() -> tuple[int, int]:
    """Which of how many processes this one is."""
    if "WORLD_SIZE" not in os.environ:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_world_size()


def share_gradients(module: nn.Module) -> None:
    """Every process gets the mean of the gradients of all."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    mean = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(mean)
    mean /= dist.get_world_size()
    for g, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
        g.copy_(part.view_as(g))
