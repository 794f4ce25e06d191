"""Ends the command line at random moments of its work, and counts what is on the disk afterwards.

    python -m tests.kills --count 200

An output exists already and --force is given: after every trial it must be whole, the old one or the new one, and
nothing else may be there; only SIGKILL may leave a temporary file of the known pattern. Half of the trials end a
process wherever it is; half wait for its first change to a disk that takes its time. Prints a table of counts as
JSON, and exits with 1 if any trial broke the rule. A trial is a fork of this process, so that torch is imported once.
"""

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from conftest import picture  # noqa: E402 (finds the small networks, too)

from inrcodec import cli, formats  # noqa: E402
from inrcodec.signal import Signal  # noqa: E402

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TEMPORARY = re.compile(r"\.inrcodec-[0-9a-f]{12}\.part")
SLOW = 0.01  # seconds that a slow disk takes for each part of a write
OLD = b"what was there before\n" * 200


def child(arguments: list[str], slow: bool) -> int:
    """Start the command line in a fork of this process, and return its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        os.dup2(1, 2)
        if slow:
            slow_disk()
        code = cli.main(arguments)
    except SystemExit as error:
        code = int(str(error.code))
    except KeyboardInterrupt:  # before the command line began
        code = 130
    finally:
        os._exit(code)


def slow_disk() -> None:
    """Let the calls that finish a write take long enough to be interrupted."""

    def slowed(call):  # type: ignore[no-untyped-def]
        def later(*arguments):  # type: ignore[no-untyped-def]
            time.sleep(SLOW)
            call(*arguments)
            time.sleep(SLOW)

        return later

    os.fsync, os.replace = slowed(os.fsync), slowed(os.replace)


def temporaries(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if TEMPORARY.fullmatch(name)]


def begin(arguments: list[str], output: Path, slow: bool) -> tuple[int, int | None]:
    """Start a process over an old output; its id, and its wait status if it ended before a slow disk saw a change."""
    output.write_bytes(OLD)
    names, written = set(os.listdir(output.parent)), output.stat().st_mtime_ns
    pid = child(arguments, slow)
    while slow and set(os.listdir(output.parent)) == names and output.stat().st_mtime_ns == written:
        time.sleep(SLOW / 20)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return pid, status
    return pid, None


def trial(arguments: list[str], output: Path, new: bytes, number: int, moment: float, slow: bool) -> tuple[str, bool]:
    """End one process; what came of it in words, and whether that is allowed.

    moment: seconds after the start, or of a slow disk after the first change on it.
    """
    folder = output.parent
    expected = set(os.listdir(folder))
    pid, status = begin(arguments, output, slow)
    if status is None:
        time.sleep(moment)
        os.kill(pid, number)
        _, status = os.waitpid(pid, 0)
    data = output.read_bytes()
    left = temporaries(folder)
    for name in left:
        (folder / name).unlink()
    code = os.waitstatus_to_exitcode(status)
    codes = {0, -number} if number == signal.SIGKILL else {0, -number, 128 + number}
    kept = "old" if data == OLD else "new" if data == new else "broken"
    allowed = kept != "broken" and set(os.listdir(folder)) == expected and code in codes
    allowed &= not left or number == signal.SIGKILL
    return f"{kept}, temporary left" if left else kept, allowed


def duration(arguments: list[str], output: Path, slow: bool) -> float:
    """The seconds that a process takes which is left alone; on a slow disk, from the first change on it."""
    pid, _ = begin(arguments, output, slow)
    started = time.monotonic()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"inrcodec {' '.join(arguments)} failed"
    return time.monotonic() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)  # a fork takes no other threads along
    draw = random.Random(options.seed)
    counts: dict[str, Counter[str]] = {}
    broken = 0
    with tempfile.TemporaryDirectory() as name:
        photo, stream, back = (Path(name, file) for file in ("photo.png", "photo.inr", "back.png"))
        photo.write_bytes(formats.write(Signal.from_array(picture(48, 64)), ".png"))
        encode = f"encode {photo} -o {stream} --model tiny --effort 0 --force --test -q".split()
        decode = f"decode {stream} -o {back} --force -q".split()
        runs = []
        for arguments, output in (encode, stream), (decode, back):
            cli.main(arguments)  # here, so that every fork finds all modules loaded
            new = output.read_bytes()
            runs.append((arguments, output, new, [duration(arguments, output, slow) for slow in (False, True)]))
            output.write_bytes(new)
        for k in range(options.count):
            arguments, output, new, seconds = runs[k % 2]
            stream.write_bytes(runs[0][2])
            slow, number = bool(k // 2 % 2), SIGNALS[k // 4 % 3]
            moment = draw.uniform(0, 1.1 * seconds[slow])
            outcome, allowed = trial(arguments, output, new, number, moment, slow)
            broken += not allowed
            case = f"{arguments[0]}, {number.name}, {'while writing' if slow else 'anywhere'}"
            counts.setdefault(case, Counter())[outcome if allowed else f"{outcome}: NOT ALLOWED"] += 1
    print(json.dumps({"trials": options.count, "broken": broken, "cases": dict(sorted(counts.items()))}, indent=1))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
