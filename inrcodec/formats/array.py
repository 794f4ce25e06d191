"""Plain arrays: NPY and NPZ through numpy, HDF5 datasets through h5py.

`info` holds the "variable", the array's name in an NPZ or HDF5 file, and the "attributes" of an HDF5 dataset.
"""

import io
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import OutputFailed, UnsupportedInput, UsageError
from inrcodec.formats import hdf5
from inrcodec.formats.source import leading_bytes, listed, name_of
from inrcodec.formats.stored import Stored, check_dtype, check_size, reading
from inrcodec.samples.array import DTYPES, ArrayFormat
from inrcodec.signal import Signal

SUFFIXES = {".npy": "NPY", ".npz": "NPZ", **hdf5.SUFFIXES}
NPY, ZIP = b"\x93NUMPY", b"PK"
CHANNELS = (2, 3, 4)  # lengths of a last axis that is taken for channels


def sniff(head: bytes, name: str) -> bool:
    """Whether a file with these leading bytes, or else with this name, holds plain arrays."""
    member = head[30 : 30 + int.from_bytes(head[26:28], "little")]  # the first one's name
    return (
        head.startswith((NPY, hdf5.MAGIC))
        or (head.startswith(ZIP) and member.endswith(b".npy"))
        or Path(name).suffix.lower() in SUFFIXES
    )


def read(source: Path | bytes, variable: str | None = None) -> Signal:
    """Read an array of 1 to 3 axes; a last axis of 2 to 4 samples of several is taken for channels.

    Four axes, or five with channels, are a batch of grids of three. variable: which array of an NPZ or HDF5 file;
    needed if it has several.

    Raises InputNotFound, UnreadableInput, UnsupportedInput (damaged, no real numbers, all missing, too many axes),
    UsageError (no or no such variable), LimitExceeded or OutOfMemory.
    """
    stored = load(source, variable)
    shape = stored.array.shape
    channels = len(shape) > 1 and shape[-1] in CHANNELS
    if channels:
        stored.notes.append(f"the last axis, of {shape[-1]} samples, is taken for channels")
    return stored.signal("array", min(3, len(shape) - channels), channels)


def write(signal: Signal, suffix: str) -> bytes:
    """An array → the bytes of a file of the kind that a suffix names. Raises OutputFailed."""
    form, kind, out = signal.format, SUFFIXES[suffix.lower()], io.BytesIO()
    assert isinstance(form, ArrayFormat)
    variable = form.info.get("variable", "values")
    try:
        if kind == "NPY":
            write_npy(out, signal)
        elif kind == "NPZ":
            with (
                zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
                archive.open(f"{variable}.npy", "w", force_zip64=True) as file,
            ):
                write_npy(file, signal)
        else:
            parts = ((k if signal.batch else ..., part) for k, part in enumerate(items(signal)))
            attributes = form.info.get("attributes", {})
            hdf5.write(out, variable, shape_of(signal), np.dtype(form.dtype), parts, attributes)
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        raise OutputFailed(f"{kind} cannot hold the array '{variable}' ({error})") from None
    return out.getvalue()


def shape_of(signal: Signal) -> tuple[int, ...]:
    """The shape of the array in the file: axes of items and channels only if there are any."""
    return tuple(signal.values.shape[: None if signal.format.channels > 1 else -1])


def items(signal: Signal) -> Iterator[NDArray[Any]]:
    """One item after another, [*grid] or [*grid, C], as in the file."""
    for k in range(signal.items):
        item = np.asarray(signal.item(k)[...])
        yield item if signal.format.channels > 1 else item[..., 0]


def write_npy(file: IO[bytes], signal: Signal) -> None:
    """Item by item; axes as `shape_of` says."""
    dtype = np.dtype(signal.format.dtype).newbyteorder("<")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape_of(signal)}
    np.lib.format.write_array_header_1_0(file, header)
    for item in items(signal):
        file.write(np.ascontiguousarray(item, dtype).data)


