"""Real encodes to real bytes, and the rate–distortion figures that follow from them."""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np

from inrcodec import formats
from inrcodec.allocator import keep_memory
from inrcodec.bench import bd
from inrcodec.errors import NothingToDo, UsageError


@dataclass(frozen=True)
class Row:
    """One image at one operating point."""

    item: str
    quality: float
    effort: int
    bytes: int
    bpp: float
    psnr: float
    encode_seconds: float
    decode_seconds: float


@dataclass(frozen=True)
class Point:
    """The mean over a set at one operating point; psnr is the mean of the PSNRs."""

    quality: float
    bpp: float
    psnr: float
    encode_seconds: float
    decode_seconds: float


def measure(path: Path, quality: float, effort: int, model: str | None, threads: int) -> Row:
    """Encode a file, decode its bytes, compare."""
    import torch

    from inrcodec import codec

    torch.set_num_threads(threads)
    signal = formats.read(path)
    encoded = codec.compress(signal, codec.Settings(quality=quality, effort=effort, model=model))
    started = perf_counter()
    decoded = codec.decode(encoded.data)
    seconds = perf_counter() - started
    mse = np.mean(np.square(signal.values.astype(np.float64) - decoded))
    psnr = 10 * np.log10(signal.format.peak**2 / mse)
    return Row(path.name, quality, effort, len(encoded.data), encoded.bpp, float(psnr), encoded.seconds, seconds)


def run(
    folder: Path,
    qualities: list[float],
    effort: int,
    model: str | None,
    jobs: int,
    limit: int | None,
    progress: Callable[[int, int], None],
) -> list[Row]:
    """All images × qualities. Raises NothingToDo."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in formats.SUFFIXES)[:limit]
    if not paths:
        raise NothingToDo(f"{folder}: no images")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    tasks = list(product(paths, qualities))
    rows = []
    # spawned, not forked: a forked child would inherit the thread pools of torch in an unusable state
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=keep_memory) as pool:
        futures = [pool.submit(measure, path, quality, effort, model, threads) for path, quality in tasks]
        for done, future in enumerate(as_completed(futures), 1):
            rows.append(future.result())
            progress(done, len(tasks))
    return sorted(rows, key=lambda row: (row.item, row.quality))


def means(rows: list[Row]) -> list[Point]:
    """One point per quality, in order of rate."""
    points = []
    for quality in sorted({row.quality for row in rows}):
        own = [row for row in rows if row.quality == quality]
        figures = (
            float(np.mean([getattr(row, name) for row in own]))
            for name in ("bpp", "psnr", "encode_seconds", "decode_seconds")
        )
        points.append(Point(quality, *figures))
    return points


def anchors(path: Path) -> Iterator[tuple[str, list[float], list[float]]]:
    """(name, bpp, PSNR) of each published curve in a JSON file {name: {bpp: [...], psnr: [...]}}."""
    try:
        for name, entry in json.loads(path.read_text()).items():
            if "psnr" in entry and "bpp" in entry:
                yield name, entry["bpp"], entry["psnr"]
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: {error}") from None


def tsv(rows: list[Row]) -> str:
    """One line per row, with a heading."""
    heading = "\t".join(asdict(rows[0]))
    lines = ["\t".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in asdict(row).values()) for row in rows]
    return "\n".join([heading, *lines, ""])


def report(rows: list[Row], curves: list[tuple[str, list[float], list[float]]]) -> str:
    """The mean points, then for each published curve the BD-rate against it."""
    points = means(rows)
    items = len({row.item for row in rows})
    lines = [
        f"{items} images, effort {rows[0].effort}; means over images",
        " quality      bpp   PSNR dB  encode s  decode s",
    ]
    lines += [
        f"{p.quality:8g} {p.bpp:8.4f} {p.psnr:9.3f} {p.encode_seconds:9.2f} {p.decode_seconds:9.3f}" for p in points
    ]
    ours = ([p.bpp for p in points], [p.psnr for p in points])
    if curves:
        lines += [
            "",
            "BD-rate against, over the shared PSNR range and over its points from 0.1 to 2 bpp; least gain in dB",
        ]
    for name, bpp, psnr in curves:
        whole, middle = bd.rate(ours, (bpp, psnr)), bd.rate(ours, (bpp, psnr), (0.1, 2.0))
        gains = [gain for _, gain in bd.psnr_gain(ours, (bpp, psnr))]
        least = f"{min(gains):+7.2f}" if gains else f"{'—':>7}"
        lines.append(f"{name:28} {_percent(whole)}  {_percent(middle)}  {least} dB")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return f"{'—':>8}  " if value is None else f"{value:+8.2f} %"
