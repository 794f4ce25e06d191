"""Shapes as truncated signed distances on grids: from meshes and voxels, and back.

Distances are counted in samples, positive inside. Features are s = 1/2 + tanh(d / TAU) / 2: the surface is where
s = 1/2. All grids have the axes z, y, x; the vertices of meshes are x, y, z, as everywhere.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inrcodec.window import Shape, Window

if TYPE_CHECKING:
    from trimesh import Trimesh

TAU = 2.0
BAND = 4 * TAU  # distances are exact up to here, and cut off beyond
MARGIN = 2  # samples around the box of a mesh
BLOCK = 4  # samples a side of the blocks that are told apart first into near and far from the surface
CELL = 16  # samples a side of a cell of the coarsest latents
CHUNK = 1 << 20  # samples looked at together


@dataclass(frozen=True)
class Grid:
    """Where samples lie in the world, z, y, x: the centre of the first one, the steps, and how many there are."""

    origin: tuple[float, ...]
    spacing: tuple[float, ...]
    shape: Shape

    @classmethod
    def around(cls, bounds: NDArray[np.floating], resolution: int) -> "Grid":
        """Cubic samples around the box [[x, y, z] lowest, highest], `resolution` along its longest axis.

        Along the others there are whole cells.

        The numbers are rounded, upwards or by less than 1/100 of a sample, since streams store them.
        """
        low, high = np.asarray(bounds, np.float64)[:, ::-1]
        extent = high - low
        finest = extent.max() / (resolution - 1 - 2 * MARGIN)
        digits = 4 - int(np.floor(np.log10(finest)))
        spacing = round(float(finest) + 0.5 * 10.0**-digits, digits)
        least = np.ceil(extent / spacing - 1e-3) + 1 + 2 * MARGIN
        whole = np.ceil(least / CELL) * CELL  # networks are trained on whole cells, and empty space is cheap
        shape = tuple(int(n) for n in np.where(whole <= resolution, whole, least))
        first = (low + high) / 2 - (np.array(shape) - 1) / 2 * spacing
        return cls(tuple(round(float(x), digits - 2) for x in first), (spacing,) * 3, shape)

    def resampled(self, window: Window, out: Shape) -> "Grid":
        """`out` samples over a window of this grid."""
        origin, spacing = [], []
        for x, step, (start, stop), n in zip(self.origin, self.spacing, window, out, strict=True):
            spacing.append(step * (stop - start) / n)
            origin.append(x + step * (start - 0.5) + spacing[-1] / 2)
        return Grid(tuple(origin), tuple(spacing), out)


def to_features(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Signed distances in samples → features from 0, outside, to 1, inside."""
    return (0.5 + 0.5 * np.tanh(distance / np.float32(TAU))).astype(np.float32)


