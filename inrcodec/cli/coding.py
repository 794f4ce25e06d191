"""`inrcodec encode`, `decode` and `info`."""

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from inrcodec import basemodels, container, files
from inrcodec.allocator import keep_memory
from inrcodec.cli import parse
from inrcodec.cli.options import (
    AsJson,
    DeleteSource,
    Device,
    Effort,
    Force,
    Format,
    Inputs,
    Item,
    Lmbda,
    Lossless,
    MaxError,
    MaxPixels,
    MaxRelError,
    Method,
    Modality,
    Model,
    Options,
    Output,
    Preset,
    Preview,
    Quality,
    Quiet,
    Rate,
    Recover,
    Region,
    Scale,
    Size,
    Streams,
    TargetBpp,
    TargetKbps,
    TargetPsnr,
    TargetRmse,
    TargetSize,
    TargetSnr,
    Test,
    Variable,
    Verbose,
)
from inrcodec.cli.voice import Bar, Voice, each
from inrcodec.errors import InrcodecError, Recovered, UsageError
from inrcodec.files import Job

if TYPE_CHECKING:
    from inrcodec.codec import Encoded

SUFFIX = ".inr"
NO_MODEL = bytes(container.MODEL_ID_BYTES)  # of a method that needs none
LISTED = 12  # items of a list that `info` prints
DAMAGE = ("damaged_sections", "missing_bytes", "surplus_bytes")  # printed by `info` where there is any


