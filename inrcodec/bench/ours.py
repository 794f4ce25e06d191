"""Our own codec among the others."""

import hashlib
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import numpy as np

import inrcodec
from inrcodec import basemodels, codec, fitting
from inrcodec.basemodels import ModelInfo
from inrcodec.bench.model import Codec, Item, Modality, Values
from inrcodec.container import METHODS
from inrcodec.errors import UsageError
from inrcodec.formats import distance
from inrcodec.methods.method import WITHOUT_NETWORK
from inrcodec.samples.video import VideoFormat
from inrcodec.signal import Signal

NAME = "inrcodec"
QUALITIES = (2.0, 12.0, 24.0, 36.0, 50.0, 64.0, 78.0, 92.0)
FEW = 8  # operating points that are worth a row
BY_RATE = (40.0, 50.0, 60.0, 70.0, 80.0, 90.0)  # qualities of methods that fit a network: 0.3 to 6.6 bits per position


def available(
    modality: Modality,
    methods: list[str],
    efforts: list[int],
    default: int,
    qualities: tuple[float, ...] | None,
    model: str | None,
    device: str,
) -> list[Codec]:
    """One codec per method and effort, named after both where they are not the default ones.

    Raises UnknownModel, UsageError.
    """
    codecs = []
    for method in methods:
        info = _network(modality, method, model)
        points = qualities or _qualities(method, info, device)
        base = NAME if method == "pyramid" else method
        network = f"{info.name} {info.id.hex()}" if info else "no network"
        for effort in efforts:
            version = f"{inrcodec.__version__} {sources()} {method} {network} effort {effort} {device}"
            name = info.name if info else None
            encode = partial(_encode, effort=effort, method=method, model=name, device=device)
            decode = partial(_decode, modality=modality, device=device)
            own = base if effort == default else f"{base}-e{effort}"
            codecs.append(Codec(own, modality, version, points, encode, decode))
    return codecs


def _network(modality: Modality, method: str, model: str | None) -> ModelInfo | None:
    if method not in METHODS:
        raise UsageError(f"no method '{method}'; there are {', '.join(METHODS)}")
    if method in WITHOUT_NETWORK:
        return None
    if method != "pyramid":
        return fitting.learned(method, modality)
    info = basemodels.by_name(model or fitting.DEFAULT[modality])
    if info.method != method:
        raise UsageError(f"base network {info.name} is of method {info.method}: --method, not --model, chooses it")
    return info


def _qualities(method: str, info: ModelInfo | None, device: str) -> tuple[float, ...]:
    """Few operating points have a row each; of many, some."""
    if info is None:
        return BY_RATE
    if method == "pyramid":
        return QUALITIES
    last = basemodels.load(info, device).points - 1
    return tuple(sorted({100.0 * round(k * last / (FEW - 1)) / last for k in range(FEW)}))


def signal_of(item: Item) -> Signal:
    """An item as the signal that its file would have become."""
    if item.signal is not None:
        return item.signal
    if item.modality == "audio":
        return Signal.sound(item.values, round(item.rate))
    if item.modality == "image":
        return Signal.from_array(item.values, "image")
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


def _encode(item: Item, point: float, effort: int, method: str, model: str | None, device: str) -> bytes:
    settings = codec.Settings(quality=point, effort=effort, method=method, model=model, device=device)
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
