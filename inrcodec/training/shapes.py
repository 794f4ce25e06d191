"""Training signals that are solids: distances of voxel grids, of meshes, and of procedural solids."""

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from inrcodec import formats
from inrcodec.errors import NothingToDo
from inrcodec.formats import distance
from inrcodec.training import procedural
from inrcodec.training.data import Batch, generator, tensor
from inrcodec.window import Shape

KINDS = (0.35, 0.3, 0.35)  # shares of procedural solids, voxel grids and pieces of meshes
ATTEMPTS = 8  # at a piece of a mesh that the surface passes through
ANYWHERE = 0.4  # share of pieces of meshes for which any will do: most of a large grid is far from the surface


@dataclass
class Shapes:
    """voxels: occupancy [N, D, H, W]; meshes: features [D, H, W] each."""

    voxels: NDArray[np.uint8]
    valid: NDArray[np.uint8]
    meshes: list[NDArray[np.float32]]

    def batch(self, count: int, crop: Shape, seed: int) -> Batch:
        rng = generator(seed)
        made = [(self._made, self._grid, self._mesh)[k](rng, crop) for k in rng.choice(3, count, p=KINDS)]
        turned = [
            x.transpose(rng.permutation(3))[tuple(slice(None, None, d) for d in rng.choice([-1, 1], 3))] for x in made
        ]
        return tensor(np.stack(turned).astype(np.float32)), None

    def centres(self, crop: Shape) -> Batch:
        grids = [_features(v) for v in self.valid]
        made = [procedural.distance(generator(k), crop) for k in range(16)]
        return tensor(np.stack([_fitted(x, crop) for x in grids] + made).astype(np.float32)), None

    @staticmethod
    def _made(rng: np.random.Generator, crop: Shape) -> NDArray[np.float32]:
        return procedural.distance(rng, crop)

    def _grid(self, rng: np.random.Generator, crop: Shape) -> NDArray[np.float32]:
        return _fitted(_features(self.voxels[rng.integers(len(self.voxels))]), crop)

    def _mesh(self, rng: np.random.Generator, crop: Shape) -> NDArray[np.float32]:
        grid = self.meshes[rng.integers(len(self.meshes))]
        piece = grid
        for _ in range(1 if rng.random() < ANYWHERE else ATTEMPTS):
            start = [int(rng.integers(n - c + 1)) for n, c in zip(grid.shape, crop, strict=True)]
            piece = grid[tuple(slice(a, a + c) for a, c in zip(start, crop, strict=True))]
            if piece.min() < 0.5 < piece.max():
                break
        return piece


def _features(voxels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return distance.to_features(distance.from_voxels(voxels > 0))


def _fitted(x: NDArray[np.float32], crop: Shape) -> NDArray[np.float32]:
    """Padded with the outside, or cut, to the size of a crop."""
    x = np.pad(x, [(0, max(0, c - n)) for n, c in zip(x.shape, crop, strict=True)])
    return x[tuple(slice(0, c) for c in crop)]


def load(folder: Path, valid_share: float, crop: Shape, skip: tuple[str, ...]) -> Shapes:
    """Voxel grids `train/voxels` of HDF5 files, and meshes as large as a crop. Raises NothingToDo."""
    voxels, meshes = [], []
    for path in sorted(p for p in folder.iterdir() if not any(word in p.name for word in skip)):
        if path.suffix == ".h5":
            signal = formats.array.read(path, "train/voxels")
            voxels += [np.asarray(signal.item(k))[..., 0] for k in range(signal.items)]
        elif path.suffix in formats.MODULES["shape"].SUFFIXES:
            grid = np.asarray(formats.read(path, "shape").values)[..., 0]
            meshes += [np.pad(grid, [(0, max(0, c - n)) for n, c in zip(grid.shape, crop, strict=True)])]
    if not voxels or not meshes:
        raise NothingToDo(f"{folder}: {len(voxels)} voxel grids and {len(meshes)} meshes to train on")
    held = np.array([crc32(str(k).encode()) % 1000 < 1000 * valid_share for k in range(len(voxels))])
    grids = np.stack(voxels)
    return Shapes(grids[~held], grids[held][:32], meshes)
