"""The container: header + sections ⇄ bytes. The only file that knows byte offsets; docs/format.md is normative.

magic 4 · version 1 · method 1 · modality 1 · model id 4 · shape varints · [items varint] · sample format 1
· operating point 1 · [modality block] · section count varint · section lengths varints
· [section checks 2 each, of all before them and the section] · sections · CRC-32 of all before it

This is the short form; with three sections, which most images have, the count is left out. Only these are written. The
long form has a model id of 6 bytes, checks of the sections alone, and after them a CRC-32 of all before it.
"""

import json
import math
import struct
import zlib
from dataclasses import dataclass

from inrcodec.errors import CorruptStream, LimitExceeded, NotAStream, TruncatedStream, UnsupportedVersion

MAGIC = b"\x89INR"
VERSION = 1
MODEL_ID_BYTES = 4

METHODS = {
    "pyramid": 1,
    "coin": 2,
    "coinpp": 3,
    "functa": 4,
    "mscn": 5,
    "vcinr": 6,
    "flowcoin": 7,
    "doh": 8,
    "spatial-functa": 9,
}
MODALITIES = {"image": 1, "audio": 2, "field": 3, "volume": 4, "video": 5, "shape": 6, "array": 7}
DTYPES = (
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)
"""Ids, and places, are frozen by a test and never reused."""

MAX_SIDE = 1 << 32
MAX_ITEMS = 1 << 20
MAX_SECTIONS = 1 << 20
MAX_BLOCK = 1 << 24

CHECKED_FROM = 4096
CHECKED_SECTION = 256
"""Bytes of a payload, and of a section on average, from which `write` adds section checks: 2 bytes a section are then
below 1 % of the file (0.15 % of an image). Smaller files are soon sent again."""

# In the method byte: id in bits 0-3, bits 4-5 = form (0 long, 1 short with three sections and no count, 2 short),
# bit 6 = the error is bounded, bit 7 = checks.
_FORM, _SHORT_OF_THREE, _SHORT, _RESIDUAL_FLAG, _CHECKS_FLAG = 0x30, 0x10, 0x20, 0x40, 0x80
_LONG_ID_BYTES = 6
# In the modality byte: id in bits 0-3, bit 4 = number of items follows, axes − 1 in bits 5-6, bit 7 = block follows.
_ID, _ITEMS_FLAG, _AXES_SHIFT, _BLOCK_FLAG = 0x0F, 0x10, 5, 0x80
_LEVELS = 3  # the sections of a pyramid come in so many runs of equal length


@dataclass(frozen=True)
class Header:
    """What a stream says before its payload. All fields are plain integers and bytes."""

    method: int  # 1…15, see METHODS
    modality: int  # 1…15, see MODALITIES
    model_id: bytes  # first 4 bytes of the SHA-256 of the base network; zeros where a method has none
    shape: tuple[int, ...]  # grid of an item, 1 to 4 axes, each 1…2^32
    samples: int  # 0…255, one byte: how samples looked in the file (`SampleFormat.to_byte`)
    operating_point: int  # 0…255
    block: bytes = b""  # what only this modality needs
    items: int | None = None  # of a batch, else None
    residual: bool = False  # sections follow that bound the error of the samples: one, and one for each item


def write(header: Header, sections: list[bytes]) -> bytes:
    """Header and sections, coarse to fine → the bytes of a file."""
    modality = header.modality | (len(header.shape) - 1) << _AXES_SHIFT | (_BLOCK_FLAG if header.block else 0)
    modality |= 0 if header.items is None else _ITEMS_FLAG
    payload = sum(map(len, sections))
    checked = payload >= max(CHECKED_FROM, CHECKED_SECTION * len(sections))
    out = bytearray(MAGIC)
    form = _SHORT_OF_THREE if len(sections) == 3 else _SHORT
    flags = form | (_CHECKS_FLAG if checked else 0) | (_RESIDUAL_FLAG if header.residual else 0)
    out += bytes((VERSION, header.method | flags, modality))
    out += header.model_id
    for side in header.shape:
        out += _varint(side)
    if header.items is not None:
        out += _varint(header.items)
    out += bytes((header.samples, header.operating_point))
    if header.block:
        out += _varint(len(header.block)) + header.block
    if form == _SHORT:
        out += _varint(len(sections))
    for section in sections:
        out += _varint(len(section))
    if checked:
        seed = zlib.crc32(out)
        for section in sections:
            out += _check(section, seed)
    for section in sections:
        out += section
    return bytes(out + _crc(out))


