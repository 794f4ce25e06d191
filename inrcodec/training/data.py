"""Training signals: loaded once into memory as the files hold them, cropped at random, reproducibly by step number."""

from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from inrcodec import formats
from inrcodec.errors import NothingToDo
from inrcodec.signal import Signal

GAINS = (-12.0, 6.0)  # decibels by which a sound is made louder at random


def load(folder: Path, modality: str, crop: int, valid_share: float) -> tuple[list[Signal], list[Signal]]:
    """All signals of a folder of one modality with sides ≥ crop → (training, validation).

    Images of 8 bits only. The split hangs on the file name alone, so it stays the same when files are added.
    Raises NothingToDo.
    """
    train: list[Signal] = []
    valid: list[Signal] = []
    suffixes = formats.MODULES[modality].SUFFIXES
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes):
        signal = formats.read(path)
        if min(signal.values.shape[:-1]) >= crop and signal.values.dtype != np.uint16:
            (valid if crc32(path.name.encode()) % 1000 < 1000 * valid_share else train).append(signal)
    if not train or not valid:
        raise NothingToDo(f"{folder}: {len(train)} training and {len(valid)} validation signals of side ≥ {crop}")
    return train, valid


def generator(seed: int) -> np.random.Generator:
    """The one source of randomness of a step."""
    return np.random.default_rng(seed)


def batch(signals: list[Signal], count: int, crop: int, seed: int) -> Tensor:
    """`count` random crops as features [count, C, *crop], varied; the same for the same seed."""
    rng = generator(seed)
    extents = np.array([np.prod(s.values.shape[:-1]) for s in signals], float)
    out = []
    for which in rng.choice(len(signals), count, p=extents / extents.sum()):
        grid = signals[which].values.shape[:-1]
        x = _piece(signals[which], tuple(int(rng.integers(n - crop + 1)) for n in grid), crop)
        out.append(_varied(x, rng))
    return torch.stack(out)


def centres(signals: list[Signal], crop: int) -> Tensor:
    """The central crop of every signal, as features [N, C, *crop]."""
    return torch.stack([_piece(s, tuple((n - crop) // 2 for n in s.values.shape[:-1]), crop) for s in signals])


def _piece(signal: Signal, start: tuple[int, ...], crop: int) -> Tensor:
    """Features [C, *crop] of the first plane: grey becomes colour; of a sound its first channel."""
    values = signal.values[tuple(slice(a, a + crop) for a in start)]
    x = torch.from_numpy(signal.format.to_features(values)).movedim(-1, 0)[list(signal.format.planes[0])]
    return x.expand(3, *x.shape[1:]) if signal.format.modality == "image" else x


def _varied(x: Tensor, rng: np.random.Generator) -> Tensor:
    """A picture mirrored and turned; a sound turned upside down, and louder or softer."""
    if x.ndim == 3:
        x = x.flip(2) if rng.random() < 0.5 else x
        return x.transpose(1, 2) if rng.random() < 0.5 else x
    gain = 10 ** (rng.uniform(*GAINS) / 20) * rng.choice([-1, 1])
    return (x - 0.5) * float(gain) + 0.5
