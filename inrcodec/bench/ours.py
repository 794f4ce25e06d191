"""Our own codec among the others."""

import hashlib
from functools import cache, partial
from pathlib import Path

import inrcodec
from inrcodec import basemodels, codec
from inrcodec.bench.model import Codec, Item, Modality, Values
from inrcodec.errors import UsageError
from inrcodec.signal import Signal

NAME = "inrcodec"
QUALITIES = (2.0, 12.0, 24.0, 36.0, 50.0, 64.0, 78.0, 92.0)


def available(
    modality: Modality, efforts: list[int], default: int, qualities: tuple[float, ...], model: str | None, device: str
) -> tuple[list[Codec], list[str]]:
    """One codec per effort, named after it where it is not the default one; notes on what is missing.

    Raises UnknownModel, UsageError.
    """
    name = model or basemodels.DEFAULT.get(modality)
    if name is None:
        return [], [f"{NAME}: skipped, there is no base network for {modality} yet"]
    info = basemodels.by_name(name)
    if info.modality != modality:
        raise UsageError(f"base network {name} is for signals of kind '{info.modality}', not '{modality}'")
    codecs = []
    for effort in efforts:
        version = f"{inrcodec.__version__} {sources()} {name} {info.id.hex()} effort {effort} {device}"
        encode = partial(_encode, effort=effort, model=name, device=device)
        decode = partial(_decode, device=device)
        own = NAME if effort == default else f"{NAME}-e{effort}"
        codecs.append(Codec(own, modality, version, qualities, encode, decode))
    return codecs, []


def _encode(item: Item, point: float, effort: int, model: str, device: str) -> bytes:
    audio = item.modality == "audio"
    signal = Signal.sound(item.values, round(item.rate)) if audio else Signal.from_array(item.values)
    return codec.compress(signal, codec.Settings(quality=point, effort=effort, model=model, device=device)).data


def _decode(data: bytes, device: str) -> Values:
    return codec.decode(data, device=device)


@cache
def sources() -> str:
    """A short hash of the code that shapes a stream: a kept result is as good as the code that made it."""
    package = Path(inrcodec.__file__).parent
    parts = [p for p in sorted(package.rglob("*.py")) if p.relative_to(package).parts[0] not in _ELSEWHERE]
    return hashlib.sha256(b"\0".join(p.read_bytes() for p in parts)).hexdigest()[:8]


_ELSEWHERE = ("bench", "cli", "training")