def from_voxels(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """[D, H, W] voxels → distance to the nearest one of the other kind, less 1/2, so that signs give them back."""
    from scipy.ndimage import distance_transform_edt

    if inside.all() or not inside.any():
        return np.where(inside, BAND, -BAND).astype(np.float32)
    distance = np.where(inside, distance_transform_edt(inside) - 0.5, 0.5 - distance_transform_edt(~inside))
    return np.clip(distance, -BAND, BAND).astype(np.float32)


def from_mesh(mesh: "Trimesh", grid: Grid) -> NDArray[np.float32]:
    """Signed distances to a mesh, of the shape of a grid of cubic samples, cut off at the band.

    Inside is where the generalised winding number (Jacobson et al., "Robust Inside-Outside Segmentation using
    Generalized Winding Numbers", 2013) exceeds 1/2 in size: either orientation will do. Where a mesh is open, the
    surface goes on where the number is 1/2.
    """
    surface = _Surface(mesh, grid)
    winding, bound = surface.survey()
    if open_edges(mesh):
        surface = surface.closed(winding)
    out = np.full(grid.shape, BAND, np.float32)
    for part, points in surface.chunks((bound < BAND) | _fractional(winding)):
        out.flat[part] = np.minimum(surface.distance(points), BAND)
    return np.where(winding > 0.5, out, -out)


def to_mesh(features: NDArray[np.float32], grid: Grid) -> "Trimesh":
    """The surface where features [D, H, W] are 1/2, closed where it leaves the grid. Some must be more than 1/2."""
    from skimage.measure import marching_cubes
    from trimesh import Trimesh

    padded = np.pad(features, 1, constant_values=0)
    vertices, faces, _, _ = marching_cubes(padded, 0.5, gradient_direction="descent", allow_degenerate=False)
    world = (vertices.astype(np.float64) - 1) * grid.spacing + grid.origin
    return Trimesh(world[:, ::-1], faces, process=False)


def open_edges(mesh: "Trimesh") -> int:
    """Edges that the triangles do not pass equally often both ways; 0 of a mesh that separates inside from outside."""
    edges = np.asarray(mesh.edges, np.int64)
    low, high = edges.min(axis=1), edges.max(axis=1)
    _, which = np.unique(low * len(mesh.vertices) + high, return_inverse=True)
    return int(np.count_nonzero(np.bincount(which, np.sign(edges[:, 1] - edges[:, 0]))))


class _Surface:
    """A mesh in units of the shortest step of a grid, counted from its first sample. Points are [n, 3], x, y, z."""

    def __init__(self, mesh: "Trimesh", grid: Grid) -> None:
        unit = min(grid.spacing)
        self.shape = grid.shape
        self.step = np.array(grid.spacing[::-1]) / unit
        self.vertices = np.ascontiguousarray((np.asarray(mesh.vertices) - grid.origin[::-1]) / unit)
        self.faces = np.ascontiguousarray(mesh.faces, np.int64)

    def chunks(self, mask: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """The samples of a mask, not too many together: flat indices, and points."""
        index = np.flatnonzero(mask)
        for start in range(0, len(index), CHUNK):
            part = index[start : start + CHUNK]
            yield part, np.stack(np.unravel_index(part, self.shape)[::-1], -1) * self.step

    def distance(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        import igl

        return np.sqrt(igl.point_mesh_squared_distance(points, self.vertices, self.faces)[0]).astype(np.float32)

    def winding(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        import igl

        return np.abs(igl.fast_winding_number(self.vertices, self.faces, points)).astype(np.float32)

    def survey(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Winding numbers of all samples, and lower bounds of their distances.

        The number at the centre of a block holds for all of it, as far as the question is whether 1/2 is exceeded, if
        it is nearly whole and the surface is farther away than another block: there, the number is a harmonic
        function, and Harnack's inequality keeps it on one side of 1/2.
        """
        blocks = tuple(-(-n // BLOCK) for n in self.shape)
        index = np.stack(np.unravel_index(np.arange(np.prod(blocks)), blocks)[::-1], -1)
        centres = (index * BLOCK + (BLOCK - 1) / 2) * self.step
        radius = (BLOCK - 1) / 2 * float(np.linalg.norm(self.step))
        winding = self._spread(self.winding(centres), blocks)
        bound = self._spread(self.distance(centres) - np.float32(radius), blocks)
        for part, points in self.chunks((bound < BLOCK * self.step.max()) | _fractional(winding)):
            winding.flat[part] = self.winding(points)
        return winding, bound

    def _spread(self, values: NDArray[np.float32], blocks: Shape) -> NDArray[np.float32]:
        """Values of blocks → of their samples."""
        x = values.reshape(blocks)
        for axis, n in enumerate(self.shape):
            x = np.repeat(x, BLOCK, axis)[(slice(None),) * axis + (slice(0, n),)]
        return x

    def closed(self, winding: NDArray[np.float32]) -> "_Surface":
        """With triangles where the winding number passes 1/2 away from all other triangles."""
        from scipy.ndimage import maximum_filter, minimum_filter
        from skimage.measure import marching_cubes

        inside = winding > 0.5
        clear = np.zeros(self.shape, bool)
        for part, points in self.chunks(maximum_filter(inside, 3) != minimum_filter(inside, 3)):
            clear.flat[part] = self.distance(points) > 3**0.5 / 2  # so far from all corners of a cell, none is in it
        clear = minimum_filter(clear, 2)  # as marching_cubes knows cells: by their last corners
        try:
            vertices, faces, _, _ = marching_cubes(winding, 0.5, gradient_direction="descent", mask=clear)
        except (RuntimeError, ValueError):  # no such place
            return self
        out = copy(self)
        out.vertices = np.concatenate([self.vertices, vertices[:, ::-1] * self.step])
        out.faces = np.concatenate([self.faces, faces + len(self.vertices)])
        return out


def _fractional(winding: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.abs(winding - np.rint(winding)) > 0.1
