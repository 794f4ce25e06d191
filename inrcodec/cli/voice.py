"""What the commands print: results to stdout, or to stderr when stdout carries the data; all else to stderr."""

import errno
import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from inrcodec.errors import InrcodecError, OutOfMemory, OutputFailed
from inrcodec.files import Job

if TYPE_CHECKING:
    from rich.progress import Progress

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
BAR_AFTER = 1.0  # seconds

TYPER_ERROR: Any = typer.BadParameter.__mro__[2]  # the base of typer's errors, which has no public name in all versions


def complain(error: Exception, debug: bool, job: Job | None = None) -> int:
    """Print an error in one line on stderr, with the input it is about, and return its exit code."""
    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, MemoryError):
        error = OutOfMemory("not enough memory")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # of a print: files name their own errors
        error = OutputFailed(f"standard output: cannot be written ({error.strerror})")
    if isinstance(error, InrcodecError):
        sentence, code = f"error: {_placed(str(error), job)}", error.exit_code
    elif isinstance(error, TYPER_ERROR):
        text = error.format_message().replace("Value error, ", "").rstrip(".")
        command = getattr(getattr(error, "ctx", None), "command_path", "inrcodec")
        sentence, code = f"error: {text} (see {command} --help)", error.exit_code
    else:
        hint = "" if debug else " (run with --debug for the traceback)"
        text = _placed(f"{type(error).__name__}: {error}", job)
        sentence, code = f"internal error: {text}{hint}", INTERNAL_ERROR
    print("inrcodec:", " ".join(sentence.split()), file=sys.stderr)
    return code


def _placed(sentence: str, job: Job | None) -> str:
    """The sentence, with the name of the input unless it begins with a name already."""
    if job is None or job.source is None or sentence.startswith((f"{job.name}: ", f"{job.output}: ")):
        return sentence
    return f"{job.name}: {sentence}"


class Bar:
    """A progress bar on stderr, for what takes longer than a second; only on a terminal."""

    def __init__(self, name: str, quiet: bool):
        self.name, self.shown = name, not quiet and sys.stderr.isatty()
        self.started = time.monotonic()
        self.progress: Progress | None = None

    def __call__(self, what: str, share: float) -> None:
        """What the codec calls to say what it does, and the share of it that is done."""
        if not self.shown or time.monotonic() - self.started < BAR_AFTER:
            return
        if self.progress is None:
            self.progress = rich_progress()
            self.progress.add_task(f"{self.name}: {what}", total=1.0)
            self.progress.start()
        self.progress.update(self.progress.task_ids[0], description=f"{self.name}: {what}", completed=share)

    def close(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


def rich_progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)
    return Progress(text, BarColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True)


@dataclass(frozen=True)
class Voice:
    """What is printed about each file."""

    as_json: bool
    quiet: bool
    verbose: bool
    debug: bool

    def note(self, job: Job, text: str) -> None:
        if not self.quiet:
            print(f"{job.name}: note: {text}", file=sys.stderr)

    def detail(self, job: Job, text: str) -> None:
        if self.verbose and not self.quiet:
            print(f"{job.name}: {text}", file=sys.stderr)

    def result(self, job: Job, fields: Mapping[str, object], cells: list[str]) -> None:
        if self.quiet:
            return
        paths = {"input": job.name, "output": job.output}
        line = json.dumps({**paths, **fields}, ensure_ascii=False) if self.as_json else "  ".join([job.output, *cells])
        print(line, file=sys.stderr if job.target is None else sys.stdout, flush=True)


def each(jobs: list[Job], voice: Voice, work: Callable[[Job, Bar], None]) -> int:
    """Do all jobs, whatever becomes of the others, and return the exit code of the first error."""
    first = 0
    for number, job in enumerate(jobs, 1):
        name = job.name if len(jobs) == 1 else f"{job.name} ({number} of {len(jobs)})"
        try:
            with closing(Bar(name, voice.quiet)) as bar:
                work(job, bar)
        except BrokenPipeError:  # nobody reads the results any more
            raise
        except Exception as error:
            code = complain(error, voice.debug, job)
            first = first or code
    return first
