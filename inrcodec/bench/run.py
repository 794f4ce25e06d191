"""Real encodes to real bytes, real decodes, and the rows that follow: in parallel, resumable, or timed alone."""

import json
import os
import random
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import TypeVar

import numpy as np

from inrcodec.allocator import keep_memory
from inrcodec.bench import cache, datasets, metrics
from inrcodec.bench.model import Codec, Curve, Item, Row, Source, Values
from inrcodec.errors import UsageError

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""(rows that are there, rows in all)"""


@dataclass(frozen=True)
class Settings:
    """How to run.

    jobs: processes at a time. threads: processors that each may use. repeats: 0 measures rates, with whatever else
    runs; n ≥ 1 times each encode and decode n times in a process of its own, nothing beside it, and takes the median.
    device: named in the rows. fresh: measure again what is kept.
    """

    jobs: int
    threads: int
    repeats: int = 0
    device: str = "cpu"
    fresh: bool = False


@dataclass(frozen=True)
class _Task:
    source: Source
    codec: Codec
    point: float
    key: str


def run(sources: list[Source], codecs: list[Codec], settings: Settings, progress: Progress) -> list[Row]:
    """All sources × codecs × their points; each row is kept as soon as it is measured."""
    rows: dict[str, Row] = {}
    order: list[str] = []
    open_: list[_Task] = []
    for source in sources:
        digest = datasets.digest(datasets.read(source))
        for codec, point in ((c, p) for c in codecs for p in c.points):
            key = cache.key(digest, codec, point, settings.threads, settings.repeats)
            order.append(key)
            row = None if settings.fresh else cache.load(key)
            if row is None:
                open_.append(_Task(source, codec, point, key))
            else:
                rows[key] = replace(row, item=source.name)
    random.Random(0).shuffle(open_)  # so that the share of tasks done is an honest share of the time
    progress(len(rows), len(order))
    for key, row in _measured(open_, settings):
        cache.store(key, row)
        rows[key] = row
        progress(len(rows), len(order))
    return [rows[key] for key in order]


def _measured(tasks: list[_Task], settings: Settings) -> Iterator[tuple[str, Row]]:
    """(key, row) in the order in which they are done. Leaving early ends the processes at once."""
    alone = settings.repeats > 0
    # spawned, not forked: a forked child would inherit the thread pools of torch in an unusable state
    pool = get_context("spawn").Pool(
        1 if alone else settings.jobs, _begin, (settings.threads,), maxtasksperchild=1 if alone else None
    )
    with pool:
        yield from pool.imap_unordered(_work, ((task, settings) for task in tasks))


def _work(given: tuple[_Task, Settings]) -> tuple[str, Row]:
    task, settings = given
    return task.key, measure(task.source, task.codec, task.point, settings)


def _begin(threads: int) -> None:
    """In a new process: take no more threads than allowed, whichever library asks; leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_memory()
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before any library reads it


@lru_cache(maxsize=2)
def _item(source: Source) -> Item:
    return datasets.read(source)


def measure(source: Source, codec: Codec, point: float, settings: Settings) -> Row:
    """Encode an item, decode its bytes, compare. Raises UsageError if the codec gives back another shape."""
    item = _item(source)
    apart = item.batch and not codec.batches
    parts = [replace(item, values=values) for values in item.values] if apart else [item]

    def decode() -> Values:
        decoded = [codec.decode(file) for file in data]
        return np.stack(decoded) if apart else decoded[0]

    data, encoding = _timed(lambda: [codec.encode(part, point) for part in parts], settings.repeats)
    decoded, decoding = _timed(decode, settings.repeats)
    size = sum(map(len, data))
    if decoded.shape != item.values.shape:
        raise UsageError(f"{codec.name} gave back {decoded.shape} for {item.name} of {item.values.shape}")
    peak = macs = None
    if settings.repeats:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        macs = metrics.macs(decode, item.positions) or None
    return Row(
        item=item.name,
        modality=item.modality,
        codec=codec.name,
        version=codec.version,
        point=point,
        device=settings.device,
        threads=settings.threads,
        bytes=size,
        encode_seconds=encoding,
        decode_seconds=decoding,
        peak_memory=peak,
        macs=macs,
        metrics=metrics.measure(item, decoded, size),
    )


def _timed(work: Callable[[], T], repeats: int) -> tuple[T, float]:
    """The result and the median seconds; before a timing, one run to warm up."""
    seconds = []
    for _ in range(1 + repeats):
        started = perf_counter()
        result = work()
        seconds.append(perf_counter() - started)
    return result, median(seconds[1:] or seconds)


def curves(rows: list[Row]) -> list[Curve]:
    """The mean curve of each codec, in the order of the rows; points in order of rising rate."""
    out = []
    for name in dict.fromkeys(row.codec for row in rows):
        own = [row for row in rows if row.codec == name]
        rate_key = metrics.RATE[own[0].modality]
        points = []
        for point in dict.fromkeys(row.point for row in own):
            here = [row for row in own if row.point == point]
            points.append(
                (
                    fmean(row.metrics[rate_key] for row in here),
                    point,
                    fmean(row.metrics["psnr"] for row in here),
                    fmean(row.encode_seconds for row in here),
                    fmean(row.decode_seconds for row in here),
                )
            )
        rate, at, psnr, encoding, decoding = zip(*sorted(points), strict=True)
        out.append(Curve(name, at, rate, psnr, encoding, decoding))
    return out


def published(text: str, unit: str, taken: set[str]) -> list[Curve]:
    """The curves of a JSON file {name: {unit: [...], "psnr": [...]}}; entries without both are passed over.

    text: the path of the file; or path:name,name for these curves only.

    One whose name is taken by a measured codec says that it is published. Raises UsageError.
    """
    path, names = Path(text), ""
    if not path.exists() and ":" in text:
        path, names = Path(text.rpartition(":")[0]), text.rpartition(":")[2]
    try:
        found = []
        entries = dict(json.loads(path.read_text()).items())
        for name in names.split(",") if names else entries:
            entry = entries[name]
            if "psnr" in entry and unit in entry:
                rate, psnr = zip(*sorted(zip(entry[unit], entry["psnr"], strict=True)), strict=True)
                label = f"{name} (published)" if name in taken else name
                found.append(Curve(label, tuple(range(len(rate))), rate, psnr, published=True))
        return found
    except KeyError as error:
        raise UsageError(f"{path}: there is no curve {error}") from None
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"{path}: {error}") from None
