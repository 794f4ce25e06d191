"""Shapes: distances against formulas, meshes and voxels there and back, where things lie in the world, bad files."""

import io
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import trimesh
import trimesh.sample
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from inrcodec.errors import (
    InputNotFound,
    InrcodecError,
    OutputFailed,
    UnreadableInput,
    UnsupportedInput,
    UsageError,
)
from inrcodec.formats import distance, shape
from inrcodec.formats.distance import BAND, CELL, TAU, Grid

CENTRE = np.array([30.0, -7.0, 500.0])  # x, y, z


def ball(radius: float = 2.5) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    mesh.apply_translation(CENTRE)
    return mesh


def bowl() -> trimesh.Trimesh:
    """The lower half of a ball of radius 2.5, open at the top."""
    angle = np.linspace(-np.pi / 2, 0, 24)
    mesh = trimesh.creation.revolve(2.5 * np.stack([np.cos(angle), np.sin(angle)], -1), sections=96)
    return trimesh.Trimesh(mesh.vertices + CENTRE, mesh.faces, process=False)


def chamfer(a: trimesh.Trimesh, b: trimesh.Trimesh) -> float:
    """The mean of both mean distances from points spread evenly on one surface to the nearest of such on the other."""
    points = [trimesh.sample.sample_surface(mesh, 10_000, seed=k)[0] for k, mesh in enumerate((a, b))]
    return float(np.mean([cKDTree(q).query(p)[0].mean() for p, q in (points, points[::-1])]))


def positions(grid: Grid) -> NDArray[np.float64]:
    """[D, H, W, 3] x, y, z of the samples."""
    axes = [x + step * np.arange(n) for x, step, n in zip(grid.origin, grid.spacing, grid.shape, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij")[::-1], -1)


def blobs(*size: int, seed: int = 0) -> NDArray[np.uint8]:
    return (np.random.default_rng(seed).random(size) < 0.4).astype(np.uint8)


def npy(values: NDArray[np.generic]) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def test_distance_to_a_ball() -> None:
    grid = Grid.around(ball().bounds, 29)
    true = (2.5 - np.linalg.norm(positions(grid) - CENTRE, axis=-1)) / grid.spacing[0]
    assert grid.shape == (29, 29, 29)
    np.testing.assert_allclose(distance.from_mesh(ball(), grid), np.clip(true, -BAND, BAND), atol=0.02)


@pytest.mark.parametrize("inverted", [False, True])
def test_distance_to_a_box_is_exact_along_all_axes(inverted: bool) -> None:
    box = trimesh.creation.box((1, 2, 3))
    box.apply_translation(CENTRE)
    if inverted:
        box.invert()
    grid = Grid.around(box.bounds, 30)
    outside = np.abs(positions(grid) - CENTRE) - np.array([1, 2, 3]) / 2
    far = np.linalg.norm(np.maximum(outside, 0), axis=-1)
    true = -(far + np.minimum(outside.max(-1), 0)) / grid.spacing[0]
    assert grid.shape[0] == 30 > grid.shape[1] > grid.shape[2]
    np.testing.assert_allclose(distance.from_mesh(box, grid), np.clip(true, -BAND, BAND), atol=1e-4)


def test_triangles_without_an_area_change_nothing() -> None:
    box = trimesh.creation.box((1, 2, 3))
    more = trimesh.Trimesh(box.vertices, [*box.faces, [0, 0, 1], [2, 2, 2]], process=False)
    grid = Grid.around(box.bounds, 20)
    assert distance.open_edges(more) == 0
    np.testing.assert_allclose(distance.from_mesh(more, grid), distance.from_mesh(box, grid), atol=1e-4)


def test_a_grid_leaves_two_samples_around_and_holds_whole_cells() -> None:
    for scale in (1e-12, 0.37, 1e9):
        bounds = np.array([[-1, 5, 7.77], [1.234, 5.1, 9]]) * scale
        grid = Grid.around(bounds, 100)
        low, step = np.array(grid.origin), grid.spacing[0]
        high = low + step * (np.array(grid.shape) - 1)
        assert max(grid.shape) == 100 and sorted(n % CELL for n in grid.shape)[:2] == [0, 0]
        margins = np.concatenate([bounds[0, ::-1] - low, high - bounds[1, ::-1]]) / step
        assert margins.min() > 1.98 and margins.max() < 3.02 + CELL / 2


def test_features_are_half_at_the_surface_and_saturate() -> None:
    s = distance.to_features(np.array([-BAND, 0, TAU, BAND], np.float32))
    np.testing.assert_allclose(s, [0.0003, 0.5, 0.5 + 0.5 * np.tanh(1), 0.9997], atol=1e-4)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_voxels_come_back_exactly(dtype: type) -> None:
    voxels = blobs(9, 7, 12)
    signal = shape.read(npy(voxels.astype(dtype)))
    assert signal.values.dtype == np.float32 and signal.values.shape == (9, 7, 12, 1)
    assert signal.format.info == {"kind": "voxels"} and signal.format.modality == "shape"
    np.testing.assert_array_equal(np.load(io.BytesIO(shape.write(signal, ".npy"))), voxels)


def test_distance_of_voxels_counts_from_their_faces() -> None:
    voxels = np.zeros((1, 1, 9), bool)
    voxels[..., 4:] = True
    np.testing.assert_array_equal(distance.from_voxels(voxels)[0, 0], np.arange(9) - 3.5)
    assert (distance.from_voxels(~np.zeros((2, 2, 2), bool)) == BAND).all()


def test_a_batch_of_voxels_is_read_item_by_item(tmp_path: Path) -> None:
    voxels = blobs(5, 4, 6, 8)
    voxels[1], voxels[2] = 0, 1
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["test/voxels"] = voxels
        file["label"] = np.arange(5)
    with pytest.raises(UsageError, match="test/voxels 5×4×6×8"):
        shape.read(tmp_path / "a.h5")
    signal = shape.read(tmp_path / "a.h5", variable="test/voxels")
    assert signal.batch and signal.items == 5 and signal.shape == (4, 6, 8)
    assert not isinstance(signal.values, np.ndarray)
    whole = np.stack([signal.values[k] for k in range(5)])
    for where in (3, slice(1, 4), (4, 1), (slice(0, 2), slice(1, 3), ..., 0), ...):
        np.testing.assert_array_equal(signal.values[where], whole[where])
    np.testing.assert_array_equal(np.load(io.BytesIO(shape.write(signal, ".npy"))), voxels)
    with pytest.raises(OutputFailed, match="not 5"):
        shape.write(signal, ".ply")


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".stl", ".glb"])
def test_a_mesh_comes_back_in_its_place(suffix: str) -> None:
    box = trimesh.creation.box((1, 2, 3)).apply_translation(CENTRE + [4, 3, 2])
    mesh = trimesh.util.concatenate([ball(), box])
    data = mesh.export(file_type=suffix[1:])
    data = data.encode() if isinstance(data, str) else data
    signal = shape.read(data, resolution=40)
    assert signal.notes == ()
    again = shape.write(signal, suffix)
    decoded = shape.load_mesh(again, f"a{suffix}")
    assert decoded.is_watertight and decoded.volume == pytest.approx(mesh.volume, rel=0.02)
    step = signal.format.info["spacing"]
    spread = chamfer(mesh, mesh)
    assert chamfer(mesh, decoded) < spread + 0.05 * step
    np.testing.assert_allclose(decoded.bounds, mesh.bounds, atol=0.2 * step)
    if suffix != ".obj":
        assert shape.sniff(again[:4096], "") == (suffix != ".stl")


