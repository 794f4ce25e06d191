"""Geographic grids in HDF5 files by the CF conventions (cfconventions.org, version 1.11), both ways.

What `info` of a field says; keys that would only repeat a default are left out:

| key                     | value                                                                | default           |
| ----------------------- | -------------------------------------------------------------------- | ----------------- |
| latitude, longitude     | degrees, an axis as `pack` writes it                                 |                   |
| names                   | what the file calls these two axes                                   | as above          |
| coordinates             | dtype of these two axes                                              | float32           |
| variable                | name of the variable                                                 |                   |
| units                   | its units                                                            | none              |
| scale_factor, add_offset| physical value = add_offset + scale_factor · stored number           | 1, 0              |
| attributes              | its other attributes, of those in `ATTRIBUTES`                       | none              |
| dims                    | the other axes: name, size (of several), dtype, values as `pack`     | one axis, "frame" |
|                         | writes them, units, calendar, positive                               |                   |
| Conventions, title      | of the file                                                          | CF-1.11, none     |
| window, item            | set by the codec: part of the grid, item of the batch                | all of it         |
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import OutputFailed, UnsupportedInput
from inrcodec.formats import hdf5
from inrcodec.samples.special import Special
from inrcodec.signal import Signal

NAMES = ("latitude", "longitude")
ATTRIBUTES = ("long_name", "standard_name", "cell_methods", "_Unsigned")
AXIS_ATTRIBUTES = ("units", "calendar", "positive")
CONVENTIONS = "CF-1.11"
FILE_ATTRIBUTES = ("Conventions", "title")
MAX_CHUNK = 1024  # samples a side
MAX_TEXT = 200  # characters of an attribute that is kept
TINY = float(np.finfo(np.float32).tiny)  # the least scale_factor

ROLES = {"lat": "latitude", "latitude": "latitude", "lon": "longitude", "longitude": "longitude"}
NORTH, EAST = re.compile(r"degrees?_?(north|N)"), re.compile(r"degrees?_?(east|E)")
PLACEHOLDER = "This is a netCDF dimension but not a netCDF variable"
KELVIN = re.compile(r"K|[Kk]elvins?|(deg|degrees?)_?(K|[Kk]elvin)")
CELSIUS = re.compile(r"[Cc]elsius|(deg|degrees?)[_ ]?(C|[Cc]elsius)|° ?C|℃")

Axis = list[Any]
"""An axis as `pack` writes it; or strings."""


@dataclass(frozen=True)
class Place:
    """Where a variable lies: which of its axes are latitude and longitude, and the HDF5 datasets of their degrees."""

    axes: tuple[int, int]
    coordinates: tuple[Any, Any]

    def others(self, rank: int) -> list[int]:
        return [axis for axis in range(rank) if axis not in self.axes]


# Axes


def pack(values: NDArray[Any], tolerance: float = 0.0) -> Axis:
    """The numbers of an axis, [n], as few short numbers.

    [start, step] if the axis is regular: to within tolerance · step, or, without a tolerance, the rounding of its
    dtype. Otherwise the numbers one by one, to the precision of float32 if there is a tolerance. Two numbers are always
    start and step.
    """
    if len(values) == 1:
        return [_short(values[0])]
    if values.dtype.kind in "iu":
        numbers = values.tolist()
        step = numbers[1] - numbers[0]
        regular = all(b - a == step for a, b in zip(numbers, numbers[1:], strict=False))
        return [numbers[0], step] if regular else numbers
    x = values.astype(np.float64)
    step = (x[-1] - x[0]) / (len(x) - 1)
    rounding, allowed = 2 * float(np.spacing(np.abs(values).max())), tolerance * abs(step)
    for limit in (min(rounding, allowed), allowed) if tolerance else (rounding,):  # the exact step goes first
        for digits in range(1, 18):
            pair = [_short(values[0]), _short(float(f"{step:.{digits}g}"))]
            if np.abs(positions(pair, len(x)) - x).max() <= limit:
                return pair
    return [_short(v) for v in (values.astype(np.float32) if tolerance else values)]


def positions(axis: Axis, n: int, window: Sequence[int] | None = None) -> NDArray[Any]:
    """The numbers of an axis of n samples; with a window, of its part [start, stop) resampled to n samples.

    Sample i of n has its centre at start + (i + 1/2)·(stop − start)/n − 1/2 in samples of the file. Between these,
    and half a sample beyond the ends, the axis is continued linearly. Raises ValueError if the axis is too short.
    """
    start, stop = window or (0, n)
    p = start + (np.arange(n) + 0.5) * (stop - start) / n - 0.5 if window else np.arange(n)
    if len(axis) == 2 and not isinstance(axis[0], str):
        return axis[0] + axis[1] * p
    if not 0 <= start < stop <= len(axis):
        raise ValueError(f"samples {start} to {stop} of an axis of {len(axis)}")
    known = np.asarray(axis)
    if len(axis) == 1 or not window:
        return np.resize(known, n)
    left = np.clip(np.floor(p).astype(int), 0, len(axis) - 2)
    return known[left] + (p - left) * (known[left + 1] - known[left])


def _short(value: Any) -> float:
    """The shortest number that the dtype of a value takes for the same."""
    number = float(str(value))
    return int(number) if number.is_integer() else number


# Recognition


def text(attributes: Any, key: str) -> str:
    """An attribute of an HDF5 object as text; "" if there is none, or no text."""
    value = hdf5.attribute(attributes, key, "")
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return str(value) if isinstance(value, str) and len(value) <= MAX_TEXT else ""


def number(attributes: Any, key: str, default: float) -> float:
    """An attribute that is one finite number. Raises UnsupportedInput if it is something else."""
    value = np.asarray(hdf5.attribute(attributes, key, default))
    if value.dtype.kind not in "iuf" or value.size != 1 or not np.isfinite(value).all():
        raise UnsupportedInput(f"the attribute {key} is not a number ({value!r})")
    return _short(value.reshape(-1)[0])


def places(file: Any) -> dict[str, Place]:
    """The variables of an open HDF5 file that lie on latitude and longitude axes, by path."""
    datasets = [d for d in hdf5.datasets(file).values() if d.dtype.kind in "biuf" and d.dtype.itemsize <= 8 and d.shape]
    axes = [d for d in datasets if _role(d)]
    found = {d.name.lstrip("/"): _place(d, axes) for d in datasets if d.ndim > 1}
    return {name: place for name, place in found.items() if place}


def others(file: Any, dataset: Any, place: Place) -> list[str]:
    """The paths of what a file holds besides a variable and its axes."""
    scales = [_scale(dataset, axis) for axis in place.others(dataset.ndim)]
    own = {d.name for d in (dataset, *place.coordinates, *scales) if d is not None}
    found = hdf5.datasets(file)
    return [p for p, d in found.items() if d.name not in own and not text(d.attrs, "NAME").startswith(PLACEHOLDER)]


def _place(dataset: Any, axes: list[Any]) -> Place | None:
    """By dimension scales; else by datasets of the same group that fit the last two axes."""
    scales = [_scale(dataset, axis) for axis in range(dataset.ndim)]
    roles = [_role(scale) if scale is not None else "" for scale in scales]
    if all(roles.count(role) == 1 for role in NAMES):
        where = (roles.index(NAMES[0]), roles.index(NAMES[1]))
        return Place(where, (scales[where[0]], scales[where[1]]))
    group, where = PurePosixPath(dataset.name).parent, (dataset.ndim - 2, dataset.ndim - 1)
    fitting = [
        [a for a in axes if _role(a) == role and PurePosixPath(a.name).parent == group and len(a) == dataset.shape[at]]
        for role, at in zip(NAMES, where, strict=True)
    ]
    return Place(where, (fitting[0][0], fitting[1][0])) if all(fitting) else None


def _scale(dataset: Any, axis: int) -> Any:
    """The dimension scale of an axis, if it has one of its length."""
    scales = dataset.dims[axis].values()
    return scales[0] if scales and scales[0].shape == (dataset.shape[axis],) else None


def _role(dataset: Any) -> str:
    """Whether a dataset holds degrees of "latitude" or "longitude"; "" for neither.

    A standard name goes first: the axes of rotated grids (grid_latitude) may have the units of true ones.
    """
    if dataset.ndim != 1 or text(dataset.attrs, "NAME").startswith(PLACEHOLDER):
        return ""
    if standard := text(dataset.attrs, "standard_name"):
        return standard if standard in NAMES else ""
    units = text(dataset.attrs, "units")
    for pattern, role in zip((NORTH, EAST), NAMES, strict=True):
        if pattern.fullmatch(units):
            return role
    return ROLES.get(PurePosixPath(dataset.name).name.lower(), "")


# From an HDF5 variable to info


def describe(dataset: Any, place: Place) -> dict[str, Any]:
    """What is kept of a variable and its file, as the table above says. Raises UnsupportedInput."""
    info: dict[str, Any] = {"variable": PurePosixPath(dataset.name).name}
    for role, coordinate in zip(NAMES, place.coordinates, strict=True):
        degrees = _unpacked(coordinate)
        if not np.isfinite(degrees).all():
            raise UnsupportedInput(f"the {role} of {info['variable']} is not a number everywhere")
        info[role] = pack(degrees, 1e-4)
    names = [PurePosixPath(c.name).name for c in place.coordinates]
    if names != list(NAMES):
        info["names"] = names
    if any(c.dtype == np.float64 for c in place.coordinates):
        info["coordinates"] = "float64"
    for key, default in (("scale_factor", 1), ("add_offset", 0)):
        if (value := number(dataset.attrs, key, default)) != default:
            info[key] = value
    if not TINY <= abs(info.get("scale_factor", 1)):
        raise UnsupportedInput(f"the scale_factor of {info['variable']} is {info['scale_factor']:g}")
    if units := text(dataset.attrs, "units"):
        info["units"] = units
    of_file = {key: kept for key in FILE_ATTRIBUTES if (kept := text(dataset.file.attrs, key))}
    info |= {key: kept for key, kept in of_file.items() if kept != CONVENTIONS}
    if attributes := {key: kept for key in ATTRIBUTES if (kept := text(dataset.attrs, key))}:
        info["attributes"] = attributes
    others = place.others(dataset.ndim)
    dims = [_dim(dataset, axis) for axis in others]
    if len(dims) > 1:
        dims = [{"name": f"axis{axis}", "size": dataset.shape[axis]} | d for axis, d in zip(others, dims, strict=True)]
    if dims not in ([], [{}], [{"name": "frame"}]):
        info["dims"] = dims
    return info


def _dim(dataset: Any, axis: int) -> dict[str, Any]:
    """What is known of an axis that is not geographic: an entry of "dims"."""
    scale = _scale(dataset, axis)
    if scale is None:
        return {"name": label} if (label := dataset.dims[axis].label) else {}
    dim: dict[str, Any] = {"name": PurePosixPath(scale.name).name}
    dim |= {key: kept for key in AXIS_ATTRIBUTES if (kept := text(scale.attrs, key))}
    if text(scale.attrs, "NAME").startswith(PLACEHOLDER):
        return dim
    if scale.dtype.kind in "iuf":
        values = _unpacked(scale)
        if np.isfinite(values).all():
            dim["values"] = pack(values)
            if values.dtype.name != "float64":
                dim["dtype"] = values.dtype.name
    elif scale.dtype.kind in "OS":
        dim["values"] = hdf5.labels(scale)
    return dim


def _unpacked(dataset: Any) -> NDArray[Any]:
    """The numbers that a coordinate variable stands for, in native byte order."""
    hdf5.check(dataset)
    scale, offset = number(dataset.attrs, "scale_factor", 1), number(dataset.attrs, "add_offset", 0)
    raw = dataset[...].astype(dataset.dtype.newbyteorder("="))
    return raw if (scale, offset) == (1, 0) else offset + scale * raw.astype(np.float64)


def is_temperature(info: dict[str, Any]) -> tuple[float, float] | None:
    """(offset, scale) such that kelvin = offset + scale · stored number; None if info is of no temperature on a globe.

    Units as UDUNITS spells kelvin and degrees Celsius.
    """
    units = info.get("units", "")
    if not all(role in info for role in NAMES) or not (KELVIN.fullmatch(units) or CELSIUS.fullmatch(units)):
        return None
    zero = 273.15 if CELSIUS.fullmatch(units) else 0.0
    return zero + info.get("add_offset", 0), float(info.get("scale_factor", 1))


# From info to a file


def write(signal: Signal, out: BinaryIO, netcdf: bool) -> None:
    """Write a field as NetCDF4, item by item; without `netcdf`, as HDF5 laid out in the same way.

    NetCDF has no bool and no float16: they become int8 and float32. Raises OutputFailed, or whatever comes of an
    `info` that does not fit the samples.
    """
    import h5netcdf

    form: Any = signal.format
    info, dtype = form.info, np.dtype(form.dtype)
    if form.channels != 1:
        raise OutputFailed(f"a field has one number at each place, not {form.channels}")
    if netcdf:
        dtype = {"bool": np.dtype(np.int8), "float16": np.dtype(np.float32)}.get(dtype.name, dtype)
    dims = info.get("dims", [{}]) if signal.batch or "item" in info else []
    sizes = [dim.get("size", signal.items if signal.batch else info["item"] + 1) for dim in dims]
    if signal.batch and math.prod(sizes) != signal.items:
        raise OutputFailed(f"{signal.items} items do not fill axes of {sizes}")
    with h5netcdf.File(out, "w", invalid_netcdf=not netcdf) as file:
        file.attrs.update({"Conventions": CONVENTIONS} | {key: info[key] for key in FILE_ATTRIBUTES if key in info})
        leading, scalars = [], []
        for dim, n, at in zip(dims, sizes, np.unravel_index(info.get("item", 0), sizes), strict=True):
            name = dim.get("name", "frame")
            if signal.batch:
                file.dimensions[name] = n
                leading.append(name)
            if "values" in dim:
                values = positions(dim["values"], n) if signal.batch else positions(dim["values"], at + 1)[at]
                attributes = {key: dim[key] for key in AXIS_ATTRIBUTES if key in dim}
                _coordinate(file, name, values, dim.get("dtype", "float64"), attributes)
                scalars += [] if signal.batch else [name]
        grid, missing = _grid(file, info, signal.shape), _missing(form.special).astype(dtype)
        variable = file.create_variable(
            info["variable"],
            (*leading, *grid),
            dtype,
            chunks=(*(1 for _ in leading), *(min(n, MAX_CHUNK) for n in signal.shape)),
            compression="gzip",
            shuffle=True,
            fillvalue=missing[0] if len(missing) else None,
        )
        if len(missing) > 1:
            variable.attrs["missing_value"] = missing[1:]
        variable.attrs.update(info.get("attributes", {}) | {key: info[key] for key in ("units",) if key in info})
        variable.attrs.update({key: float(info[key]) for key in ("scale_factor", "add_offset") if key in info})
        if scalars:
            variable.attrs["coordinates"] = " ".join(scalars)
        for k in range(signal.items):
            variable[np.unravel_index(k, sizes) if signal.batch else ...] = signal.item(k)[..., 0].astype(dtype)


def _grid(file: Any, info: dict[str, Any], shape: tuple[int, ...]) -> list[str]:
    """Write the axes of latitude and longitude; their names."""
    names, windows = info.get("names", NAMES), info.get("window", (None, None))
    for role, name, n, window in zip(NAMES, names, shape, windows, strict=True):
        axis = info[role]
        if window and len(axis) > 2:  # at the date line longitudes may jump by 360 degrees: nothing lies between
            axis = np.unwrap(axis, period=360).tolist()
        file.dimensions[name] = n
        attributes = {"standard_name": role, "units": "degrees_north" if role == "latitude" else "degrees_east"}
        _coordinate(file, name, positions(axis, n, window), info.get("coordinates", "float32"), attributes)
    return list(names)


def _coordinate(file: Any, name: str, values: NDArray[Any], dtype: Any, attributes: dict[str, str]) -> None:
    """Write an axis [n], or one place on it, a scalar."""
    import h5py

    text = np.asarray(values).dtype.kind == "U"
    data = np.asarray(values, object if text else dtype)
    dims = (name,) if data.ndim else ()
    file.create_variable(name, dims, h5py.string_dtype() if text else dtype, data=data).attrs.update(attributes)


def _missing(special: Special | None) -> NDArray[Any]:
    """The numbers that stand for missing samples: the declared ones, NaN only if there is no other."""
    kinds = special.kinds if special else np.zeros(0)
    declared = kinds[np.isfinite(kinds)]
    return declared if len(declared) else kinds[np.isnan(kinds)]
