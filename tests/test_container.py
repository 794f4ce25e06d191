import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec import container, errors
from inrcodec.container import METHODS, MODALITIES, Header, describe, read, read_header, salvage, write
from inrcodec.errors import CorruptStream, InrcodecError, TruncatedStream

BAD = Path(__file__).parent / "vectors_bad"

CONTAINER_VECTORS = [
    "not_a_stream__empty",
    "not_a_stream__png",
    "not_a_stream__seven_bit_transfer",
    "unsupported_version__0",
    "unsupported_version__2",
    "truncated_stream__magic",
    "truncated_stream__model_id",
    "truncated_stream__shape",
    "truncated_stream__section_table",
    "truncated_stream__section",
    "truncated_stream__check_sum",
    "truncated_stream__section_count_beyond_the_data",
    "truncated_stream__section_length_beyond_the_data",
    "truncated_stream__block_beyond_the_data",
    "corrupt_stream__check_sum",
    "corrupt_stream__header_bit",
    "corrupt_stream__payload_bit",
    "corrupt_stream__trailing_byte",
    "corrupt_stream__side_not_shortest",
    "corrupt_stream__side_of_7_bytes",
    "corrupt_stream__count_not_shortest",
    "corrupt_stream__length_not_shortest",
    "truncated_stream__section_checks",
    "truncated_stream__header_check",
    "truncated_stream__checked_section",
    "corrupt_stream__header_check",
    "corrupt_stream__checked_header_bit",
    "corrupt_stream__section_check_bit",
    "corrupt_stream__section_check",
    "corrupt_stream__checked_payload_bit",
    "corrupt_stream__checked_check_sum",
    "corrupt_stream__checks_announced_and_absent",
    "truncated_stream__short_model_id",
    "truncated_stream__short_section_checks",
    "truncated_stream__short_section",
    "corrupt_stream__short_header_bit",
    "corrupt_stream__short_section_check",
    "corrupt_stream__short_checks_of_another_header",
    "corrupt_stream__short_checks_of_other_sections",
    "corrupt_stream__short_payload_bit",
    "corrupt_stream__short_check_sum",
    "truncated_stream__short_checks_announced_and_absent",
    "truncated_stream__three_section_table",
    "truncated_stream__three_section_checks",
    "truncated_stream__three_checks_announced_and_absent",
    "corrupt_stream__three_header_bit",
    "corrupt_stream__three_payload_bit",
    "corrupt_stream__three_check_sum",
    "corrupt_stream__unknown_method",
    "limit_exceeded__side_zero",
    "limit_exceeded__side",
    "limit_exceeded__side_of_6_bytes",
    "limit_exceeded__section_count",
    "limit_exceeded__section_length",
    "limit_exceeded__block_empty",
    "limit_exceeded__block_length",
]
"""What `container.read` itself must refuse."""

IMAGE_VECTORS = [
    "corrupt_stream__unknown_method_63",
    "corrupt_stream__unknown_short_method",
    "corrupt_stream__unknown_method_of_three",
    "corrupt_stream__unknown_modality",
    "corrupt_stream__image_of_1_axis",
    "corrupt_stream__image_of_3_axes",
    "corrupt_stream__image_with_a_block",
    "corrupt_stream__reserved_sample_bit",
    "corrupt_stream__no_sections",
    "corrupt_stream__too_few_sections",
    "corrupt_stream__too_many_sections",
    "limit_exceeded__pixels",
    "model_mismatch__not_installed",
]
"""Well-formed containers that decoding must refuse, the model not being needed to see it."""

headers = st.builds(
    Header,
    method=st.integers(0, 15),
    residual=st.booleans(),
    modality=st.integers(0, 15),
    items=st.none() | st.integers(1, 1 << 20),
    model_id=st.binary(min_size=4, max_size=4),
    shape=st.lists(st.integers(1, container.MAX_SIDE), min_size=1, max_size=4).map(tuple),
    samples=st.integers(0, 255),
    operating_point=st.integers(0, 255),
    block=st.binary(max_size=200),
)
PHOTO = Header(1, 1, bytes.fromhex("d72ef54c"), (512, 768), 2, 127)
SMALL = write(Header(1, 1, b"abcd", (40, 56), 2, 127), [b"AB", b"", b"CDEFG"])


