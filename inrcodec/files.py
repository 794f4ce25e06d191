"""Paths in, jobs out: which inputs there are, where their outputs go, and writes that are whole or not there.

"-" stands for standard input or output; a `Job` says None instead. Standard library only.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from inrcodec.errors import (
    InputNotFound,
    NothingToDo,
    OutputExists,
    OutputFailed,
    UnreadableInput,
    UsageError,
)


@dataclass(frozen=True)
class Job:
    """One input and where its output goes; None stands for standard input and standard output."""

    source: Path | None
    target: Path | None
    create: bool = False  # whether the folder of the target may be created

    @property
    def name(self) -> str:
        return "-" if self.source is None else str(self.source)

    @property
    def output(self) -> str:
        return "-" if self.target is None else str(self.target)

    def prepare(self) -> None:
        """Make sure that the target can be written, before work is spent on it. Raises OutputFailed."""
        if self.target is None:
            return
        parent = self.target.parent
        if self.create:
            with _failing(self.target):
                parent.mkdir(parents=True, exist_ok=True)
        if os.path.exists(self.target) and not os.path.isfile(self.target):  # a device or a pipe, written in place
            if not os.access(self.target, os.W_OK):
                raise OutputFailed(f"{self.target}: no permission to write to it")
            return
        if not os.path.isdir(parent):
            raise OutputFailed(f"{self.target}: there is no folder {parent}")
        if not os.access(parent, os.W_OK):
            raise OutputFailed(f"{self.target}: no permission to write into {parent}")


def plan(
    inputs: list[str],
    output: str | None,
    suffixes: Collection[str],
    suffix: Callable[[Path], str],
    overwrite: bool,
) -> list[Job]:
    """What to do: folders searched for files with one of `suffixes`, outputs named with the suffix for their input.

    Without an output, the result lands beside its input. One file goes to the file or into the folder that
    the output names; several files and folders go into a folder, keeping the structure of a searched one.
    Raises NothingToDo, OutputExists (unless `overwrite`), OutputFailed, UnreadableInput or UsageError.
    """
    if "" in inputs:
        raise InputNotFound("'': there is no such file")
    if "-" in inputs:
        jobs = [_piped(inputs, output)]
    elif len(inputs) == 1 and not os.path.isdir(inputs[0]):
        jobs = [_single(Path(inputs[0]), output, suffix)]
    else:
        jobs = _several(expand(inputs, suffixes), output, suffix)
    _refuse_collisions(jobs)
    _refuse_existing(jobs, overwrite)
    if any(job.target is None for job in jobs) and sys.stdout.isatty() and not overwrite:
        raise UsageError("standard output is a terminal: name a file with -o, or use --force")
    return jobs


def expand(inputs: list[str], suffixes: Collection[str]) -> list[tuple[Path, Path]]:
    """Inputs → (file, its path below the folder that was searched, or its name), folders in sorted order.

    Raises NothingToDo for a folder without a file of these suffixes, UnreadableInput.
    """
    found = []
    for name in inputs:
        path = Path(name)
        if not os.path.isdir(path):
            found.append((path, Path(path.name)))
            continue
        below = sorted(p for p in _walk(path) if suffix_of(p) in suffixes)
        if not below:
            raise NothingToDo(f"{path}: no file in this folder ends in {' '.join(sorted(suffixes))}")
        found += [(p, p.relative_to(path)) for p in below]
    return found


def suffix_of(path: Path) -> str:
    """The suffix in lower case; ".nii.gz" is one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def renamed(path: Path, suffix: str) -> Path:
    """The path with another suffix."""
    return path.with_name(path.name[: len(path.name) - len(suffix_of(path))] + suffix)


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UnreadableInput(f"{error.filename}: {error.strerror}")

    for root, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(root, name) for name in names)


def _piped(inputs: list[str], output: str | None) -> Job:
    if len(inputs) > 1:
        raise UsageError(f"- (standard input) cannot be combined with {len(inputs) - 1} other inputs")
    if output is not None and output.endswith(("/", os.sep)):
        raise UsageError(f"- (standard input) has no name that its output in {output} could have: name a file")
    return Job(None, None if output in (None, "-") else Path(str(output)))


def _single(source: Path, output: str | None, suffix: Callable[[Path], str]) -> Job:
    if output is None:
        return Job(source, renamed(source, suffix(source)))
    if output == "-":
        return Job(source, None)
    if output.endswith(("/", os.sep)) or os.path.isdir(output):
        return Job(source, renamed(Path(output, source.name), suffix(source)))
    return Job(source, Path(output))


