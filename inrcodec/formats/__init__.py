"""Files in, signals out, and back. A modality is one module here, offering what `Format` asks for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from inrcodec.errors import OutputFailed, UnsupportedInput, UsageError
from inrcodec.formats import array, audio, field, hdf5, image, shape, video, volume
from inrcodec.formats.source import leading_bytes, name_of
from inrcodec.signal import Signal


class Format(Protocol):
    """What each module of this package offers. `read` takes a `variable` besides where files hold several."""

    @property
    def SUFFIXES(self) -> Mapping[str, str]: ...

    def sniff(self, head: bytes, name: str) -> bool: ...

    def read(self, source: Path | bytes, /) -> Signal: ...

    def write(self, signal: Signal, suffix: str) -> bytes: ...


MODULES: dict[str, Format] = {
    "image": image,
    "audio": audio,
    "video": video,
    "volume": volume,
    "shape": shape,
    "field": field,
    "array": array,
}
"""By modality, in the order in which a file is offered to them."""

PLAIN = {
    "image": ".png",
    "audio": ".wav",
    "video": ".mkv",
    "volume": ".nii.gz",
    "shape": ".ply",
    "field": ".nc",
    "array": ".npy",
}


def plain(modality: str, sort: str = "") -> str:
    """The suffix that a decoded file gets unless told otherwise; sort: "voxels" of a shape that was no mesh."""
    return ".npy" if sort == "voxels" else PLAIN.get(modality, PLAIN["image"])


WITH_VARIABLES = ("field", "volume", "shape", "array")

SINGLE = ("image", "audio")  # kinds whose files hold one signal

SUFFIXES = frozenset(suffix for module in MODULES.values() for suffix in module.SUFFIXES)


def read(source: Path | bytes, modality: str | None = None, variable: str | None = None) -> Signal:
    """Read a file, or the bytes of one.

    modality: what it is taken for; by default its leading bytes decide, or its name where they say nothing.
    variable: which one of a file that holds several.
    Raises InputNotFound, UnreadableInput, UnsupportedInput, UsageError, LimitExceeded or OutOfMemory.
    """
    if modality is not None and modality not in MODULES:
        raise UsageError(f"there is no kind '{modality}' of files, only {', '.join(MODULES)}")
    head, name = leading_bytes(source), name_of(source)
    kind = modality or _recognised(source, head, name)
    more: dict[str, Any] = {} if variable is None else {"variable": variable}
    if more and kind not in WITH_VARIABLES:
        raise UsageError(f"{name}: a file of kind '{kind}' has no variables to choose from")
    return MODULES[kind].read(source, **more)


def _recognised(source: Path | bytes, head: bytes, name: str) -> str:
    if head.startswith(hdf5.MAGIC) and field.claims(source):
        return "field"
    for known in ("", name):
        for kind, module in MODULES.items():
            if module.sniff(head, known):
                return kind
    raise UnsupportedInput(f"{name}: no reader recognises this file (first bytes {head[:8].hex(' ')})")


def write(signal: Signal, suffix: str) -> bytes:
    """A signal → the bytes of a file of the kind that a suffix names. Raises OutputFailed."""
    check_suffix(suffix, signal.format.modality)
    if signal.batch and signal.format.modality in SINGLE:
        raise OutputFailed(f"the stream holds {signal.items} signals, a file of this kind one: name it with --item")
    return MODULES[signal.format.modality].write(signal, suffix)


def check_suffix(suffix: str, modality: str) -> None:
    """Raises OutputFailed if no file of this modality can be written under this suffix."""
    known = MODULES[modality].SUFFIXES
    if suffix.lower() not in known:
        raise OutputFailed(f"cannot write '{suffix}' files of kind '{modality}'; known suffixes: {' '.join(known)}")
