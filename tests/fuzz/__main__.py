"""python -m tests.fuzz [TARGET …]: feed seeds and mutants to targets, and count what comes of them.

With --coverage, atheris (`pip install '.[fuzz]'`) looks for new paths through the package instead, in one target,
until it finds a failure or --runs are done.
"""

import argparse
import json
import sys
import tempfile
import time
from itertools import chain, islice
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="default: all of them")
    parser.add_argument("--inputs", type=int, default=200, help="mutants for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for inputs that fail")
    parser.add_argument("--coverage", action="store_true", help="with atheris; one target")
    parser.add_argument("--runs", type=int, default=100_000, help="inputs, with --coverage")
    options = parser.parse_args()
    return guided(options) if options.coverage else plain(options)


def plain(options: argparse.Namespace) -> int:
    from .targets import TARGETS, networks_kept

    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    with networks_kept():
        bad = [feed_one(name, options) for name in options.targets or TARGETS]
    return 1 if any(bad) else 0


def feed_one(name: str, options: argparse.Namespace) -> int:
    """How many inputs of a target came out bad."""
    from .mutation import endless
    from .targets import TARGETS
    from .watch import Tally, feed_all, limits

    target, tally, started = TARGETS[name], Tally(name, options.keep), time.monotonic()
    seeds = target.seeds()
    for seed in seeds:  # what is loaded once is not counted against an input
        try_quietly(target.run, seed)
    with limits():
        mutants = endless(seeds, target.mutate, options.seed)
        feed_all(target.run, chain(seeds, islice(mutants, options.inputs)), tally)
    seconds = round(time.monotonic() - started, 1)
    failures = {"failures": list(dict.fromkeys(tally.failures))} if tally.bad else {}
    counts = dict(tally.outcomes.most_common())
    print(json.dumps({"target": name, "seconds": seconds, **counts, **failures}), flush=True)
    return tally.bad


def guided(options: argparse.Namespace) -> int:
    import atheris

    with atheris.instrument_imports(include=["inrcodec"]):
        from .targets import TARGETS
    import random

    from inrcodec.errors import InrcodecError

    (name,) = options.targets
    target = TARGETS[name]
    corpus = tempfile.mkdtemp(prefix=f"fuzz-{name}-")
    seeds = target.seeds()
    for k, seed in enumerate(seeds):
        Path(corpus, f"{k:04}").write_bytes(seed)

    def run(data: bytes) -> None:
        try:
            target.run(data)
        except InrcodecError:
            pass

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        try:
            mutant = target.mutate(data, seeds, rng)
        except InrcodecError:  # what is no stream cannot be rewritten as one
            mutant = target.mutate(rng.choice(seeds), seeds, rng)
        return mutant[:size]

    limits = [f"-runs={options.runs}", f"-seed={options.seed + 1}", "-timeout=10", "-rss_limit_mb=4096"]
    where = [f"-artifact_prefix={options.keep}/"] if options.keep else []
    atheris.Setup([sys.argv[0], corpus, *limits, *where], run, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


def try_quietly(run: object, data: bytes) -> None:
    from inrcodec.errors import InrcodecError

    try:
        run(data)  # type: ignore[operator]
    except InrcodecError:
        pass


if __name__ == "__main__":
    sys.exit(main())