def test_scenes_are_put_together_with_their_transforms() -> None:
    scene = trimesh.Scene()
    for at in ([0, 0, 0], [5, 0, 0], [0, 0, 9]):
        scene.add_geometry(
            trimesh.creation.box((1, 1, 1)), transform=trimesh.transformations.translation_matrix(at), geom_name="box"
        )
    mesh = shape.load_mesh(scene.export(file_type="glb"), "a.glb")
    np.testing.assert_allclose(mesh.bounds, [[-0.5, -0.5, -0.5], [5.5, 0.5, 9.5]], atol=1e-6)
    assert mesh.volume == pytest.approx(3) and distance.open_edges(mesh) == 0 and len(mesh.vertices) == 24


def test_an_open_mesh_is_closed_where_the_winding_number_is_one_half() -> None:
    signal = shape.read(bowl().export(file_type="ply"), resolution=40)
    assert signal.notes == (
        "the mesh is not watertight (96 open edges): inside is where the winding number exceeds one half",
    )
    grid = shape.grid_of(signal)
    inner = np.linalg.norm(positions(grid)[..., :2] - CENTRE[:2], axis=-1) < 1.5
    height = (positions(grid)[..., 2] - CENTRE[2]) / grid.spacing[0]
    lid = inner & (np.abs(height) < 5)
    expected = distance.to_features(-height.astype(np.float32))
    np.testing.assert_allclose(np.asarray(signal.values)[..., 0][lid], expected[lid], atol=0.02)
    decoded = shape.load_mesh(shape.write(signal, ".ply"), "a.ply")
    assert decoded.volume == pytest.approx(2 / 3 * np.pi * 2.5**3, rel=0.02)


