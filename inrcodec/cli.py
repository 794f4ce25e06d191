"""The command line: parses, calls, prints, and maps errors to exit codes (table in `inrcodec.errors`).

Results go to stdout, or to stderr when stdout carries the data; progress, notes and errors go to stderr.
Torch, numpy and rich are imported by the commands that need them, so that `--help` and `info` are quick.
"""

import io
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
import typer.core
import typer.main

from inrcodec import basemodels, container, files
from inrcodec.allocator import keep_memory
from inrcodec.errors import (
    InputNotFound,
    InrcodecError,
    OutOfMemory,
    OutputFailed,
    UsageError,
)
from inrcodec.files import Job

if TYPE_CHECKING:
    from rich.progress import Progress

    from inrcodec.codec import Encoded

SUFFIX = ".inr"
INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
BAR_AFTER = 1.0  # seconds
LISTED = 12  # items of a list that `info` prints

UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}

TYPER_ERROR: Any = typer.BadParameter.__mro__[2]  # the base of typer's errors, which has no public name in all versions

RATE = "Rate and quality (at most one)"
WHAT = "What to decode"
FILES = "Files"
RUNNING = "Running"
REPORTING = "Reporting"

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUTS", help="Files, folders (searched recursively), or - for stdin."),
]
Streams = Annotated[list[str], typer.Argument(metavar="FILES", help="Streams, folders of them, or - for stdin.")]
ModelName = Annotated[str | None, typer.Argument(metavar="NAME", help="A base network; all without it.")]

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="File, folder, or - for stdout. With several inputs a folder, made if need be.",
        show_default="beside the input",
        rich_help_panel=FILES,
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite existing outputs.", rich_help_panel=FILES)]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Format of the output: png, jpg, webp, tiff, …",
        show_default="by the suffix of the output, else png",
        rich_help_panel=FILES,
    ),
]

Quality = Annotated[
    float | None,
    typer.Option("--quality", metavar="Q", help="From 0 to 100.", show_default="50", rich_help_panel=RATE),
]
Lmbda = Annotated[
    float | None,
    typer.Option("--lmbda", metavar="X", help="λ of bits per pixel + λ · 255² · MSE.", rich_help_panel=RATE),
]
TargetBpp = Annotated[
    float | None,
    typer.Option("--target-bpp", metavar="X", help="Bits per pixel of the output.", rich_help_panel=RATE),
]
TargetPsnr = Annotated[
    float | None,
    typer.Option("--target-psnr", metavar="X", help="PSNR of the decoded image, dB.", rich_help_panel=RATE),
]
TargetSize = Annotated[
    str | None,
    typer.Option(
        "--target-size",
        metavar="SIZE",
        help="Size of the output: 40kB, 1.5MiB, 40000.",
        rich_help_panel=RATE,
    ),
]

Scale = Annotated[
    float | None,
    typer.Option("--scale", metavar="X", help="Larger or smaller: 2, 0.5, 1.37.", rich_help_panel=WHAT),
]
Size = Annotated[
    str | None,
    typer.Option("--size", metavar="WxH", help="To this width and height.", rich_help_panel=WHAT),
]
Region = Annotated[
    str | None,
    typer.Option(
        "--region", metavar="X,Y,W,H", help="Only this part, in pixels of the original.", rich_help_panel=WHAT
    ),
]
Preview = Annotated[
    bool,
    typer.Option("--preview", help="Of a stream that ends early, decode what is there.", rich_help_panel=WHAT),
]

Effort = Annotated[
    int,
    typer.Option(
        "--effort",
        metavar="N",
        help="From 0, fastest, to 9, best.",
        rich_help_panel=RUNNING,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Base network, one of `inrcodec models`.",
        show_default="by the kind of file",
        rich_help_panel=RUNNING,
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option("--device", help="Where the networks run.", rich_help_panel=RUNNING),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        metavar="N",
        help="Refuse streams and outputs of more pixels.",
        show_default="2^28",
        rich_help_panel=RUNNING,
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per file.", rich_help_panel=REPORTING)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.", rich_help_panel=REPORTING)]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Also print model, operating point, device.", rich_help_panel=REPORTING),
]

Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="The recipe, a TOML file.")]
Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="A folder of images.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run is kept, and resumed.")]


