"""Makes tests/vectors: streams that every later version must decode to the same symbols, and tiny networks for them.

    python tests/make_golden.py

Writes what is missing and refuses to change what is there: a golden stream is never made again.
"""

import hashlib
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from conftest import VECTORS, picture, sound
from numpy.typing import NDArray

from inrcodec import basemodels, codec, container, stream
from inrcodec.codec import Settings
from inrcodec.fields.patchfield import patch_grid
from inrcodec.fields.pyramid import PyramidConfig
from inrcodec.methods.meta import MetaModel
from inrcodec.methods.method import WITHOUT_NETWORK, module
from inrcodec.methods.options import MetaOptions
from inrcodec.samples import special
from inrcodec.samples.video import VideoFormat
from inrcodec.signal import Signal
from inrcodec.training import closing, coders, export, metapipeline
from inrcodec.training.meta import Schedule
from inrcodec.training.networks import Trainee

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


SMALL: dict[str, Any] = {"patch": 8, "width": 8, "depth": 2, "w0": 20.0, "latent": 16, "inner_rate": 1.0}
META: dict[str, dict[str, Any]] = {  # method: options of its tiny network
    "coinpp": {},
    "functa": {},
    "mscn": {"log_alpha": 0.0},
    "vcinr": {
        **{"hidden": 16, "rank": 2, "codes": 8, "transform_width": 16, "rates": 3},
        **{"last_activation": True, "gated_output": False, "transform_linear": True},
    },
    "vcinr_gated": {"hidden": 16, "codes": 16, "transform_width": 16, "rates": 3, "inner_rate": 1000.0},
    "flowcoin": {"groups": 4, "flow_width": 8},
    "spatial-functa": {"cells": 2},
}
FITTED: dict[str, tuple[str, dict[str, Any]]] = {  # name: method without a base network, its options
    "coin": ("coin", {}),
    "coin_8_bits": ("coin", {"bits": 8, "depth": 3, "width": 6}),
    "doh": ("doh", {"bits": 6, "width": 20, "frequencies": 5, "seed": 7}),
    "doh_solid": ("doh", {"depth": 3}),
}

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
    "stretched": (Signal.from_array(picture(150, 70, 4)), 60),
    "apart": (Signal.from_array(picture(50, 71, 4)), 60),
    "closing": (Signal.from_array(picture(61, 90, 4)), 70),
    "short": (Signal.from_array(picture(37, 45, 3)), 55),
    "short_checked": (Signal.from_array(picture(90, 110, 4)), 95),
    "three": (Signal.from_array(picture(29, 47, 3)), 45),
    "three_checked": (Signal.from_array(picture(120, 140, 3)), 95),
    "coinpp": (Signal.from_array(picture(13, 21, 3)), 50),
    "functa": (Signal.from_array(picture(8, 8, 3)), 100),
    "mscn": (Signal.from_array(picture(9, 30, 1)), 50),
    "vcinr": (Signal.from_array(picture(20, 17, 2)), 100),
    "vcinr_gated": (Signal.from_array(picture(23, 19, 3)), 100),
    "flowcoin": (Signal.from_array(picture(16, 33, 3, peak=65535)), 50),
    "spatial-functa": (Signal.from_array(picture(21, 24, 4)), 70),
    "coin": (Signal.from_array(picture(22, 15, 3)), 60),
    "coin_8_bits": (Signal.sound(sound(9000, 2), 16000), 50),
    "doh": (Signal.from_array(picture(24, 18, 4)), 70),
    "doh_solid": (numbers(9, 7, 8, modality="shape", info={"kind": "voxels"}), 80),
}
PYRAMIDS: dict[str, dict[str, Any]] = {"stretched": {}, "apart": {"apart": True}, "closing": {"closing": 12}}
MODELS = {
    "image": "tiny",
    "audio": "tiny-sound",
    "field": "tiny-sphere",
    "volume": "tiny-solid",
    "video": "tiny-film",
    "shape": "tiny-solid",
    "array": "tiny-plane",
}


