"""Shapes: meshes through trimesh, and grids of voxels. Both become features of truncated signed distances.

`info` holds the "kind", "mesh" or "voxels"; of a mesh also the "origin", where in the world the centre of the first
sample lies, z, y, x, and the "spacing", the step from sample to sample.
"""

import io
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import LimitExceeded, OutputFailed, UnreadableInput, UnsupportedInput, UsageError
from inrcodec.formats import array, distance
from inrcodec.formats.source import leading_bytes, name_of
from inrcodec.formats.stored import Lazy, reading
from inrcodec.samples.array import ArrayFormat
from inrcodec.signal import Signal

if TYPE_CHECKING:
    from trimesh import Trimesh

MESHES = {".ply": "ply", ".obj": "obj", ".stl": "stl", ".glb": "glb"}  # trimesh's names
SUFFIXES = {**MESHES, ".npy": "NPY"}
MAGICS = {b"ply\n": "ply", b"ply\r": "ply", b"glTF": "glb"}

SAMPLES = 160**3  # about how many a mesh gets
RESOLUTIONS = (16, 1024)
FINEST = 256  # unless asked for more
MAX_FACES = 1 << 25  # triangles of all parts, where they stand
EXTENTS = (1e-30, 1e30)  # sizes of meshes that can be measured without leaving the range of floats
logging.getLogger("trimesh").addHandler(logging.NullHandler())  # else it prints about damage to stderr


def sniff(head: bytes, name: str) -> bool:
    """Whether a file with these leading bytes, or else with this name, is a mesh. Grids of voxels look like arrays."""
    return (
        head[:4] in MAGICS
        or (head.lstrip()[:5] == b"solid" and b"facet normal" in head)
        or Path(name).suffix.lower() in MESHES
    )


def read(source: Path | bytes, variable: str | None = None, resolution: int | None = None) -> Signal:
    """Read a mesh, or voxels: an array of bool or of the integers 0 and 1, [D, H, W] or a batch [N, D, H, W].

    variable: which array of an NPZ or HDF5 file. resolution: samples along the longest axis of a mesh, from 16 to
    1024; voxels are samples as they are.

    Raises InputNotFound, UnreadableInput, UnsupportedInput (damaged, neither mesh nor voxels, nothing inside),
    UsageError, LimitExceeded or OutOfMemory.
    """
    head, name = leading_bytes(source), name_of(source)
    if array.sniff(head, ""):
        return _read_voxels(array.load(source, variable).array, name)
    array.refuse_variable(name, variable)
    if resolution is not None and not RESOLUTIONS[0] <= resolution <= RESOLUTIONS[1]:
        raise UsageError(f"a resolution of {resolution} samples; it may be from {RESOLUTIONS[0]} to {RESOLUTIONS[1]}")
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise UnreadableInput(f"{name}: cannot be read ({error.strerror})") from None
    mesh = load_mesh(data, name)
    grid = distance.Grid.around(mesh.bounds, resolution or _resolution(mesh))
    values = distance.to_features(distance.from_mesh(mesh, grid))
    count = distance.open_edges(mesh)
    if not (values > 0.5).any():
        raise UnsupportedInput(
            f"{name}: the mesh, with {count} open edges, encloses none of {_times(grid.shape)} samples"
        )
    info = {"kind": "mesh", "origin": list(grid.origin), "spacing": grid.spacing[0]}
    note = f"the mesh is not watertight ({count} open edges): inside is where the winding number exceeds one half"
    return replace(Signal.numbers(values[..., None], "shape", 3, info=info), notes=(note,) if count else ())


def load_mesh(data: bytes, name: str) -> "Trimesh":
    """The triangles of a file, those of a scene where they stand in it, with equal vertices made one.

    name: of the file, for messages, and for its kind where the leading bytes do not tell. Raises UnsupportedInput.
    """
    import trimesh

    kind = MAGICS.get(data[:4]) or MESHES.get(Path(name).suffix.lower()) or _guess(data)
    with reading(name, "mesh"):
        if kind == "glb":
            _check_glb(data)
        if kind == "obj":  # its comments may be in any encoding
            data = data.decode("utf-8", "replace").encode()
        scene = trimesh.load_scene(io.BytesIO(data), file_type=kind, process=False, skip_materials=True)
        faces = sum(len(getattr(scene.geometry[g], "faces", ())) for _, g in map(scene.graph.get, _nodes(scene)))
        if faces > MAX_FACES:
            raise LimitExceeded(f"{name}: {faces} triangles; the limit is {MAX_FACES}")
        parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh) and len(part.faces)]
        for part in parts:
            if part.vertices.shape[1:] != (3,):
                raise UnsupportedInput(f"{name}: the vertices of a mesh are not of three coordinates")
            if not 0 <= part.faces.min() <= part.faces.max() < len(part.vertices):
                raise UnsupportedInput(
                    f"{name}: a triangle has a vertex beyond the {len(part.vertices)} that there are"
                )
        corners = np.concatenate([part.vertices[part.faces].reshape(-1, 3) for part in parts] or [np.empty((0, 3))])
    if not len(corners):
        raise UnsupportedInput(f"{name}: there are no triangles in this file (a point cloud, or empty)")
    if not np.isfinite(corners).all():
        raise UnsupportedInput(f"{name}: {np.count_nonzero(~np.isfinite(corners))} coordinates are not finite")
    vertices, index = np.unique(corners + 0.0, axis=0, return_inverse=True)  # + 0.0 makes one of the two zeros
    mesh = trimesh.Trimesh(vertices, index.reshape(-1, 3), process=False)
    extent = float(mesh.extents.max())
    if not EXTENTS[0] < extent < EXTENTS[1]:
        raise UnsupportedInput(f"{name}: the mesh is {extent:g} long; lengths from {EXTENTS[0]} to {EXTENTS[1]} may be")
    return mesh


