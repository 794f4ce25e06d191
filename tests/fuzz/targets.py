"""What is fed: functions of bytes that may raise members of `inrcodec.errors` only, and what to begin with."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import inrcodec
from inrcodec import basemodels, codec, container, entropy, formats
from inrcodec.errors import InrcodecError, OutOfMemory
from inrcodec.signal import FORMATS, SampleFormat, Signal

from . import seeds
from .mutation import damaged, rewritten, seal
from .seeds import POSITIONS

PIXELS = 1 << 16  # limit of readers here, lest one input take minutes by right
ITEMS = 4  # how many are looked at

Mutate = Callable[[bytes, Sequence[bytes], Random], bytes]


@dataclass(frozen=True)
class Target:
    run: Callable[[bytes], Any]
    seeds: Callable[[], list[bytes]]
    mutate: Mutate = damaged


@contextmanager
def networks_kept() -> Iterator[None]:
    """Base networks stay in memory: more of them take turns here than a program has in use."""
    load, by_id = cache(basemodels.load.__wrapped__), cache(basemodels.by_id)
    with patch.object(basemodels, "load", load), patch.object(basemodels, "by_id", by_id):
        yield


@contextmanager
def refusals() -> Iterator[None]:
    """To refuse an input is right; to run out of memory is not."""
    try:
        yield
    except OutOfMemory:
        raise
    except InrcodecError:
        pass


def read_container(data: bytes) -> None:
    """All ways into a container; each must end by itself."""
    for use in (container.read_header, container.describe, container.read, container.salvage):
        with refusals():
            use(data)
    with refusals():
        container.read(data, prefix=True)


def decode(data: bytes) -> list[NDArray[Any]]:
    """A stream → samples of its first items; and the file that it would become."""
    signal = codec.reconstruct(data, None, None, None, None, False, "cpu", POSITIONS, lambda *_: None)
    values = _touch(signal)
    if signal.items <= ITEMS:
        with refusals():
            formats.write(signal, formats.plain(signal.format.modality))
    return values


def enlarge(data: bytes) -> None:
    """One item of a stream between its samples; and what a prefix of the stream gives."""
    items = container.read_header(data)[0].items
    item = None if items is None else items - 1
    with refusals():
        inrcodec.decode(data[: len(data) * 3 // 4], item=item, preview=True, max_pixels=POSITIONS, device="cpu")
    inrcodec.decode(data, item=item, scale=1.2, max_pixels=2 * POSITIONS, device="cpu")


def recover(data: bytes) -> None:
    """What is intact of a damaged stream."""
    _touch(codec.reconstruct(data, None, None, None, None, False, "cpu", POSITIONS, lambda *_: None, recover=True))


def decode_symbols(data: bytes) -> None:
    """Four bytes that choose the tables, then a section."""
    rng = np.random.default_rng(int.from_bytes(data[:4], "little"))
    indices = rng.integers(0, 641, rng.integers(0, 300)).astype(np.uint16)
    decoder = entropy.Decoder(data[4:], _tables())
    for part in np.array_split(indices, 3):
        symbols = decoder.decode(part)
        if symbols.shape != part.shape or (symbols < 0).any() or (symbols > 511).any():
            raise AssertionError(f"symbols {symbols}")
    decoder.finish()


def sample_format(data: bytes) -> SampleFormat:
    """Modality, sample byte, items, three sides, then a modality block. What is accepted must write itself again."""
    data = data.ljust(7, b"\0")
    kind = list(FORMATS)[data[0] % len(FORMATS)]
    byte, items, dims = data[1], 1 + data[2] % 5, {"image": 2, "audio": 1, "field": 2, "array": 1 + data[3] % 3}
    shape = tuple(1 + side % 9 for side in data[4 : 4 + dims.get(kind, 3)])
    form = FORMATS[kind](byte, data[7:], shape, items)
    form.dimensions(shape)
    form.of_item(items - 1, shape)
    form.placed(tuple((0, n) for n in shape), shape, items)
    again = FORMATS[kind](form.to_byte(), form.to_block(), shape, items)
    if again != form and repr(again) != repr(form):  # keys of a description may change places; NaN is not itself
        raise AssertionError(f"{form} became {again}")
    return form


def read_image(data: bytes) -> Signal:
    return formats.image.read(data, PIXELS)


def read_audio(data: bytes) -> None:
    _touch(formats.audio.read(data))


def read_video(data: bytes) -> None:
    _touch(formats.video.read(data, PIXELS << 3))


def read_volume(data: bytes) -> None:
    _touch(formats.volume.read(data))


def read_shape(data: bytes) -> None:
    _touch(formats.shape.read(data, resolution=16))


def read_field(data: bytes) -> None:
    _touch(formats.field.read(data))


def read_array(data: bytes) -> None:
    _touch(formats.array.read(data))


def read_any(data: bytes) -> None:
    """As files come in: the reader is chosen by the leading bytes. Meshes have a target of their own, being slow."""
    if not formats.shape.sniff(data[:4096], ""):
        _touch(formats.read(data))


def _touch(signal: Signal) -> list[NDArray[Any]]:
    """Read what is lazy, one item after another."""
    return [np.asarray(signal.item(k)[...]) for k in range(min(signal.items, ITEMS))]


def either(data: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """A stream that is damaged and sealed again, or written anew from changed parts."""
    return seal(damaged(data, others, rng)) if rng.random() < 0.5 else rewritten(data, others, rng)


@cache
def _tables() -> entropy.Tables:
    return basemodels.load(basemodels.by_name("tiny"), "cpu").tables


TARGETS: dict[str, Target] = {
    "container": Target(read_container, lambda: seeds.streams() + seeds.bad_streams()),
    "sealed": Target(read_container, seeds.streams, either),
    "decode": Target(decode, seeds.streams, either),
    "enlarge": Target(enlarge, seeds.streams, either),
    "recover": Target(recover, seeds.checked_streams),
    "entropy": Target(decode_symbols, seeds.sections),
    "samples": Target(sample_format, seeds.sample_formats),
    "image": Target(read_image, seeds.images),
    "audio": Target(read_audio, seeds.sounds),
    "video": Target(read_video, seeds.films),
    "volume": Target(read_volume, seeds.volumes),
    "shape": Target(read_shape, seeds.shapes),
    "field": Target(read_field, seeds.fields),
    "array": Target(read_array, seeds.arrays),
    "any": Target(read_any, lambda: [s for kind in seeds.FILES for s in kind()]),
}