def tiny(method: str) -> None:
    """A network of random weights, with the coder fitted to a few patches; about 10 kB, and 300 kB of committed tables
    where the coder is one of located and scaled tables."""
    torch.manual_seed(0)
    kind = method.partition("_")[0]
    options: MetaOptions = replace(metapipeline.METHODS[kind].PRESETS["small"], **{**SMALL, **META[method]})
    model = MetaModel(options, options.coder())
    model.net.load_state_dict(metapipeline.rounded(model.net.state_dict()))
    model.eval().requires_grad_(False)
    y = torch.cat([model.patches(lambda _, k=k: features(k), (64, 64)) for k in range(3)])
    flow = coders.fit(model, y, model.adapt(y, 5), 60, lambda *_: None)
    name, said = f"tiny-{method}", f"Random weights, for tests of {method}."
    recipe = metapipeline.MetaRecipe(name, kind, said, options, Schedule(), ())
    metapipeline.write(model, flow, VECTORS / "models" / name, recipe)


def tiny_pyramid(name: str, **fields: Any) -> None:
    """What a pyramid may have: magnitudes, corrections in steps, stretches, and what a case is for."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"widths": (16, 16, 16), "blocks": (1, 0, 0), "prior_widths": (16, 16, 16)}
    net = Trainee(PyramidConfig(**sizes, in_steps=True, magnitudes=True, **fields))
    if net.closing is not None:
        x = torch.stack([features(seed) for seed in range(16)])
        closing.fit(net.closing, closing.samples(net, [(x, torch.full((16,), 180), None)]))
    said: dict[str, object] = {"modality": "image", "description": f"Random weights, for tests of {name}."}
    export.write(net, export.logistic_tails(), VECTORS / "models" / f"tiny-{name}", said)


def features(seed: int) -> torch.Tensor:
    """[3, 64, 64]"""
    return torch.from_numpy(picture(64, 64, seed=seed).astype(np.float32)).movedim(-1, 0) / 255


def symbols_digest(data: bytes) -> str:
    """SHA-256 over all latents, item by item, plane by plane, as little-endian int16; of a pyramid, finest first.

    Of a network fitted to the item: over its values as float32.
    """
    digest, method = hashlib.sha256(), str(codec.describe(data)["method"])
    if method in WITHOUT_NETWORK:
        for values in network_values(data):
            digest.update(values.astype("<f4").tobytes())
    else:
        for symbols in meta_symbols(data) if method in META else pyramid_symbols(data):
            digest.update(symbols.astype("<i2").tobytes())
    return digest.hexdigest()


def pyramid_symbols(data: bytes) -> Iterator[NDArray[np.integer]]:
    for item in range(int(str(codec.describe(data).get("items", 1)))):
        for plane in codec.open_field(data, item=item).planes:
            yield from (latents.numpy() for latents in plane.whole())


def meta_symbols(data: bytes) -> Iterator[NDArray[np.integer]]:
    """[P, D] of every section."""
    header, sections = container.read(data)
    model: Any = basemodels.load(basemodels.by_id(header.model_id), "cpu")
    grid = patch_grid(header.shape, model.options.patch)
    yield from (model.coder.read(section, header.operating_point, grid) for section in sections)


def network_values(data: bytes) -> Iterator[NDArray[np.floating]]:
    """Weights, biases and codes as they were sent."""
    header, sections = container.read(data)
    method: Any = module(str(codec.describe(data)["method"]))
    channels = stream.sample_format(header).channels
    for section in sections:
        yield from (tensor.numpy() for tensor in method.unpack(section, header.shape, channels)[1])


def main() -> int:
    torch.set_num_threads(1)
    for method in META:
        if not (VECTORS / "models" / f"tiny-{method}").exists():
            tiny(method)
    for name, fields in PYRAMIDS.items():
        if not (VECTORS / "models" / f"tiny-{name}").exists():
            tiny_pyramid(name, **fields)
    index = VECTORS / "index.json"
    known = json.loads(index.read_text()) if index.exists() else {}
    for name, (signal, quality) in CASES.items():
        if name in known:
            continue
        if name in FITTED:
            method, options = FITTED[name]
            settings = Settings(method=method, options=options, effort=1, quality=quality)
        else:
            own = f"tiny-{name}"
            model = own if (VECTORS / "models" / own).exists() else MODELS[signal.format.modality]
            settings = Settings(model=model, effort=1, quality=quality)
        encoded = codec.compress(signal, settings)
        (VECTORS / f"{name}.inr").write_bytes(encoded.data)
        known[name] = {"symbols": symbols_digest(encoded.data), "psnr": round(encoded.psnr, 3)}
    index.write_text(json.dumps(known, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
