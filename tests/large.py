"""Long and large signals through the command line: seconds, bytes and peak memory of each step, as a table.

    python tests/large.py --out /tmp/large [--kind picture …] [--share 0.1] [--effort 0] [--quality 40]

A picture of 100 megapixels (PNG), an hour of 44.1 kHz stereo (WAV, 16 bits), a volume of 512³ (NIfTI, int16), a
variable of 2 GB (NetCDF4, float32) and a minute of 1280 × 720 (H.264). They are made first, the same for everyone;
`--share` makes them smaller. Each is encoded, decoded whole, and decoded in part; every step is a process of its own,
and its peak memory is what the system says it was. Signals and streams stay in `--out`.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Steps = list[tuple[str, list[str]]]
Figures = tuple[str, float, float, int]
"""What was done, seconds, peak memory in GiB, bytes of what came of it."""


def picture(path: Path, share: float) -> tuple[Path, Steps]:
    """A texture, mirrored again and again, under a lamp."""
    from PIL import Image

    side, tile = max(64, round(10_000 * share**0.5)), 2000
    texture = _texture(tile, tile)
    texture = np.concatenate([texture, texture[:, ::-1]], 1)
    around, rows = np.arange(side) % (2 * tile), np.arange(tile)
    out = np.empty((side, side, 3), np.uint8)
    for first in range(0, side, tile):
        y = first + rows[: side - first]
        shown = texture[(rows if first // tile % 2 else rows[::-1])[: len(y)]][:, around]
        lamp = 0.8 + 0.2 * np.cos(y[:, None] / 1500) * np.cos(np.arange(side) / 2100)
        out[y] = np.rint(shown * lamp[..., None] * 255)
    file = path / "picture.png"
    Image.fromarray(out).save(file, compress_level=1)
    part = f"{side // 3},{side // 3},{min(side // 3, 640)},{min(side // 3, 480)}"
    return file, [("640 × 480 of it", ["-o", "part.png", "--region", part]), ("decode", ["-o", "whole.png"])]


def sound(path: Path, share: float) -> tuple[Path, Steps]:
    """Chords over a noise floor that swells."""
    import soundfile

    rate, seconds = 44100, max(2, round(3600 * share))
    rng, file = np.random.default_rng(1), path / "hour.wav"
    t = np.arange(rate) / rate
    with soundfile.SoundFile(file, "w", rate, 2, "PCM_16") as out:
        for _ in range(seconds):
            tones = [np.sin(2 * np.pi * (f * t + rng.random())) for f in 110 * 2 ** (rng.integers(0, 40, 6) / 12)]
            chord = sum(tones) * 0.05 * np.exp(-3 * t)
            noise = rng.normal(0, 0.004, (rate, 2)) * (1 + np.sin(2 * np.pi * t))[:, None]
            out.write(chord[:, None] + noise)
    return file, [
        ("10 s of it", ["-o", "part.wav", "--region", f"{rate},{10 * rate}"]),
        ("decode", ["-o", "whole.wav"]),
    ]


def volume(path: Path, share: float) -> tuple[Path, Steps]:
    """A smooth body with structure at several sizes, and noise."""
    import nibabel

    side = max(32, round(512 * share ** (1 / 3)))
    z, y, x = np.ogrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j, -1 : 1 : side * 1j]
    rng, values = np.random.default_rng(2), np.empty((side, side, side), np.int16)
    for k in range(side):
        r = np.sqrt(z[k] ** 2 + y[0] ** 2 * 1.3 + x[0] ** 2)
        texture = sum(np.sin(f * (x[0] + z[k])) * np.cos(f * (y[0] - z[k])) for f in (9, 23, 61)) / 3
        values[k] = 1000 / (1 + np.exp(40 * (r - 0.8))) * (1 + 0.3 * texture) + rng.normal(0, 8, (side, side))
    file = path / "body.nii"
    nibabel.Nifti1Image(values, np.diag([0.5, 0.5, 0.5, 1])).to_filename(file)
    part = f"{side // 4},{side // 4},{side // 4},64,64,64"
    return file, [("64³ of it", ["-o", "part.nii", "--region", part]), ("decode", ["-o", "whole.nii"])]


def field(path: Path, share: float) -> tuple[Path, Steps]:
    """Waves that travel around the globe, on 360 × 576 points, one step after another."""
    import h5netcdf

    rows, columns, steps = 360, 576, max(3, round(2**31 * share / (4 * 360 * 576)))
    latitude, longitude = np.linspace(-89.75, 89.75, rows), np.arange(columns) * 360 / columns
    a, o = np.deg2rad(latitude)[:, None], np.deg2rad(longitude)
    file = path / "waves.nc"
    with h5netcdf.File(file, "w") as out:
        out.dimensions = {"time": steps, "lat": rows, "lon": columns}
        for name, axis, unit in (("lat", latitude, "degrees_north"), ("lon", longitude, "degrees_east")):
            out.create_variable(name, (name,), data=axis).attrs["units"] = unit
        t = out.create_variable("t", ("time", "lat", "lon"), "f4", chunks=(1, rows, columns))
        t.attrs["units"] = "K"
        for k in range(steps):
            waves = sum(
                np.cos(a) ** 2 * np.cos(m * (o + 0.02 * k * (9 - m)) + 3 * m * np.sin(a)) * (6 / m) for m in range(1, 9)
            )
            t[k] = 250 + 45 * np.cos(a) + waves
    return file, [("one step of it", ["-o", "part.nc", "--item", "1"]), ("decode", ["-o", "whole.nc"])]


def film(path: Path, share: float) -> tuple[Path, Steps]:
    """A textured plane that drifts under a lamp, with a disc that crosses it."""
    import av

    width, height, rate, frames = 1280, 720, 25, max(10, round(1500 * share))
    file, texture = path / "minute.mp4", _texture(height + 200, width + 400)
    y, x = np.ogrid[:height, :width]
    with av.open(file, "w") as out:
        stream = out.add_stream("libx264", rate, width=width, height=height, pix_fmt="yuv420p", options={"crf": "16"})
        for k in range(frames):
            dx, dy = int(200 + 180 * np.sin(k / 90)), int(100 + 90 * np.cos(k / 70))
            frame = texture[dy : dy + height, dx : dx + width] * (0.8 + 0.2 * np.cos((x - y + 4 * k) / 400))[..., None]
            frame[(x - 3 * k % width) ** 2 + (y - height / 2) ** 2 < 90**2] = (0.9, 0.5, 0.2)
            picture = av.VideoFrame.from_ndarray(np.rint(frame * 255).astype(np.uint8), format="rgb24")
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return file, [("one part of it", ["-o", "part.mkv", "--item", "0"]), ("decode", ["-o", "whole.mp4"])]


def _texture(height: int, width: int) -> NDArray[np.float64]:
    """Noise with the spectrum of pictures, in [0, 1]."""
    rng = np.random.default_rng(3)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    spectrum = rng.normal(size=(3, *frequency.shape)) + 1j * rng.normal(size=(3, *frequency.shape))
    planes = np.fft.irfft2(spectrum / np.maximum(frequency, 1 / width) ** 1.6, s=(height, width))
    planes = (planes - planes.mean((1, 2), keepdims=True)) / planes.std((1, 2), keepdims=True)
    return np.clip(0.5 + 0.16 * planes, 0, 1).transpose(1, 2, 0)


KINDS: dict[str, Callable[[Path, float], tuple[Path, Steps]]] = {
    "picture": picture,
    "sound": sound,
    "volume": volume,
    "field": field,
    "film": film,
}


def run(arguments: list[str], output: Path) -> tuple[float, float, int]:
    """Seconds, peak memory in GiB and bytes of the output of one command. Ends this program where it fails."""
    started, process = time.perf_counter(), subprocess.Popen([sys.executable, "-m", "inrcodec", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: inrcodec {' '.join(arguments)}")
    unit = 1 << 30 if sys.platform == "darwin" else 1 << 20
    return time.perf_counter() - started, usage.ru_maxrss / unit, output.stat().st_size


def measure(kind: str, path: Path, share: float, effort: int, quality: float) -> Iterator[Figures]:
    file, steps = KINDS[kind](path, share)
    yield "the file", 0.0, 0.0, file.stat().st_size
    stream = file.with_suffix(".inr")
    settings = ["--effort", str(effort), "--quality", str(quality), "--force", "-q"]
    more = ["--variable", "t"] if kind == "field" else []
    yield "encode", *run(["encode", str(file), "-o", str(stream), *settings, *more], stream)
    for name, (_, output, *rest) in steps:
        target = path / output
        yield name, *run(["decode", str(stream), "-o", str(target), "--force", "-q", *rest], target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--effort", type=int, default=0)
    parser.add_argument("--quality", type=float, default=40)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    print("| signal | step | seconds | peak memory, GiB | bytes |\n| --- | --- | ---: | ---: | ---: |", flush=True)
    for kind in given.kind:
        for step, seconds, memory, size in measure(kind, given.out, given.share, given.effort, given.quality):
            print(f"| {kind} | {step} | {seconds:.0f} | {memory:.2f} | {size:,} |", flush=True)


if __name__ == "__main__":
    main()
