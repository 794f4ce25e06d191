"""Training signals on the sphere: whole fields of temperature, with the places of their samples."""

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import formats
from inrcodec.coordinates import unit_vectors
from inrcodec.errors import NothingToDo
from inrcodec.formats.cf import is_temperature
from inrcodec.samples.array import ArrayFormat
from inrcodec.training.data import Batch, generator, tensor
from inrcodec.window import Shape

MIXED = 0.3  # share of fields that are a mixture of two
GAIN = (0.7, 1.4)  # of what a field differs from the mean of all


@dataclass
class Fields:
    """Fields [N, H, W] as features, on one grid; places [1, 3, H, W]."""

    train: NDArray[np.float32]
    valid: NDArray[np.float32]
    places: Tensor

    def __post_init__(self) -> None:
        self.mean = self.train.mean(0)
        # fields near the mean of all (those of long averages) have little to teach
        self.weights = np.square(self.train - self.mean).mean((1, 2))
        self.weights /= self.weights.sum()

    def batch(self, count: int, crop: Shape, seed: int) -> Batch:
        """Fields turned about the axis, with stronger or weaker anomalies, some of them mixtures."""
        rng = generator(seed)
        x = self.train[rng.choice(len(self.train), count, p=self.weights)]
        other = self.train[rng.choice(len(self.train), count, p=self.weights)]
        share = np.where(rng.random(count) < MIXED, rng.random(count), 1)[:, None, None]
        x = self.mean + (share * x + (1 - share) * other - self.mean) * rng.uniform(*GAIN, count)[:, None, None]
        turns = rng.integers(x.shape[2], size=count)
        turned = [np.roll(field, turn, 1) for field, turn in zip(x, turns, strict=True)]
        places = [self.places[0].roll(int(turn), 2) for turn in turns]
        return tensor(np.stack(turned).astype(np.float32)), torch.stack(places)

    def centres(self, crop: Shape) -> Batch:
        x = tensor(self.valid)
        return x, self.places.expand(len(x), *self.places.shape[1:])


def load(
    folder: Path, variable: str, valid_share: float, kelvin_range: tuple[float, float], skip: tuple[str, ...]
) -> Fields:
    """The batch of fields `variable` of the first file of a folder that holds it. Raises NothingToDo."""
    low, high = kelvin_range
    for path in sorted(p for p in folder.iterdir() if p.suffix in formats.MODULES["field"].SUFFIXES):
        if any(word in path.name for word in skip):
            continue
        signal = formats.read(path, "field", variable)
        form = signal.format
        assert isinstance(form, ArrayFormat)
        kelvin = is_temperature(form.info)
        if not signal.batch or kelvin is None:
            continue
        samples = np.stack([np.asarray(signal.item(k))[..., 0] for k in range(signal.items)]).astype(np.float64)
        features = ((kelvin[0] + kelvin[1] * samples - low) / (high - low)).astype(np.float32)
        held = np.array([crc32(str(k).encode()) % 1000 < 1000 * valid_share for k in range(signal.items)])
        return Fields(features[~held], features[held], unit_vectors(form.info, signal.shape).float())
    raise NothingToDo(f"{folder}: no batch of temperature fields called {variable}")