def read(data: bytes, prefix: bool = False) -> tuple[Header, list[bytes]]:
    """The bytes of a file → header and sections.

    With `prefix`, data may end early: the sections that are complete are returned, verified if they have checks.
    Raises NotAStream, UnsupportedVersion, TruncatedStream, CorruptStream or LimitExceeded.
    """
    table = _Table.read(data)
    sections, missing = table.sections(data), table.end + 4 - len(data)
    if missing > 0 and not prefix:
        raise TruncatedStream(f"the stream has {len(data)} of {table.end + 4} bytes")
    if missing < 0:
        raise CorruptStream(f"{-missing} bytes follow the end of the stream")
    if damaged := table.damaged(sections):
        table.trust(damaged, sections)
        raise CorruptStream(f"damaged: {_numbers(damaged)} of sections 0 to {len(table.lengths) - 1}")
    if not missing and data[-4:] != _crc(data[:-4]):
        computed, stored = int.from_bytes(_crc(data[:-4]), "little"), int.from_bytes(data[-4:], "little")
        raise CorruptStream(f"the check sum is {computed:08x}, the stream says {stored:08x}")
    return table.header, sections


def salvage(data: bytes) -> tuple[Header, list[bytes | None]]:
    """The bytes of a damaged file → header and its sections, None for those that are incomplete or fail their check.

    Bytes after the end are left out. Raises what `read_header` raises, and CorruptStream for a stream without section
    checks that is complete: nothing then says which sections are damaged.
    """
    table = _Table.read(data)
    sections, data = table.sections(data), data[: table.end + 4]
    if table.checks is None and len(data) == table.end + 4 and data[-4:] != _crc(data[:-4]):
        raise CorruptStream("damaged, and without section checks that would say where; nothing can be recovered")
    damaged = table.damaged(sections)
    table.trust(damaged, sections)
    lost = set(damaged)
    found = [None if k in lost else section for k, section in enumerate(sections)]
    return table.header, found + [None] * (len(table.lengths) - len(found))


def read_header(data: bytes) -> tuple[Header, list[int], int]:
    """The header, the length of every section, and where the first section starts.

    Raises NotAStream, UnsupportedVersion, TruncatedStream, CorruptStream or LimitExceeded.
    """
    table = _Table.read(data)
    return table.header, table.lengths, table.start


@dataclass(frozen=True)
class _Table:
    """All that precedes the payload."""

    header: Header
    lengths: list[int]
    checks: bytes | None  # 2 bytes a section
    seed: int  # of the checks: the CRC-32 of what precedes them, in the short form
    start: int  # of the payload

    @property
    def end(self) -> int:
        """Of the payload."""
        return self.start + sum(self.lengths)

    def sections(self, data: bytes) -> list[bytes]:
        """Those that are complete."""
        found, position = [], self.start
        for length in self.lengths:
            if position + length > len(data):
                break
            found.append(data[position : position + length])
            position += length
        return found

    def damaged(self, sections: list[bytes]) -> list[int]:
        """Numbers of the sections that fail their check, as far as there are checks."""
        checks, seed = self.checks, self.seed
        return [k for k, s in enumerate(sections) if checks and _check(s, seed) != checks[2 * k : 2 * k + 2]]

    def trust(self, damaged: list[int], sections: list[bytes]) -> None:
        """Raise CorruptStream if it is the header that is damaged, of which all checks are in the short form."""
        if damaged and len(damaged) == len(sections):
            raise CorruptStream(f"the header is damaged, or all of its {len(sections)} sections are")

    @classmethod
    def read(cls, data: bytes) -> "_Table":
        if data[:4] != MAGIC[: len(data)] or not data:
            raise NotAStream(f"not an inrcodec stream: it starts with {data[:4].hex(' ') or 'nothing'}")
        reader = _Reader(data, 4)
        version = reader.byte()
        if version != VERSION:
            raise UnsupportedVersion(f"the stream has format version {version}; this program reads version {VERSION}")
        method, modality = reader.byte(), reader.byte()
        form = method & _FORM
        short = form in (_SHORT, _SHORT_OF_THREE)
        model_id = reader.take(MODEL_ID_BYTES if short else _LONG_ID_BYTES)[:MODEL_ID_BYTES]
        shape = tuple(reader.varint("a side", 1, MAX_SIDE) for _ in range((modality >> _AXES_SHIFT & 3) + 1))
        items = reader.varint("the number of items", 1, MAX_ITEMS) if modality & _ITEMS_FLAG else None
        samples, operating_point = reader.byte(), reader.byte()
        block = reader.take(reader.varint("the modality block", 1, MAX_BLOCK)) if modality & _BLOCK_FLAG else b""
        count = 3 if form == _SHORT_OF_THREE else reader.varint("the number of sections", 0, MAX_SECTIONS)
        if count > len(data) - reader.position:  # every length takes a byte: do not loop on a lie
            raise TruncatedStream(f"{count} section lengths announced, {len(data) - reader.position} bytes left")
        lengths = [reader.varint("a section", 0, 1 << 40) for _ in range(count)]
        checks, seed = None, zlib.crc32(data[: reader.position]) if short else 0
        if method & _CHECKS_FLAG:
            checks = reader.take(2 * count)
            if not short and reader.take(4) != _crc(data[: reader.position - 4]):
                raise CorruptStream("the header is damaged: it fails its check sum")
        residual = bool(method & _RESIDUAL_FLAG)
        number = method & ~(_CHECKS_FLAG | _RESIDUAL_FLAG | (_FORM if short else 0))
        header = Header(number, modality & _ID, model_id, shape, samples, operating_point, block, items, residual)
        return cls(header, lengths, checks, seed, reader.position)


