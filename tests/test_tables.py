import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec.priors.tables import (
    EACH,
    LARGEST,
    LARGEST_STRETCH,
    MAX_REACH,
    STRETCHES,
    TOTAL,
    UNIFORM,
    LatentTables,
    stretched,
    tail_lengths,
)

SCALES, FRACTION = 80, 8
REACHES = (
    [3] * 5 + [4] * 6 + [5] * 3 + [6] * 3 + [7] * 2 + [8, 9, 9, 10, 11, 12, 14, 15, 17, 19, 21, 23, 26, 29, 32, 36]
    + [40, 45, 50, 56, 63, 71, 79, 89, 100, 112, 126, 142, 160, 180, 203, 228] + [255] * 29
)  # fmt: skip


def logistic_tails() -> np.ndarray:
    rows = []
    for k, length in enumerate(tail_lengths()):
        x = np.arange(length) / FRACTION / (0.04 * np.exp(0.12 * k))
        rows.append(np.rint(TOTAL / (1 + np.exp(np.minimum(x, 60)))))
    return np.concatenate(rows).astype(np.int32)


TABLES = LatentTables(logistic_tails())


def test_reaches_are_frozen() -> None:
    assert TABLES.reach.tolist() == REACHES
    assert tail_lengths().tolist() == [8 * reach + 12 for reach in REACHES]
    assert max(REACHES) == MAX_REACH and tail_lengths().sum() == 77_088


@pytest.mark.parametrize("table", range(UNIFORM + 1))
def test_counts(table: int) -> None:
    counts = TABLES.counts(table)
    assert counts.min() >= 0  # the coder grants each symbol its least probability
    assert counts.sum() == TOTAL
    assert len(counts) == (256 if table == UNIFORM else 2 * REACHES[table // FRACTION] + 2)


def test_plain_bytes_are_uniform() -> None:
    assert TABLES.counts(UNIFORM).tolist() == [TOTAL // 256] * 256


@pytest.mark.parametrize("k", range(SCALES))
def test_symmetry(k: int) -> None:
    whole = TABLES.counts(FRACTION * k)[:-1]
    assert whole.tolist() == whole[::-1].tolist()
    for f in range(1, FRACTION):  # the cells of a mean of f/8 mirror those of 1 - f/8, one symbol on
        right, left = TABLES.counts(FRACTION * k + f)[:-1], TABLES.counts(FRACTION * k + FRACTION - f)[:-1]
        assert right[1:].tolist() == left[:0:-1].tolist()


@pytest.mark.parametrize("k", [0, 20, 40, 60])
@pytest.mark.parametrize("f", range(FRACTION))
def test_cells_are_those_of_the_distribution(k: int, f: int) -> None:
    reach, scale = REACHES[k], 0.04 * np.exp(0.12 * k)
    borders = (np.arange(-reach, reach + 2) - 0.5 - f / FRACTION) / scale
    below = 1 / (1 + np.exp(-np.clip(borders, -60, 60)))
    counts = TABLES.counts(FRACTION * k + f)[:-1]
    np.testing.assert_allclose(counts, np.diff(below) * TOTAL, atol=2)


def test_a_model_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="77088 are needed"):
        LatentTables(logistic_tails()[:-1])


latents = st.lists(
    st.tuples(
        st.integers(-LARGEST, LARGEST) | st.integers(-9, 9), st.integers(-6_000, 6_000), st.integers(0, SCALES - 1)
    ),
    max_size=40,
)


def round_trip(rows: list[tuple[int, int, int]]) -> None:
    y, mean, index = (np.array([row[j] for row in rows], np.int32) for j in range(3))
    symbols, tables, wide = TABLES.to_alphabet(y, mean, index)
    assert tables.tolist() == [8 * k + m % 8 for _, m, k in rows]
    assert all(0 <= s < len(TABLES.counts(int(t))) for s, t in zip(symbols, tables, strict=True))
    escaped = TABLES.escapes(symbols, index)
    assert escaped.tolist() == [abs(v - m // 8) > REACHES[k] for v, m, k in rows]
    assert len(wide) == 2 * escaped.sum() and all(0 <= byte < 256 for byte in wide)
    assert TABLES.from_alphabet(symbols, mean, index, wide).tolist() == y.tolist()


@given(latents)
def test_alphabet_round_trip(rows: list[tuple[int, int, int]]) -> None:
    round_trip([(y, m, k) for y, m, k in rows if -32768 <= y - m // 8 <= 32767])


def test_alphabet_round_trip_with_a_distant_mean() -> None:
    round_trip([(LARGEST, -8 * 1000, 5), (-LARGEST, 8 * 1000, 5), (0, 1 << 20, 5)])


@pytest.mark.parametrize("k", [0, 30, 79])
def test_every_residual_round_trips(k: int) -> None:
    y = np.arange(-LARGEST, LARGEST + 1, dtype=np.int32)
    for mean in (-13, 0, 5):
        round_y = TABLES.to_alphabet(y, np.full_like(y, mean), np.full_like(y, k))
        back = TABLES.from_alphabet(round_y[0], np.full_like(y, mean), np.full_like(y, k), round_y[2])
        np.testing.assert_array_equal(back, y)


def latents(scales: list[float], cells: int = 3000) -> np.ndarray:
    """Rounded logistic numbers of these scales, [n, cells]."""
    rng = np.random.default_rng(0)
    return np.rint(rng.logistic(size=(len(scales), cells)) * np.array(scales)[:, None]).astype(int)


def test_counts_of_stretches_are_frozen() -> None:
    rising = [TOTAL >> k for k in range(11, 3, -1)]
    assert TABLES.counts(STRETCHES).tolist() == [*rising, 3 * TOTAL // 4, *rising[::-1], TOTAL >> 10]
    assert TABLES.counts(STRETCHES).sum() == TOTAL


@pytest.mark.parametrize("stretch", range(-LARGEST_STRETCH, LARGEST_STRETCH + 1))
def test_the_stretch_of_a_group_is_found(stretch: int) -> None:
    index = np.full((2, 3000), 40)
    y = latents([0.04 * np.exp(0.12 * (40 + stretch))] * 2)
    found = TABLES.best_stretches([(y, np.zeros_like(y), index)])
    assert len(found) == 1 and abs(found[0] - LARGEST_STRETCH - stretch) <= 1


def test_latents_that_differ_get_a_stretch_each() -> None:
    y = latents([5.0, 9.0, 16.0])
    index = np.full(y.shape, 45)
    first, *each = TABLES.best_stretches([(y[:, :1000], 0 * y[:, :1000], index[:, :1000]), (y, 0 * y, index)])
    assert first == EACH and each == sorted(each) and each[2] - each[0] == pytest.approx(np.log(16 / 5) / 0.12, abs=2)


@given(st.lists(st.integers(-LARGEST, LARGEST), max_size=30), st.integers(-2000, 2000), st.integers(0, SCALES - 1))
def test_a_stretch_is_found_for_anything(values: list[int], mean: int, index: int) -> None:
    y = np.array(values, int).reshape(1, -1)
    (symbol,) = TABLES.best_stretches([(y, np.full_like(y, mean), np.full_like(y, index))])
    assert 0 <= symbol < EACH and (values or symbol == LARGEST_STRETCH)


def test_stretched_indices_stay_within_the_tables() -> None:
    assert stretched(np.array([0, 3, 79]), -8).tolist() == [0, 0, 71]
    assert stretched(np.array([0, 3, 79]), 8).tolist() == [8, 11, 79]
