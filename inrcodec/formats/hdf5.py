"""HDF5 datasets as plain arrays with attributes, through h5py."""

import contextlib
import json
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

SUFFIXES = {".h5": "HDF5", ".hdf5": "HDF5"}
MAGIC = b"\x89HDF\r\n\x1a\n"
FILLS = ("_FillValue", "missing_value")  # attributes that name samples without a measurement
BOOKKEEPING = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"}
MAX_ATTRIBUTE = 256  # characters of JSON


def datasets(source: Any) -> dict[str, Any]:
    """Every h5py.Dataset of a file (a path or a binary file), by its path inside; each keeps the file open."""
    import h5py

    found = {}

    def visit(path: str, node: Any) -> None:
        with contextlib.suppress(TypeError):  # there are types that numpy does not know
            if isinstance(node, h5py.Dataset) and node.shape is not None and node.dtype is not None:
                found[path] = node

    h5py.File(source, "r").visititems(visit)
    return found


def attributes(dataset: Any) -> tuple[dict[str, Any], list[str]]:
    """The attributes that are short strings, numbers or lists of numbers; and the names of the others."""
    simple, others = {}, []
    for key in sorted(set(dataset.attrs) - BOOKKEEPING):
        try:
            value = dataset.attrs[key]
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