class Command(typer.core.TyperCommand):
    """A command with its options listed by panel in plain text: rich would take longer than all the rest."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            panel = "Arguments" if param.param_type_name == "argument" else "Options"
            panel = getattr(param, "rich_help_panel", None) or panel
            if record := param.get_help_record(ctx):
                names = re.sub(r" <(bool|str|list\[str\])>$", "", record[0])  # says nothing
                panels.setdefault(panel, []).append((names, record[1]))
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)


class Group(typer.core.TyperGroup):
    """The same for a command with subcommands."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        Command.format_options(cast(Command, self), ctx, formatter)
        self.format_commands(ctx, formatter)


app = typer.Typer(
    cls=Group,
    help="A neural image codec: files in, small .inr streams out, and back.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models_app = typer.Typer(cls=Group, help="List the installed base networks, or verify them.")
app.add_typer(models_app, name="models")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    debug, given = _debug_first(given)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        code = typer.main.get_command(app).main(given or ["--help"], "inrcodec", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        return 1
    except Exception as error:
        return _complain(error, debug)


def _debug_first(arguments: list[str]) -> tuple[bool, list[str]]:
    """Whether --debug is among the options, and the arguments with it in front: it is accepted anywhere."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, rest = arguments[:end], arguments[end:]
    if "--debug" not in options:
        return False, arguments
    return True, ["--debug", *(option for option in options if option != "--debug"), *rest]


def _complain(error: Exception, debug: bool, job: Job | None = None) -> int:
    """Print an error in one line on stderr, with the input it is about, and return its exit code."""
    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, MemoryError):
        error = OutOfMemory("not enough memory")
    if isinstance(error, InrcodecError):
        sentence, code = f"error: {_placed(str(error), job)}", error.exit_code
    elif isinstance(error, TYPER_ERROR):
        text = error.format_message().replace("Value error, ", "").rstrip(".")
        command = getattr(getattr(error, "ctx", None), "command_path", "inrcodec")
        sentence, code = f"error: {text} (see {command} --help)", error.exit_code
    else:
        hint = "" if debug else " (run with --debug for the traceback)"
        text = _placed(f"{type(error).__name__}: {error}", job)
        sentence, code = f"internal error: {text}{hint}", INTERNAL_ERROR
    print("inrcodec:", " ".join(sentence.split()), file=sys.stderr)
    return code


def _placed(sentence: str, job: Job | None) -> str:
    """The sentence, with the name of the input unless it begins with a name already."""
    if job is None or job.source is None or sentence.startswith((f"{job.name}: ", f"{job.output}: ")):
        return sentence
    return f"{job.name}: {sentence}"


class Bar:
    """A progress bar on stderr, for what takes longer than a second; only on a terminal."""

    def __init__(self, name: str, quiet: bool):
        self.name, self.shown = name, not quiet and sys.stderr.isatty()
        self.started = time.monotonic()
        self.progress: Progress | None = None

    def __call__(self, what: str, share: float) -> None:
        """What the codec calls to say what it does, and the share of it that is done."""
        if not self.shown or time.monotonic() - self.started < BAR_AFTER:
            return
        if self.progress is None:
            self.progress = _rich_progress()
            self.progress.add_task(f"{self.name}: {what}", total=1.0)
            self.progress.start()
        self.progress.update(self.progress.task_ids[0], description=f"{self.name}: {what}", completed=share)

    def close(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


def _rich_progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)
    return Progress(text, BarColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True)


@dataclass(frozen=True)
class Voice:
    """What is printed about each file."""

    as_json: bool
    quiet: bool
    verbose: bool
    debug: bool

    def note(self, job: Job, text: str) -> None:
        if not self.quiet:
            print(f"{job.name}: note: {text}", file=sys.stderr)

    def detail(self, job: Job, text: str) -> None:
        if self.verbose and not self.quiet:
            print(f"{job.name}: {text}", file=sys.stderr)

    def result(self, job: Job, fields: Mapping[str, object], cells: list[str]) -> None:
        if self.quiet:
            return
        paths = {"input": job.name, "output": job.output}
        line = json.dumps({**paths, **fields}, ensure_ascii=False) if self.as_json else "  ".join([job.output, *cells])
        print(line, file=sys.stderr if job.target is None else sys.stdout, flush=True)


def _each(jobs: list[Job], voice: Voice, work: Callable[[Job, Bar], None]) -> int:
    """Do all jobs, whatever becomes of the others, and return the exit code of the first error."""
    first = 0
    for number, job in enumerate(jobs, 1):
        name = job.name if len(jobs) == 1 else f"{job.name} ({number} of {len(jobs)})"
        try:
            with closing(Bar(name, voice.quiet)) as bar:
                work(job, bar)
        except BrokenPipeError:  # nobody reads the results any more
            raise
        except Exception as error:
            code = _complain(error, voice.debug, job)
            first = first or code
    return first


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=lambda on: _version(on)),
    ] = False,
) -> None:
    context.obj = debug


def _version(asked: bool) -> None:
    if asked:
        from inrcodec import __version__

        print(f"inrcodec {__version__}")
        raise typer.Exit


@app.command(cls=Command)
def encode(
    context: typer.Context,
    inputs: Inputs,
    output: Output = None,
    force: Force = False,
    quality: Quality = None,
    lmbda: Lmbda = None,
    target_bpp: TargetBpp = None,
    target_psnr: TargetPsnr = None,
    target_size: TargetSize = None,
    effort: Effort = 5,
    model: Model = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Encode images: photo.png becomes photo.inr."""
    target_bytes = None if target_size is None else _bytes(target_size)
    if model is not None:
        basemodels.by_name(model)
    keep_memory()
    from inrcodec import codec, devices, formats

    settings = codec.Settings(
        quality=quality,
        lmbda=lmbda,
        target_bpp=target_bpp,
        target_psnr=target_psnr,
        target_bytes=target_bytes,
        effort=effort,
        model=model,
        device=device,
    )
    jobs = files.plan(inputs, output, formats.SUFFIXES, SUFFIX, force)
    chosen = devices.choose(device)
    voice = Voice(as_json, quiet, verbose, context.obj)

    def work(job: Job, bar: Bar) -> None:
        started = time.monotonic()
        signal = formats.read(files.read(None) if job.source is None else job.source)
        job.prepare()
        encoded = codec.compress(signal, settings, bar)
        files.write(job.target, encoded.data)
        bar.close()
        _report_encoded(job, voice, encoded, chosen, time.monotonic() - started)

    return _each(jobs, voice, work)


def _report_encoded(job: Job, voice: Voice, encoded: "Encoded", device: str, seconds: float) -> None:
    header, size, bpp = encoded.header, len(encoded.data), encoded.bpp
    psnr = encoded.psnr if math.isfinite(encoded.psnr) else None
    for text in encoded.notes:
        voice.note(job, text)
    voice.detail(job, _origin(header, device))
    fields = {
        "bytes": size,
        "bpp": round(bpp, 6),
        "psnr": None if psnr is None else round(psnr, 4),
        "seconds": round(seconds, 3),
        "width": header.shape[1],
        "height": header.shape[0],
        "model": basemodels.by_id(header.model_id).name,
        "operating_point": header.operating_point,
        "notes": list(encoded.notes),
    }
    quality = "identical" if psnr is None else f"{psnr:.2f} dB"
    voice.result(job, fields, [f"{size:,} bytes", f"{bpp:.3f} bpp", quality, f"{seconds:.1f} s"])


def _origin(header: container.Header, device: str) -> str:
    model = basemodels.by_id(header.model_id)
    return f"model {model.name} ({model.id.hex()}), operating point {header.operating_point}, device {device}"


@app.command(cls=Command)
def decode(
    context: typer.Context,
    inputs: Inputs,
    output: Output = None,
    force: Force = False,
    form: Format = None,
    scale: Scale = None,
    size: Size = None,
    region: Region = None,
    preview: Preview = False,
    max_pixels: MaxPixels = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Decode streams: photo.inr becomes photo.png."""
    extent = None if size is None else _size(size)
    window = None if region is None else _region(region)
    keep_memory()
    from inrcodec import codec, devices
    from inrcodec.formats import image

    kind = f".{form.removeprefix('.')}" if form else None
    jobs = files.plan(inputs, output, {SUFFIX}, kind or ".png", force)
    suffixes = {job: kind or (job.target.suffix if job.target else ".png") for job in jobs}
    for job, suffix in suffixes.items():
        if suffix.lower() not in image.SUFFIXES:
            known = " ".join(image.SUFFIXES)
            raise OutputFailed(f"{job.output}: cannot write '{suffix}' images; known suffixes: {known}")
    chosen = devices.choose(device)
    voice = Voice(as_json, quiet, verbose, context.obj)

    def work(job: Job, bar: Bar) -> None:
        started = time.monotonic()
        data = files.read(job.source)
        job.prepare()
        values = codec.decode(
            data,
            scale=scale,
            size=extent,
            region=window,
            preview=preview,
            device=device,
            max_pixels=codec.MAX_PIXELS if max_pixels is None else max_pixels,
            progress=bar,
        )
        decoded = image.write(values, suffixes[job])
        files.write(job.target, decoded)
        bar.close()
        voice.detail(job, _origin(container.read_header(data)[0], chosen))
        height, width = values.shape[:2]
        seconds = time.monotonic() - started
        fields = {"bytes": len(decoded), "width": width, "height": height, "seconds": round(seconds, 3)}
        voice.result(job, fields, [f"{width}x{height}", f"{seconds:.1f} s"])

    return _each(jobs, voice, work)


@app.command(cls=Command)
def info(context: typer.Context, inputs: Streams, as_json: AsJson = False) -> int:
    """Print what streams say of themselves, without decoding them."""
    jobs = [Job(None if name == "-" else path, None) for name in inputs for path, _ in files.expand([name], {SUFFIX})]
    models = {model.id: model.name for model in basemodels.installed()}

    def work(job: Job, _: Bar) -> None:
        data = files.read(job.source)
        model = models.get(container.read_header(data)[0].model_id)
        fields = {"input": job.name, "model": model} | container.describe(data)
        print(json.dumps(fields, ensure_ascii=False) if as_json else _table(fields), flush=True)

    return _each(jobs, Voice(as_json, False, False, context.obj), work)


def _table(fields: Mapping[str, object]) -> str:
    """Names and values in two columns, below the first value."""
    (_, title), *rows = ((k, v) for k, v in fields.items() if v or k not in ("missing_bytes", "surplus_bytes"))
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name.replace('_', ' '):{width}}  {_words(value)}" for name, value in rows]
    return "\n".join([str(title), *lines])


def _words(value: object) -> str:
    if value is None:
        return "not installed"
    if isinstance(value, (list, tuple)):
        shown = ", ".join(f"({_words(v)})" if isinstance(v, list) and len(v) > 1 else _words(v) for v in value[:LISTED])
        return shown if len(value) <= LISTED else f"{shown}, … ({len(value)} in all)"
    return f"{value:,}" if isinstance(value, int) else str(value)


@models_app.callback(invoke_without_command=True)
def list_models(context: typer.Context) -> None:
    """List the installed base networks, or verify them."""
    if context.invoked_subcommand is not None:
        return
    models = list(basemodels.installed())
    if not models:
        print("no base network is installed", file=sys.stderr)
    for model in models:
        size = f"{_megabytes(model)} MB"
        print("  ".join([model.name, model.id.hex(), model.method, model.modality, size, model.description]))


def _megabytes(model: basemodels.ModelInfo) -> str:
    return f"{model.weights.stat().st_size / 1e6:.1f}" if model.weights.is_file() else "?"


@models_app.command(cls=Command)
def verify(context: typer.Context, name: ModelName = None) -> int:
    """Check the weights of base networks against their hashes."""
    first = 0
    for model in [basemodels.by_name(name)] if name else basemodels.installed():
        try:
            basemodels.verify(model)
            print(f"{model.name}  {model.id.hex()}  ok", flush=True)
        except InrcodecError as error:
            code = _complain(error, context.obj)
            first = first or code
    return first


@app.command(cls=Command)
def train(config: Config, data: Data, out: Out) -> None:
    """Train a base network."""
    for path in (config, data):
        if not path.exists():
            raise InputNotFound(f"{path}: there is no such file or folder")
    keep_memory()
    from inrcodec.training import loop, pipeline

    recipe = loop.Recipe.load(config)
    with _rich_progress() as bar:
        task = bar.add_task(recipe.name)

        def show(step: int, steps: int, figures: str) -> None:
            bar.update(task, completed=step, total=steps, description=f"{recipe.name}: {step} of {steps}, {figures}")

        folder = pipeline.train(recipe, data, out, show)
    print(folder)


@app.command(cls=Command)
def bench(
    folder: Annotated[Path, typer.Option("--data", metavar="DIR", help="A folder of images.")],
    qualities: Annotated[
        str, typer.Option("--quality", metavar="Q,Q,…", help="Operating points, as for encode.")
    ] = "4,14,26,38,50,62,74,86,98",
    effort: Effort = 5,
    model: Model = None,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", help="Images at a time; 1 for honest seconds.")] = 1,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Only the first N images.")] = None,
    anchors: Annotated[
        Path | None,
        typer.Option("--anchors", metavar="FILE", help="Published curves, a JSON of {name: {bpp: […], psnr: […]}}."),
    ] = None,
    tsv: Annotated[Path | None, typer.Option("--tsv", metavar="FILE", help="One row per image and quality.")] = None,
    upscale: Annotated[
        float | None,
        typer.Option("--upscale", metavar="Q", help="Instead, code at half the size and decode at --scale 2."),
    ] = None,
) -> None:
    """Measure rate and distortion on a folder of images: real encodes, real decodes."""
    points = _numbers(qualities)
    keep_memory()
    if upscale is not None:
        from inrcodec.bench import upscaling

        with closing(Bar("bench", False)) as bar:
            print(upscaling.run(folder, upscale, effort, limit, lambda n, of: bar(f"{n} of {of}", n / of)))
        return
    from inrcodec.bench import run

    curves = list(run.anchors(anchors)) if anchors else []
    with closing(Bar("bench", False)) as bar:
        rows = run.run(folder, points, effort, model, jobs, limit, lambda n, of: bar(f"{n} of {of}", n / of))
    if tsv is not None:
        files.write(tsv, run.tsv(rows).encode())
    print(run.report(rows, curves))


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--quality must be numbers with commas between, not '{text}'") from None


def _bytes(text: str) -> int:
    """ "40kB", "1.5 MiB" or "40000" → bytes; k, M and G are decimal."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+) *([a-z]*)", text.strip().lower())
    if match is None or match[2] not in UNITS:
        raise UsageError(f"--target-size must be like 40kB, 1.5MiB or 40000, not '{text}'")
    return int(float(match[1]) * UNITS[match[2]])


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)[x×](\d+)", text.strip().lower())
    if match is None:
        raise UsageError(f"--size must be like 640x480, not '{text}'")
    return int(match[1]), int(match[2])


def _region(text: str) -> tuple[int, int, int, int]:
    match = re.fullmatch(r"(\d+),(\d+),(\d+),(\d+)", text.replace(" ", ""))
    if match is None:
        raise UsageError(f"--region must be like 16,0,640,480 (x, y, width, height), not '{text}'")
    return int(match[1]), int(match[2]), int(match[3]), int(match[4])
