"""Files in, signals out, and back. A modality is one module here, offering what `Format` asks for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from inrcodec.errors import OutputFailed, UnsupportedInput
from inrcodec.formats import audio, image
from inrcodec.formats.source import leading_bytes, name_of
from inrcodec.signal import Signal


class Format(Protocol):
    """What each module of this package offers."""

    @property
    def SUFFIXES(self) -> Mapping[str, str]: ...

    def sniff(self, head: bytes, name: str) -> bool: ...

    def read(self, source: Path | bytes) -> Signal: ...

    def write(self, signal: Signal, suffix: str) -> bytes: ...


MODULES: dict[str, Format] = {"image": image, "audio": audio}
"""By modality."""

PLAIN = {"image": ".png", "audio": ".wav"}
"""The suffix that a decoded file gets unless told otherwise."""

SUFFIXES = frozenset(suffix for module in MODULES.values() for suffix in module.SUFFIXES)


def read(source: Path | bytes) -> Signal:
    """Read a file, or the bytes of one, by its leading bytes; by its name where they say nothing.

    Raises InputNotFound, UnreadableInput, UnsupportedInput, LimitExceeded or OutOfMemory.
    """
    head, name = leading_bytes(source), name_of(source)
    for known in ("", name):
        for module in MODULES.values():
            if module.sniff(head, known):
                return module.read(source)
    raise UnsupportedInput(f"{name}: no reader recognises this file (first bytes {head[:8].hex(' ')})")


def write(signal: Signal, suffix: str) -> bytes:
    """A signal → the bytes of a file of the kind that a suffix names. Raises OutputFailed."""
    check_suffix(suffix, signal.format.modality)
    return MODULES[signal.format.modality].write(signal, suffix)


def check_suffix(suffix: str, modality: str) -> None:
    """Raises OutputFailed if no file of this modality can be written under this suffix."""
    known = MODULES[modality].SUFFIXES
    if suffix.lower() not in known:
        raise OutputFailed(f"cannot write '{suffix}' files of kind '{modality}'; known suffixes: {' '.join(known)}")
