"""The results of a run as text: tables for the terminal, rows for files."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from statistics import fmean

from rich.console import Console
from rich.table import Table

from inrcodec.bench import bd, metrics
from inrcodec.bench.model import Curve, Row

Pairs = dict[tuple[str, str], float | None]
"""(test, anchor) → a Bjøntegaard delta, None where the curves share too little."""

TELLING: dict[str, tuple[str, str]] = {"audio": ("SNR, dB", "snr"), "shape": ("IoU", "iou")}
"""The metric of a modality that says more than PSNR, and its heading."""

MIDDLE = (0.1, 2.0)
"""bpp of the anchor: the range of rates that photographs are mostly coded at."""


def deltas(curves: list[Curve], delta: Callable[[bd.Curve, bd.Curve], float | None]) -> Pairs:
    """Of every measured curve against every other curve, published ones among them."""
    return {
        (test.codec, anchor.codec): delta((list(test.rate), list(test.psnr)), (list(anchor.rate), list(anchor.psnr)))
        for test in curves
        if not test.published
        for anchor in curves
        if test.codec != anchor.codec
    }


def points(curves: list[Curve], rows: list[Row], unit: str) -> Table:
    """One line per measured codec and operating point."""
    items = len({row.item for row in rows})
    alone = all(row.peak_memory for row in rows)
    timed = "" if alone else "; the seconds were taken beside other work, --timing takes them alone"
    table = Table(title=f"Means over {items} items{timed}", title_justify="left")
    heading, metric = TELLING.get(rows[0].modality, ("of mean MSE", ""))
    for name in ("codec", "point", "bytes", unit, "PSNR, dB", heading, "encode, s", "decode, s"):
        table.add_column(name, justify="left" if name == "codec" else "right")
    for curve in (c for c in curves if not c.published):
        encoding, decoding = curve.encode_seconds or (), curve.decode_seconds or ()
        columns = zip(curve.points, curve.rate, curve.psnr, encoding, decoding, strict=True)
        for k, (point, rate, psnr, encode, decode) in enumerate(columns):
            name = "" if k else curve.codec
            own = [r for r in rows if (r.codec, r.point) == (curve.codec, point)]
            more = fmean(r.metrics[metric] for r in own) if metric else metrics.psnr_of_mean_mse(own)
            size = fmean(r.bytes for r in own)
            figures = (f"{size:.0f}", f"{rate:.4f}", f"{psnr:.3f}", f"{more:.3f}", f"{encode:.3f}", f"{decode:.3f}")
            table.add_row(name, f"{point:g}", *figures)
        table.add_section()
    return table


def matrix(title: str, values: Pairs, unit: str) -> Table:
    """A line per anchor, a column per test."""
    tests = list(dict.fromkeys(test for test, _ in values))
    table = Table(title=title, title_justify="left")
    table.add_column("against")
    for test in tests:
        table.add_column(test, justify="right")
    for anchor in dict.fromkeys(anchor for _, anchor in values):
        table.add_row(anchor, *(_signed(values.get((test, anchor)), unit) for test in tests))
    return table


def gains(curves: list[Curve], ours: str) -> Table:
    """For each other codec: how far our PSNR lies above it at its own rates, at least and at most."""
    own = next(c for c in curves if c.codec == ours)
    table = Table(title=f"PSNR of {ours} above each codec at that codec's rates, dB", title_justify="left")
    for name in ("codec", "least", "at rate", "most", "at rate", "BD-rate at 0.1 to 2"):
        table.add_column(name, justify="left" if name == "codec" else "right")
    for other in (c for c in curves if c.codec != ours):
        pair = (list(own.rate), list(own.psnr)), (list(other.rate), list(other.psnr))
        found = sorted((gain, rate) for rate, gain in bd.psnr_gain(*pair))
        ends = (found[0], found[-1]) if found else ()
        cells = [text for gain, rate in ends for text in (f"{gain:+.2f}", f"{rate:.3f}")] or ["—"] * 4
        table.add_row(other.codec, *cells, _signed(bd.rate(*pair, MIDDLE), " %"))
    return table


def _signed(value: float | None, unit: str) -> str:
    return "—" if value is None else f"{value:+.2f}{unit}"


def text(tables: list[Table]) -> str:
    """As the terminal shows them; as wide as they are where there is none."""
    console = Console()
    if not console.is_terminal:
        wide = Console(width=10_000)
        console = Console(width=max(wide.measure(table).maximum for table in tables))
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    return capture.get().rstrip()


def flat(row: Row) -> dict[str, object]:
    """A row with its metrics beside the other fields."""
    fields = asdict(row)
    return {**{k: v for k, v in fields.items() if k != "metrics"}, **row.metrics}


def as_tsv(rows: list[Row]) -> str:
    """One line per row, with a heading; empty where there is no value."""
    lines = [flat(row) for row in rows]
    heading = list(dict.fromkeys(name for line in lines for name in line))
    cells = ["\t".join(_cell(line.get(name)) for name in heading) for line in lines]
    return "\n".join(["\t".join(heading), *cells, ""])


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def as_json(rows: list[Row]) -> str:
    """One object per line; null stands for infinity."""
    finite = ({k: None if v in (math.inf, -math.inf) else v for k, v in flat(row).items()} for row in rows)
    return "".join(json.dumps(row) + "\n" for row in finite)
