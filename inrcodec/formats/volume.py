"""Volumes: NIfTI, grey TIFF stacks (through tifffile), and NPY, NPZ and HDF5 as plain arrays are.

Samples are [z, y, x], x fastest in the file. `info` holds "nifti", the header of a NIfTI file, or "spacing", the voxel
size [z, y, x] in millimetres, where the file tells it; and what `inrcodec.formats.array` keeps.
"""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import OutputFailed, UnsupportedInput
from inrcodec.formats import array, nifti, tiff
from inrcodec.formats.source import leading_bytes, name_of
from inrcodec.formats.stored import Stored, check_size, reading
from inrcodec.samples.array import ArrayFormat
from inrcodec.signal import Signal

SUFFIXES = {".nii": "NIfTI", ".nii.gz": "NIfTI", ".tif": "TIFF", ".tiff": "TIFF", **array.SUFFIXES}
MILLIMETRES = {"m": 1e3, "cm": 10.0, "mm": 1.0, "micron": 1e-3, "um": 1e-3, "µm": 1e-3, "\\u00B5m": 1e-3, "nm": 1e-6}
IMAGEJ_DTYPES = ("uint8", "uint16", "float32")
ELEMENT_SIZE = "element_size_um"  # the attribute of HDF5 datasets by which Fiji and ilastik know the voxel size


def sniff(head: bytes, name: str) -> bool:
    """Whether this is a NIfTI file. A TIFF may as well be a picture, an array anything: for these one has to ask."""
    return nifti.sniff(head) or name.lower().endswith((".nii", ".nii.gz"))


def read(source: Path | bytes, variable: str | None = None) -> Signal:
    """Read a volume of three axes; of four, a batch of volumes. variable: which array of an NPZ or HDF5 file.

    Raises InputNotFound, UnreadableInput, UnsupportedInput (damaged, no real numbers, all missing, another number of
    axes), UsageError (no or no such variable), LimitExceeded or OutOfMemory.
    """
    head, name = leading_bytes(source), name_of(source)
    is_nifti = sniff(head, name)
    if is_nifti or head.startswith(tiff.MAGICS):
        array.refuse_variable(name, variable)
        with reading(name, "NIfTI file" if is_nifti else "TIFF stack"):
            stored = nifti.read(source, name) if is_nifti else _read_tiff(source, name)
        return stored.signal("volume", 3, channels=False)
    stored = array.load(source, variable)
    shape = stored.array.shape
    if len(shape) < 3:
        raise UnsupportedInput(f"{name}: a volume has three axes, or four as a batch; here they are {shape}")
    size = stored.info.get("attributes", {}).pop(ELEMENT_SIZE, None)
    if _is_size(size):
        stored.info["spacing"] = _rounded(np.array(size) / 1000)
    return stored.signal("volume", 3, channels=len(shape) > 3 and shape[-1] in array.CHANNELS)


def write(signal: Signal, suffix: str) -> bytes:
    """A volume → the bytes of a file of the kind that a suffix names. Raises OutputFailed."""
    form, kind = signal.format, SUFFIXES[suffix.lower()]
    assert isinstance(form, ArrayFormat)
    if kind in ("NIfTI", "TIFF") and form.channels > 1:
        raise OutputFailed(f"a {kind} volume has one channel, not {form.channels}")
    try:
        step, start = _placement(form.info, signal.shape)
        if kind == "NIfTI":
            return nifti.write(signal, form.info, step, start, suffix.lower().endswith(".gz"))
        spacing = nifti.spacing(form.info["nifti"]) if "nifti" in form.info else form.info.get("spacing")
        spacing = None if spacing is None else _rounded(step * spacing)
        if kind == "TIFF":
            return _write_tiff(signal, spacing)
        attributes = form.info.get("attributes", {})
        if spacing is not None:
            attributes = attributes | {ELEMENT_SIZE: _rounded(np.array(spacing) * 1000)}
    # nibabel has errors of its own, and `info` comes from a compressed file
    except Exception as error:
        raise OutputFailed(f"{kind} cannot hold this volume ({type(error).__name__}: {error})") from None
    info = {"variable": form.info.get("variable", "values"), "attributes": attributes}
    return array.write(replace(signal, format=replace(form, info=info)), suffix)


def _placement(info: dict[str, Any], shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The distance of two samples and the position of the first, per axis, in samples of the original grid."""
    start, stop = np.array(info.get("window", [(0, n) for n in shape]), float).T
    step = (stop - start) / shape
    return step, start + step / 2 - 0.5


def _is_size(size: Any) -> bool:
    """Whether this is a voxel size: three positive numbers."""
    return isinstance(size, list) and len(size) == 3 and all(isinstance(x, int | float) and x > 0 for x in size)


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{x:.9g}") for x in values]  # beyond float32, but no longer than need be


def _read_tiff(source: Path | bytes, name: str) -> Stored:
    import tifffile

    with tiff.opened(source) as file:
        series, page = file.series, file.series[0].keyframe
        shape = series[0].shape
        if len(series) > 1 or page.axes != "YX" or page.photometric != tifffile.PHOTOMETRIC.MINISBLACK:
            raise UnsupportedInput(f"{name}: not a stack: its pages are not all grey, of one size and one type")
        if len(shape) not in (3, 4):
            raise UnsupportedInput(f"{name}: a volume has three axes, or four as a batch; here they are {shape}")
        check_size(name, series[0].nbytes)
        metadata = file.imagej_metadata or (file.shaped_metadata or ({},))[0]
        unit = MILLIMETRES.get(str(metadata.get("unit")))
        resolution = [page.tags.valueof(tag) for tag in ("YResolution", "XResolution")]  # pixels per unit, as a ratio
        info = {}
        if unit is not None and "spacing" in metadata and all(ratio and all(ratio) for ratio in resolution):
            z, (y, x) = float(metadata["spacing"]), (below / above for above, below in resolution)
            info["spacing"] = _rounded(np.array([z, y, x]) * unit)
        return Stored(name, series[0].asarray(), info)


def _write_tiff(signal: Signal, spacing: list[float] | None) -> bytes:
    import tifffile

    out, shape, dtype = io.BytesIO(), array.shape_of(signal), np.dtype(signal.format.dtype)
    placed: dict[str, Any] = {} if spacing is None else {"spacing": spacing[0], "unit": "mm"}
    tifffile.imwrite(
        out,
        (page.view(dtype) for item in array.items(signal) for page in item),  # one of several types of 64 bits
        shape=shape,
        dtype=dtype,
        imagej=dtype.name in IMAGEJ_DTYPES,
        compression="zlib",
        photometric="minisblack",
        resolution=None if spacing is None else (1 / spacing[2], 1 / spacing[1]),
        resolutionunit="NONE",
        metadata={"axes": "TZYX"[-len(shape) :]} | placed,
    )
    return out.getvalue()