def expected_error(vector: str) -> type[InrcodecError]:
    name = "".join(word.capitalize() for word in vector.split("__")[0].split("_"))
    return getattr(errors, name)


@given(headers, st.lists(st.binary(max_size=300), max_size=20))
def test_round_trip(header: Header, sections: list[bytes]) -> None:
    data = write(header, sections)
    assert read(data) == (header, sections)
    assert read(data, prefix=True) == (header, sections)


def test_layout_is_frozen() -> None:
    data = write(Header(1, 1, b"abcd", (300, 5), 6, 200), [b"xyz"])
    assert data[:-4].hex(" ") == "89 49 4e 52 01 21 21 61 62 63 64 ac 02 05 06 c8 01 03 78 79 7a"
    assert data[-4:].hex(" ") == "c3 3c 24 f3"
    data = write(Header(1, 1, b"abcd", (300, 5), 6, 200), [b"xyz", b"", b"w"])  # three sections: no count
    assert data[:-4].hex(" ") == "89 49 4e 52 01 11 21 61 62 63 64 ac 02 05 06 c8 03 00 01 78 79 7a 77"


def test_ids_are_frozen() -> None:
    assert METHODS == {
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
    assert MODALITIES == {"image": 1, "audio": 2, "field": 3, "volume": 4, "video": 5, "shape": 6, "array": 7}
    assert container.DTYPES == (
        *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        *("float16", "float32", "float64"),
    )
    assert container.MAGIC == b"\x89INR" and container.VERSION == 1 and container.MODEL_ID_BYTES == 4


PHOTOGRAPHS = [(300, 1_500, 2_000), (900, 9_000, 22_000), (15_000, 40_000, 120_000), (20_000, 90_000, 400_000)]


@pytest.mark.parametrize("sizes", PHOTOGRAPHS)
def test_header_of_a_photograph(sizes: tuple[int, ...]) -> None:
    data = write(PHOTO, [bytes(n) for n in sizes])
    header, _, start = read_header(data)
    assert header == PHOTO and start <= 32 and len(data) == start + sum(sizes) + 4  # the check sum


@given(headers, st.lists(st.binary(max_size=9), min_size=1, max_size=5), st.data())
def test_any_prefix_is_refused(header: Header, sections: list[bytes], data: st.DataObject) -> None:
    whole = write(header, sections)
    end = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(errors.NotAStream if end == 0 else TruncatedStream):
        read(whole[:end])


@pytest.mark.parametrize("end", range(len(SMALL)))
def test_prefix_of_a_small_stream(end: int) -> None:
    with pytest.raises(InrcodecError):
        read(SMALL[:end])
    payload = len(SMALL) - 4 - 7
    if end >= payload:  # a preview: whole sections only
        _, sections = read(SMALL[:end], prefix=True)
        assert sections == [b"AB", b"", b"CDEFG"][: 3 if end >= payload + 7 else 2 if end >= payload + 2 else 0]


@pytest.mark.parametrize("bit", range(8 * len(SMALL)))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    damaged = bytearray(SMALL)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InrcodecError):
        read(bytes(damaged))


@given(headers, st.lists(st.binary(max_size=50), max_size=5), st.data())
def test_flipped_bits_are_refused(header: Header, sections: list[bytes], data: st.DataObject) -> None:
    damaged = bytearray(write(header, sections))
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InrcodecError):
        read(bytes(damaged))


STARTS = [b"", b"\x89INR", b"\x89INR\x01", b"\x89INR\x01\x01\x21" + bytes(6), b"\x89INR\x01\x21\x21" + bytes(4)]
STARTS.append(b"\x89INR\x01\x11\x21" + bytes(4))


@given(st.binary(max_size=80), st.sampled_from(STARTS))
def test_noise_raises_nothing_else(noise: bytes, start: bytes) -> None:
    for use in (read, lambda data: read(data, prefix=True), read_header, describe):
        try:
            use(start + noise)
        except InrcodecError:
            pass


@given(headers, st.binary(min_size=1, max_size=9))
def test_trailing_bytes_are_refused(header: Header, tail: bytes) -> None:
    with pytest.raises(CorruptStream, match=f"{len(tail)} bytes follow"):
        read(write(header, [b"abc"]) + tail)


