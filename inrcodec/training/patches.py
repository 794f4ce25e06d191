"""Training patches of images: random crops of the pictures of a folder, and the items of an array of pictures."""

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import files, formats
from inrcodec.errors import NothingToDo

SUFFIXES = (*formats.MODULES["image"].SUFFIXES, ".npz")


@dataclass
class Patches:
    """Pictures uint8 [H, W, 3], or [N, H, W, 3] where a file holds many. Each source is drawn from by its share."""

    sources: list[list[NDArray[np.uint8]]]
    shares: list[float]
    valid: list[list[NDArray[np.uint8]]]

    def batch(self, count: int, side: int, rng: np.random.Generator) -> Tensor:
        """Features [count, side², 3] in [0, 1], half of them mirrored; rows vary slowest."""
        out = []
        for which in rng.choice(len(self.sources), count, p=self.shares):
            source = self.sources[which]
            picture = source[int(rng.integers(len(source)))]
            top, left = (int(rng.integers(n - side + 1)) for n in picture.shape[:2])
            patch = picture[top : top + side, left : left + side]
            out.append(patch[:, ::-1] if rng.random() < 0.5 else patch)
        return torch.from_numpy(np.stack(out)).view(count, side * side, 3).float() / 255

    def held_out(self, side: int, most: int = 64) -> list[Tensor]:
        """Features [n, side², 3] from the middle of held-out pictures, one tensor a source."""
        out = []
        for source in self.valid:
            cut = [((h - side) // 2, (w - side) // 2, p) for p in source[:most] for h, w in [p.shape[:2]]]
            pieces = np.stack([p[a : a + side, b : b + side] for a, b, p in cut])
            out.append(torch.from_numpy(pieces).view(len(pieces), side * side, 3).float() / 255)
        return out


def load(folders: dict[Path, float], side: int, valid_share: float = 0.05) -> Patches:
    """Folders of pictures, or .npz files with an array `images` [N, H, W, 3], with the share of each in a batch.

    Pictures smaller than `side` are left out; which are held out hangs on the name of a file, or the place in an array.
    Raises NothingToDo.
    """
    sources, valid = [], []
    for path in folders:
        named: list[tuple[str, NDArray[np.uint8]]] = []
        for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if files.suffix_of(p) in SUFFIXES):
            if file.suffix == ".npz":
                with np.load(file, allow_pickle=False) as arrays:
                    named += [(str(k), image) for k, image in enumerate(arrays["images"])]
            else:
                named.append((file.name, np.asarray(formats.read(file, "image").values[...])))
        fit = [(n, i) for n, i in named if i.dtype == np.uint8 and i.shape[2] == 3 and min(i.shape[:2]) >= side]
        held = [crc32(name.encode()) % 1000 < 1000 * valid_share for name, _ in fit]
        sources.append([i for (_, i), h in zip(fit, held, strict=True) if not h])
        valid.append([i for (_, i), h in zip(fit, held, strict=True) if h])
        if not sources[-1] or not valid[-1]:
            raise NothingToDo(f"{path}: {len(sources[-1])} training and {len(valid[-1])} validation pictures of {side}")
    total = sum(folders.values())
    return Patches(sources, [share / total for share in folders.values()], valid)
