"""The signals a run measures: named data sets and any folder, as sources that are cheap to pass and items in memory."""

import glob
import hashlib
import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from platformdirs import user_cache_path

from inrcodec import formats
from inrcodec.bench.model import Item, Modality, Source, Values
from inrcodec.errors import (
    InputNotFound,
    InrcodecError,
    NothingToDo,
    OutOfMemory,
    UnreadableInput,
    UnsupportedInput,
    UsageError,
)

SPEECH_SECONDS = 3
CLIP_FRAMES, CLIP_CROP, CLIP_SIDE = 24, 240, 128
MESH_SIDE = 256  # samples along the longest axis of a mesh

SUFFIXES: dict[str, Modality | None] = {
    **dict.fromkeys(formats.image.SUFFIXES, "image"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".mp3"), "audio"),
    **dict.fromkeys((".avi", ".mp4", ".mkv", ".mov", ".webm", ".y4m"), "video"),
    **dict.fromkeys((".nii", ".nii.gz"), "volume"),
    **dict.fromkeys((".ply", ".obj", ".stl", ".glb"), "shape"),
    ".npy": None,  # a field or a volume, as its header says
}


def _whole(_: Path) -> Iterable[int | None]:
    return [None]


def _cut(_: Path) -> Iterable[int | None]:
    """The one record that the papers cut from each file of speech or video."""
    return [0]


def _pictures(path: Path) -> Iterable[int | None]:
    return range(len(_cifar(path)))


def _reanalysis(path: Path) -> Iterable[int | None]:
    with _library("h5py").File(path) as file:
        return [k for k, source in enumerate(file["source"].asstr()[:]) if "COIN++" in source]


def _grids(path: Path) -> Iterable[int | None]:
    with _library("h5py").File(path) as file:
        return range(len(file["test/voxels"]))


def _volumes(path: Path) -> Iterable[int | None]:
    shape = _library("nibabel").load(path).shape
    return [None] if len(shape) == 3 else range(shape[3])


@dataclass(frozen=True)
class _Set:
    """Where a data set lies below the data folder, and which records of a file belong to it."""

    folder: str
    patterns: tuple[str, ...]
    modality: Modality
    records: Callable[[Path], Iterable[int | None]] = _whole


HELD_OUT_VOLUMES = ("ct_body_totalseg_example.nii.gz", "mr_body_totalseg_small.nii.gz", "mri_t2_fernando.nii.gz")

# The honest part of each set. librispeech: the first 3 s of utterances, of test-clean as COIN++, VC-INR and RECOMBINER
# take them. era5: the frames of the COIN++ test set alone, since the rest of the file is of other models and mostly
# monthly means; climate: all frames of the file, as one batch. volumes: those that no network was trained on. ucf101:
# the middle 240 x 240 x 24 of each clip, at 128 x 128 (VC-INR, appendix A); the papers do not say which filter shrinks
# it.
SETS = {
    "kodak": _Set("kodak", ("kodim*.png",), "image"),
    "cifar10": _Set("cifar10", ("test.npz",), "image", _pictures),
    "librispeech": _Set("speech/test", ("test-clean_*.flac",), "audio", _cut),
    "librispeech-other": _Set("speech/test", ("test-other_*.flac",), "audio", _cut),
    "era5": _Set("climate", ("test.h5",), "field", _reanalysis),
    "ucf101": _Set("video", ("ucf101_*.avi",), "video", _cut),
    "climate": _Set("climate", ("test.h5",), "field"),
    "volumes": _Set("volumes", HELD_OUT_VOLUMES, "volume", _volumes),
    "meshes": _Set("shapes", ("armadillo.ply", "stanford_bunny.ply", "lucy.ply"), "shape"),
    "shapes": _Set("shapes", ("modelnet10_voxels32.h5",), "shape", _grids),
}


def cache() -> Path:
    """The data folder of last resort, and where downloads go."""
    return user_cache_path("inrcodec") / "data"


def sources(name: str, data: Path | None, limit: int | None) -> list[Source]:
    """The first `limit` signals of a data set, folder, file or glob, in order of name.

    A name of `SETS` is looked for in `data`, in $INRCODEC_DATA and in the user's cache: in the set's own folder there,
    or among the folder's files. Anything else is a path (a folder called kodak is ./kodak) and needs no `data`.
    Raises InputNotFound, NothingToDo, UnreadableInput, UnsupportedInput, or UsageError for files of several modalities.
    """
    found = list(_of_set(name, data) if name in SETS else _of_path(name))
    kinds = Counter(source.modality for source in found)
    if len(kinds) > 1:
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        raise UsageError(f"{name}: signals of {len(kinds)} kinds ({counts}), but a run measures one")
    return found[:limit]


