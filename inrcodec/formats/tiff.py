"""TIFF files through tifffile, which trusts them more than one should."""

import contextlib
import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from tifffile import TiffFile

MAGICS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
ALONE: Any = {"is_ome": False, "is_mmstack": False, "is_ndtiff": False}  # these would have it open other files
SUB_PAGES = 330  # the tag of pages that belong to a page
MAX_TAGS = 4096  # of a page; what claims more is none


def opened(source: Path | bytes) -> "TiffFile":
    """Raises ValueError if the pages cannot all be in the file, and whatever tifffile does."""
    import tifffile

    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        _check_pages(file)
    return tifffile.TiffFile(io.BytesIO(source) if isinstance(source, bytes) else source, **ALONE)


def _check_pages(file: BinaryIO) -> None:
    """Raises ValueError if the pages, each of which leads to the next, take more bytes than there are.

    tifffile (2026 at least) follows pages that lead back to one another for ever.
    """
    head, size = file.read(16).ljust(16, b"\0"), file.seek(0, io.SEEK_END)
    order, big = "<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+")
    codes = ("Q", "HHQ8x", "Q") if big else ("H", "HHI4x", "I")
    number, entry, offset = (struct.Struct(order + code) for code in codes)
    left, (at,) = size, offset.unpack(head[offset.size : 2 * offset.size])
    with contextlib.suppress(struct.error):  # of a file that ends within a page; those before it are pages
        while 0 < at < size:
            file.seek(at)
            (count,) = number.unpack(file.read(number.size))
            if count > MAX_TAGS:
                return
            entries = file.read(count * entry.size)
            children = sum(n for tag, _, n in entry.iter_unpack(entries) if tag == SUB_PAGES)
            left -= (1 + children) * (number.size + offset.size) + len(entries)
            if left < 0:
                raise ValueError(f"its pages take more than the {size} bytes of the file")
            (at,) = offset.unpack(file.read(offset.size))
