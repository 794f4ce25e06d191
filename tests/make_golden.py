"""Makes tests/vectors: streams that every later version must decode to the same symbols.

    python tests/make_golden.py

Writes what is missing and refuses to change what is there: a golden stream is never made again.
"""

import hashlib
import json
import sys

import torch
from conftest import VECTORS, picture

from inrcodec import codec
from inrcodec.codec import Settings
from inrcodec.signal import Signal

CASES = {  # name: (height, width, channels, peak, quality)
    "grey": (31, 44, 1, 255, 60),
    "rgb": (40, 56, 3, 255, 50),
    "rgba16": (24, 17, 4, 65535, 90),
    "one_sample": (1, 1, 3, 255, 50),
    "low_rate": (64, 48, 3, 255, 0),
    "high_rate": (33, 33, 3, 255, 100),
}


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
    for name, (height, width, channels, peak, quality) in CASES.items():
        if name in known:
            continue
        signal = Signal.from_array(picture(height, width, channels, peak=peak))
        encoded = codec.compress(signal, Settings(model="tiny", effort=1, quality=quality))
        (VECTORS / f"{name}.inr").write_bytes(encoded.data)
        known[name] = {"symbols": symbols_digest(encoded.data), "psnr": round(encoded.psnr, 3)}
    index.write_text(json.dumps(known, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
