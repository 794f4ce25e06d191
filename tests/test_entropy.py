from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.entropy import Decoder, Ints, encode
from inrcodec.errors import CorruptStream

Parts = list[tuple[Ints, Ints]]


class Tables:
    """Hashed by identity, as `LatentTables` is."""

    def __init__(self, counts: list[list[int]]):
        self._counts = counts

    def counts(self, table: int) -> Ints:
        return np.array(self._counts[table])


COUNTS = [
    [1, 1],
    [(1 << 24) - 1, 1],  # nearly certain: far less than a bit a symbol
    [1 << 16] * 256,  # plain bytes
    [1, 16_000_000, 3, 1],
    [7919 * i % 60_000 + 1 for i in range(511)],
    [10**7 // (abs(i - 150) + 1) ** 4 + 1 for i in range(300)],
]
TABLES = Tables(COUNTS)


@st.composite
def part(draw: st.DrawFn) -> tuple[Ints, Ints]:
    indices = draw(st.lists(st.integers(0, len(COUNTS) - 1), max_size=60))
    symbols = [draw(st.integers(0, len(COUNTS[i]) - 1)) for i in indices]
    return np.array(symbols, np.int32), np.array(indices, np.uint16)


def decode(data: bytes, parts: Parts) -> list[list[int]]:
    decoder = Decoder(data, TABLES)
    symbols = [decoder.decode(indices).tolist() for _, indices in parts]
    decoder.finish()
    return symbols


def known(parts: Parts) -> list[list[int]]:
    return [symbols.tolist() for symbols, _ in parts]


def random_parts(sizes: tuple[int, ...], seed: int) -> Parts:
    rng = np.random.default_rng(seed)
    out = []
    for n in sizes:
        indices = rng.integers(0, len(COUNTS), n)
        out.append((np.array([rng.integers(len(COUNTS[i])) for i in indices], np.int32), indices.astype(np.uint16)))
    return out


@given(st.lists(part(), max_size=5))
def test_round_trip(parts: Parts) -> None:
    assert decode(encode(parts, TABLES), parts) == known(parts)


@pytest.mark.parametrize("sizes", [(), (0,), (0, 0, 0), (0, 5, 0), (1,), (4_000, 0, 3_000)])
def test_round_trip_with_empty_parts(sizes: tuple[int, ...]) -> None:
    parts = random_parts(sizes, 0)
    data = encode(parts, TABLES)
    assert decode(data, parts) == known(parts)
    assert sum(sizes) > 0 or data == b""


def test_no_zero_byte_at_the_end() -> None:
    for seed in range(300):
        data = encode(random_parts((seed % 7,), seed), TABLES)
        assert not data.endswith(b"\0")


def cumulative(counts: list[int]) -> list[int]:
    """docs/format.md, "From counts to a model": borders of the symbols in 0…2^24."""
    total = float(sum(counts))
    shares = [float(c) / total for c in counts]
    norm = 0.0
    for share in shares:
        norm += share
    scale = float((1 << 24) - len(shares)) / norm
    borders, running = [], 0.0
    for symbol, share in enumerate(shares):
        borders.append(int(running * scale) + symbol)
        running += share
    return [*borders, 1 << 24]


def test_rate_is_that_of_the_counts() -> None:
    parts = random_parts((20_000,), 1)
    models = [np.diff(cumulative(counts)) for counts in COUNTS]
    bits = sum(24 - np.log2(models[table][symbol]) for symbol, table in zip(*parts[0], strict=True))
    assert abs(8 * len(encode(parts, TABLES)) - bits) < 32


def decode_by_the_book(data: bytes, parts: Parts) -> list[list[int]]:
    """docs/format.md, "The coder", without constriction."""
    data += bytes(-len(data) % 4)
    words = [int.from_bytes(data[k : k + 4], "little") for k in range(0, len(data), 4)]
    state = 0
    for _ in range(2):
        if words:
            state = state << 32 | words.pop()
    models = [cumulative(counts) for counts in COUNTS]
    out = []
    for _, indices in parts:
        symbols = [0] * len(indices)
        for position in sorted(range(len(indices)), key=lambda i: indices[i]):  # stable
            borders = models[indices[position]]
            low = state & 0xFFFFFF
            symbol = bisect_right(borders, low) - 1
            state = (state >> 24) * (borders[symbol + 1] - borders[symbol]) + low - borders[symbol]
            if state < 1 << 32 and words:
                state = state << 32 | words.pop()
            symbols[position] = symbol
        out.append(symbols)
    assert state == 0 and not words
    return out


@pytest.mark.parametrize("seed", range(12))
def test_decoder_written_from_the_format(seed: int) -> None:
    parts = random_parts((seed, 40 * seed, 0, 300), seed)
    assert decode_by_the_book(encode(parts, TABLES), parts) == known(parts)


def test_golden_bytes() -> None:
    parts = [
        (np.array([7, 1, 0, 255, 2]), np.array([2, 0, 1, 2, 3])),
        (np.array([1, 1, 300]), np.array([1, 0, 4])),
    ]
    assert encode(parts, TABLES).hex() == "feffffcb8c00d29300ca4a"


@given(st.lists(part(), min_size=1, max_size=3), st.data())
def test_damage_is_an_error_or_other_symbols(parts: Parts, data: st.DataObject) -> None:
    """The stack is a bijection: what decodes and finishes is what these very bytes encode, and nothing else escapes."""
    stream = encode(parts, TABLES)
    kind = data.draw(st.sampled_from(["truncated", "trailing", "changed"]))
    if kind == "truncated":
        bad = stream[: data.draw(st.integers(0, max(len(stream) - 1, 0)))]
    elif kind == "trailing":
        bad = stream + data.draw(st.binary(min_size=1, max_size=9))
    else:
        bad = bytes(
            b ^ m for b, m in zip(stream, data.draw(st.binary(min_size=len(stream), max_size=len(stream))), strict=True)
        )
    try:
        symbols = decode(bad, parts)
    except CorruptStream:
        return
    again = [(np.array(s, np.int32), indices) for s, (_, indices) in zip(symbols, parts, strict=True)]
    assert encode(again, TABLES) == bad
    assert (symbols == known(parts)) == (bad == stream)


@given(st.binary(max_size=40), st.lists(part(), max_size=3))
def test_noise_raises_nothing_else(noise: bytes, parts: Parts) -> None:
    try:
        decode(noise, parts)
    except CorruptStream:
        pass


@pytest.mark.parametrize("tail", [b"\0", b"\x01", b"\0\0\0\x01", b"\xff" * 8])
def test_trailing_data_is_refused(tail: bytes) -> None:
    parts = random_parts((200,), 3)
    with pytest.raises(CorruptStream):
        decode(encode(parts, TABLES) + tail, parts)


def test_unread_symbols_are_refused() -> None:
    parts = random_parts((200,), 4)
    with pytest.raises(CorruptStream, match="more than its symbols"):
        decode(encode(parts, TABLES), [(parts[0][0][:150], parts[0][1][:150])])
    with pytest.raises(CorruptStream):
        decode(b"x", [])


def test_order_inside_a_part_is_by_table_then_position() -> None:
    symbols, indices = random_parts((500,), 5)[0]
    order = np.argsort(indices, kind="stable")
    assert encode([(symbols, indices)], TABLES) == encode([(symbols[order], indices[order])], TABLES)
