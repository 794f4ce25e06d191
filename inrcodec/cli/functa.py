"""`inrcodec functaset` and `inrcodec sample`: what can be done with modulations besides coding."""

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from inrcodec import files
from inrcodec.allocator import keep_memory
from inrcodec.cli.options import FILES, RUNNING, AsJson, Device, Effort, Force, Quiet
from inrcodec.cli.voice import Bar, Voice
from inrcodec.errors import InputNotFound, OutputExists, OutputFailed
from inrcodec.files import Job

MAX_PICTURES, MAX_SEED = 1 << 12, (1 << 32) - 1
DRAWN = "What to draw"

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of images; its subfolders are their labels.")]
Network = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Base network of a meta-learned method, see `inrcodec models`.",
        rich_help_panel=RUNNING,
    ),
]
SetOutput = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="An HDF5 file, .h5 or .hdf5.", rich_help_panel=FILES),
]
PicturesOutput = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="An image, all pictures in one; or a folder, a file for each.",
        rich_help_panel=FILES,
    ),
]
Count = Annotated[
    int,
    typer.Option("-n", metavar="N", min=1, max=MAX_PICTURES, help="How many pictures.", rich_help_panel=DRAWN),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", min=0, max=MAX_SEED, help="Other seeds, other pictures.", rich_help_panel=DRAWN
    ),
]
Quality = Annotated[
    float,
    typer.Option(
        "--quality",
        metavar="Q",
        min=0,
        max=100,
        help="Operating point of the prior, as for encode.",
        rich_help_panel=DRAWN,
    ),
]


def functaset(
    context: typer.Context,
    folder: Folder,
    output: SetOutput,
    model: Network = "functa",
    effort: Effort = 5,
    force: Force = False,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a data set of modulations from the images of a folder: a vector in place of each, in an HDF5 file."""
    started = time.monotonic()
    if not os.path.isdir(folder):
        raise InputNotFound(f"{folder}: there is no such folder")
    keep_memory()
    from inrcodec import devices
    from inrcodec import functaset as sets
    from inrcodec.formats import functaset as file

    if output.suffix.lower() not in file.SUFFIXES:
        raise OutputFailed(f"cannot write '{output.suffix}' files of modulations; known are {' '.join(file.SUFFIXES)}")
    job = _claimed(Job(folder, output), force)
    found = files.expand([str(folder)], sets.SUFFIXES)
    info, network = sets.network(model, devices.choose(device))
    voice = Voice(as_json, quiet, False, context.obj)
    with closing(Bar(str(folder), quiet)) as bar:
        made = sets.make(network, found, effort, bar)
    data = file.to_bytes(made.columns, sets.attributes(info, network, effort, made.patches))
    files.write(job.target, data)
    for text in made.notes:
        voice.note(job, text)
    shape, classes, seconds = made.modulations.shape, len(made.classes), time.monotonic() - started
    fields = {"bytes": len(data), "modulations": list(shape), "classes": classes, "model": info.name, "effort": effort}
    size = f"{shape[0]} pictures, {' x '.join(map(str, shape[1:]))} values each"
    cells = [f"{len(data):,} bytes", size, f"{classes} classes" if classes else "no labels", f"{seconds:.1f} s"]
    voice.result(job, fields | {"seconds": round(seconds, 3)}, cells)


def sample(
    context: typer.Context,
    model: Network,
    output: PicturesOutput,
    count: Count = 16,
    seed: Seed = 0,
    quality: Quality = 50.0,
    force: Force = False,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Draw new pictures from the prior of a base network: random modulations, decoded."""
    keep_memory()
    from inrcodec import devices, formats, functaset, sampling
    from inrcodec.signal import Signal

    into = output.endswith(("/", os.sep)) or os.path.isdir(output)
    targets = [Path(output, f"sample-{k:04}.png") for k in range(count)] if into else [Path(output)]
    formats.check_suffix(targets[0].suffix, "image")
    _, network = functaset.network(model, devices.choose(device))
    jobs = [_claimed(Job(None, target, create=into), force) for target in targets]
    point = round(quality / 100 * (network.points - 1))
    voice = Voice(as_json, quiet, False, context.obj)
    with closing(Bar(model, quiet)) as bar:
        drawn = sampling.pictures(network, count, point, seed, bar)
    for job, picture in zip(jobs, drawn if into else [sampling.grid(drawn)], strict=True):
        data = formats.write(Signal.from_array(picture), targets[0].suffix)
        files.write(job.target, data)
        height, width = picture.shape[:2]
        fields = {"bytes": len(data), "width": width, "height": height, "operating_point": point, "seed": seed}
        voice.result(job, fields, [f"{len(data):,} bytes", f"{width}x{height}"])


def _claimed(job: Job, force: bool) -> Job:
    """The job, if its output may be written. Raises OutputExists, OutputFailed."""
    if job.target is not None and os.path.isdir(job.target):
        raise OutputFailed(f"{job.target}: is a folder")
    if job.target is not None and os.path.isfile(job.target) and not force:
        raise OutputExists(f"{job.target} exists already; --force overwrites")
    job.prepare()
    return job