def batches(found: list[Source], size: int) -> list[Source]:
    """So many signals at a time as one. Raises UsageError for signals that are not coded in batches."""
    if found[0].modality not in ("image", "field"):
        raise UsageError(f"only images and fields are measured in batches, not signals of kind '{found[0].modality}'")
    parts = [tuple(found[k : k + size]) for k in range(0, len(found), size)]
    return [replace(part[0], name=f"{part[0].name} … {part[-1].name}", batch=part) for part in parts]


def _of_set(name: str, data: Path | None) -> Iterator[Source]:
    chosen, variable = SETS[name], os.environ.get("INRCODEC_DATA")
    roots = [root for root in (data, Path(variable) if variable else None, cache()) if root]
    for folder in (place for root in roots for place in (root / chosen.folder, root)):
        paths = sorted({path for pattern in chosen.patterns for path in folder.glob(pattern)})
        if paths:
            for path in paths:
                yield from _records(path, path.name, chosen.modality, chosen.records)
            return
    places = ", ".join(str(root / chosen.folder) for root in roots)
    hint = "; --download fetches it (24 files, 15 MB)" if name == "kodak" else ""
    raise InputNotFound(f"data set {name}: no {' or '.join(chosen.patterns)} in {places}{hint}")


def _of_path(name: str) -> Iterator[Source]:
    given = Path(name)
    if given.is_file():
        paths = [given]
    elif given.is_dir():
        paths = [path for path in sorted(given.rglob("*")) if _suffix(path)]
    elif glob.has_magic(name):
        paths = [path for path in map(Path, sorted(glob.glob(name, recursive=True))) if _suffix(path)]
    else:
        raise InputNotFound(f"{name}: neither a data set ({', '.join(SETS)}) nor a file or folder")
    if not paths:
        raise NothingToDo(f"{name}: no file in it ends in {' '.join(sorted(SUFFIXES))}")
    top = os.path.commonpath([path.parent for path in paths])
    for path in paths:
        records = _volumes if _suffix(path).startswith(".nii") else _whole
        yield from _records(path, path.relative_to(top).as_posix(), _modality(path), records)


def _records(
    path: Path, name: str, modality: Modality, records: Callable[[Path], Iterable[int | None]]
) -> Iterator[Source]:
    with _reading(path):
        indices = list(records(path))
    for index in indices:
        yield Source(name if len(indices) == 1 else f"{name}:{index}", modality, path, index)


def _suffix(path: Path) -> str:
    """The key of `SUFFIXES` that a path ends in, or "" for a folder or another file."""
    endings = [suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)]
    return endings[0] if endings and path.is_file() else ""


def _modality(path: Path) -> Modality:
    suffix = _suffix(path)
    if not suffix:
        raise UnsupportedInput(f"{path}: its name ends in none of {' '.join(sorted(SUFFIXES))}")
    known = SUFFIXES[suffix]
    if known:
        return known
    with _reading(path):
        dims = np.load(path, mmap_mode="r").ndim
    if dims not in (2, 3):
        raise UnsupportedInput(f"{path}: an array of {dims} dimensions; a field has 2, a volume 3")
    return "field" if dims == 2 else "volume"


def read(source: Source) -> Item:
    """Load a signal as `Values` describes it.

    Audio becomes int16 whatever its file holds, a field float32; a volume keeps its integers and is float32 otherwise.
    Raises InputNotFound, UnreadableInput, UnsupportedInput (damaged, empty or not finite), LimitExceeded, OutOfMemory,
    or UsageError where the library for such files is not installed, or the signals of a batch differ in shape or type.
    """
    if source.batch:
        items = [read(part) for part in source.batch]
        kinds = sorted({f"{list(item.values.shape)} {item.values.dtype}" for item in items})
        if len(kinds) > 1:
            raise UsageError(f"{source.name}: the signals of a batch must be alike, but there are {', '.join(kinds)}")
        return replace(items[0], name=source.name, values=np.stack([item.values for item in items]))
    if source.modality == "shape" and source.index is None:
        return _mesh(source)
    with _reading(source.path):
        values, rate = _READERS[source.modality](source)
        if not values.size:
            raise UnsupportedInput(f"{source.path}: no samples (shape {values.shape})")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise UnsupportedInput(f"{source.path}: {bad} of {values.size} values are not finite")
    unit = "K" if source.modality == "field" and source.path.suffix == ".h5" else ""
    return Item(source.name, source.modality, np.ascontiguousarray(values), rate, unit)


