"""The options and arguments of the commands."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from inrcodec.container import METHODS

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
Test = Annotated[
    bool,
    typer.Option("--test", help="Read each stream back from the disk and decode it.", rich_help_panel=FILES),
]
DeleteSource = Annotated[
    bool,
    typer.Option(
        "--delete-source",
        help="Delete each input once its stream passed --test, unless a note says that samples were changed or"
        " left out. Metadata goes with it.",
        rich_help_panel=FILES,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Format of the output: png, jpg, flac, nc, nii.gz, mp4, ply, npy, …",
        show_default="by the suffix of the output, else a plain one",
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
    typer.Option(
        "--target-bpp",
        metavar="X",
        help="Bits per pixel, sample, cell or voxel of the output.",
        rich_help_panel=RATE,
    ),
]
TargetKbps = Annotated[
    float | None,
    typer.Option(
        "--target-kbps",
        metavar="X",
        help="Kilobits per second of the output, of a sound or film.",
        rich_help_panel=RATE,
    ),
]
TargetPsnr = Annotated[
    float | None,
    typer.Option("--target-psnr", metavar="X", help="PSNR of what is decoded, dB.", rich_help_panel=RATE),
]
TargetSnr = Annotated[
    float | None,
    typer.Option("--target-snr", metavar="X", help="SNR of what is decoded, dB.", rich_help_panel=RATE),
]
TargetRmse = Annotated[
    float | None,
    typer.Option(
        "--target-rmse",
        metavar="X",
        help="Root mean squared error, in the units of the samples (kelvin, …).",
        rich_help_panel=RATE,
    ),
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

MaxError = Annotated[
    float | None,
    typer.Option(
        "--max-error",
        metavar="E",
        help="No sample is off by more, in the units of the samples. Also with --quality.",
        rich_help_panel=RATE,
    ),
]
MaxRelError = Annotated[
    float | None,
    typer.Option(
        "--max-rel-error",
        metavar="R",
        help="The same as a part of the range of the samples: 0.001.",
        rich_help_panel=RATE,
    ),
]
Lossless = Annotated[
    bool,
    typer.Option("--lossless", help="Every sample comes back exactly; for integers.", rich_help_panel=RATE),
]

Modality = Annotated[
    Literal["image", "audio", "field", "volume", "video", "shape", "array"] | None,
    typer.Option("--modality", help="What the file holds, where it can be taken for several.", rich_help_panel=FILES),
]
Variable = Annotated[
    str | None,
    typer.Option("--variable", metavar="NAME", help="Which variable of a file of several.", rich_help_panel=FILES),
]

Item = Annotated[
    int | None,
    typer.Option(
        "--item",
        metavar="K",
        min=0,
        help="Only item K, from 0, of many: a time step, a chunk of a film.",
        rich_help_panel=WHAT,
    ),
]
Scale = Annotated[
    float | None,
    typer.Option("--scale", metavar="X", help="Larger or smaller: 2, 0.5, 1.37.", rich_help_panel=WHAT),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="WxH",
        help="To this width and height (and depth), or number of samples.",
        rich_help_panel=WHAT,
    ),
]
Rate = Annotated[
    int | None,
    typer.Option("--rate", metavar="HZ", min=1, help="Of a sound: at this rate.", rich_help_panel=WHAT),
]
Region = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="X,Y,W,H",
        help="Only this part, in pixels of the original; START,SAMPLES of a sound; X,Y,Z,W,H,D of a volume.",
        rich_help_panel=WHAT,
    ),
]
Preview = Annotated[
    bool,
    typer.Option("--preview", help="Of a stream that ends early, decode what is there.", rich_help_panel=WHAT),
]
Recover = Annotated[
    bool,
    typer.Option("--recover", help="Decode what is intact of a damaged file.", rich_help_panel=WHAT),
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
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help=f"One of {', '.join(METHODS)}.",
        show_default="that of --model, or pyramid",
        rich_help_panel=RUNNING,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Options by name, of a method without base network: 'paper' of coin and doh.",
        rich_help_panel=RUNNING,
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="An option of such a method: bits=8, search=true. May be repeated.",
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
        help="Refuse items and outputs of more pixels (samples, cells, voxels).",
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
Data = Annotated[
    list[Path],
    typer.Option("--data", metavar="DIR", help="A folder of signals; several, where the recipe has shares for them."),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run is kept, and resumed.")]
