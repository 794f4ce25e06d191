"""python -m tests.fuzz.mutate: many damaged streams, each through container, header and decoder.

Two kinds: --streams are damaged as transmission or a disk would, and their check sum must give them away; --sealed are
damaged by somebody, who put the check sum right again, and every layer must hold by itself. Prints one line of JSON,
of what was done so far if it is interrupted; ends with 1 if any of them crashed, hung, took too much memory, or came
out wrong without an error.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from inrcodec import entropy

from .mutation import damaged, endless
from .seeds import streams
from .targets import decode, either, enlarge, networks_kept, read_container
from .watch import BAD, MEMORY, SECONDS, Tally, Wrong, feed_all, limits


class Counting(entropy.Decoder):
    """Tells how many inputs came as far as to the symbols of a section."""

    inputs, used = 0, False

    def decode(self, indices: NDArray[np.integer]) -> NDArray[np.int32]:
        Counting.used = True
        return super().decode(indices)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.mutate", description=__doc__)
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--sealed", type=int, help="default: a tenth as many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for streams that fail")
    options = parser.parse_args()
    if options.sealed is None:
        options.sealed = options.streams // 10
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    with networks_kept():
        report = run(options)
    print(json.dumps(report))
    return 1 if "failures" in report else 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    seeds, started = streams(), time.monotonic()
    originals = [decode(seed) for seed in seeds]
    plain, resealed = Tally("plain", options.keep), Tally("sealed", options.keep)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def check(data: bytes) -> None:
        """What decodes in spite of the damage must be one of the originals: a splice of streams may give another."""
        read_container(data)
        values = decode(data)
        if not any(_same(values, original) for original in originals):
            raise Wrong(f"{[part.shape for part in values]} samples that are those of no stream")

    def press(data: bytes) -> None:
        read_container(data)
        Counting.used = False
        try:
            decode(data)
            enlarge(data)
        finally:
            Counting.inputs += Counting.used

    with limits(), patch.object(entropy, "Decoder", Counting), suppress(KeyboardInterrupt):
        feed_all(check, islice(_changed(seeds, options.seed), options.streams), plain)
        feed_all(press, islice(endless(seeds, either, options.seed), options.sealed), resealed)
    bad = {kind: plain.outcomes[kind] + resealed.outcomes[kind] for kind in BAD}
    failures = list(dict.fromkeys(plain.failures + resealed.failures))
    return {
        "streams": plain.outcomes.total() + resealed.outcomes.total(),
        **bad,
        "damaged": dict(plain.outcomes.most_common()),
        "sealed": dict(resealed.outcomes.most_common()),
        "sealed_that_reach_the_entropy_decoder": Counting.inputs,
        "memory_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10,
        "limits": {"seconds": SECONDS, "memory_mib": MEMORY >> 20},
        "seconds": round(time.monotonic() - started),
        "processor_seconds": round(time.process_time()),
        "seed": options.seed,
        **({"failures": failures} if failures else {}),
    }


def _changed(seeds: list[bytes], seed: int) -> Iterator[bytes]:
    """Damaged streams; a mutation that changes nothing is no damage."""
    return (data for data in endless(seeds, damaged, seed) if data not in seeds)


def _same(a: list[NDArray[Any]], b: list[NDArray[Any]]) -> bool:
    return len(a) == len(b) and all(
        x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
