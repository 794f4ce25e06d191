"""What all readers ask of a source: a path, or the bytes of a file."""

from collections.abc import Sequence
from pathlib import Path

from inrcodec.errors import InputNotFound, UnreadableInput


def name_of(source: Path | bytes) -> str:
    """How messages call the source."""
    return "the input" if isinstance(source, bytes) else str(source)


def leading_bytes(source: Path | bytes, count: int = 4096) -> bytes:
    """The first bytes of a source, at least one.

    Raises InputNotFound for a missing path, UnreadableInput if it cannot be read or is empty.
    """
    if isinstance(source, bytes):
        head = source[:count]
    else:
        try:
            with source.open("rb") as file:
                head = file.read(count)
        except FileNotFoundError:
            raise InputNotFound(f"{source}: there is no such file") from None
        except OSError as error:
            raise UnreadableInput(f"{source}: cannot be read ({error.strerror})") from None
    if not head:
        raise UnreadableInput(f"{name_of(source)}: zero bytes long")
    return head


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names with commas between, the first ones of many."""
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])
