"""Makes tests/vectors: streams that every later version must decode to the same symbols.

    python tests/make_golden.py

Writes what is missing and refuses to change what is there: a golden stream is never made again.
"""

import hashlib
import json
import math
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from conftest import VECTORS, picture, sound

from inrcodec import codec
from inrcodec.codec import Settings
from inrcodec.samples import special
from inrcodec.samples.video import VideoFormat
from inrcodec.signal import Signal

GLOBE = {"latitude": [88.0, -8.0], "longitude": [0.0, 11.0], "units": "K"}


def numbers(*shape: int, **fields: Any) -> Signal:
    """Smooth float32 numbers between 250 and 290, of a shape 0 and 1."""
    dims = fields.get("dims", len(shape))
    plane = picture(shape[0] * shape[1], math.prod(shape[2:]), 1).reshape(*shape, 1).astype(np.float32) / 255
    return Signal.numbers(plane if fields["modality"] == "shape" else 250 + 40 * plane, **(fields | {"dims": dims}))


def with_holes() -> Signal:
    """Two channels of int16 on a plane, with two fill values."""
    values = picture(21, 18, 2).astype(np.int16) * 100
    values[3:9, 4:7, 0], values[0, 0, 1] = -32768, 32767
    return Signal.numbers(values, dims=2, special=special.find(values[None], (-32768, 32767)))


CASES = {  # name: (signal, quality)
    "grey": (Signal.from_array(picture(31, 44, 1)), 60),
    "rgb": (Signal.from_array(picture(40, 56, 3)), 50),
    "rgba16": (Signal.from_array(picture(24, 17, 4, peak=65535)), 90),
    "one_sample": (Signal.from_array(picture(1, 1, 3)), 50),
    "low_rate": (Signal.from_array(picture(64, 48, 3)), 0),
    "high_rate": (Signal.from_array(picture(33, 33, 3)), 100),
    "sound": (Signal.sound(sound(1500, 2), 44100), 60),
    "fields": (numbers(3, 20, 31, modality="field", dims=2, info=GLOBE), 40),
    "volume": (numbers(9, 17, 12, modality="volume", info={"spacing": [2, 1, 1]}), 60),
    "film": (Signal(picture(70, 24).reshape(7, 10, 24, 3), VideoFormat(Fraction(25), 7, b"no sound")), 50),
    "solid": (numbers(13, 11, 12, modality="shape", info={"kind": "voxels"}), 30),
    "holes": (with_holes(), 80),
}
MODELS = {
    "image": "tiny",
    "audio": "tiny-sound",
    "field": "tiny-sphere",
    "volume": "tiny-solid",
    "video": "tiny-film",
    "shape": "tiny-solid",
    "array": "tiny-plane",
}


def symbols_digest(data: bytes) -> str:
    """SHA-256 over all latents, item by item, plane by plane, finest level first, as little-endian int16."""
    digest = hashlib.sha256()
    for item in range(int(str(codec.describe(data).get("items", 1)))):
        for plane in codec.open_field(data, item=item).planes:
            for latents in plane:
                digest.update(latents.numpy().astype("<i2").tobytes())
    return digest.hexdigest()


def main() -> int:
    torch.set_num_threads(1)
    index = VECTORS / "index.json"
    known = json.loads(index.read_text()) if index.exists() else {}
    for name, (signal, quality) in CASES.items():
        if name in known:
            continue
        settings = Settings(model=MODELS[signal.format.modality], effort=1, quality=quality)
        encoded = codec.compress(signal, settings)
        (VECTORS / f"{name}.inr").write_bytes(encoded.data)
        known[name] = {"symbols": symbols_digest(encoded.data), "psnr": round(encoded.psnr, 3)}
    index.write_text(json.dumps(known, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