def test_a_window_at_another_scale_lies_where_it_was() -> None:
    signal = shape.read(ball().export(file_type="ply"), resolution=40)
    window, out = ((3, 38), (0, 20), (5, 31)), (50, 37, 13)
    axes = [a + (np.arange(n) + 0.5) * (b - a) / n - 0.5 for (a, b), n in zip(window, out, strict=True)]
    info = signal.format.info
    z, y, x = np.meshgrid(*(o + info["spacing"] * i for o, i in zip(info["origin"], axes, strict=True)), indexing="ij")
    radius = np.linalg.norm(np.stack([x, y, z], -1) - CENTRE, axis=-1)
    values = distance.to_features(((2.5 - radius) / info["spacing"]).astype(np.float32))[..., None]
    part = replace(signal, values=values, format=signal.format.placed(window, out, signal.shape))
    mesh = shape.load_mesh(shape.write(part, ".stl"), "a.stl")
    step = max(shape.grid_of(part).spacing)
    low, high = (np.array([f(x), f(y), f(z)]) for f in (np.min, np.max))
    inner = ((mesh.vertices > low + step) & (mesh.vertices < high - step)).all(axis=1)
    assert inner.sum() > 500
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices[inner] - CENTRE, axis=1), 2.5, atol=0.15 * step)
    assert (mesh.vertices > low - step).all() and (mesh.vertices < high + step).all()  # closed at the cuts
    assert mesh.is_watertight and mesh.volume > 0


def test_files_that_are_no_meshes_are_left_to_others() -> None:
    assert shape.sniff(b"", "a.PLY") and shape.sniff(b"", "a.stl") and shape.sniff(b"", "b.obj")
    assert shape.sniff(b"solid a\n facet normal 0 0 1\n", "")
    assert not shape.sniff(b"solid ground of notes", "")
    assert not shape.sniff(npy(blobs(3, 3, 3))[:4096], "a.npy")
    assert not shape.sniff(b"\x89HDF\r\n\x1a\n", "a.h5")


def _ply(vertices: str, faces: str) -> bytes:
    rows = (len(vertices.splitlines()), len(faces.splitlines()))
    return (
        f"ply\nformat ascii 1.0\nelement vertex {rows[0]}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {rows[1]}\nproperty list uchar int vertex_indices\nend_header\n{vertices}\n{faces}\n"
    ).encode()


TRIANGLE = "0 0 0\n1 0 0\n0 1 0"
BALL = ball().export(file_type="ply")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (trimesh.PointCloud(np.eye(3)).export(file_type="ply"), "no triangles"),
        (_ply(TRIANGLE, "3 0 1 2"), r"3 open edges.*encloses none"),
        (_ply(TRIANGLE, "3 0 1 7"), "beyond the 3"),
        (_ply("0 0 0\n1 0 nan\n0 1 0", "3 0 1 2"), "1 coordinates are not finite"),
        (_ply("1 1 1\n1 1 1\n1 1 1", "3 0 1 2"), "0 long"),
        (BALL[: len(BALL) // 2], "damaged"),
        (BALL[:100], "damaged"),
        (b"glTF\x02\0\0\0\xff\xff\xff\xff", "damaged"),
        (ball().export(file_type="glb")[:3000], "damaged"),
        (b"solid x\nfacet normal 0 0 1\nouter loop\nvertex 0 0", "damaged|no triangles"),
        (bytes(range(256)) * 9, "damaged|no triangles"),
        (b"v 1 2 3\nf 1 2 x\n", "damaged|no triangles"),
        (npy(blobs(4, 4, 4) * 2), "from 0 to 2 are no voxels"),
        (npy(np.float32(blobs(4, 4, 4))), "4×4×4 samples of float32"),
        (npy(blobs(4, 4)), "4×4 samples"),
        (npy(blobs(4, 4, 0, 4)), "4×4×0×4 samples"),
        (npy(blobs(4, 4, 4))[:-5], "damaged"),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UnsupportedInput, match=message):
        shape.read(data, resolution=16)


def test_damaged_meshes_raise_our_errors_only() -> None:
    rng = np.random.default_rng(0)
    small = trimesh.creation.icosphere(subdivisions=1)
    for kind in ("ply", "stl", "glb", "obj"):
        whole = small.export(file_type=kind)
        whole = whole.encode() if isinstance(whole, str) else whole
        for _ in range(12):
            data = bytearray(whole)
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            try:
                assert shape.read(bytes(data), resolution=16).values.shape[-1] == 1
            except InrcodecError as error:
                assert "the input" in str(error)


def test_wrong_uses_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputNotFound):
        shape.read(tmp_path / "none.ply")
    with pytest.raises(UnreadableInput):
        shape.read(b"")
    with pytest.raises(UsageError, match="resolution of 4000"):
        shape.read(BALL, resolution=4000)
    with pytest.raises(UsageError, match="no 'x'"):
        shape.read(BALL, variable="x")
    signal = shape.read(npy(blobs(4, 4, 4)))
    empty = replace(signal, values=np.zeros((4, 4, 4, 1), np.float32))
    with pytest.raises(OutputFailed, match="4×4×4 samples from 0 to 0"):
        shape.write(empty, ".obj")
    assert not np.load(io.BytesIO(shape.write(empty, ".npy"))).any()


def test_comments_in_any_encoding() -> None:
    text = trimesh.creation.icosphere(subdivisions=1).export(file_type="obj")
    mesh = shape.load_mesh("# caf\u00e9\n".encode("latin-1") + text.encode(), "a.obj")
    assert len(mesh.faces) == 80