def _nodes(scene: Any) -> list[str]:
    """The places in a scene where a part of it stands; one part may stand in many."""
    return list(scene.graph.nodes_geometry)


def _check_glb(data: bytes) -> None:
    """Raises ValueError if arrays of a GLB file that have no bytes in it, and are zeros, are larger than the file."""
    chunk = data[20 : 20 + int.from_bytes(data[12:16], "little")]
    accessors = json.loads(chunk).get("accessors", [])
    zeros = sum(accessor["count"] for accessor in accessors if "bufferView" not in accessor)
    if zeros > len(data):
        raise ValueError(f"{zeros} elements without data")


def _resolution(mesh: "Trimesh") -> int:
    """Samples along the longest axis that make about `SAMPLES` in all: a slender shape deserves finer ones."""
    extent = mesh.bounds[1] - mesh.bounds[0]
    cube = float(np.prod(np.maximum(extent / extent.max(), 1 / FINEST)))
    return min(FINEST, round((SAMPLES / cube) ** (1 / 3)))


def write(signal: Signal, suffix: str) -> bytes:
    """A shape → the bytes of a mesh, or of an NPY array of uint8, 1 inside and 0 outside. Raises OutputFailed."""
    if suffix.lower() == ".npy":
        inside = np.empty(signal.values.shape[:-1], np.uint8)
        for k in range(signal.items):
            inside[k if signal.batch else ...] = np.asarray(signal.item(k)[...])[..., 0] > 0.5
        out = io.BytesIO()
        np.save(out, inside)
        return out.getvalue()
    if signal.batch:
        raise OutputFailed(f"a '{suffix}' file holds one shape, not {signal.items}; .npy holds many")
    features = np.asarray(signal.values[...])[..., 0]
    if not (features > 0.5).any():
        raise OutputFailed(
            f"there is no surface: {_times(signal.shape)} samples from {features.min():.3g} to {features.max():.3g}, "
            "none of them above 0.5"
        )
    data: Any = distance.to_mesh(features, grid_of(signal)).export(file_type=MESHES[suffix.lower()])
    return data.encode() if isinstance(data, str) else data


def grid_of(signal: Signal) -> distance.Grid:
    """Where the samples of a shape, perhaps of a window of it, lie in the world. Raises OutputFailed."""
    assert isinstance(signal.format, ArrayFormat)
    info = signal.format.info
    origin, spacing = info.get("origin", [0, 0, 0]), info.get("spacing", 1)
    window = info.get("window", [[0, n] for n in signal.shape])
    if not (_are_lengths(origin, (3,)) and _are_lengths(spacing, ()) and _are_lengths(window, (3, 2))):
        raise OutputFailed("the stream does not say where the samples lie: its description is damaged")
    grid = distance.Grid(tuple(origin), (spacing,) * 3, signal.shape)
    return grid.resampled(window, signal.shape) if "window" in info else grid


def _are_lengths(values: Any, shape: tuple[int, ...]) -> bool:
    """Whether these are numbers in lists of this shape, none of them beyond what can be measured."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        return False
    return array.shape == shape and array.dtype.kind in "iuf" and bool((np.abs(array) < EXTENTS[1]).all())


class _Features:
    """Features [N, D, H, W, 1] of voxels [N, D, H, W, 1], made as they are indexed, by item first."""

    def __init__(self, voxels: Lazy) -> None:
        self.voxels, self.shape, self.dtype = voxels, voxels.shape, np.dtype(np.float32)

    def __getitem__(self, where: Any, /) -> NDArray[Any]:
        first, rest = (where[0], where[1:]) if isinstance(where, tuple) else (where, ())
        if first is ...:
            first, rest = slice(None), (..., *rest)
        if isinstance(first, slice):
            return np.stack([self[k] for k in range(*first.indices(self.shape[0]))])[(slice(None), *rest)]
        voxels = self.voxels[first][..., 0]
        return distance.to_features(distance.from_voxels(voxels > 0))[..., None][rest]


def _read_voxels(stored: Any, name: str) -> Signal:
    shape, dtype = stored.shape, stored.dtype
    if dtype.kind not in "bui" or len(shape) not in (3, 4) or 0 in shape:
        raise UnsupportedInput(f"{name}: {_times(shape)} samples of {dtype} are no voxels: 3 or 4 axes of 0 and 1")
    voxels = Lazy(name, stored, False)
    for part in (voxels[k] for k in range(shape[0])):
        if part.min() < 0 or part.max() > 1:
            raise UnsupportedInput(f"{name}: samples from {part.min()} to {part.max()} are no voxels, only 0 and 1 are")
    values: Any = _Features(voxels)
    if len(shape) == 3:
        values = distance.to_features(distance.from_voxels(voxels[...][..., 0] > 0))[..., None]
    return Signal.numbers(values, "shape", 3, info={"kind": "voxels"})


def _guess(data: bytes) -> str:
    """The kind of a mesh that has neither magic bytes nor a name: binary STL has a length that its head tells."""
    binary = len(data) >= 84 and len(data) == 84 + 50 * int.from_bytes(data[80:84], "little")
    return "stl" if binary or data.lstrip()[:5] == b"solid" else "obj"


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