def _several(found: list[tuple[Path, Path]], output: str | None, suffix: Callable[[Path], str]) -> list[Job]:
    if output is None:
        return [Job(source, renamed(source, suffix(source))) for source, _ in found]
    if output == "-":
        raise UsageError("several inputs cannot all go to standard output")
    if os.path.exists(output) and not os.path.isdir(output):
        raise UsageError(f"with several inputs the output must be a folder, but {output} is a file")
    return [Job(source, renamed(Path(output, below), suffix(source)), create=True) for source, below in found]


def _refuse_collisions(jobs: list[Job]) -> None:
    """Raise UsageError if two inputs have one output, or if an output is an input."""
    sources = {os.path.realpath(job.source) for job in jobs if job.source is not None}
    makers: dict[str, Job] = {}
    for job in jobs:
        if job.target is None:
            continue
        place = os.path.realpath(job.target)
        if place in makers:
            raise UsageError(f"{makers[place].name} and {job.name} would both be written to {job.target}")
        if place in sources:
            raise UsageError(f"{job.name} would be written to {job.target}, which is an input")
        makers[place] = job


def _refuse_existing(jobs: list[Job], overwrite: bool) -> None:
    targets = [job.target for job in jobs if job.target is not None]
    for target in targets:
        if os.path.isdir(target):
            raise OutputFailed(f"{target}: is a folder")
    existing = [target for target in targets if os.path.isfile(target)]
    if overwrite or not existing:
        return
    more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
    raise OutputExists(f"{existing[0]}{more} exists already; --force overwrites")


def read(source: Path | None) -> bytes:
    """The bytes of a file or of standard input. Raises InputNotFound or UnreadableInput."""
    name = "standard input" if source is None else str(source)
    try:
        data = _standard_input() if source is None else source.read_bytes()
    except FileNotFoundError:
        raise InputNotFound(f"{name}: there is no such file") from None
    except OSError as error:
        raise UnreadableInput(f"{name}: cannot be read ({error.strerror or error})") from None
    if not data:
        raise UnreadableInput(f"{name}: zero bytes long")
    return data


def _standard_input() -> bytes:
    return sys.stdin.buffer.read() if sys.stdin else b""


def write(target: Path | None, data: bytes, check: Callable[[bytes], None] | None = None) -> None:
    """Write a whole file, or to standard output. Raises OutputFailed, and then nothing has changed on disk.

    The bytes go to a temporary sibling first, which takes the name once it lies on the disk; until then an existing
    file stays as it is. check: given the bytes as the disk has them before the file takes its name; what it raises
    goes on to the caller, and nothing has changed on disk. Needs a regular file.
    """
    with _failing(target):
        place = None if target is None else Path(os.path.realpath(target))  # a link keeps pointing where it did
        if place is not None and (os.path.isfile(place) or not os.path.exists(place)):
            _replace(place, data, check)
        elif check is not None:
            raise OutputFailed(f"{target or 'standard output'}: not a file that can be read back and tested")
        elif place is not None:
            place.write_bytes(data)  # a device or a pipe is written to, never replaced
        elif sys.__stdout__ is None:
            raise OutputFailed("standard output: is closed")
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


def temporary_name() -> str:
    """A name for an output in the making, of a fixed length. Only kill -9 or a power cut leave such a file behind."""
    return f".inrcodec-{os.urandom(6).hex()}.part"


def _replace(place: Path, data: bytes, check: Callable[[bytes], None] | None) -> None:
    temporary = place.with_name(temporary_name())
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(_from_disk(temporary))
        os.replace(temporary, place)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync(place.parent)


def _from_disk(path: Path) -> bytes:
    """The bytes of a file that was synced, read anew where the system can be told to forget its copy in memory."""
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return file.read()


def _sync(folder: Path) -> None:
    """Make the names in a folder outlive a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows; or a folder that may be written to, but not read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems sync no folders
            raise
    finally:
        os.close(handle)


def identity(path: Path) -> tuple[int, ...]:
    """What differs once a file is changed or another takes its name. Raises InputNotFound."""
    try:
        found = path.stat()
    except OSError:
        raise InputNotFound(f"{path}: there is no such file") from None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def delete(source: Path, known: tuple[int, ...]) -> None:
    """Delete an input that is still what it was when `identity` gave `known`. Raises UnreadableInput, OutputFailed."""
    if identity(source) != known:
        raise UnreadableInput(f"{source}: changed while it was encoded, and is kept")
    try:
        source.unlink()
    except OSError as error:
        raise OutputFailed(f"{source}: cannot be deleted ({error.strerror or error})") from None


@contextlib.contextmanager
def _failing(target: Path | None) -> Iterator[None]:
    """Turn what the system says into OutputFailed."""
    try:
        yield
    except OSError as error:
        name = "standard output" if target is None else str(target)
        raise OutputFailed(f"{name}: cannot be written ({error.strerror or error})") from None
