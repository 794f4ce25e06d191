"""Makes tests/vectors_bad: streams that must fail, each named `<error>__<how>.inr` by the error it must raise.

    python tests/make_vectors.py

Writes what is missing and refuses to change what is there: a vector that changes is a change of the format.
"""

import re
import sys
import zlib
from pathlib import Path

from inrcodec import container
from inrcodec.container import MAX_BLOCK, MAX_SECTIONS, MAX_SIDE, Header

FOLDER = Path(__file__).parent / "vectors_bad"


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def stream(
    version: bytes = b"\x01",
    method: bytes = b"\x01",
    modality: bytes = b"\x21",
    shape: bytes = varint(40) + varint(56),
    samples: bytes = b"\x02",
    point: bytes = b"\x7f",
    block: bytes = b"",
    table: bytes = b"\x03\x02\x03\x04",
    payload: bytes = b"ABCDEFGHI",
) -> bytes:
    """A well-formed image stream of 40 x 56 RGB samples in 3 sections, or what is put in place of its fields."""
    return sealed(
        b"\x89INR" + version + method + modality + bytes(6) + shape + samples + point + block + table + payload
    )


def checked(
    method: bytes = b"\x81",
    payload: bytes = b"ABCDEFGHI",
    checks: tuple[bytes, ...] = (b"AB", b"CDE", b"FGHI"),
    table: bytes = b"",
    header: bytes = b"",
) -> bytes:
    """The same with section checks, made of the bytes that `checks` names, or what is put in place of its fields."""
    before = stream(method=method, payload=b"")[:-4]
    table = table or b"".join((zlib.crc32(section) & 0xFFFF).to_bytes(2, "little") for section in checks)
    return sealed(before + table + (header or zlib.crc32(before + table).to_bytes(4, "little")) + payload)


def short(method: bytes = b"\x21", checks: bytes = b"") -> bytes:
    """The first stream in the short form."""
    return sealed(stream(method=method, payload=b"").replace(bytes(6), bytes(4))[:-4] + checks + b"ABCDEFGHI")


def short_checked(header: bytes = b"", *checks: bytes) -> bytes:
    """The same with section checks, made of these bytes."""
    before = header or short(b"\xa1")[: -4 - 9]
    sums = (zlib.crc32(before + section) & 0xFFFF for section in checks or (b"AB", b"CDE", b"FGHI"))
    return short(b"\xa1", b"".join(check.to_bytes(2, "little") for check in sums))


def three(method: bytes = b"\x11", checks: bytes = b"") -> bytes:
    """The same in the short form of three sections."""
    return sealed(short(method, checks)[:-4].replace(b"\x7f\x03", b"\x7f"))


def three_checked() -> bytes:
    before = three(b"\x91")[: -4 - 9]
    sums = (zlib.crc32(before + section) & 0xFFFF for section in (b"AB", b"CDE", b"FGHI"))
    return three(b"\x91", b"".join(check.to_bytes(2, "little") for check in sums))


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def resealed(data: bytes) -> bytes:
    """With a check sum at the end that is right again."""
    return sealed(data[:-4])


