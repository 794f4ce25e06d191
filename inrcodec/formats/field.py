"""Climate and other geographic fields: NetCDF4 and HDF5 variables on latitude and longitude.

Read through h5py (a NetCDF4 file is an HDF5 file), written through h5netcdf; `inrcodec.formats.cf` says what is kept.
Samples are the numbers as stored: packed integers stay packed.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import InrcodecError, LimitExceeded, OutOfMemory, OutputFailed, UnsupportedInput, UsageError
from inrcodec.formats import array, cf, hdf5
from inrcodec.formats.source import leading_bytes, listed, name_of
from inrcodec.samples.array import ArrayFormat
from inrcodec.samples.special import MAX_KINDS, Special
from inrcodec.signal import Signal

SUFFIXES = {
    ".nc": "netcdf",
    ".nc4": "netcdf",
    ".cdf": "netcdf",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".npy": "numpy",
}
CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")

MAX_SAMPLES = 2**32

# What netCDF puts where nothing was written, even if no attribute says so (netcdf.h, NC_FILL_FLOAT and _DOUBLE)
UNWRITTEN = 9.969209968386869e36


def sniff(head: bytes, name: str) -> bool:
    """Whether a file with these leading bytes, or else with this name, is a geographic field.

    HDF5 files may be anything: `claims` looks into them.
    """
    return head.startswith(CLASSIC) or SUFFIXES.get(Path(name).suffix.lower()) == "netcdf"


def claims(source: Path | bytes) -> bool:
    """Whether this is an HDF5 file with a variable on latitude and longitude axes, or a classic NetCDF file.

    Raises InputNotFound or UnreadableInput.
    """
    head = leading_bytes(source)
    if not head.startswith(hdf5.MAGIC):
        return head.startswith(CLASSIC)
    try:
        with _refusing(name_of(source)), hdf5.opened(source) as file:
            return bool(cf.places(file))
    except InrcodecError:
        return False


def read(source: Path | bytes, variable: str | None = None, max_samples: int = MAX_SAMPLES) -> Signal:
    """Read one variable: a batch of grids [N, lat, lon, 1], N the product of its other axes, or one grid of two axes.

    The file stays open: values are read when they are asked for. variable: its path in the file; None takes the only
    one there is. Raises InputNotFound, UnreadableInput, UnsupportedInput (also where values are asked for later),
    LimitExceeded (more samples than `max_samples`), OutOfMemory, or UsageError (which variable?).
    """
    head, name = leading_bytes(source), name_of(source)
    if head.startswith(CLASSIC):
        raise UnsupportedInput(f"{name}: a classic NetCDF file; convert it to NetCDF4 first: nccopy -4 in.nc out.nc")
    if not head.startswith(hdf5.MAGIC):
        raise UnsupportedInput(f"{name}: neither NetCDF4 nor HDF5 (first bytes {head[:8].hex(' ')})")
    with _refusing(name):
        file = hdf5.opened(source)
        dataset, place = _chosen(file, variable)
        hdf5.check(dataset)
        values = Planes(file, dataset, place.axes, name)
        what = f"variable {dataset.name.lstrip('/')} of shape {dataset.shape}"
        if not math.prod(values.shape):
            raise UnsupportedInput(f"{what} has no samples")
        if math.prod(values.shape) > max_samples:
            raise LimitExceeded(f"{what} has more than {max_samples} samples")
        info = cf.describe(dataset, place)
        special = _find_special(values, _fills(dataset))
        form = ArrayFormat("field", 2, values.dtype.name, info=info, special=special)
        others = cf.others(file, dataset, place) if variable is None else []
    moved = place.axes != (dataset.ndim - 2, dataset.ndim - 1)
    notes = [f"the axes of {info['variable']} are put in the order (…, latitude, longitude)"] if moved else []
    notes += [f"only {info['variable']} is coded; left out: {listed(others)}"] if others else []
    return Signal(values, form, tuple(notes))


def write(signal: Signal, suffix: str) -> bytes:
    """A field → a file: NetCDF4 (.nc), HDF5 laid out in the same way (.h5), or numbers only (.npy).

    Raises OutputFailed.
    """
    kind, out = SUFFIXES[suffix.lower()], io.BytesIO()
    try:
        if kind == "numpy":
            array.write_npy(out, signal)
        else:
            cf.write(signal, out, netcdf=kind == "netcdf")
    except InrcodecError:
        raise
    except Exception as error:  # info comes from a compressed file and may be wrong in many ways
        raise OutputFailed(f"cannot write this field as {suffix} ({type(error).__name__}: {error})") from None
    return out.getvalue()


@dataclass(frozen=True, eq=False)
class Planes:
    """The numbers of a variable in an open HDF5 file, [N, lat, lon, 1], or [lat, lon, 1] of one with two axes."""

    file: Any
    dataset: Any
    axes: tuple[int, int]
    name: str

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the axes that are not geographic."""
        return tuple(n for axis, n in enumerate(self.dataset.shape) if axis not in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        batch = (math.prod(self.sizes),) if self.sizes else ()
        return *batch, self.dataset.shape[self.axes[0]], self.dataset.shape[self.axes[1]], 1

    @property
    def dtype(self) -> np.dtype:
        return self.dataset.dtype.newbyteorder("=")

    def __getitem__(self, where: Any, /) -> NDArray[Any]:
        key: tuple[Any, ...] = where if isinstance(where, tuple) else (where,)
        cut = key.index(Ellipsis) if Ellipsis in key else len(key)
        first, last = key[:cut], key[cut + 1 :]
        whole = (slice(None),) * (len(self.shape) - len(first) - len(last))
        parts: list[Any] = [*first, *whole, *last]
        *item, rows, columns, channel = parts
        chosen = range(len(self))[item[0]] if item else 0
        with _refusing(self.name):
            if isinstance(chosen, range):
                planes = np.stack([self._plane(k, rows, columns) for k in chosen])
            else:
                planes = self._plane(chosen, rows, columns)
        return planes[..., None][..., channel]

    def __len__(self) -> int:
        return self.shape[0]

    def _plane(self, item: int, rows: Any, columns: Any) -> NDArray[Any]:
        where = list(np.unravel_index(item, self.sizes))
        for axis, part in sorted(zip(self.axes, (rows, columns), strict=True)):
            where.insert(axis, part)
        plane = np.asarray(self.dataset[tuple(where)], self.dtype)
        return plane if self.axes[0] < self.axes[1] else plane.T


def _find_special(values: Planes, fills: list[Any]) -> Special | None:
    """As `inrcodec.samples.special.find`, with one item in memory at a time; fills: in the dtype of the values.

    Raises UnsupportedInput if all samples are special, or there are too many kinds.
    """
    kinds = [*values.dtype.type([np.nan, np.inf, -np.inf]), *fills] if values.dtype.kind == "f" else fills
    used: list[Any] = []
    index: NDArray[np.uint8] | None = None
    items = math.prod(values.sizes)
    for k in range(items if kinds else 0):
        plane = values[k] if values.sizes else values[...]
        for kind in kinds:
            found = np.isnan(plane) if kind != kind else plane == kind
            if found.any():
                used += [] if kind in used else [kind]
                index = np.zeros((items, *plane.shape), np.uint8) if index is None else index
                index[k][found] = used.index(kind) + 1
    if index is None:
        return None
    if len(used) > MAX_KINDS:
        raise UnsupportedInput(f"{len(used)} special values; {MAX_KINDS} may be")
    if all(plane.all() for plane in index):
        raise UnsupportedInput(f"all {index.size} samples are missing (NaN, infinite or a fill value)")
    same = all(np.array_equal(plane, index[0]) for plane in index[1:])
    return Special(np.array(used, values.dtype), index[:1].copy() if same else index)


def _chosen(file: Any, variable: str | None) -> tuple[Any, cf.Place]:
    """The variable to read. Raises UnsupportedInput, or UsageError with a list of what is there."""
    places = cf.places(file)
    if variable is None and len(places) == 1:
        variable = next(iter(places))
    path = variable.strip("/") if variable else None
    if path in places:
        return file[path], places[path]
    if not places or path in hdf5.datasets(file):
        raise UnsupportedInput(
            f"{f'variable {path} does not lie' if path else 'no variable lies'} on latitude and longitude axes"
            " (those of rotated and curvilinear grids do not count); --modality array takes it as a plain array"
        )
    listed = "; ".join(f"{p} {file[p].shape} {cf.text(file[p].attrs, 'units')}".strip() for p in places)
    problem = f"there is no variable {path}" if path else f"{len(places)} variables"
    raise UsageError(f"{problem}; choose one with --variable: {listed}")


def _fills(dataset: Any) -> list[Any]:
    """What stands for missing samples, in the dtype of the samples; NaN and infinities always do."""
    dtype = dataset.dtype.newbyteorder("=")
    fills = [UNWRITTEN] if dtype.kind == "f" and dtype.itemsize >= 4 else []
    for key in ("_FillValue", "missing_value"):
        declared = np.asarray(hdf5.attribute(dataset.attrs, key, ()))
        fills += declared.ravel().tolist() if declared.dtype.kind in "iuf" else []
    if dtype.kind != "f":
        limits = np.iinfo(dtype) if dtype.kind in "iu" else np.iinfo(np.uint8)
        fills = [int(f) for f in fills if math.isfinite(f) and limits.min <= f <= limits.max and f == int(f)]
    with np.errstate(over="ignore"):
        kinds = [dtype.type(f) for f in fills]
    return list(dict.fromkeys(kind for kind in kinds if np.isfinite(kind)))


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Given a damaged file, HDF5 raises nearly everything."""
    try:
        yield
    except InrcodecError as error:
        raise type(error)(f"{name}: {error}") from None
    except MemoryError:
        raise OutOfMemory(f"{name}: not enough memory to read it") from None
    except Exception as error:
        raise UnsupportedInput(f"{name}: damaged or unsupported HDF5 file ({type(error).__name__}: {error})") from None
