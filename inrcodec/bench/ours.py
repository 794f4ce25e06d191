"""Our own codec among the others."""

import hashlib
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import numpy as np

import inrcodec
from inrcodec import basemodels, codec, fitting
from inrcodec.bench.model import Codec, Item, Modality, Values
from inrcodec.formats import distance
from inrcodec.samples.video import VideoFormat
from inrcodec.signal import Signal

NAME = "inrcodec"
QUALITIES = (2.0, 12.0, 24.0, 36.0, 50.0, 64.0, 78.0, 92.0)


def available(
    modality: Modality, efforts: list[int], default: int, qualities: tuple[float, ...], model: str | None, device: str
) -> tuple[list[Codec], list[str]]:
    """One codec per effort, named after it where it is not the default one; notes on what is missing.

    Raises UnknownModel, UsageError.
    """
    name = model or fitting.DEFAULT[modality]
    info = basemodels.by_name(name)
    codecs = []
    for effort in efforts:
        version = f"{inrcodec.__version__} {sources()} {name} {info.id.hex()} effort {effort} {device}"
        encode = partial(_encode, effort=effort, model=name, device=device)
        decode = partial(_decode, modality=modality, device=device)
        own = NAME if effort == default else f"{NAME}-e{effort}"
        codecs.append(Codec(own, modality, version, qualities, encode, decode))
    return codecs, []


def signal_of(item: Item) -> Signal:
    """An item as the signal that its file would have become."""
    if item.modality == "audio":
        return Signal.sound(item.values, round(item.rate))
    if item.modality == "image":
        return Signal.from_array(item.values)
    if item.modality == "video":
        return Signal(item.values, VideoFormat(Fraction(item.rate or 25).limit_denominator(1000), len(item.values)))
    if item.modality == "field":
        rows, columns = item.values.shape[-2:]  # the whole globe, pole to pole
        place = {"latitude": [90.0, -180.0 / max(rows - 1, 1)], "longitude": [0.0, 360.0 / columns], "units": item.unit}
        return Signal.numbers(item.values[..., None], "field", dims=2, info=place if item.unit else {})
    if item.modality == "shape":
        features = distance.to_features(distance.from_voxels(item.values > 0))
        return Signal.numbers(features, "shape", info={"kind": "voxels"})
    return Signal.numbers(item.values, item.modality)


def _encode(item: Item, point: float, effort: int, model: str, device: str) -> bytes:
    settings = codec.Settings(quality=point, effort=effort, model=model, device=device)
    return codec.compress(signal_of(item), settings).data


def _decode(data: bytes, modality: Modality, device: str) -> Values:
    values = codec.decode(data, device=device)
    if modality == "shape":
        return (values[..., 0] > 0.5).astype(np.uint8)
    return values if modality in ("image", "audio", "video") else values[..., 0]


@cache
def sources() -> str:
    """A short hash of the code that shapes a stream: a kept result is as good as the code that made it."""
    package = Path(inrcodec.__file__).parent
    parts = [p for p in sorted(package.rglob("*.py")) if p.relative_to(package).parts[0] not in _ELSEWHERE]
    return hashlib.sha256(b"\0".join(p.read_bytes() for p in parts)).hexdigest()[:8]


_ELSEWHERE = ("bench", "cli", "training")
