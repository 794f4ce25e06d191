"""NIfTI files, versions 1 and 2, through nibabel: stored numbers as [z, y, x], and the header as a short text."""

import gzip
import io
import logging
import math
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from inrcodec.errors import LimitExceeded, UnsupportedInput
from inrcodec.formats import array
from inrcodec.formats.source import leading_bytes
from inrcodec.formats.stored import Stored, check_dtype, check_size
from inrcodec.signal import Signal

GZIP = b"\x1f\x8b"
SIZES = (348, 540)  # bytes of a header of version 1 and 2
MAX_AXIS = 32767  # in version 1
MAX_START = 1 << 26  # bytes before the samples: header and extensions
LAYOUT = ("dim", "datatype", "bitpix", "vox_offset")  # fields that say how the samples lie in the file
SLICING = ("slice_start", "slice_end", "slice_code")  # the order in which the scanner took the slices
STAND_INS = {"bool": "uint8", "float16": "float32"}
MILLIMETRES = {1: 1e3, 2: 1.0, 3: 1e-3}  # by the code of the unit of length
logging.getLogger("nibabel").addHandler(logging.NullHandler())  # else it prints about damage to stderr


def sniff(head: bytes) -> bool:
    """Whether a file with these leading bytes is NIfTI, perhaps in gzip."""
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(31).decompress(head, max(SIZES))
        except zlib.error:
            return False
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def read(source: Path | bytes, name: str) -> Stored:
    """The numbers as stored, before slope and intercept, [z, y, x] or [t, z, y, x]; info: "nifti", the header.

    Uncompressed files are mapped. Raises UnsupportedInput, LimitExceeded and whatever nibabel does.
    """
    import nibabel

    packed = leading_bytes(source).startswith(GZIP)
    with (
        nibabel.imageglobals.LoggingOutputSuppressor(),
        io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file,
    ):
        stored = file.seek(0, io.SEEK_END)
        file.seek(0)
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=file) if packed else file)
        head = stream.read(max(SIZES))
        kind = nibabel.Nifti2Header if head[4:7] == b"n+2" else nibabel.Nifti1Header
        start = int(kind(head[: kind.template_dtype.itemsize]).get_data_offset())
        if not max(SIZES) - 192 <= start <= MAX_START:
            raise LimitExceeded(f"{name}: the samples start at byte {start}; the limit is {MAX_START}")
        # an extension may claim any length: it is not to unpack more than there is before the samples
        header = kind.from_fileobj(io.BytesIO(head[:start] + stream.read(max(0, start - len(head)))))
        shape, dtype = tuple(map(int, header.get_data_shape())), header.get_data_dtype()
        check_dtype(name, dtype)
        if not 1 <= len(shape) <= 4 or min(shape) < 1:
            raise UnsupportedInput(f"{name}: a volume has three axes, or four as a batch; here they are {shape}")
        size = math.prod(shape) * dtype.itemsize
        if packed:
            check_size(name, size, stored)
        elif start + size > stored:
            raise UnsupportedInput(f"{name}: the file ends before its {size} bytes of voxels do")
        values = header.raw_data_from_fileobj(stream)
        stream.read(1)  # at its end, gzip compares checksums
    values = values.reshape(shape + (1,) * (3 - len(shape)), order="F").T
    count = len(header.extensions)
    notes = [f"header extensions left out: {count}"] if count else []
    return Stored(name, values, {"nifti": _packed(header)}, notes=notes)


def write(signal: Signal, info: dict[str, Any], step: NDArray[Any], start: NDArray[Any], gzipped: bool) -> bytes:
    """The bytes of a file; info: "nifti" or "spacing", or neither.

    step, start: the distance of two samples, and the position of the first, in samples of the grid that the header
    belongs to, [z, y, x]. Raises ValueError and whatever nibabel does.
    """
    dtype = np.dtype(STAND_INS.get(signal.format.dtype, signal.format.dtype)).newbyteorder("<")
    shape = array.shape_of(signal)[::-1]
    header = _unpacked(info["nifti"]) if "nifti" in info else _plain(info.get("spacing"), max(shape))
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    if (step != 1).any() or start.any():
        _place(header, step[::-1], start[::-1])
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) if gzipped else nullcontext(out) as file:
        header.write_to(file)
        for item in array.items(signal):
            file.write(np.ascontiguousarray(item, dtype).data)
    return out.getvalue()


def spacing(text: str) -> list[float]:
    """The voxel size of a header in millimetres, [z, y, x]. Raises ValueError or TypeError."""
    header = _unpacked(text)
    unit = MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    return [float(str(zoom)) * unit for zoom in header["pixdim"][3:0:-1]]


def _plain(spacing: list[float] | None, longest: int) -> Any:
    """A header of unit affine, or with the voxel size in millimetres, [z, y, x]."""
    import nibabel

    header = (nibabel.Nifti1Header if longest <= MAX_AXIS else nibabel.Nifti2Header)(endianness="<")
    header["pixdim"][1:4] = spacing[::-1] if spacing else 1
    header.set_sform(np.diag(header["pixdim"][[1, 2, 3, 0]]), "aligned")
    header.set_xyzt_units("mm" if spacing else "unknown")
    header["scl_slope"], header["scl_inter"] = 1, 0
    return header


def _place(header: Any, step: NDArray[Any], start: NDArray[Any]) -> None:
    """Let voxel 0 lie where voxel `start`, [x, y, z], did, and voxel 1 a `step` further: the same places in space."""
    moved = np.diag([*step, 1.0])
    moved[:3, 3] = start
    if header["sform_code"] > 0:
        header.set_sform(header.get_sform() @ moved, int(header["sform_code"]))
    if header["qform_code"] > 0:
        header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = (header.get_qform() @ moved)[:3, 3]
    header["pixdim"][1:4] *= step
    for key in SLICING:
        header[key] = 0


def _packed(header: Any) -> str:
    """What a header says beside the layout of the samples, bit for bit: XORed with an empty one, in hexadecimal.

    Nearly all zeros: `info` is deflated as a whole, and takes 60 to 190 bytes.
    """
    empty = type(header)(endianness="<")
    header = header.as_byteswapped("<")
    header["pixdim"][len(header.get_data_shape()) + 1 :] = 1  # as nibabel writes it
    for key in LAYOUT:
        header[key] = empty[key]
    return _difference(header, empty).hex()


def _unpacked(text: str) -> Any:
    """Undo `_packed`. Raises ValueError or TypeError."""
    import nibabel

    difference = bytes.fromhex(text)
    kind = (nibabel.Nifti1Header, nibabel.Nifti2Header)[SIZES.index(len(difference))]
    return kind(_difference(kind(difference, "<", check=False), kind(endianness="<")), "<", check=False)


def _difference(a: Any, b: Any) -> bytes:
    return bytes(x ^ y for x, y in zip(a.binaryblock, b.binaryblock, strict=True))
