"""`inrcodec bench`."""

import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inrcodec import files
from inrcodec.allocator import keep_memory
from inrcodec.cli import parse
from inrcodec.cli.options import REPORTING, RUNNING, Device, Model
from inrcodec.cli.voice import Bar
from inrcodec.errors import NothingToDo, UsageError

if TYPE_CHECKING:
    from inrcodec.bench.model import Codec, Curve, Modality, Row, Source

MEASURED = "What to measure"

Dataset = Annotated[
    str,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help="kodak, cifar10, librispeech, librispeech-other, era5, climate, ucf101, volumes, shapes, meshes; a path.",
        rich_help_panel=MEASURED,
    ),
]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Where the data sets are.",
        show_default="$INRCODEC_DATA, then the user's cache",
        rich_help_panel=MEASURED,
    ),
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch the data set first, where that can be done.", rich_help_panel=MEASURED)
]
Codecs = Annotated[
    str | None,
    typer.Option(
        "--codec",
        metavar="NAME,…",
        help="Only these; `inrcodec` is ours.",
        show_default="all that are installed",
        rich_help_panel=MEASURED,
    ),
]
Qualities = Annotated[
    str | None,
    typer.Option("--quality", metavar="Q,…", help="Our operating points, as for encode.", rich_help_panel=MEASURED),
]
Efforts = Annotated[
    str, typer.Option("--effort", metavar="N,…", help="Our efforts, as for encode.", rich_help_panel=MEASURED)
]
Methods = Annotated[
    str, typer.Option("--method", metavar="NAME,…", help="Our methods, as for encode.", rich_help_panel=MEASURED)
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=1, help="Only the first N items.", rich_help_panel=MEASURED),
]
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch",
        metavar="N",
        min=2,
        help="Code N images or fields of one shape in one stream; others code a file each.",
        rich_help_panel=MEASURED,
    ),
]
Anchors = Annotated[
    str | None,
    typer.Option(
        "--anchors",
        metavar="FILE[:NAME,…]",
        help='Published curves, {name: {"bpp" (a sound: "kbps"): […], "psnr": […]}}.',
        rich_help_panel=MEASURED,
    ),
]
Upscale = Annotated[
    float | None,
    typer.Option(
        "--upscale",
        metavar="Q",
        help="Instead, code images at half the size and this quality, decode at --scale 2.",
        rich_help_panel=MEASURED,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", metavar="N", min=1, help="Processes.", show_default="one per processor", rich_help_panel=RUNNING
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        help="Threads of each process.",
        show_default="1; all with --timing",
        rich_help_panel=RUNNING,
    ),
]
Timing = Annotated[
    int,
    typer.Option(
        "--timing",
        metavar="N",
        min=0,
        help="Time everything N times, each in a process of its own, nothing beside it.",
        show_default="rates only",
        rich_help_panel=RUNNING,
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Measure again what an earlier run has kept.", rich_help_panel=RUNNING)
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print rows, one JSON object a line, not tables.", rich_help_panel=REPORTING)
]
Tsv = Annotated[Path | None, typer.Option("--tsv", metavar="FILE", help="Write the rows.", rich_help_panel=REPORTING)]
Report = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", help="Write an interactive page.", rich_help_panel=REPORTING),
]
Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Write a plot, a PNG.", rich_help_panel=REPORTING)
]

DEFAULT_EFFORT = 5


