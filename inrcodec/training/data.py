"""Training signals: loaded once into memory as the files hold them, cropped at random, reproducibly by step number."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from zlib import crc32

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import files, formats
from inrcodec.errors import NothingToDo, UsageError
from inrcodec.formats import colour
from inrcodec.samples.array import ArrayFormat
from inrcodec.signal import Signal
from inrcodec.training import procedural
from inrcodec.window import Shape

GAINS = {"audio": (-12.0, 6.0), "volume": (-6.0, 9.0), "array": (-6.0, 24.0)}
"""Decibels by which a signal is made louder at random, by modality."""

Batch = tuple[Tensor, Tensor | None]
"""Features [B, C, *crop], and places on the sphere [B, 3, *crop] where there are any."""


class Supply(Protocol):
    """Where a training run gets its signals from."""

    def batch(self, count: int, crop: Shape, seed: int) -> Batch:
        """Random crops, varied; the same for the same seed."""

    def centres(self, crop: Shape) -> Batch:
        """One crop of every signal that is held out for validation."""


def generator(seed: int) -> np.random.Generator:
    """The one source of randomness of a step."""
    return np.random.default_rng(seed)


@dataclass(frozen=True, kw_only=True)
class Variety:
    """What is made of the signals of a folder, in shares; keys of a training configuration file."""

    procedural: float = 0.0  # share of signals that are made up, of a network for plain numbers
    resized: float = 0.0  # share of the crops of images and films whose rows and columns are resampled
    factors: tuple[float, float] = (1.0, 1.0)  # the least and the most by which they are
    grain: float = 0.0  # share of the crops of images and films that noise is added to
    subsampled: float = 0.0  # share of the crops of colour images whose chroma is halved in resolution

    def check(self, modality: str, channels: int) -> None:
        """Raises UsageError for what the modality does not have."""
        if (self.resized or self.grain) and modality not in ("image", "video"):
            raise UsageError(f"resized and grain are for images and films, not for {modality}: they must be 0")
        if self.subsampled and (modality != "image" or channels != 3):
            raise UsageError(f"subsampled is for colour images, not for {modality}: it must be 0")
        if len(self.factors) != 2 or not 0 < self.factors[0] <= self.factors[1]:
            raise UsageError(f"factors of {self.factors}: two, above 0, the least first")


@dataclass(frozen=True)
class Kind:
    """What a network wants to see."""

    modality: str
    channels: int
    variety: Variety = Variety()


@dataclass
class Files:
    """Crops of the signals of a folder."""

    kind: Kind
    train: list[Signal]
    valid: list[Signal]

    def batch(self, count: int, crop: Shape, seed: int) -> Batch:
        rng, share = generator(seed), self.kind.variety
        made = int((rng.random(count) < share.procedural).sum())
        out = list(torch.from_numpy(procedural.batch(rng, made, crop))) if made else []
        extents = np.array([np.prod(s.shape) for s in self.train], float)
        for which in rng.choice(len(extents), count - made, p=extents / extents.sum()) if self.train else ():
            signal, factor = self.train[which], 1.0
            if rng.random() < share.resized:
                factor = np.exp(rng.uniform(*np.log(share.factors)))
            piece = _source(crop, max(factor, *(c / n for n, c in self._room(signal, crop)[-2:])))
            start = tuple(int(rng.integers(n - c + 1)) for n, c in self._room(signal, piece))
            x = self._piece(signal, start, piece)
            x = _resized(_grainy(x, rng) if share.grain and rng.random() < share.grain else x, crop)
            out.append(_subsampled(x, rng) if share.subsampled and rng.random() < share.subsampled else x)
        return torch.stack([_varied(x, self.kind.modality, rng) for x in out]), None

    def centres(self, crop: Shape) -> Batch:
        """One crop of every signal, and where crops are resized another one that is, by the middle factor.

        Every other one has its chroma subsampled where that of crops is.
        """
        out: list[Tensor] = []
        share = self.kind.variety
        for piece in [crop, _source(crop, np.sqrt(np.prod(share.factors)))] if share.resized else [crop]:
            for s in (s for s in self.valid if all(n >= c for n, c in self._room(s, piece))):
                start = tuple((n - c) // 2 for n, c in self._room(s, piece))
                x = _resized(self._piece(s, start, piece), crop)
                out.append(_subsampled(x, generator(0)) if share.subsampled and len(out) % 2 else x)
        if share.procedural:
            out += list(torch.from_numpy(procedural.batch(generator(0), 16, crop)))
        return torch.stack(out), None

    @staticmethod
    def _room(signal: Signal, crop: Shape) -> list[tuple[int, int]]:
        return list(zip(signal.shape, crop, strict=True))

    def _piece(self, signal: Signal, start: Shape, crop: Shape) -> Tensor:
        """Features [C, *crop] of the first plane: grey becomes colour, colour grey where the network wants that."""
        values = np.asarray(signal.item(0)[tuple(slice(a, a + c) for a, c in zip(start, crop, strict=True))])
        if isinstance(signal.format, ArrayFormat):
            low, high = signal.extent
            features = ((values.astype(np.float64) - low) / max(high - low, 1e-30)).astype(np.float32)
        else:
            features = signal.format.to_features(values)
        x = torch.from_numpy(features).movedim(-1, 0)[list(signal.format.planes[0])]
        return x.expand(3, *x.shape[1:]) if self.kind.channels == 3 else x.mean(0, keepdim=True)


def load(folder: Path, kind: Kind, crop: Shape, valid_share: float, skip: tuple[str, ...] = ()) -> Files:
    """All signals of a folder that can fill the crop, split into training and validation.

    Images of 8 bits only; the first item of a batch. skip: files whose name contains one of these are left alone.
    The split hangs on the file name alone, so it stays the same when files are added. Raises NothingToDo.
    """
    train: list[Signal] = []
    valid: list[Signal] = []
    least = _source(crop, max(1.0, *kind.variety.factors)) if kind.variety.resized else crop
    modalities = ["array", *ALSO_NUMBERS.get(len(crop), ())] if kind.modality == "array" else [kind.modality]
    for modality in modalities:
        suffixes = formats.MODULES[modality].SUFFIXES
        for path in sorted(p for p in folder.rglob("*") if files.suffix_of(p) in suffixes):
            if any(word in path.name for word in skip):
                continue
            signal = formats.read(path, modality)
            signal = replace(signal, values=np.asarray(signal.item(0)[...]))
            large = len(signal.shape) == len(crop) and all(n >= c for n, c in zip(signal.shape, least, strict=True))
            if large and not (modality == "image" and signal.values.dtype == np.uint16):
                (valid if crc32(path.name.encode()) % 1000 < 1000 * valid_share else train).append(signal)
    if not kind.variety.procedural and (not train or not valid):
        raise NothingToDo(f"{folder}: {len(train)} training and {len(valid)} validation signals of at least {least}")
    return Files(kind, train, valid)


ALSO_NUMBERS = {1: ("audio",), 2: ("image",), 3: ("volume", "video")}
"""What a network for plain arrays of so many axes is trained on besides."""


def _source(crop: Shape, factor: float) -> Shape:
    """The size of a piece whose rows and columns fill the crop when resized by the factor."""
    return (*crop[:-2], *(round(n / factor) for n in crop[-2:]))


GRAIN = (0.5 / 255, 6 / 255)
"""The least and the most standard deviation of added noise."""


def _grainy(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Features [C, *piece] in steps of 1/255, with noise that the channels have partly in common."""
    deviation, common = np.exp(rng.uniform(*np.log(GRAIN))), rng.random()
    shared, own = (rng.standard_normal((n, *x.shape[1:]), np.float32) for n in (1, len(x)))
    noisy = x + torch.from_numpy(deviation * (common**0.5 * shared + (1 - common) ** 0.5 * own)).float()
    return (noisy.clamp(0, 1) * 255).round() / 255


