"""Damages streams of the shipped networks in many places, and counts what `--recover` gets back.

    python -m tests.damage

Three kinds of damage, each on its own: a bit of every section in turn, a sector of 512 bytes overwritten, the end of
the file cut off. Prints one line of JSON for each signal and kind. Exits with 1 if damaged data were decoded without
`recover`, if a flipped bit was not found where it is, or if a stream with an intact coarse section was refused.
"""

import json
import math
import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from conftest import picture, sound  # noqa: E402

from inrcodec import codec, container, formats  # noqa: E402
from inrcodec.errors import CorruptStream, TruncatedStream  # noqa: E402
from inrcodec.signal import Signal  # noqa: E402

SECTOR = 512
PLACES = 5  # sectors, and ends, evenly over the file
GARDEN = Path(__file__).parent.parent / "docs" / "garden.webp"


def signals() -> Iterator[tuple[str, Signal, str, float]]:
    """(name, signal, network, quality)"""
    garden = np.asarray(formats.read(GARDEN).values[...])
    yield "image, 3 tiles", Signal.from_array(np.tile(garden[:64], (1, 6, 1))), "photo", 50
    yield "sound, 3 tiles", Signal.sound(sound(150_000, 1), 16_000), "speech", 80
    planes = picture(8 * 46, 90, 1).reshape(8, 46, 90, 1).astype(np.float32)
    yield "batch of 8 items", Signal.numbers(planes, dims=2), "generic-2d", 60


def damages(data: bytes, draw: random.Random) -> Iterator[tuple[str, bytes, int | None]]:
    """(kind, damaged stream, the number of the section that a bit was flipped in)"""
    _, lengths, start = container.read_header(data)
    position = start
    for number, length in enumerate(lengths):
        if length:
            place = position + draw.randrange(length)
            yield "a bit", data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :], number
        position += length
    for k in range(PLACES):
        place = start + (len(data) - 4 - start) * k // PLACES
        noise = draw.randbytes(min(SECTOR, position - place))
        yield "a sector", data[:place] + noise + data[place + len(noise) :], None
        yield "the end", data[: start + (len(data) - start) * (k + 1) // (PLACES + 1)], None


def lost(data: bytes) -> list[int]:
    return [k for k, section in enumerate(container.salvage(data)[1]) if section is None]


def recovered(data: bytes) -> NDArray[np.generic] | None:
    """The samples, or None where too much is lost."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return codec.decode(data, recover=True)
        except CorruptStream:
            return None


def refused(data: bytes) -> bool:
    """Whether a plain decode says no."""
    try:
        codec.decode(data)
    except (CorruptStream, TruncatedStream):
        return True
    return False


def psnr(a: NDArray[np.generic], b: NDArray[np.generic], peak: float) -> float:
    """Of what is not lost for good (NaN)."""
    error = float(np.nanmean(np.square(a.astype(np.float64) - b.astype(np.float64))))
    return 10 * math.log10(peak**2 / error) if error else math.inf


def row(name: str, signal: Signal, data: bytes, kind: str, damaged: list[tuple[bytes, int | None]]) -> tuple[dict, int]:
    """What came of one kind of damage, and how often a rule was broken."""
    whole, sections = codec.decode(data), len(container.read_header(data)[1])
    broken, unchanged, distances, missing = 0, [], [], []
    for stream, number in damaged:
        found, samples = lost(stream), recovered(stream)
        broken += not refused(stream) or number is not None and found != [number]
        missing.append(len(found))
        if samples is None:
            broken += len(found) < sections // 3  # one coarse section of three is then left
            continue
        unchanged.append(float(np.mean(samples == whole)))
        if (distance := psnr(samples, whole, signal.peak)) < math.inf:
            distances.append(distance)
    return {
        "signal": name,
        "bytes": len(data),
        "sections": sections,
        "damage": kind,
        "streams": len(damaged),
        "recovered": len(unchanged),
        "sections_lost": [min(missing), max(missing)],
        "samples_unchanged": [round(f(unchanged), 3) for f in (min, median, max)],
        "psnr_to_undamaged": [round(f(distances), 1) for f in (min, median, max)] if distances else [],
        "broken": broken,
    }, broken


def main() -> int:
    torch.set_num_threads(1)
    bad = 0
    for name, signal, model, quality in signals():
        data = codec.compress(signal, codec.Settings(model=model, effort=0, quality=quality)).data
        assert container.describe(data)["section_checks"], f"{name}: {len(data)} bytes are too few"
        kinds: dict[str, list[tuple[bytes, int | None]]] = {}
        for kind, stream, number in damages(data, random.Random(0)):
            kinds.setdefault(kind, []).append((stream, number))
        for kind, damaged in kinds.items():
            said, broken = row(name, signal, data, kind, damaged)
            print(json.dumps(said), flush=True)
            bad += broken
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