def load(source: Path | bytes, variable: str | None) -> Stored:
    """Open the array that `variable` names, or the only one of a file. Raises as `read`."""
    head, name = leading_bytes(source), name_of(source)
    if head.startswith(NPY):
        refuse_variable(name, variable)
        with reading(name, "NPY file"):
            return Stored(name, _npy(source, name))
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    if head.startswith(ZIP):
        with reading(name, "NPZ file"):
            return _npz(file, name, variable)
    with reading(name, "HDF5 file"):
        return _hdf5(source, name, variable)


def refuse_variable(name: str, variable: str | None) -> None:
    """Raises UsageError if a variable was asked for."""
    if variable is not None:
        raise UsageError(f"{name}: there are no variables in such a file, so no '{variable}'")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and dtype of an NPY file; leaves the file at its first sample."""
    version = np.lib.format.read_magic(file)
    parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return parse(file)


def _npy(source: Path | bytes, name: str) -> NDArray[Any]:
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        shape, fortran, dtype = _header(file)
        start = file.tell()
    check_dtype(name, dtype)
    if min(shape, default=0) < 0:
        raise ValueError(f"shape {shape}")
    order: Literal["F", "C"] = "F" if fortran else "C"
    if not math.prod(shape):  # cannot be mapped
        return np.empty(shape, dtype)
    if isinstance(source, bytes):
        return np.frombuffer(source, dtype, math.prod(shape), start).reshape(shape, order=order)
    return np.memmap(source, dtype, "r", start, shape, order)


def _npz(file: Any, name: str, variable: str | None) -> Stored:
    with zipfile.ZipFile(file) as archive:
        shapes = {}
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise UnsupportedInput(f"{name}: {member.filename} is neither stored nor deflated")
                with archive.open(member) as part:
                    shape, _, dtype = _header(part)
                shapes[member.filename.removesuffix(".npy")] = (shape, dtype)
        asked, variable = variable, _choose(name, shapes, variable)
        member = archive.getinfo(f"{variable}.npy")
        check_size(name, member.file_size, member.compress_size)
        notes = _left_out(shapes, variable, asked)
        return Stored(name, _npy(archive.read(member), name), {"variable": variable}, (), notes)


def _hdf5(source: Path | bytes, name: str, variable: str | None) -> Stored:
    found = hdf5.datasets(hdf5.opened(source))
    asked, variable = (
        variable,
        _choose(name, {path: (data.shape, data.dtype) for path, data in found.items()}, variable),
    )
    hdf5.check(found[variable])
    simple, others = hdf5.attributes(found[variable])
    notes = _left_out(found, variable, asked)
    notes += [f"attributes left out, too long or not simple: {', '.join(others)}"] if others else []
    info = {"variable": variable} | ({"attributes": simple} if simple else {})
    return Stored(name, found[variable], info, hdf5.fills(simple), notes)


def _left_out(arrays: Iterable[str], variable: str, asked: str | None) -> list[str]:
    """A note on the other arrays of a file, unless the one was asked for."""
    others = [name for name in arrays if name != variable]
    return [f"only {variable} is coded; left out: {listed(others)}"] if others and asked is None else []


def _choose(name: str, arrays: Mapping[str, tuple[tuple[int, ...], np.dtype]], variable: str | None) -> str:
    """The variable asked for, or else the only one of real numbers with axes, or else the only one."""
    usable = [key for key, (shape, dtype) in arrays.items() if shape and dtype.name in DTYPES] or list(arrays)
    listing = ", ".join(f"{key} {'×'.join(map(str, arrays[key][0]))} {arrays[key][1]}" for key in usable)
    if variable is not None and variable.strip("/") in arrays:
        return variable.strip("/")
    if not usable:
        raise UnsupportedInput(f"{name}: there are no arrays in it")
    if variable is not None:
        raise UsageError(f"{name}: there is no variable '{variable}'; there are: {listing}")
    if len(usable) > 1:
        raise UsageError(f"{name}: several arrays; choose one with --variable: {listing}")
    return usable[0]