def encode(
    context: typer.Context,
    inputs: Inputs,
    output: Output = None,
    force: Force = False,
    test: Test = False,
    delete_source: DeleteSource = False,
    quality: Quality = None,
    lmbda: Lmbda = None,
    target_bpp: TargetBpp = None,
    target_kbps: TargetKbps = None,
    target_psnr: TargetPsnr = None,
    target_snr: TargetSnr = None,
    target_rmse: TargetRmse = None,
    target_size: TargetSize = None,
    max_error: MaxError = None,
    max_rel_error: MaxRelError = None,
    lossless: Lossless = False,
    modality: Modality = None,
    variable: Variable = None,
    effort: Effort = 5,
    model: Model = None,
    method: Method = None,
    preset: Preset = None,
    options: Options = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Encode images, sounds, climate fields, volumes, films, shapes and arrays: photo.png becomes photo.inr."""
    target_bytes = None if target_size is None else parse.bytes(target_size)
    if delete_source and variable is not None:
        raise UsageError(f"--delete-source would lose the other variables of a file of which '{variable}' is coded")
    if model is not None:
        basemodels.by_name(model)
    keep_memory()
    from inrcodec import codec, devices, formats

    settings = codec.Settings(
        quality=quality,
        lmbda=lmbda,
        target_bpp=target_bpp,
        target_kbps=target_kbps,
        target_psnr=target_psnr,
        target_snr=target_snr,
        target_rmse=target_rmse,
        target_bytes=target_bytes,
        max_error=max_error,
        max_rel_error=max_rel_error,
        lossless=lossless,
        effort=effort,
        method=method,
        model=model,
        preset=preset,
        options=parse.options(options or []),
        device=device,
    )
    jobs = files.plan(inputs, output, formats.SUFFIXES, lambda _: SUFFIX, force)
    if delete_source and any(job.source is None for job in jobs):
        raise UsageError("--delete-source is for files; standard input cannot be deleted")
    if (test or delete_source) and any(job.target is None for job in jobs):
        raise UsageError("--test and --delete-source read the stream back from a file; standard output is none")
    chosen = devices.choose(device)
    voice = Voice(as_json, quiet, verbose, context.obj)

    def work(job: Job, bar: Bar) -> None:
        started = time.monotonic()
        victim = job.source if delete_source else None
        known = files.identity(victim) if victim else ()
        regular = job.source if job.source is not None and os.path.isfile(job.source) else None
        signal = formats.read(regular or files.read(job.source), modality, variable)  # a pipe can be read but once
        job.prepare()
        encoded = codec.compress(signal, settings, bar)
        check = partial(codec.verify, signal, encoded, chosen) if test or victim else None
        files.write(job.target, encoded.data, check)
        if victim and signal.notes:
            voice.note(job, "the source is kept, as not all of it is in the stream")
        elif victim:
            files.delete(victim, known)
        bar.close()
        done = {"tested": True} if test or victim else {}
        done |= {"deleted": not signal.notes} if victim else {}
        _report_encoded(job, voice, encoded, chosen, time.monotonic() - started, done)

    return each(jobs, voice, work)


def _report_encoded(
    job: Job, voice: Voice, encoded: "Encoded", device: str, seconds: float, done: Mapping[str, bool]
) -> None:
    header, size, made = encoded.header, len(encoded.data), encoded.distortion
    figures = {"psnr": made.psnr, "snr": made.snr, "rmse": made.rmse, "max_error": made.largest}
    for text in encoded.notes:
        voice.note(job, text)
    voice.detail(job, _origin(header, device))
    fields = {
        "bytes": size,
        "bpp": round(encoded.bpp, 6),
        **{name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in figures.items()},
        "seconds": round(seconds, 3),
        **encoded.size,
        **({} if header.items is None else {"items": header.items}),
        "model": _model(header),
        "operating_point": header.operating_point,
        "notes": list(encoded.notes),
        **({} if encoded.bound is None else {"bound": encoded.bound}),
        **done,
    }
    quality = f"{made.psnr:.2f} dB" if made.mse else "identical"
    rate = f"{encoded.bpp:.3f} bpp" if math.isnan(encoded.kbps) else f"{encoded.kbps:.2f} kbit/s"
    steps = [name for name, happened in done.items() if happened]
    voice.result(job, fields, [f"{size:,} bytes", rate, quality, *_error(encoded), f"{seconds:.1f} s", *steps])


def _error(encoded: "Encoded") -> list[str]:
    """The error in the units of a variable that has some."""
    info, made = getattr(encoded.format, "info", {}), encoded.distortion
    factor, units = abs(float(info.get("scale_factor", 1))), str(info.get("units", ""))
    said = [f"RMSE {made.rmse * factor:.3g} {units}"] if units else []
    if encoded.bound:
        said.append(f"largest error {made.largest * factor:.4g} {units}".strip() + f" of {encoded.bound * factor:.4g}")
    return said + (["lossless"] if encoded.bound == 0 else [])


def _size(size: Mapping[str, int], items: int) -> str:
    if "rate" in size:
        words = f"{size['samples'] / size['rate']:.2f} s at {size['rate']} Hz"
    else:
        words = "x".join(str(n) for name, n in size.items() if name != "frames")
    if "frames" in size:
        return f"{words}, {size['frames']} frames"
    return words if items == 1 else f"{items} items of {words}"


def _suffix(kind: str | None, job: Job, modality: str, sort: str) -> str:
    """What the output's format is chosen by."""
    from inrcodec import formats

    return kind or (files.suffix_of(job.target) if job.target else formats.plain(modality, sort))


def _kind(source: Path) -> tuple[str, str]:
    """Modality of a stream in a file, and "mesh" or "voxels" of a shape; what is wrong is said when it is decoded."""
    if not os.path.isfile(source):  # a pipe can be read but once
        return "", ""
    try:
        with source.open("rb") as file:
            said = container.describe(file.read(HEAD))
        return str(said["modality"]), str(said.get("kind", ""))
    except (OSError, InrcodecError):
        return "", ""


HEAD = 1 << 20  # bytes that hold any header but one of many special samples


def _model(header: container.Header) -> str:
    return basemodels.by_id(header.model_id).name if header.model_id != NO_MODEL else "none"


def _origin(header: container.Header, device: str) -> str:
    point = header.operating_point
    return f"model {_model(header)} ({header.model_id.hex()}), operating point {point}, device {device}"


def decode(
    context: typer.Context,
    inputs: Inputs,
    output: Output = None,
    force: Force = False,
    form: Format = None,
    item: Item = None,
    scale: Scale = None,
    size: Size = None,
    rate: Rate = None,
    region: Region = None,
    preview: Preview = False,
    recover: Recover = False,
    max_pixels: MaxPixels = None,
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Decode streams to files of the kind that was encoded: photo.inr becomes photo.png, voice.inr voice.wav."""
    if rate is not None and (scale is not None or size is not None):
        raise UsageError("--rate excludes --scale and --size")
    extent = None if size is None else parse.size(size)
    window = None if region is None else parse.region(region)
    keep_memory()
    from inrcodec import codec, devices, formats
    from inrcodec.samples.audio import AudioFormat

    kind = f".{form.removeprefix('.')}" if form else None

    def natural(source: Path) -> str:
        return kind or formats.plain(*_kind(source))

    jobs = files.plan(inputs, output, {SUFFIX}, natural, force)
    for job in jobs:
        if job.source is not None:
            modality, sort = _kind(job.source)
            if modality in formats.PLAIN:
                formats.check_suffix(_suffix(kind, job, modality, sort), modality)
    chosen = devices.choose(device)
    voice = Voice(as_json, quiet, verbose, context.obj)

    def work(job: Job, bar: Bar) -> None:
        started = time.monotonic()
        data = files.read(job.source)
        job.prepare()
        limit = codec.MAX_PIXELS if max_pixels is None else max_pixels
        wanted = extent if rate is None else _at_rate(data, rate, window)
        signal = codec.reconstruct(data, item, scale, wanted, window, preview, device, limit, bar, recover)
        if rate is not None and isinstance(signal.format, AudioFormat):  # as said, not from a rounded number of samples
            signal = replace(signal, format=replace(signal.format, rate=rate))
        sort = str(getattr(signal.format, "info", {}).get("kind", ""))
        decoded = formats.write(signal, _suffix(kind, job, signal.format.modality, sort))
        files.write(job.target, decoded)
        bar.close()
        voice.detail(job, _origin(container.read_header(data)[0], chosen))
        size = signal.format.dimensions(signal.shape)
        seconds = time.monotonic() - started
        fields = {"bytes": len(decoded), **size, "seconds": round(seconds, 3)}
        voice.result(job, fields, [_size(size, signal.items), f"{seconds:.1f} s"])
        if signal.notes:
            raise Recovered("; ".join(signal.notes))

    return each(jobs, voice, work)


def _at_rate(data: bytes, rate: int, window: tuple[int, ...] | None) -> tuple[int, ...]:
    """How many samples a sound has at another rate. Raises UsageError."""
    header, said = container.read_header(data)[0], container.describe(data)
    if "rate" not in said or header.items is not None:
        raise UsageError(f"--rate is for sounds; this is of kind '{said['modality']}'")
    return (max(1, round((window[-1] if window else header.shape[0]) * rate / int(str(said["rate"])))),)


def info(context: typer.Context, inputs: Streams, as_json: AsJson = False) -> int:
    """Print what streams say of themselves, without decoding them."""
    jobs = [Job(None if name == "-" else path, None) for name in inputs for path, _ in files.expand([name], {SUFFIX})]
    models = {NO_MODEL: "none"} | {model.id: model.name for model in basemodels.installed()}

    def work(job: Job, _: Bar) -> None:
        data = files.read(job.source)
        model = models.get(container.read_header(data)[0].model_id)
        fields = {"input": job.name, "model": model} | container.describe(data)
        print(json.dumps(fields, ensure_ascii=False) if as_json else _table(fields), flush=True)

    return each(jobs, Voice(as_json, False, False, context.obj), work)


def _table(fields: Mapping[str, object]) -> str:
    """Names and values in two columns, below the first value."""
    (_, title), *rows = ((k, v) for k, v in fields.items() if v or k not in DAMAGE)
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name.replace('_', ' '):{width}}  {_words(value)}" for name, value in rows]
    return "\n".join([str(title), *lines])


def _words(value: object) -> str:
    if value is None:
        return "not installed"
    if isinstance(value, (list, tuple)):
        shown = ", ".join(f"({_words(v)})" if isinstance(v, list) and len(v) > 1 else _words(v) for v in value[:LISTED])
        return shown if len(value) <= LISTED else f"{shown}, … ({len(value)} in all)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
