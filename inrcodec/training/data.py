"""Training photographs: loaded once into memory as bytes, cropped at random, reproducibly by step number."""

from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import formats
from inrcodec.errors import NothingToDo

Photo = NDArray[np.integer]


def load(folder: Path, crop: int, valid_share: float) -> tuple[list[Photo], list[Photo]]:
    """All readable images of a folder with sides ≥ crop → (training, validation) lists of [H, W, 3] uint8.

    The split hangs on the file name alone, so it stays the same when photographs are added. Raises NothingToDo.
    """
    train: list[Photo] = []
    valid: list[Photo] = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in formats.image.SUFFIXES):
        values = formats.read(path).values
        if values.dtype != np.uint8 or min(values.shape[:2]) < crop:
            continue
        colour = values[..., :3] if values.shape[2] >= 3 else np.repeat(values[..., :1], 3, 2)
        (valid if crc32(path.name.encode()) % 1000 < 1000 * valid_share else train).append(colour)
    if not train or not valid:
        raise NothingToDo(f"{folder}: {len(train)} training and {len(valid)} validation images of side ≥ {crop}")
    return train, valid


def generator(seed: int) -> np.random.Generator:
    """The one source of randomness of a step."""
    return np.random.default_rng(seed)


def batch(photos: list[Photo], count: int, crop: int, seed: int) -> Tensor:
    """`count` random crops [count, 3, crop, crop] in [0, 1], mirrored and turned; the same for the same seed."""
    rng = generator(seed)
    area = np.array([p.shape[0] * p.shape[1] for p in photos], float)
    out = np.empty((count, crop, crop, 3), np.uint8)
    for k, which in enumerate(rng.choice(len(photos), count, p=area / area.sum())):
        photo = photos[which]
        top, left = (rng.integers(n - crop + 1) for n in photo.shape[:2])
        piece = photo[top : top + crop, left : left + crop]
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        if rng.random() < 0.5:
            piece = piece.transpose(1, 0, 2)
        out[k] = piece
    return torch.from_numpy(out).permute(0, 3, 1, 2).float().div_(255)


def centres(photos: list[Photo], crop: int) -> Tensor:
    """The central crop of every photograph: [N, 3, crop, crop] in [0, 1]."""
    pieces = []
    for photo in photos:
        top, left = ((n - crop) // 2 for n in photo.shape[:2])
        pieces.append(photo[top : top + crop, left : left + crop])
    return torch.from_numpy(np.stack(pieces)).permute(0, 3, 1, 2).float().div_(255)
