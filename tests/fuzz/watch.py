"""Feeding one input to a target, and what came of it."""

import faulthandler
import os
import resource
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inrcodec.errors import InrcodecError, OutOfMemory

SECONDS = 2.0  # of processor time that an input may take
MEMORY = 1 << 30  # bytes that inputs may take, beyond what the program has when it begins

BAD = ("crash", "hang", "memory", "wrong")


class Hang(BaseException):
    """Not an Exception: no handler on the way may take it for a damaged file."""


class Wrong(AssertionError):
    """A target found that something came out that must not."""


@dataclass
class Tally:
    """How many inputs of a target ended in which way; bad ones, up to `KEPT`, are kept in a folder if there is one."""

    name: str
    folder: Path | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    KEPT = 100

    @property
    def bad(self) -> int:
        return sum(self.outcomes[kind] for kind in BAD)

    def add(self, data: bytes, outcome: str, reason: str) -> None:
        self.outcomes[outcome] += 1
        if outcome in BAD and len(self.failures) < self.KEPT:
            self.failures.append(f"{outcome}: {reason}")
            if self.folder is not None:
                (self.folder / f"{self.name}-{outcome}-{len(self.failures)}").write_bytes(data)


def feed(target: Callable[[bytes], Any], data: bytes) -> tuple[str, str]:
    """What comes of an input: (outcome, reason). Outcomes: "done", the name of a member of `inrcodec.errors`, "crash"
    for any other exception, "hang", "memory", "wrong".
    """
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        target(data)
        return "done", ""
    except OutOfMemory as error:
        return "memory", str(error)
    except InrcodecError as error:
        return type(error).__name__, str(error)
    except MemoryError:
        return "memory", _last_line()
    except Hang:
        return "hang", _last_line()
    except Wrong as error:
        return "wrong", str(error)
    except Exception:
        return "crash", _last_line()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def feed_all(target: Callable[[bytes], Any], inputs: Iterable[bytes], tally: Tally) -> None:
    """Every input in turn. What stays in native code beyond reach ends the process, with a traceback."""
    current = os.open(tally.folder / f"{tally.name}-current" if tally.folder else os.devnull, os.O_CREAT | os.O_WRONLY)
    for count, data in enumerate(inputs):
        if count % 32 == 0:
            faulthandler.dump_traceback_later(60 * SECONDS, exit=True)
        if tally.folder is not None:  # stays behind if the process dies
            os.ftruncate(current, os.pwrite(current, data, 0))
        tally.add(data, *feed(target, data))
    os.close(current)
    faulthandler.cancel_dump_traceback_later()


@contextmanager
def limits() -> Iterator[None]:
    """Processor time of an input, and memory of the process, are limited inside."""

    def refuse(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, refuse)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_mapped() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, before)


def _mapped() -> int:
    """Bytes of address space in use."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _last_line() -> str:
    """The exception, and where in the package it came from."""
    kind, value, trace = sys.exc_info()
    frames = [f for f in traceback.extract_tb(trace) if "inrcodec" in f.filename] or traceback.extract_tb(trace)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{kind.__name__ if kind else '?'}: {str(value)[:200]} ({where})"
