"""The report of a run as one HTML file that needs no network: plots to explore, tables, pictures side by side."""

import math
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import asdict
from importlib.resources import files
from statistics import fmean
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from inrcodec import __version__
from inrcodec.bench.model import Curve, Row
from inrcodec.bench.report.pictures import Coded, Picture
from inrcodec.bench.report.plot import is_ours, styles
from inrcodec.errors import NothingToDo, UsageError

Deltas = dict[tuple[str, str], float | None]
"""(test codec, anchor codec): its Bjøntegaard delta, None where the two curves share too little."""

FULL_RATE, FULL_PSNR = 50.0, 2.5  # per cent and dB at which a cell has its full tint


def html(
    dataset: str,
    command: str,
    rows: list[Row],
    curves: list[Curve],
    bd_rate: Deltas,
    bd_psnr: Deltas,
    pictures: list[Picture],
    rate_unit: str,
    notes: list[str],
) -> str:
    """The page. rate_unit: as `metrics.RATE` names it, which is also its key in the metrics of a row.

    Raises NothingToDo without rows, UsageError without plotly.
    """
    if not rows:
        raise NothingToDo(f"{dataset}: 0 rows to report")
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UsageError("the report page needs plotly: pip install 'inrcodec[bench]'") from None

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    names = list(dict.fromkeys(curve.codec for curve in curves))
    return environment.from_string(_asset("page.html")).render(
        dataset=dataset,
        command=command,
        version=__version__,
        facts=_facts(rows),
        codecs=_codecs(rows),
        alone=all(row.peak_memory is not None for row in rows),  # as only a timing run has it
        notes=notes,
        curves=[
            {"index": k, "name": curve.codec, "published": curve.published, "style": style}
            for k, (curve, style) in enumerate(zip(curves, styles(curves), strict=True))
        ],
        matrices=[
            _matrix("BD-rate", "%", bd_rate, names, FULL_RATE, better=-1),
            _matrix("BD-PSNR", "dB", bd_psnr, names, FULL_PSNR, better=1),
        ],
        pictures=pictures,
        data=_plain(_data(rows, curves, bd_rate, pictures, rate_unit)),
        style=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
        plotly=Markup(get_plotlyjs()),
    )


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _facts(rows: list[Row]) -> list[tuple[str, str]]:
    """What holds for the whole run."""
    return [
        ("Items", f"{len({row.item for row in rows})} ({', '.join(_distinct(row.modality for row in rows))})"),
        ("Codecs", f"{len({row.codec for row in rows})}"),
        ("Encodes and decodes", f"{len(rows):,}"),
        ("Device", ", ".join(_distinct(row.device for row in rows))),
        ("Threads", ", ".join(_distinct(row.threads for row in rows))),
    ]


def _codecs(rows: list[Row]) -> list[dict[str, Any]]:
    """One line of the table of codecs each, means over all of its rows."""
    out = []
    for name in _distinct(row.codec for row in rows):
        own = [row for row in rows if row.codec == name]
        memory = [row.peak_memory for row in own if row.peak_memory is not None]
        macs = [row.macs for row in own if row.macs is not None]
        out.append(
            {
                "name": name,
                "version": ", ".join(_distinct(row.version for row in own)),
                "points": len({row.point for row in own}),
                "encode": _seconds(fmean(row.encode_seconds for row in own)),
                "decode": _seconds(fmean(row.decode_seconds for row in own)),
                "memory": f"{max(memory) / 2**20:,.0f} MiB" if memory else "—",
                "macs": f"{fmean(macs):,.0f}" if macs else "—",
            }
        )
    return out


def _matrix(title: str, unit: str, deltas: Deltas, names: list[str], full: float, better: int) -> dict[str, Any]:
    """A table of every pair; a cell is tinted as a gain or a loss, the more the larger. better: the sign of a gain."""
    lines = []
    for test in names:
        cells: list[dict[str, Any]] = []
        for anchor in names:
            value = deltas.get((test, anchor))
            if test == anchor or value is None:
                cells.append({"text": "" if test == anchor else "—", "kind": "same" if test == anchor else "none"})
                continue
            tint = round(min(abs(value) / full, 1) * 100)
            text = f"{value:+.{1 if unit == '%' else 2}f}".replace("-", "−")
            cells.append({"text": text, "kind": "gain" if value * better > 0 else "loss", "tint": tint})
        lines.append({"name": test, "cells": cells})
    return {"title": title, "unit": unit, "names": names, "lines": lines}


def _data(
    rows: list[Row], curves: list[Curve], bd_rate: Deltas, pictures: list[Picture], rate_unit: str
) -> dict[str, Any]:
    """What the script of the page reads."""
    records = [asdict(row) for row in rows]
    return {
        "unit": rate_unit,
        "columns": list(records[0]),
        "rows": [list(record.values()) for record in records],
        "curves": [asdict(c) | asdict(s) | {"ours": is_ours(c)} for c, s in zip(curves, styles(curves), strict=True)],
        "bd_rate": [[test, anchor, value] for (test, anchor), value in bd_rate.items()],
        "pictures": [
            {
                "item": picture.item,
                "width": picture.width,
                "height": picture.height,
                "original": _uri(picture.original),
                "coded": [{"codec": name, **_shown(coded, picture)} for name, coded in picture.coded.items()],
            }
            for picture in pictures
        ],
    }


def _shown(coded: Coded, picture: Picture) -> dict[str, Any]:
    quality = f"{coded.psnr:.2f} dB" if math.isfinite(coded.psnr) else "identical"
    off = round(100 * (coded.bpp / picture.bpp - 1))
    return {"image": _uri(coded.image), "facts": f"{coded.bpp:.3f} bpp · {quality}", "off": off if abs(off) > 5 else 0}


def _uri(webp: bytes) -> str:
    return "data:image/webp;base64," + b64encode(webp).decode("ascii")


def _plain(value: Any) -> Any:
    """The same for JSON: six significant digits, and null where JSON has no number."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _distinct(values: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values))


def _seconds(value: float) -> str:
    return f"{value * 1000:.3g} ms" if value < 0.9995 else f"{value:.3g} s"
