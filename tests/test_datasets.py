"""Data sets: where they are looked for, what is read from them, and the download."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import trimesh
from conftest import picture
from PIL import Image

from inrcodec.bench import datasets, download, metrics, ours
from inrcodec.bench.model import Item, Source
from inrcodec.errors import (
    InputNotFound,
    InrcodecError,
    NothingToDo,
    UnreadableInput,
    UnsupportedInput,
    UsageError,
)
from inrcodec.samples.array import ArrayFormat


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data of this computer."""
    monkeypatch.setenv("INRCODEC_DATA", str(tmp_path / "variable"))
    monkeypatch.setattr(datasets, "cache", lambda: tmp_path / "cache")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A data folder with two pictures of Kodak."""
    return kodak(tmp_path / "data" / "kodak").parent


def kodak(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number in (1, 2):
        Image.fromarray(picture(8, 12, seed=number)).save(folder / f"kodim{number:02}.png")
    return folder


def names(name: str, data: Path | None = None, limit: int | None = None) -> list[str]:
    return [source.name for source in datasets.sources(name, data, limit)]


def only(path: Path) -> Item:
    (source,) = datasets.sources(str(path), None, None)
    return datasets.read(source)


def test_a_named_set(images: Path) -> None:
    assert names("kodak", images) == names("kodak", images / "kodak") == ["kodim01.png", "kodim02.png"]
    assert names("kodak", images, 1) == ["kodim01.png"]
    item = datasets.read(datasets.sources("kodak", images, None)[1])
    assert (item.modality, item.positions) == ("image", 96)
    assert np.array_equal(item.values, picture(8, 12, seed=2))


@pytest.mark.parametrize("place", ["variable", "cache"])
def test_places_of_last_resort(tmp_path: Path, place: str) -> None:
    kodak(tmp_path / place / "kodak")
    (source, *_) = datasets.sources("kodak", tmp_path / "not here", None)
    assert source.path.is_relative_to(tmp_path / place)


def test_a_missing_set(tmp_path: Path) -> None:
    with pytest.raises(InputNotFound) as error:
        datasets.sources("kodak", tmp_path / "mine", None)
    for place in ("mine", "variable", "cache"):
        assert str(tmp_path / place / "kodak") in str(error.value)
    assert "--download" in str(error.value)
    with pytest.raises(InputNotFound, match="librispeech: no test-clean") as other:
        datasets.sources("librispeech", None, None)
    assert "--download" not in str(other.value)


def test_cifar10(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    np.savez_compressed(tmp_path / "test.npz", images=pixels, labels=np.zeros(3, np.uint8))
    found = datasets.sources("cifar10", tmp_path, None)
    assert [source.name for source in found] == ["test.npz:0", "test.npz:1", "test.npz:2"]
    item = datasets.read(found[2])
    assert np.array_equal(item.values, pixels[2])
    item.values[:] = 0
    assert np.array_equal(datasets.read(found[2]).values, pixels[2])


def test_folders_and_globs(tmp_path: Path) -> None:
    for part in ("a", "b"):
        kodak(tmp_path / part)
    (tmp_path / "notes.txt").write_text("not a signal")
    four = ["a/kodim01.png", "a/kodim02.png", "b/kodim01.png", "b/kodim02.png"]
    assert names(str(tmp_path)) == names(f"{tmp_path}/**") == four
    assert names(f"{tmp_path}/*/kodim01.png") == ["a/kodim01.png", "b/kodim01.png"]
    assert names(f"{tmp_path}/b/kodim02.png") == ["kodim02.png"]
    with pytest.raises(UnsupportedInput, match="notes.txt"):
        names(f"{tmp_path}/notes.txt")
    with pytest.raises(NothingToDo):
        names(f"{tmp_path}/*.png")
    with pytest.raises(InputNotFound, match="kodak, cifar10"):
        names(f"{tmp_path}/c")


def test_one_kind_per_run(images: Path) -> None:
    np.save(images / "field.npy", np.zeros((2, 2)))
    with pytest.raises(UsageError, match="2 image, 1 field"):
        names(str(images), limit=1)


def test_arrays(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.arange(6.0).reshape(2, 3))
    item = only(path)
    assert (item.modality, item.values.dtype, item.unit) == ("field", np.float32, "")
    np.save(path, np.arange(24, dtype=">i2").reshape(2, 3, 4))
    item = only(path)
    assert (item.modality, item.values.dtype, item.positions) == ("volume", np.int16, 24)
    assert np.array_equal(item.values.ravel(), np.arange(24))
    np.save(path, np.ones((2, 3, 4)))
    assert only(path).values.dtype == np.float32


@pytest.mark.parametrize(
    "array, reason",
    [
        (np.zeros(5), "1 dimensions"),
        (np.full((2, 2), np.nan), "4 of 4 values are not finite"),
        (np.zeros((0, 2)), "no samples"),
        (np.zeros((2, 2), complex), "complex"),
    ],
)
def test_refused_arrays(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "array.npy", array)
    with pytest.raises(UnsupportedInput, match=reason):
        only(tmp_path / "array.npy")


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_audio(tmp_path: Path, subtype: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    samples = np.random.default_rng(0).integers(-32768, 32768, (500, 2), np.int16)
    soundfile.write(tmp_path / "noise.wav", samples / 32768, 8000, subtype)
    item = only(tmp_path / "noise.wav")
    assert (item.modality, item.rate, item.values.dtype) == ("audio", 8000, np.int16)
    assert np.array_equal(item.values, samples)


def test_librispeech_is_three_seconds(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    folder = tmp_path / "speech" / "test"
    folder.mkdir(parents=True)
    for name, seconds in (("test-clean_a", 2), ("test-clean_b", 4), ("test-other_c", 4)):
        soundfile.write(folder / f"{name}.flac", np.zeros(seconds * 1000), 1000)
    found = datasets.sources("librispeech", tmp_path, None)
    assert [(s.name, len(datasets.read(s).values)) for s in found] == [
        ("test-clean_a.flac", 2000),
        ("test-clean_b.flac", 3000),
    ]
    assert len(only(folder / "test-clean_b.flac").values) == 4000


def test_era5_is_reanalysis_alone(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "test.h5", "w") as file:
        file["t2m"] = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
        file["source"] = ["a climate model", "ERA5 2 m temperature, COIN++ 16x test set", "ERA-Interim"]
    (source,) = datasets.sources("era5", tmp_path, None)
    item = datasets.read(source)
    assert (item.modality, item.unit, item.values.tolist()) == ("field", "K", [[4, 5], [6, 7]])


def test_meshes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared is the inside; what we code is the distance to the mesh itself."""
    monkeypatch.setattr(datasets, "MESH_SIDE", 24)
    trimesh.creation.icosphere(3).export(tmp_path / "lucy.ply")
    (found,) = datasets.sources("meshes", tmp_path, None)
    item = datasets.read(found)
    assert item.modality == "shape" and item.values.dtype == np.uint8 and max(item.values.shape) == 24
    assert item.signal is not None and item.signal.shape == item.values.shape
    assert isinstance(item.signal.format, ArrayFormat)
    assert item.values.sum() == pytest.approx(4 / 3 * np.pi / item.signal.format.info["spacing"] ** 3, rel=0.05)
    data = ours._encode(item, 60, 0, "pyramid", "tiny-solid", "cpu")
    found_iou = metrics.measure(item, ours._decode(data, "shape", "cpu"), len(data))["iou"]
    assert found_iou > 0.9 and found_iou < 1


