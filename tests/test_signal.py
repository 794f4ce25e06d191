from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inrcodec import errors
from inrcodec.errors import CorruptStream, UsageError
from inrcodec.samples.image import ImageFormat
from inrcodec.signal import Signal


@given(st.sampled_from(["uint8", "uint16"]), st.integers(1, 4))
def test_byte_round_trip(dtype: str, channels: int) -> None:
    sample_format = ImageFormat(dtype, channels)
    assert ImageFormat.from_header(sample_format.to_byte(), b"") == sample_format


def test_bytes_are_frozen() -> None:
    assert [ImageFormat.from_header(byte, b"") for byte in range(8)] == [
        ImageFormat(dtype, channels) for dtype in ("uint8", "uint16") for channels in (1, 2, 3, 4)
    ]


@given(st.integers(8, 255))
def test_reserved_bits_are_refused(byte: int) -> None:
    with pytest.raises(CorruptStream, match=f"0x{byte:02x}"):
        ImageFormat.from_header(byte, b"")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_value_survives_features(dtype: str) -> None:
    sample_format = ImageFormat(dtype, 1)
    values = np.arange(sample_format.peak + 1, dtype=dtype)[:, None]
    features = sample_format.to_features(values)
    assert features.dtype == np.float32 and features.min() == 0 and features.max() == 1
    restored = sample_format.from_features(features)
    assert restored.dtype == values.dtype
    np.testing.assert_array_equal(restored, values)


@given(st.floats(-1e30, 1e30))
def test_features_are_clipped_and_rounded_half_to_even(feature: float) -> None:
    value = ImageFormat("uint8", 1).from_features(np.array([feature], np.float64))[0]
    assert value == round(min(max(feature, 0.0), 1.0) * 255)


def test_halves_go_to_even() -> None:
    halves = np.array([0.5, 1.5, 2.5]) / 255
    assert ImageFormat("uint8", 1).from_features(halves).tolist() == [0, 2, 2]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2"])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 2), (3, 5, 3), (3, 5, 4)])
def test_from_array(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    signal = Signal.from_array(array)
    assert signal.values.shape == (3, 5, signal.format.channels)
    assert signal.values.dtype.isnative and signal.values.dtype.name == signal.format.dtype
    np.testing.assert_array_equal(signal.values.reshape(shape), array)


def test_several_images_are_a_batch() -> None:
    array = np.arange(2 * 3 * 5 * 3, dtype=np.uint8).reshape(2, 3, 5, 3)
    signal = Signal.from_array(array)
    assert signal.batch and (signal.items, signal.shape) == (2, (3, 5))
    assert signal.format == ImageFormat("uint8", 3) and np.array_equal(signal.item(1)[...], array[1])


def test_from_array_does_not_copy() -> None:
    array = np.zeros((4, 4, 3), np.uint8)
    assert np.shares_memory(Signal.from_array(array).values, array)


@pytest.mark.parametrize(
    ("array", "named"),
    [
        (np.zeros((4, 4), complex), "complex128"),
        (np.zeros((4, 4), object), "object"),
        (np.zeros((4, 4, 0), np.uint8), r"\(4, 4, 0\)"),
        (np.zeros((2, 4, 4, 3, 1), np.uint8), r"\(2, 4, 4, 3, 1\)"),
        (np.zeros((2, 4, 4, 5), np.uint8), r"\(2, 4, 4, 5\)"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"\(0, 4, 4, 3\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        ([[1, 2], [3]], "differ in length"),
    ],
)
def test_other_arrays_are_refused(array: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        Signal.from_array(array)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("dtype", "channels"), [("float32", 3), ("uint8", 0), ("uint8", 5)])
def test_other_formats_are_refused(dtype: str, channels: int) -> None:
    with pytest.raises(UsageError, match=dtype):
        ImageFormat(dtype, channels)


def test_exit_codes_are_distinct_documented_and_one_line() -> None:
    members = errors.InrcodecError.__subclasses__()
    codes = {member.exit_code for member in members}
    assert len(codes) == len(members)
    for member in members:
        assert f"| {member.exit_code:<4} | {member.__name__:<18} |" in (errors.__doc__ or "")
        assert str(member("a\nb")) == "a b"
