"""The container: header + sections ⇄ bytes. The only file that knows byte offsets; docs/format.md is normative.

magic 4 · version 1 · method 1 · modality 1 · model id 6 · shape varints · [items varint] · sample format 1
· operating point 1 · [modality block] · section count varint · section lengths varints · sections
· CRC-32 of all before it
"""

import json
import math
import zlib
from dataclasses import dataclass

from inrcodec.errors import CorruptStream, LimitExceeded, NotAStream, TruncatedStream, UnsupportedVersion

MAGIC = b"\x89INR"
VERSION = 1
MODEL_ID_BYTES = 6

METHODS = {"pyramid": 1}
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

# In the modality byte: id in bits 0-3, bit 4 = number of items follows, axes − 1 in bits 5-6, bit 7 = block follows.
_ID, _ITEMS_FLAG, _AXES_SHIFT, _BLOCK_FLAG = 0x0F, 0x10, 5, 0x80
_LEVELS = 3  # the sections of a pyramid come in so many runs of equal length


@dataclass(frozen=True)
class Header:
    """What a stream says before its payload. All fields are plain integers and bytes."""

    method: int  # 1…255, see METHODS
    modality: int  # 1…15, see MODALITIES
    model_id: bytes  # first 6 bytes of the SHA-256 of the base network; zeros where a method has none
    shape: tuple[int, ...]  # grid of an item, 1 to 4 axes, each 1…2^32
    samples: int  # 0…255, one byte: how samples looked in the file (`SampleFormat.to_byte`)
    operating_point: int  # 0…255
    block: bytes = b""  # what only this modality needs
    items: int | None = None  # of a batch, else None


def write(header: Header, sections: list[bytes]) -> bytes:
    """Header and sections, coarse to fine → the bytes of a file."""
    modality = header.modality | (len(header.shape) - 1) << _AXES_SHIFT | (_BLOCK_FLAG if header.block else 0)
    modality |= 0 if header.items is None else _ITEMS_FLAG
    out = bytearray(MAGIC)
    out += bytes((VERSION, header.method, modality))
    out += header.model_id
    for side in header.shape:
        out += _varint(side)
    if header.items is not None:
        out += _varint(header.items)
    out += bytes((header.samples, header.operating_point))
    if header.block:
        out += _varint(len(header.block)) + header.block
    out += _varint(len(sections))
    for section in sections:
        out += _varint(len(section))
    for section in sections:
        out += section
    return bytes(out + zlib.crc32(out).to_bytes(4, "little"))


def read(data: bytes, prefix: bool = False) -> tuple[Header, list[bytes]]:
    """The bytes of a file → header and sections.

    With `prefix`, data may end early: the sections that are complete are returned, unverified.
    Raises NotAStream, UnsupportedVersion, TruncatedStream, CorruptStream or LimitExceeded.
    """
    header, lengths, start = read_header(data)
    sections, position = [], start
    for length in lengths:
        if position + length > len(data):
            break
        sections.append(data[position : position + length])
        position += length
    expected = start + sum(lengths) + 4
    if len(data) < expected:
        if prefix:
            return header, sections
        raise TruncatedStream(f"the stream has {len(data)} of {expected} bytes")
    if len(data) > expected:
        raise CorruptStream(f"{len(data) - expected} bytes follow the end of the stream")
    stored, computed = int.from_bytes(data[-4:], "little"), zlib.crc32(data[:-4])
    if stored != computed:
        raise CorruptStream(f"the check sum is {computed:08x}, the stream says {stored:08x}")
    return header, sections


def read_header(data: bytes) -> tuple[Header, list[int], int]:
    """The header, the length of every section, and where the first section starts."""
    if data[:4] != MAGIC[: len(data)] or not data:
        raise NotAStream(f"not an inrcodec stream: it starts with {data[:4].hex(' ') or 'nothing'}")
    reader = _Reader(data, 4)
    version = reader.byte()
    if version != VERSION:
        raise UnsupportedVersion(f"the stream has format version {version}; this program reads version {VERSION}")
    method, modality = reader.byte(), reader.byte()
    model_id = reader.take(MODEL_ID_BYTES)
    shape = tuple(reader.varint("a side", 1, MAX_SIDE) for _ in range((modality >> _AXES_SHIFT & 3) + 1))
    items = reader.varint("the number of items", 1, MAX_ITEMS) if modality & _ITEMS_FLAG else None
    samples, operating_point = reader.byte(), reader.byte()
    block = reader.take(reader.varint("the modality block", 1, MAX_BLOCK)) if modality & _BLOCK_FLAG else b""
    count = reader.varint("the number of sections", 0, MAX_SECTIONS)
    if count > len(data) - reader.position:  # every length takes a byte: do not loop on a lie
        raise TruncatedStream(f"{count} section lengths announced, {len(data) - reader.position} bytes left")
    lengths = [reader.varint("a section", 0, 1 << 40) for _ in range(count)]
    header = Header(method, modality & _ID, model_id, shape, samples, operating_point, block, items)
    return header, lengths, reader.position


def describe(data: bytes) -> dict[str, object]:
    """What a stream says of itself, its payload unread; also for a stream that ends inside its payload.

    Keys: format_version; method, modality: names, or numbers where they have none; model_id: hex; width, height,
    channels and bits of an image; seconds, rate, channels and samples of a sound; frames and rate of a film; else
    shape, samples, channels and what the file said (variable, units); items of a batch;
    operating_point; bytes: what is there; header_bytes: all but the payload, check sum included; payload_bytes: as
    announced; sections: how many; section_bytes: their sizes, one list per level, coarse to fine; bits_per_pixel,
    kilobits_per_second or bits_per_sample: of what is there; check_sum: "matches", "does not match" or "missing";
    missing_bytes, surplus_bytes.
    Raises what `read_header` raises.
    """
    header, lengths, start = read_header(data)
    payload = sum(lengths)
    missing = start + payload + 4 - len(data)
    sizes: list[object] = list(lengths)
    if header.method == METHODS["pyramid"] and header.items is None and sizes and len(sizes) % _LEVELS == 0:
        run = len(sizes) // _LEVELS
        sizes = [lengths[k : k + run] for k in range(0, len(lengths), run)]
    if missing:
        check_sum = "missing" if missing > 0 else "does not match"
    else:
        check_sum = "matches" if int.from_bytes(data[-4:], "little") == zlib.crc32(data[:-4]) else "does not match"
    return {
        "format_version": VERSION,
        "method": _name(METHODS, header.method),
        "modality": _name(MODALITIES, header.modality),
        "model_id": header.model_id.hex(),
        **_samples(header),
        **({} if header.items is None else {"items": header.items}),
        "operating_point": header.operating_point,
        "bytes": len(data),
        "header_bytes": start + 4,
        "payload_bytes": payload,
        "sections": len(lengths),
        "section_bytes": sizes,
        **_rate(header, len(data)),
        "check_sum": check_sum,
        "missing_bytes": max(missing, 0),
        "surplus_bytes": max(-missing, 0),
    }


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


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))
