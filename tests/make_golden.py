"""Makes tests/vectors: streams that every later version must decode to the same symbols.

    python tests/make_golden.py

Writes what is missing and refuses to change what is there: a golden stream is never made again.
"""

import hashlib
import json
import sys

import torch
from conftest import VECTORS, picture, sound

from inrcodec import codec
from inrcodec.codec import Settings
from inrcodec.signal import Signal

CASES = {  # name: (signal, quality)
    "grey": (Signal.from_array(picture(31, 44, 1)), 60),
    "rgb": (Signal.from_array(picture(40, 56, 3)), 50),
    "rgba16": (Signal.from_array(picture(24, 17, 4, peak=65535)), 90),
    "one_sample": (Signal.from_array(picture(1, 1, 3)), 50),
    "low_rate": (Signal.from_array(picture(64, 48, 3)), 0),
    "high_rate": (Signal.from_array(picture(33, 33, 3)), 100),
    "sound": (Signal.sound(sound(1500, 2), 44100), 60),
}
MODELS = {"image": "tiny", "audio": "tiny-sound"}


def symbols_digest(data: bytes) -> str:
    """SHA-256 over all latents, finest level first, plane by plane, as little-endian int16."""
    field = codec.open_field(data)
    digest = hashlib.sha256()
    for plane in field.planes:
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