def bench(
    context: typer.Context,
    dataset: Dataset = "kodak",
    data: DataFolder = None,
    download: Download = False,
    codec: Codecs = None,
    quality: Qualities = None,
    method: Methods = "pyramid",
    effort: Efforts = str(DEFAULT_EFFORT),
    model: Model = None,
    limit: Limit = None,
    batch: Batch = None,
    anchors: Anchors = None,
    upscale: Upscale = None,
    jobs: Jobs = None,
    threads: Threads = None,
    timing: Timing = 0,
    device: Device = "auto",
    fresh: Fresh = False,
    as_json: AsJson = False,
    tsv: Tsv = None,
    report: Report = None,
    plot: Plot = None,
) -> None:
    """Measure rate, distortion and speed against other codecs: real encodes, real decodes."""
    qualities = None if quality is None else tuple(parse.numbers("--quality", quality, 100))
    efforts = [int(n) for n in parse.numbers("--effort", effort, 9, whole=True)]
    for path in (tsv, report, plot):
        files.Job(None, path).prepare()
    keep_memory()
    from inrcodec import devices
    from inrcodec.bench import bd, datasets, metrics, ours, run, table
    from inrcodec.bench import download as fetching

    with closing(Bar("bench", False)) as bar:

        def progress(done: int, total: int) -> None:
            bar(f"{done} of {total}", done / total)

        if download:
            fetching.download(dataset, data or datasets.cache(), progress)
        sources = datasets.sources(dataset, data, limit)
        if upscale is not None:
            from inrcodec.bench import upscaling

            print(upscaling.run(sources, upscale, efforts[0], progress))
            return
        sources = sources if batch is None else datasets.batches(sources, batch)
        modality = sources[0].modality
        unit = metrics.RATE[modality]
        chosen = devices.choose(device)
        methods = [name.strip() for name in method.split(",")]
        own = ours.available(modality, methods, efforts, DEFAULT_EFFORT, qualities, model, chosen)
        codecs, notes = _select(modality, own, codec)
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
        published = run.published(anchors, unit, {c.name for c in codecs}) if anchors else []
        processors = os.cpu_count() or 1
        settings = run.Settings(
            jobs=jobs or processors,
            threads=threads or (processors if timing else 1),
            repeats=timing,
            device=chosen,
            fresh=fresh,
        )
        try:
            rows = run.run(sources, codecs, settings, progress)
        except KeyboardInterrupt:
            print("interrupted; what was measured is kept, and the same command goes on from there", file=sys.stderr)
            raise
    curves = [*run.curves(rows), *published]
    rate, psnr = table.deltas(curves, bd.rate), table.deltas(curves, bd.psnr)
    if tsv is not None:
        files.write(tsv, table.as_tsv(rows).encode())
    if plot is not None:
        from inrcodec.bench.report import plot as drawing

        files.write(plot, drawing.png(curves, unit, dataset))
    if report is not None:
        files.write(report, _page(dataset, sources, codecs, rows, curves, (rate, psnr), unit, notes).encode())
    if as_json:
        print(table.as_json(rows), end="")
        return
    tables = [
        table.points(curves, rows, unit),
        table.matrix("BD-rate", rate, " %"),
        table.matrix("BD-PSNR", psnr, " dB"),
    ]
    if own and own[0] in codecs:
        tables.append(table.gains(curves, own[0].name))
    print(table.text([one for one in tables if one.row_count]))


def _select(modality: "Modality", own: list["Codec"], names: str | None) -> tuple[list["Codec"], list[str]]:
    """Our codecs and the others, or those of them that were asked for, with notes on the absent ones."""
    from inrcodec.bench import peers

    others, notes = peers.available(modality)
    codecs = [*own, *others]
    if names is None:
        if not codecs:
            raise NothingToDo(f"no codec for {modality}: {'; '.join(notes)}")
        return codecs, notes
    asked = [name.strip() for name in names.split(",")]
    unknown = [name for name in asked if name not in {c.name for c in codecs}]
    if unknown:
        here = ", ".join(c.name for c in codecs)
        raise UsageError(f"no codec '{unknown[0]}' for {modality}; here: {here}; {'; '.join(notes) or 'none missing'}")
    return [c for c in codecs if c.name in asked], []


def _page(
    dataset: str,
    sources: list["Source"],
    codecs: list["Codec"],
    rows: list["Row"],
    curves: list["Curve"],
    deltas: tuple[dict, dict],
    unit: str,
    notes: list[str],
) -> str:
    from inrcodec.bench import datasets
    from inrcodec.bench.report import page, pictures

    items = [datasets.read(source) for source in sources[:PICTURES] if source.modality == "image" and not source.batch]
    shown = pictures.at_equal_rate(items, codecs, PICTURE_BPP)
    command = " ".join(["inrcodec", *sys.argv[1:]])
    return page.html(dataset, command, rows, curves, *deltas, shown, unit, notes)


PICTURES = 3
PICTURE_BPP = 0.3