def describe(data: bytes) -> dict[str, object]:
    """What a stream says of itself, its payload unread; also for a stream that ends inside its payload.

    Keys: format_version; method, modality: names, or numbers where they have none; model_id: hex; width, height,
    channels and bits of an image; seconds, rate, channels and samples of a sound; width, height,
    frames, frame_rate and sound_bytes of a film; else
    shape, samples, channels and what the file said (variable, units); items of a batch;
    operating_point; bytes: what is there; header_bytes: what precedes the payload; payload_bytes: as
    announced; sections: how many; section_bytes: the sizes of those of the field, one list per level, coarse to fine;
    residual_bytes: all that bounds the error, and max_error: the bound, in stored units, 0 if lossless; both if any;
    bits_per_pixel, kilobits_per_second or bits_per_sample: of what is there; check_sum: "matches", "does not match" or
    "missing";
    section_checks: whether there are any; damaged_sections: the numbers, from 0, of those that fail theirs;
    missing_bytes, surplus_bytes.
    Raises what `read_header` raises.
    """
    table = _Table.read(data)
    header, lengths, start = table.header, table.lengths, table.start
    payload = sum(lengths)
    missing = start + payload + 4 - len(data)
    extra = 1 + (header.items or 1) if header.residual else 0
    own, residual = lengths[: len(lengths) - extra], lengths[len(lengths) - extra :]
    sizes: list[object] = list(own)
    if header.method == METHODS["pyramid"] and header.items is None and own and len(own) % _LEVELS == 0:
        run = len(own) // _LEVELS
        sizes = [own[k : k + run] for k in range(0, len(own), run)]
    if missing:
        check_sum = "missing" if missing > 0 else "does not match"
    else:
        check_sum = "matches" if data[-4:] == _crc(data[:-4]) else "does not match"
    return {
        "format_version": VERSION,
        "method": _name(METHODS, header.method),
        "modality": _name(MODALITIES, header.modality),
        "model_id": header.model_id.hex(),
        **_samples(header),
        **({} if header.items is None else {"items": header.items}),
        "operating_point": header.operating_point,
        "bytes": len(data),
        "header_bytes": start,
        "payload_bytes": payload,
        "sections": len(lengths),
        "section_bytes": sizes,
        **({"residual_bytes": sum(residual)} if header.residual else {}),
        **(_bound(data[start + sum(own) :][: residual[0]]) if header.residual and residual else {}),
        **_rate(header, len(data)),
        "check_sum": check_sum,
        "section_checks": table.checks is not None,
        "damaged_sections": table.damaged(table.sections(data)),
        "missing_bytes": max(missing, 0),
        "surplus_bytes": max(-missing, 0),
    }