def _resized(x: Tensor, crop: Shape) -> Tensor:
    """Features [C, *piece] → [C, *crop] in steps of 1/255, by cubic interpolation of rows and columns."""
    if tuple(x.shape[1:]) == crop:
        return x
    y = F.interpolate(x.float().flatten(0, -3)[None], crop[-2:], mode="bicubic", antialias=True)
    return ((y.clamp(0, 1) * 255).round() / 255).reshape(len(x), *crop)


def _subsampled(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Features [3, *crop] of an image in steps of 1/255, its chroma reduced to half and enlarged again."""
    down, up = ("BOX", "BICUBIC")[rng.integers(2)], ("BILINEAR", "BICUBIC")[rng.integers(2)]
    out = colour.subsampled((x * 255).round().byte().movedim(0, -1).contiguous().numpy(), down, up)
    return torch.from_numpy(out.astype(np.float32) / 255).movedim(-1, 0)


def _varied(x: Tensor, modality: str, rng: np.random.Generator) -> Tensor:
    """Mirrored and turned; plain numbers turned upside down, louder or softer. Time runs forward."""
    still = 1 if x.ndim == 4 and modality == "video" else 0
    if x.ndim > 2:
        axes = list(range(1 + still, x.ndim))
        x = x.flip([axis for axis in axes if rng.random() < 0.5])
        order = list(rng.permutation(axes))
        alike = len({x.shape[axis] for axis in axes}) == 1
        x = x.permute([*range(1 + still), *order]) if alike else x
    if modality not in GAINS:
        return x
    gain = 10 ** (rng.uniform(*GAINS[modality]) / 20) * rng.choice([-1, 1])
    return (x - 0.5) * float(gain) + 0.5


def tensor(values: NDArray[np.float32]) -> Tensor:
    """[N, *crop] → [N, 1, *crop]."""
    return torch.from_numpy(values)[:, None]
