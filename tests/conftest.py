"""Small signals, and a tiny base network with random weights that never changes."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

VECTORS = Path(__file__).parent / "vectors"
os.environ["INRCODEC_MODELS"] = str(VECTORS / "models")  # for the processes that tests start, too


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests run beside each other and beside other work; what threads change is tested where it matters."""
    torch.set_num_threads(1)


def picture(height: int, width: int, channels: int = 3, seed: int = 0, peak: int = 255) -> NDArray[np.integer]:
    """Smooth shapes, an edge and some noise: [height, width, channels]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    planes = [
        np.sin(5 * x + k) * np.cos(4 * y - k) + (x + y > 0.9) + 0.1 * rng.normal(size=x.shape) for k in range(channels)
    ]
    values = np.stack(planes, -1)
    values = (values - values.min()) / max(float(np.ptp(values)), 1e-9)
    return np.rint(values * peak).astype(np.uint8 if peak == 255 else np.uint16)


def sound(length: int, channels: int, seed: int = 0) -> NDArray[np.int16]:
    """A few tones, a click and some noise: [length, channels] int16."""
    rng = np.random.default_rng(seed)
    t = np.arange(length)[:, None] / 16000
    tones = sum(np.sin(2 * np.pi * f * t + np.arange(channels)) / k for k, f in enumerate((110, 440, 1750), 1))
    values = tones * np.exp(-t) + 0.02 * rng.normal(size=(length, channels))
    values[length // 2] += 1
    return np.rint(8000 * np.clip(values, -3.9, 3.9)).astype(np.int16)