def _bound(common: bytes) -> dict[str, object]:
    """What the section of the bound begins with (docs/bounds.md, 1); nothing if it is not there."""
    if not common:
        return {}
    guided, lossless = common[0] & 1, common[0] & 2
    if lossless:
        return {"max_error": 0.0}
    field = common[1 + guided :][:8]
    return {"max_error": struct.unpack("<d", field)[0]} if len(field) == 8 else {}


def _samples(header: Header) -> dict[str, object]:
    """Shape and sample format as people say them; the bare numbers where this program does not know them."""
    byte, block = header.samples, header.block
    if header.modality == MODALITIES["image"] and len(header.shape) == 2 and byte < 8:
        size = {"width": header.shape[1], "height": header.shape[0]}
        return {**size, "channels": (byte & 3) + 1, "bits": 16 if byte & 4 else 8}
    if header.modality == MODALITIES["audio"] and len(header.shape) == 1 and byte < 24 and len(block) == 3:
        rate = int.from_bytes(block, "little") + 1
        seconds = round(header.shape[0] / rate, 3)
        kind = ("16-bit", "32-bit", "float")[byte >> 3]
        return {"seconds": seconds, "rate": rate, "channels": (byte & 7) + 1, "samples": kind}
    if header.modality == MODALITIES["video"] and len(header.shape) == 3 and byte == 0 and len(block) >= 11:
        top, bottom, frames = (int.from_bytes(block[a:b], "little") for a, b in ((0, 3), (3, 6), (6, 11)))
        size = {"width": header.shape[2], "height": header.shape[1], "frames": frames}
        return {**size, "frame_rate": round((top + 1) / (bottom + 1), 3), "sound_bytes": len(block) - 11}
    if header.modality in _NUMBERS and byte < len(DTYPES) and len(block) >= 16:
        channels = {"channels": block[12]} if block[12] > 1 else {}
        return {"shape": header.shape, "samples": DTYPES[byte], **channels, **_said(block)}
    return {"shape": header.shape, "samples": byte}


_NUMBERS = [MODALITIES[name] for name in ("field", "volume", "shape", "array")]


def _said(block: bytes) -> dict[str, object]:
    """Short texts of the description in the block of numbers: variable, units, kind."""
    try:
        inflate = zlib.decompressobj(-15)
        info = json.loads(
            inflate.decompress(block[16 : 16 + int.from_bytes(block[13:16], "little")], MAX_BLOCK) or "{}"
        )
        return {key: str(info[key])[:80] for key in ("variable", "units", "kind") if key in info}
    except (zlib.error, ValueError, TypeError, RecursionError):
        return {}


def _rate(header: Header, size: int) -> dict[str, object]:
    """Bits per pixel of an image, kilobits per second of a sound, bits per sample position of all else."""
    bits = 8 * size / (math.prod(header.shape) * (header.items or 1))
    fields = _samples(header)
    if "width" in fields:
        return {"bits_per_pixel": round(bits, 4)}
    if "rate" in fields:
        return {"kilobits_per_second": round(bits * int(str(fields["rate"])) / 1000, 3)}
    return {"bits_per_sample": round(bits, 4)}


def _name(ids: dict[str, int], number: int) -> str | int:
    return next((name for name, value in ids.items() if value == number), number)


class _Reader:
    def __init__(self, data: bytes, position: int):
        self.data, self.position = data, position

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise TruncatedStream(f"the stream ends at byte {len(self.data)}, inside its header")
        out, self.position = self.data[self.position : end], end
        return out

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self, what: str, low: int, high: int) -> int:
        """LEB128, at most 6 bytes, shortest form only."""
        value = 0
        for shift in range(0, 42, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                if shift and byte == 0:
                    raise CorruptStream(f"{what} is not written in its shortest form")
                if not low <= value <= high:
                    raise LimitExceeded(f"{what} is {value}; allowed are {low} to {high}")
                return value
        raise CorruptStream(f"{what} is longer than 6 bytes")


def _check(section: bytes, seed: int) -> bytes:
    return (zlib.crc32(section, seed) & 0xFFFF).to_bytes(2, "little")


def _crc(data: bytes | bytearray) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def _numbers(values: list[int]) -> str:
    """ "1, 2, 5", or the first ones of many."""
    shown = ", ".join(map(str, values[:8]))
    return shown if len(values) <= 8 else f"{shown}, … ({len(values)} in all)"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))
