"""Files in, signals out. A modality is one module here, offering what `Reader` asks for."""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from inrcodec.errors import UnsupportedInput
from inrcodec.formats import image
from inrcodec.signal import Signal


class Reader(Protocol):
    """What each module of this package offers; `write` differs by modality."""

    @property
    def SUFFIXES(self) -> Collection[str]: ...

    def sniff(self, head: bytes, name: str) -> bool: ...

    def read(self, source: Path | bytes, max_pixels: int = ...) -> Signal: ...


READERS: tuple[Reader, ...] = (image,)
SUFFIXES = frozenset(suffix for reader in READERS for suffix in reader.SUFFIXES)


def read(source: Path | bytes, max_pixels: int = image.MAX_PIXELS) -> Signal:
    """Read a file, or the bytes of one, with the first reader that recognises it.

    Raises InputNotFound, UnreadableInput, UnsupportedInput, LimitExceeded or OutOfMemory.
    """
    head, name = image.leading_bytes(source), image.name_of(source)
    for reader in READERS:
        if reader.sniff(head, name):
            return reader.read(source, max_pixels)
    raise UnsupportedInput(f"{name}: no reader recognises this file (first bytes {head[:8].hex(' ')})")