def test_shapes(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    cells = (np.arange(2 * 4**3).reshape(2, 4, 4, 4) % 3 == 0).astype(np.uint8)
    with h5py.File(tmp_path / "modelnet10_voxels32.h5", "w") as file:
        file["test/voxels"] = cells
    found = datasets.sources("shapes", tmp_path, None)
    assert len(found) == 2 and found[1].modality == "shape"
    assert np.array_equal(datasets.read(found[1]).values, cells[1])


def test_volumes(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = np.arange(2 * 3 * 4 * 2, dtype=np.int16).reshape(2, 3, 4, 2)  # x, y, z, records
    for name in ("mri_t2_fernando.nii.gz", "another.nii.gz"):  # a network may have seen the other
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / name)
    found = datasets.sources("volumes", tmp_path, None)
    assert [s.name for s in found] == ["mri_t2_fernando.nii.gz:0", "mri_t2_fernando.nii.gz:1"]
    items = [datasets.read(s) for s in found]
    assert np.array_equal(items[1].values, values[..., 1].transpose(2, 1, 0))
    assert items[1].values.dtype == np.int16
    nibabel.save(nibabel.Nifti1Image(values[..., 0], np.eye(4)), tmp_path / "three.nii")
    assert np.array_equal(only(tmp_path / "three.nii").values, values[..., 0].T)


def video(path: Path, frames: int, width: int, height: int) -> None:
    """Grey frames, each as bright as its number, with a white left edge."""
    av = pytest.importorskip("av")
    with av.open(path, "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for number in range(frames):
            values = np.full((height, width, 3), number, np.uint8)
            values[:, :20] = 255
            file.mux(stream.encode(av.VideoFrame.from_ndarray(values, "rgb24")))
        file.mux(stream.encode(None))


def test_video(tmp_path: Path) -> None:
    video(tmp_path / "short.mkv", 3, 40, 16)
    item = only(tmp_path / "short.mkv")
    assert (item.modality, item.rate, item.values.shape) == ("video", 25, (3, 16, 40, 3))
    assert item.values[:, 0, -1, 0].tolist() == [0, 1, 2] and (item.values[:, :, :20] == 255).all()


def test_ucf101_is_the_middle_of_a_clip(tmp_path: Path) -> None:
    video(tmp_path / "ucf101_made.avi", 30, 320, 240)
    (source,) = datasets.sources("ucf101", tmp_path, None)
    item = datasets.read(source)
    assert item.values.shape == (24, 128, 128, 3)
    assert [int(frame.min()) for frame in item.values] == [int(frame.max()) for frame in item.values]  # edge cut off
    assert item.values[:, 0, 0, 0].tolist() == list(range(3, 27))


@pytest.mark.parametrize("name", ["a.png", "a.wav", "a.npy", "a.nii.gz", "a.mp4"])
def test_damaged_files(tmp_path: Path, name: str) -> None:
    libraries = {"a.wav": "soundfile", "a.nii.gz": "nibabel", "a.mp4": "av"}
    if name in libraries:
        pytest.importorskip(libraries[name])
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(UnsupportedInput, match=name):
        only(tmp_path / name)
    with pytest.raises(InputNotFound):
        datasets.read(Source("b", "volume", tmp_path / "b.npy"))


def test_a_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(UsageError, match="soundfile.*inrcodec\\[bench\\]"):
        only(tmp_path / "a.wav")


def test_digest() -> None:
    item = Item("a", "audio", np.arange(6, dtype=np.int16).reshape(6, 1), 8000.0)
    others = [
        replace(item, rate=16000.0),
        replace(item, values=item.values.reshape(3, 2)),
        replace(item, values=item.values.view(np.uint16)),
        replace(item, values=item.values + 1),
        replace(item, unit="K"),
    ]
    assert len({datasets.digest(i) for i in [item, *others]}) == 6
    assert datasets.digest(replace(item, name="b", values=np.asfortranarray(item.values))) == datasets.digest(item)


Serve = Callable[[dict[str, bytes]], Path]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A server on this computer with files of ours instead of Kodak's; the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=partial(server.serve_forever, 0.01), daemon=True).start()
    monkeypatch.setattr(download, "KODAK", f"http://127.0.0.1:{server.server_port}/")

    def put(contents: dict[str, bytes]) -> Path:
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
        monkeypatch.setattr(download, "SHA256", hashes)
        return folder

    yield put
    server.shutdown()
    server.server_close()


def test_download(serve: Serve, tmp_path: Path) -> None:
    served = serve({"1.png": b"one", "2.png": b"two"})
    seen: list[tuple[int, int]] = []
    folder = download.download("kodak", tmp_path / "new", lambda *step: seen.append(step))
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"1.png": b"one", "2.png": b"two"}
    assert folder == tmp_path / "new" / "kodak" and seen == [(1, 2), (2, 2)]

    (folder / "2.png").write_bytes(b"spoilt")
    (served / "1.png").unlink()  # which is there, and right
    download.download("kodak", tmp_path / "new", lambda *_: None)
    assert (folder / "2.png").read_bytes() == b"two"


def fails(tmp_path: Path, error: type[InrcodecError], match: str) -> None:
    with pytest.raises(error, match=match) as raised:
        download.download("kodak", tmp_path / "new", lambda *_: None)
    assert "\n" not in str(raised.value)
    assert not [p for p in (tmp_path / "new").rglob("*") if p.is_file()]


def test_download_of_other_bytes(serve: Serve, tmp_path: Path) -> None:
    (serve({"1.png": b"one"}) / "1.png").write_bytes(b"another")
    fails(tmp_path, UnsupportedInput, "1.png: 7 bytes with SHA-256")


def test_download_of_what_is_not_there(serve: Serve, tmp_path: Path) -> None:
    (serve({"1.png": b"one"}) / "1.png").unlink()
    fails(tmp_path, UnreadableInput, "1.png: cannot be downloaded .*not found")


def test_download_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "KODAK", "http://127.0.0.1:9/")
    fails(tmp_path, UnreadableInput, "http://127.0.0.1:9/kodim01.png: cannot be downloaded")


def test_download_of_another_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ucf101"):
        download.download("ucf101", tmp_path, lambda *_: None)


def test_the_hashes_of_kodak() -> None:
    assert list(download.SHA256) == [f"kodim{number:02}.png" for number in range(1, 25)]
    assert {len(bytes.fromhex(value)) for value in download.SHA256.values()} == {32}