def vectors() -> dict[str, bytes]:
    good = stream()
    payload = len(good) - 4 - 9
    sections = [b"AB", b"CDE", b"FGHI"]
    assert container.read(good) == (Header(1, 1, bytes(4), (40, 56), 2, 127), sections)
    assert container.write(Header(1, 1, bytes(4), (40, 56), 2, 127), sections) == three()
    assert container.read(short())[1] == sections
    for data in (checked(), short_checked(), three_checked()):
        assert container.salvage(data)[1] == sections
    return {
        "not_a_stream__empty": b"",
        "not_a_stream__png": bytes.fromhex("89504e470d0a1a0a0000000d49484452"),
        "not_a_stream__seven_bit_transfer": b"\x09" + good[1:],
        "unsupported_version__0": stream(version=b"\x00"),
        "unsupported_version__2": stream(version=b"\x02"),
        "truncated_stream__magic": good[:3],
        "truncated_stream__model_id": good[:10],
        "truncated_stream__shape": good[:14],
        "truncated_stream__section_table": good[: payload - 1],
        "truncated_stream__section": good[: payload + 4],
        "truncated_stream__check_sum": good[:-1],
        "truncated_stream__section_count_beyond_the_data": stream(table=varint(MAX_SECTIONS), payload=b""),
        "truncated_stream__section_length_beyond_the_data": stream(table=b"\x01" + varint(1 << 40)),
        "truncated_stream__block_beyond_the_data": stream(modality=b"\xa1", block=varint(MAX_BLOCK)),
        "corrupt_stream__check_sum": flipped(good, len(good) - 1),
        "corrupt_stream__header_bit": flipped(good, 16),
        "corrupt_stream__payload_bit": flipped(good, payload),
        "corrupt_stream__trailing_byte": good + b"\x00",
        "corrupt_stream__side_not_shortest": stream(shape=b"\xa8\x00" + varint(56)),
        "corrupt_stream__side_of_7_bytes": stream(shape=b"\x80\x80\x80\x80\x80\x80\x01" + varint(56)),
        "corrupt_stream__count_not_shortest": stream(table=b"\x83\x00\x02\x03\x04"),
        "corrupt_stream__length_not_shortest": stream(table=b"\x03\x82\x80\x00\x03\x04"),
        "limit_exceeded__side_zero": stream(shape=varint(0) + varint(56)),
        "limit_exceeded__side": stream(shape=varint(MAX_SIDE + 1) + varint(56)),
        "limit_exceeded__side_of_6_bytes": stream(shape=varint((1 << 42) - 1) + varint(56)),
        "limit_exceeded__section_count": stream(table=varint(MAX_SECTIONS + 1)),
        "limit_exceeded__section_length": stream(table=b"\x01" + varint((1 << 40) + 1)),
        "limit_exceeded__block_empty": stream(modality=b"\xa1", block=b"\x00"),
        "limit_exceeded__block_length": stream(modality=b"\xa1", block=varint(MAX_BLOCK + 1)),
        "truncated_stream__section_checks": checked()[: payload + 5],
        "truncated_stream__header_check": checked()[: payload + 9],
        "truncated_stream__checked_section": checked()[: payload + 14],
        "corrupt_stream__header_check": checked(header=bytes(4)),
        "corrupt_stream__checked_header_bit": resealed(flipped(checked(), 16)),
        "corrupt_stream__section_check_bit": resealed(flipped(checked(), payload + 3)),
        "corrupt_stream__section_check": checked(checks=(b"AB", b"CDF", b"FGHI")),
        "corrupt_stream__checked_payload_bit": flipped(checked(), payload + 10),
        "corrupt_stream__checked_check_sum": flipped(checked(), len(checked()) - 1),
        "truncated_stream__short_model_id": short()[:8],
        "truncated_stream__short_section_checks": short_checked()[: payload + 2],
        "truncated_stream__short_section": short_checked()[: payload + 6],
        "corrupt_stream__short_header_bit": resealed(flipped(short_checked(), 14)),
        "corrupt_stream__short_section_check": resealed(flipped(short_checked(), payload + 1)),
        "corrupt_stream__short_checks_of_another_header": short_checked(b"another"),
        "corrupt_stream__short_checks_of_other_sections": short_checked(b"", b"A", b"CD", b"FGH"),
        "corrupt_stream__short_payload_bit": resealed(flipped(short_checked(), payload + 7)),
        "corrupt_stream__short_check_sum": flipped(short_checked(), len(short_checked()) - 1),
        "truncated_stream__short_checks_announced_and_absent": short(method=b"\xa1"),
        "truncated_stream__three_section_table": three()[: payload - 5],
        "truncated_stream__three_section_checks": three_checked()[: payload + 1],
        "truncated_stream__three_checks_announced_and_absent": three(method=b"\x91"),
        "corrupt_stream__three_header_bit": resealed(flipped(three_checked(), 14)),
        "corrupt_stream__three_payload_bit": resealed(flipped(three_checked(), payload + 6)),
        "corrupt_stream__three_check_sum": flipped(three(), len(three()) - 1),
        "corrupt_stream__unknown_method": stream(method=b"\xff"),
        "corrupt_stream__checks_announced_and_absent": stream(method=b"\x81"),
        # well-formed containers that no image decoder may accept
        "corrupt_stream__unknown_method_63": stream(method=b"\x3f"),
        "corrupt_stream__unknown_short_method": short(method=b"\x2f"),
        "corrupt_stream__unknown_method_of_three": three(method=b"\x1f"),
        "corrupt_stream__unknown_modality": stream(modality=b"\x2f"),
        "corrupt_stream__image_of_1_axis": stream(modality=b"\x01", shape=varint(40)),
        "corrupt_stream__image_of_3_axes": stream(modality=b"\x41", shape=varint(4) * 3),
        "corrupt_stream__image_with_a_block": stream(modality=b"\xa1", block=b"\x01\x00"),
        "corrupt_stream__reserved_sample_bit": stream(samples=b"\x0a"),
        "corrupt_stream__no_sections": stream(table=b"\x00", payload=b""),
        "corrupt_stream__too_few_sections": stream(table=b"\x02\x04\x05"),
        "corrupt_stream__too_many_sections": stream(table=b"\x04\x02\x03\x04\x00"),
        "limit_exceeded__pixels": stream(shape=varint(MAX_SIDE) * 2),
        "model_mismatch__not_installed": good,
    }


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    changed = []
    for name, data in vectors().items():
        assert re.fullmatch("[a-z_]+__[a-z0-9_]+", name)
        path = FOLDER / f"{name}.inr"
        if not path.exists():
            path.write_bytes(data)
            print(f"wrote {path.name}")
        elif path.read_bytes() != data:
            changed.append(path.name)
    for name in changed:
        print(f"{name} differs: delete it if the format really changed", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