def _image(source: Source) -> tuple[Values, float]:
    if source.path.suffix == ".npz":
        return _cifar(source.path)[source.index].copy(), 0.0
    return np.asarray(formats.read(source.path).values[...]), 0.0


@lru_cache(maxsize=1)
def _cifar(path: Path) -> NDArray[np.uint8]:
    with np.load(path) as file:
        return file["images"]


def _audio(source: Source) -> tuple[Values, float]:
    # As floats, since asking soundfile for int16 would not scale what a file stores as floats.
    waveform, rate = _library("soundfile").read(source.path, always_2d=True)
    if source.index is not None:
        waveform = waveform[: SPEECH_SECONDS * rate]
    return np.clip(np.rint(waveform * 32768), -32768, 32767).astype(np.int16), float(rate)


def _field(source: Source) -> tuple[Values, float]:
    if source.path.suffix == ".h5":
        with _library("h5py").File(source.path) as file:
            return file["t2m"][() if source.index is None else source.index], 0.0
    return _real(np.load(source.path)).astype(np.float32), 0.0


def _volume(source: Source) -> tuple[Values, float]:
    if source.path.suffix == ".npy":
        values = np.load(source.path)
    else:
        stored = _library("nibabel").load(source.path).dataobj
        values = np.asanyarray(stored if source.index is None else stored[..., source.index]).T  # x, y, z -> z, y, x
    if values.ndim != 3:
        raise UnsupportedInput(f"{source.path}: a volume has 3 dimensions, not {values.ndim}")
    return _real(values), 0.0


def _real(values: Values) -> Values:
    """Integers in native byte order, or float32."""
    if values.dtype.kind not in "biuf":
        raise UnsupportedInput(f"values of type {values.dtype} are not real numbers")
    kinds: dict[str, np.dtype[Any]] = {"b": np.dtype(np.uint8), "f": np.dtype(np.float32)}
    return values.astype(kinds.get(values.dtype.kind, values.dtype.newbyteorder("=")), copy=False)


def _video(source: Source) -> tuple[Values, float]:
    with _library("av").open(source.path) as file:
        rate = float(file.streams.video[0].average_rate or 0)
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    return np.stack(frames if source.index is None else _clip(frames)), rate


def _clip(frames: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    start = max(len(frames) - CLIP_FRAMES, 0) // 2
    height, width, _ = frames[0].shape
    left, top = (width - CLIP_CROP) // 2, (height - CLIP_CROP) // 2
    box, size = (left, top, left + CLIP_CROP, top + CLIP_CROP), (CLIP_SIDE, CLIP_SIDE)
    chosen = (Image.fromarray(frame) for frame in frames[start : start + CLIP_FRAMES])
    return [np.asarray(image.resize(size, Image.Resampling.BICUBIC, box)) for image in chosen]


def _mesh(source: Source) -> Item:
    """Inside or outside on a grid of MESH_SIDE samples along the longest axis."""
    with _reading(source.path):
        signal = formats.shape.read(source.path, resolution=MESH_SIDE)
        inside = (np.asarray(signal.values[...])[..., 0] > 0.5).astype(np.uint8)
    return Item(source.name, "shape", inside, signal=signal)


def _shape(source: Source) -> tuple[Values, float]:
    with _library("h5py").File(source.path) as file:
        return file["test/voxels"][source.index], 0.0


_READERS: dict[Modality, Callable[[Source], tuple[Values, float]]] = {
    "image": _image,
    "audio": _audio,
    "field": _field,
    "volume": _volume,
    "video": _video,
    "shape": _shape,
}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what the libraries say into errors of ours; given a damaged file they raise nearly everything."""
    try:
        yield
    except InrcodecError:
        raise
    except FileNotFoundError:
        raise InputNotFound(f"{path}: there is no such file") from None
    except PermissionError as error:
        raise UnreadableInput(f"{path}: cannot be read ({error.strerror})") from None
    except MemoryError:
        raise OutOfMemory(f"{path}: not enough memory to read it") from None
    except Exception as error:
        raise UnsupportedInput(f"{path}: damaged or unsupported ({type(error).__name__}: {error})") from None


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(f"this data needs {name}, which is not installed: pip install 'inrcodec[bench]'") from None


def digest(item: Item) -> str:
    """SHA-256 of all that results depend on: modality, unit, rate, shape, dtype and values; not of the name."""
    values = np.ascontiguousarray(item.values)
    described = (item.modality, item.unit, float(item.rate), values.shape, values.dtype.str)
    return hashlib.sha256(repr(described).encode() + values.tobytes()).hexdigest()