def test_no_vector_is_missing() -> None:
    assert {path.stem for path in BAD.iterdir()} == {*CONTAINER_VECTORS, *IMAGE_VECTORS}
    assert all(path.suffix == ".inr" for path in BAD.iterdir())


def test_vectors_are_what_the_script_makes() -> None:
    run = subprocess.run(
        [sys.executable, BAD.parent / "make_vectors.py"],
        env={"PYTHONPATH": str(BAD.parent.parent)},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize("name", CONTAINER_VECTORS)
def test_bad_vector(name: str) -> None:
    data = (BAD / f"{name}.inr").read_bytes()
    tracemalloc.start()
    try:
        with pytest.raises(InrcodecError) as caught:
            read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert type(caught.value) is expected_error(name)
    assert "\n" not in str(caught.value) and str(caught.value)
    assert peak < 1 << 18, f"{peak} bytes allocated for a stream of {len(data)}"


@pytest.mark.parametrize("name", IMAGE_VECTORS)
def test_bad_image_vector(name: str) -> None:
    from inrcodec import codec

    data = (BAD / f"{name}.inr").read_bytes()
    read(data)  # the container is in order
    with pytest.raises(InrcodecError) as caught:
        codec.open_field(data)
    assert type(caught.value) is expected_error(name)


# Section checks

SECTIONS = [b"AB", b"", b"CDEFG", b"H"]


def flipped(data: bytes, position: int, bit: int = 0) -> bytes:
    return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small stream with section checks."""
    monkeypatch.setattr(container, "CHECKED_FROM", 0)
    monkeypatch.setattr(container, "CHECKED_SECTION", 0)
    return write(Header(1, 1, b"abcd", (40, 56), 2, 127), SECTIONS)


def owner(position: int, start: int) -> int:
    """The section that a byte of the payload belongs to."""
    return next(k for k in range(len(SECTIONS)) if position < start + sum(map(len, SECTIONS[: k + 1])))


def test_layout_with_checks_is_frozen(checked: bytes) -> None:
    assert checked.hex(" ") == (
        "89 49 4e 52 01 a1 21 61 62 63 64 28 38 02 7f 04 02 00 05 01 "
        "61 53 5c 9d 6d 63 6d fc 41 42 43 44 45 46 47 48 6a d5 75 6c"
    )


@pytest.mark.parametrize(
    ("sizes", "expected"), [([4095], False), ([0, 4096, 0], True), ([255] * 20, False), ([256] * 16, True)]
)
def test_when_there_are_checks(sizes: list[int], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(PHOTO, [bytes(n) for n in sizes])
    assert describe(data)["section_checks"] is expected
    assert read(data) == (PHOTO, [bytes(n) for n in sizes])
    monkeypatch.setattr(container, "CHECKED_FROM", 1 << 20)
    cost = len(data) - len(write(PHOTO, [bytes(n) for n in sizes]))
    assert cost == (2 * len(sizes) if expected else 0)
    assert cost <= len(data) / 100


def test_any_flipped_bit_of_a_checked_stream_is_refused(checked: bytes) -> None:
    for bit in range(8 * len(checked)):
        with pytest.raises(InrcodecError):
            read(flipped(checked, bit // 8, bit % 8))


def test_damage_is_located(checked: bytes) -> None:
    with pytest.raises(CorruptStream, match="damaged: 2 of sections 0 to 3"):
        read(flipped(checked, len(checked) - 6))
    with pytest.raises(CorruptStream, match="header"):
        read(flipped(checked, 14))
    with pytest.raises(CorruptStream, match="damaged: 0 of"):  # a preview trusts its sections no more than its header
        read(flipped(checked, read_header(checked)[2])[:-4], prefix=True)


def test_salvage_loses_what_is_damaged(checked: bytes) -> None:
    header, _, start = read_header(checked)
    assert salvage(checked) == salvage(checked + b"more") == (header, SECTIONS)
    for position in range(len(checked)):
        damaged = flipped(checked, position)
        if position < start - 2 * len(SECTIONS):
            with pytest.raises(InrcodecError):
                salvage(damaged)
            continue
        lost = None
        if position < start:
            lost = (position - start) // 2 + len(SECTIONS)  # the section whose check this is
        elif position < len(checked) - 4:
            lost = owner(position, start)
        assert salvage(damaged) == (header, [None if k == lost else s for k, s in enumerate(SECTIONS)])


@pytest.mark.parametrize("checks", [True, False])
def test_salvage_of_what_is_left(checks: bool, checked: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "CHECKED_FROM", 0 if checks else 1 << 20)
    header = read_header(checked)[0]
    data = write(header, SECTIONS)
    start = read_header(data)[2]
    ends = [start + sum(map(len, SECTIONS[: k + 1])) for k in range(len(SECTIONS))]
    for length in range(len(data)):
        if length < start:
            with pytest.raises(InrcodecError):
                salvage(data[:length])
        else:
            kept = [s if end <= length else None for s, end in zip(SECTIONS, ends, strict=True)]
            assert salvage(data[:length]) == (header, kept)


def test_without_checks_damage_is_nowhere() -> None:
    with pytest.raises(CorruptStream, match="without section checks"):
        salvage(flipped(SMALL, len(SMALL) - 6))


def test_lengths_that_lie_do_not_allocate() -> None:
    before_the_table = write(Header(1, 1, b"abcd", (40, 56), 2, 127), [b""] * 4)[:15]
    data = before_the_table + b"\xff\x7f" + b"\x80\x80\x80\x80\x80\x20" * 16383  # 16383 sections of 2^40 bytes
    tracemalloc.start()
    try:
        with pytest.raises(TruncatedStream):
            read(data)
        assert read(data, prefix=True)[1] == []
        assert describe(data)["payload_bytes"] == 16383 << 40
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_describe() -> None:
    data = write(PHOTO, [bytes(900), bytes(9_000), bytes(22_000)])
    found = describe(data)
    assert found == {
        "format_version": 1,
        "method": "pyramid",
        "modality": "image",
        "model_id": "d72ef54c",
        "width": 768,
        "height": 512,
        "channels": 3,
        "bits": 8,
        "operating_point": 127,
        "bytes": 31_934,
        "header_bytes": 30,
        "payload_bytes": 31_900,
        "sections": 3,
        "section_bytes": [[900], [9_000], [22_000]],
        "bits_per_pixel": round(8 * 31_934 / (768 * 512), 4),
        "check_sum": "matches",
        "section_checks": True,
        "damaged_sections": [],
        "missing_bytes": 0,
        "surplus_bytes": 0,
    }


def test_describe_groups_sections_by_level() -> None:
    # 2 planes (alpha) of 2 x 2 tiles
    header = Header(1, 1, bytes(4), (1025, 2048), 7, 0)
    found = describe(write(header, [bytes(n) for n in range(24)]))
    assert found["section_bytes"] == [[*range(8)], [*range(8, 16)], [*range(16, 24)]]
    assert (found["channels"], found["bits"]) == (4, 16)


def test_describe_damaged_streams() -> None:
    data = write(PHOTO, [bytes(900), bytes(9_000), bytes(22_000)])
    cut = describe(data[:5_000])
    assert (cut["width"], cut["bytes"], cut["check_sum"], cut["missing_bytes"]) == (768, 5_000, "missing", 26_934)
    assert describe(data[:-1])["missing_bytes"] == 1
    assert describe(data + b"ab")["surplus_bytes"] == 2
    assert describe(flipped(data, len(data) - 1))["check_sum"] == "does not match"
    assert describe(flipped(data, 2_000))["damaged_sections"] == [1]
    assert describe(flipped(data, 2_000)[:5_000])["damaged_sections"] == []  # as far as there are whole sections


@given(headers, st.lists(st.binary(max_size=9), max_size=9), st.integers(0, 20))
def test_describe_any(header: Header, sections: list[bytes], cut: int) -> None:
    data = write(header, sections)
    found = describe(data)
    assert found["bytes"] == len(data) == found["header_bytes"] + found["payload_bytes"] + 4
    assert found["check_sum"] == "matches" and found["sections"] == len(sections)
    cut = min(cut, 4 + sum(map(len, sections)))  # not into the header
    assert describe(data[: len(data) - cut])["missing_bytes"] == cut


def test_container_needs_the_standard_library_only() -> None:
    code = (
        "import sys; import inrcodec.container; "
        "print([m for m in ('torch', 'numpy', 'constriction') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(BAD.parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"
