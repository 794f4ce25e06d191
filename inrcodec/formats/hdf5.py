"""HDF5 datasets as plain arrays with attributes, through h5py."""

import contextlib
import io
import json
import math
import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

SUFFIXES = {".h5": "HDF5", ".hdf5": "HDF5"}
MAGIC = b"\x89HDF\r\n\x1a\n"
FILLS = ("_FillValue", "missing_value")  # attributes that name samples without a measurement
BOOKKEEPING = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"}
MAX_ATTRIBUTE = 256  # characters of JSON
MAX_STORED = 4096  # bytes of an attribute that is looked at
STRING = 256  # bytes for which a string counts, whose length is known only when it has been read
MAX_LABELS = 1 << 14  # strings that name the places of an axis
MAX_TEXT = 1 << 20  # characters of them, together
MAX_EXPANSION = 1 << 12  # bytes of samples that one byte in the file may stand for; deflate reaches 1032
ALWAYS = 1 << 24  # bytes of samples that there may be even so: a small array of one value takes no space at all
CACHE = 1 << 26  # bytes of decompressed chunks: a chunk may hold many items
LENGTH = 8  # bytes of a length in the file
HEAP, SMALLEST_HEAP = b"GCOL\x01", 4096


def opened(source: Path | bytes) -> Any:
    """An h5py.File, for reading. Raises ValueError if its strings cannot be read, and whatever h5py does."""
    import h5py

    if isinstance(source, bytes):
        _check_heaps(source)
    else:
        with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check_heaps(data)
    return h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r", rdcc_nbytes=CACHE)


def _check_heaps(data: bytes | mmap.mmap) -> None:
    """Raises ValueError if a global heap, where strings and references lie, has an entry that leads nowhere.

    libhdf5 (2.0.0 at least) walks such a heap for ever. The layout is that of section III.E of its format
    specification: signature, version, 3 bytes, size; then entries: number, count, 4 bytes, size, data in steps of 8.
    Entry 0 is what is free, its size counted with these 16 bytes.
    """
    if data[{0: 14, 1: 14}.get(data[8], 10)] != LENGTH:
        raise ValueError("HDF5 files whose lengths are not of 8 bytes are not supported")
    start, left = data.find(HEAP), len(data) // 16  # entries there can be: heaps do not overlap
    while start >= 0:
        end = start + int.from_bytes(data[start + 8 : start + 16], "little")
        at = start + 16
        while SMALLEST_HEAP <= end - start <= len(data) - start and end - at >= 16:
            size = int.from_bytes(data[at + 8 : at + 16], "little")
            step = 16 + (size + 7) // 8 * 8 if any(data[at : at + 2]) else size
            left -= 1
            if not 16 <= step <= end - at or left < 0:
                raise ValueError(f"the heap of strings is damaged at byte {at}")
            at += step
        start = data.find(HEAP, start + 1)


def check(dataset: Any) -> None:
    """Raises ValueError if samples lie in other files, or are more than their bytes can hold."""
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"the samples of {dataset.name} lie in other files")
    chunk = math.prod(dataset.chunks or (1,)) * dataset.dtype.itemsize
    limit = max(ALWAYS, MAX_EXPANSION * dataset.id.get_storage_size())
    size = dataset.size * dataset.dtype.itemsize
    if max(size, chunk) > limit:
        raise ValueError(
            f"{dataset.name} has {size} bytes of samples in chunks of {chunk}, from {dataset.id.get_storage_size()} "
            f"bytes in the file; the limit is {limit}"
        )


def attribute(attributes: Any, key: str, default: Any = None) -> Any:
    """An attribute of an HDF5 object; the default if there is none, or it is large."""
    if key not in attributes:
        return default
    stored = attributes.get_id(key)
    each = STRING if stored.dtype.kind == "O" else stored.dtype.itemsize
    return attributes[key] if math.prod(stored.shape or ()) * each <= MAX_STORED else default


def labels(dataset: Any) -> list[str]:
    """The strings of a dataset [n]. Raises ValueError if they are many, or long: all may be one and the same."""
    check(dataset)
    out: list[str] = []
    left = MAX_TEXT
    for k in range(min(len(dataset), MAX_LABELS + 1)):
        out.append(dataset[k].decode("utf-8", "replace"))
        left -= len(out[-1])
        if left < 0 or k == MAX_LABELS:
            raise ValueError(f"more than {MAX_LABELS} strings, or {MAX_TEXT} characters, name the places of an axis")
    return out


def datasets(file: Any) -> dict[str, Any]:
    """Every h5py.Dataset of an open file, by its path inside; each keeps the file open. Links are not followed."""
    import h5py

    found: dict[str, Any] = {}

    def visit(path: str, node: Any) -> None:
        with contextlib.suppress(TypeError):  # there are types that numpy does not know
            if isinstance(node, h5py.Dataset) and node.shape is not None and node.dtype is not None:
                found[path] = node

    file.visititems(visit)
    return found


def attributes(dataset: Any) -> tuple[dict[str, Any], list[str]]:
    """The attributes that are short strings, numbers or lists of numbers; and the names of the others."""
    simple, others = {}, []
    for key in sorted(set(dataset.attrs) - BOOKKEEPING):
        try:
            value = attribute(dataset.attrs, key, math.nan)  # which JSON does not take
            value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
            value = value.decode() if isinstance(value, bytes) else value
            fits = len(json.dumps(value, allow_nan=False)) <= MAX_ATTRIBUTE
        except (TypeError, ValueError, OSError):
            fits = False
        if fits:
            simple[key] = value
        else:
            others.append(key)
    return simple, others


def fills(attributes: dict[str, Any]) -> tuple[float, ...]:
    """The fill values that attributes name."""
    values = (np.ravel(attributes[key]) for key in FILLS if key in attributes)
    return tuple(x.item() for value in values if value.dtype.kind in "iuf" for x in value)


def write(
    file: BinaryIO,
    path: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    parts: Iterable[tuple[Any, NDArray[Any]]],
    attributes: dict[str, Any],
) -> None:
    """Write one compressed dataset; parts: (index, samples) pairs that fill it."""
    import h5py

    with h5py.File(file, "w") as out:
        dataset = out.create_dataset(path, shape, dtype, chunks=True, compression="gzip", shuffle=True)
        for where, samples in parts:
            dataset[where] = samples
        for key, value in attributes.items():
            dataset.attrs[key] = np.asarray(value, dtype) if key in FILLS else value
