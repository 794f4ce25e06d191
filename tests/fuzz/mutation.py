"""Damage: byte strings in, byte strings of the same family out. Plain, seeded, and without a dependency."""

import json
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from inrcodec import container

HUGE = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)
VARINTS = (b"\x00", b"\x80\x00", b"\xff\xff\x03", b"\x80\x80\x40", b"\xff" * 5 + b"\x3f", b"\xff" * 7, b"\x80" * 9)
VALUES: tuple[Any, ...] = (
    *(0, -1, 1 << 70, 10**400, 1e300, float("nan"), float("inf"), True, None, "", "\0\x1b[31m", "x" * 70000),
    *([], [0], [0, 1], ["a", "b"], [1e308, 1e308], [None, None], [[0, 5], [0, 5], [0, 5]], [0.5] * 9, {}, {"a": []}),
    *([1, 1, 1], [0, -1, 0], [2, float("inf"), 1], "ab" * 348, "00" * 540, "../../etc/x", [{"name": "a", "size": 9}]),
)  # for keys of a description
SIDES = (1, 2, 3, 7, 64, 65, 1024, 1025, 1 << 16, (1 << 16) + 1, 1 << 31, 1 << 32)


def seal(data: bytes) -> bytes:
    """A stream with the check sum of all that comes before it."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def damaged(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """One to four mutations of the bytes of a file; others: what may be spliced in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_MUTATIONS)(out, others, rng)
    return bytes(out)


def rewritten(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A stream whose container is in order, and whose header or sections are not what they were."""
    header, sections = container.read(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.5:
            header = replace(header, **_field(header, rng))
        else:
            sections = _sections(sections, others, rng)
    return container.write(header, sections)


def endless(
    seeds: Sequence[bytes], mutate: Callable[[bytes, Sequence[bytes], random.Random], bytes], seed: int
) -> Iterator[bytes]:
    """Mutants of the seeds, for ever; the same ones for the same seed."""
    rng = random.Random(seed)
    while True:
        yield mutate(rng.choice(seeds), seeds, rng)


def _place(out: bytearray, rng: random.Random) -> int:
    """Somewhere; half of the time in the first 128 bytes, where headers are."""
    return rng.randrange(min(len(out), 128) if rng.random() < 0.5 else len(out)) if out else 0


def _flip(out: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    if out:
        out[_place(out, rng)] ^= 1 << rng.randrange(8)


def _byte(out: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    if out:
        out[_place(out, rng)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(out: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    size, value = rng.choice((2, 4, 8)), rng.choice(HUGE)
    at = _place(out, rng)
    out[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, rng.choice(("little", "big")))


def _varint(out: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    at = _place(out, rng)
    out[at : at + rng.randrange(3)] = rng.choice(VARINTS)


def _digits(out: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    """Numbers that are written as text."""
    places = [k for k in range(min(len(out), 4096)) if 48 <= out[k] <= 57]
    if places:
        at = rng.choice(places)
        out[at : at + 1] = rng.choice((b"0", b"9", b"-1", b"99999", b"4294967295", b"9" * 19, b"1e999", b"nan"))


def _cut(out: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    at = _place(out, rng)
    del out[at : at + rng.choice((1, 2, 4, 16, 256))]


def _truncate(out: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    del out[_place(out, rng) :]


def _extend(out: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    out += rng.randbytes(rng.choice((1, 4, 64, 1000)))


def _repeat(out: bytearray, _: Sequence[bytes], rng: random.Random) -> None:
    at = _place(out, rng)
    out[at:at] = out[at : at + rng.choice((1, 8, 64))] * rng.choice((1, 2, 30))


def _splice(out: bytearray, others: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(others)
    at, start = _place(out, rng), rng.randrange(len(other) + 1)
    out[at : rng.choice((at, len(out)))] = other[start : start + rng.choice((4, 64, 1 << 20))]


_MUTATIONS = (_flip, _flip, _byte, _byte, _number, _varint, _digits, _cut, _truncate, _extend, _repeat, _splice)


def _field(header: container.Header, rng: random.Random) -> dict[str, Any]:
    """Another value for one field of a header."""
    name = rng.choice(
        (
            "method",
            "modality",
            "residual",
            "shape",
            "shape",
            "samples",
            "operating_point",
            "block",
            "block",
            "items",
            "axes",
        )
    )
    match name:
        case "method":
            return {"method": rng.choice((*container.METHODS.values(), 0, 127))}
        case "residual":
            return {"residual": not header.residual}
        case "modality":
            return {"modality": rng.choice((*container.MODALITIES.values(), 0, 15))}
        case "shape":
            shape = list(header.shape)
            at = rng.randrange(len(shape))
            shape[at] = rng.choice((*SIDES, max(1, shape[at] - 1), shape[at] + 1))
            return {"shape": tuple(shape)}
        case "axes":
            return {"shape": tuple(rng.randint(1, 9) for _ in range(rng.randint(1, 4)))}
        case "items":
            return {"items": rng.choice((None, 1, 2, 3, 1 << 20))}
        case "block":
            change = _described if len(header.block) > 16 and rng.random() < 0.5 else damaged
            return {"block": change(header.block or bytes(16), [header.block or b"?"], rng)[: container.MAX_BLOCK]}
    return {name: rng.randrange(256)}


def _described(block: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A block of numbers whose description, deflated JSON, is damaged, or says other things."""
    end = 16 + int.from_bytes(block[13:16], "little")
    try:
        info = json.loads(zlib.decompress(block[16:end], -15))
        key = rng.choice([*info, "latitude", "longitude", "kind", "window", "spacing", "nifti", "variable", "dims"])
        text = json.dumps(info | {key: rng.choice(VALUES)}).encode()
    except (zlib.error, ValueError, TypeError):
        return damaged(block, others, rng)
    text = damaged(text, [text], rng) if rng.random() < 0.3 else text
    deflated = zlib.compress(text, 9, -15)
    return block[:13] + len(deflated).to_bytes(3, "little") + deflated + block[end:]


def _sections(sections: list[bytes], others: Sequence[bytes], rng: random.Random) -> list[bytes]:
    """Sections damaged, swapped, emptied, filled with noise, dropped, doubled, or those of another stream."""
    out = list(sections)
    at = rng.randrange(len(out)) if out else 0
    match rng.choice(("damage", "damage", "damage", "swap", "empty", "noise", "drop", "double", "other")):
        case "damage" if out:
            out[at] = damaged(out[at], sections, rng)
        case "swap" if out:
            other = rng.randrange(len(out))
            out[at], out[other] = out[other], out[at]
        case "empty" if out:
            out[at] = b""
        case "noise" if out:
            out[at] = rng.randbytes(rng.choice((1, len(out[at]), 3000)))
        case "drop" if out:
            del out[at]
        case "double" if out:
            out.insert(at, out[at])
        case "other":
            out = container.read(rng.choice(others))[1]
    return out
