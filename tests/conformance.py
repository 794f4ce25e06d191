"""Every golden stream under everything that must not change it: a table for docs/results/trust.md.

    python tests/conformance.py

A cell holds the largest difference of a sample from the plain decode, as a part of the range of the samples, where the
symbols are the recorded ones; or what went wrong. Exits with 1 if a symbol differs, or a PSNR by more than 0.02 dB from
the recorded one. Run it again with other versions of the libraries: the heading names them.
"""

import json
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version

import numpy as np
import torch
from conftest import VECTORS
from make_golden import CASES, symbols_digest

import inrcodec
from inrcodec.fields import field, patchfield

LIBRARIES = ("torch", "numpy", "constriction")
PSNR = 0.02  # dB


@contextmanager
def threads(count: int) -> Iterator[str]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield "cpu"
    finally:
        torch.set_num_threads(before)


@contextmanager
def bfloat16() -> Iterator[str]:
    with torch.autocast("cpu", torch.bfloat16):
        yield "cpu"


@contextmanager
def without_onednn() -> Iterator[str]:
    with torch.backends.mkldnn.flags(enabled=False):
        yield "cpu"


@contextmanager
def small_tiles() -> Iterator[str]:
    """Windows and batches of the evaluation much smaller than they are."""
    tiles, points, patches = field.TILES, field.AT_ONCE, patchfield.AT_ONCE
    field.TILES, field.AT_ONCE, patchfield.AT_ONCE = {1: 100, 2: 24, 3: 6}, 50, 64
    try:
        yield "cpu"
    finally:
        field.TILES, field.AT_ONCE, patchfield.AT_ONCE = tiles, points, patches


@contextmanager
def cuda() -> Iterator[str]:
    with torch.autocast("cuda", enabled=False):
        yield "cuda"


SETTINGS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "1 thread": lambda: threads(1),
    "2 threads": lambda: threads(2),
    "4 threads": lambda: threads(4),
    "bfloat16": bfloat16,
    "no oneDNN": without_onednn,
    "small tiles": small_tiles,
    "cuda": cuda,
}
INEXACT = ("bfloat16",)  # only symbols must agree


def plain(name: str) -> np.ndarray:
    """Samples of a golden stream in [0, 1], roughly."""
    return inrcodec.decode((VECTORS / f"{name}.inr").read_bytes(), device="cpu").astype(float) / CASES[name][0].peak


def cell(name: str, setting: str, expected: np.ndarray, recorded: dict) -> str:
    """What a cell of the table says; begins with "differs" where it must not."""
    if setting == "cuda" and not torch.cuda.is_available():
        return "not run"
    data, (signal, _) = (VECTORS / f"{name}.inr").read_bytes(), CASES[name]
    with SETTINGS[setting]() as device:
        if symbols_digest(data) != recorded["symbols"]:
            return "differs: symbols"
        found = inrcodec.decode(data, device=device).astype(float)
    special = getattr(signal.format, "special", None)
    ordinary = np.s_[...] if special is None else special.of(0) == 0
    psnr = 10 * np.log10(signal.peak**2 / np.mean(np.square(signal.values.astype(float) - found)[ordinary]))
    if setting not in INEXACT and not abs(psnr - recorded["psnr"]) <= PSNR:
        return f"differs: {psnr:.3f} dB, not {recorded['psnr']:.3f}"
    most = np.abs(found / signal.peak - expected)[ordinary].max()
    return f"{most:.0e}" if most else "0"


def main() -> int:
    index = json.loads((VECTORS / "index.json").read_text())
    torch.set_num_threads(1)
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    print(f"Python {platform.python_version()}, {versions}, {platform.machine()}\n")
    print(f"| stream | {' | '.join(SETTINGS)} |\n| --- |{' ---: |' * len(SETTINGS)}")
    bad = 0
    for name, recorded in index.items():
        expected = plain(name)
        cells = [cell(name, setting, expected, recorded) for setting in SETTINGS]
        bad += sum(text.startswith("differs") for text in cells)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"\n{bad} of {len(index) * len(SETTINGS)} cells differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
