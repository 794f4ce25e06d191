"""A stream as a function of coordinates."""

import numpy as np
import pytest
import torch
from conftest import picture

import inrcodec
from inrcodec import formats
from inrcodec.errors import LimitExceeded, OutOfMemory, UsageError
from inrcodec.fields import field as fields
from inrcodec.fields.field import Field
from inrcodec.signal import Signal

HEIGHT, WIDTH = 37, 50


@pytest.fixture(scope="module")
def data() -> bytes:
    return inrcodec.encode(picture(HEIGHT, WIDTH), model="tiny", effort=0, quality=80)


@pytest.fixture
def field(data: bytes) -> Field:
    return inrcodec.open_field(data)


def centres(height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    rows, columns = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)


def test_sample_centres_give_the_decoded_image(field: Field, data: bytes) -> None:
    values = field(centres()).view(HEIGHT, WIDTH, 3)
    assert torch.allclose(values, field.grid(), atol=2e-5)
    assert np.array_equal(field.format.from_features(field.grid().numpy()), inrcodec.decode(data))


def test_scaling_evaluates_this_field(field: Field, data: bytes) -> None:
    values = field(centres(2 * HEIGHT, 2 * WIDTH)).view(2 * HEIGHT, 2 * WIDTH, 3)
    assert torch.allclose(values, field.grid(scale=2), atol=2e-5)
    assert np.array_equal(field.format.from_features(field.grid(scale=2).numpy()), inrcodec.decode(data, scale=2))


@pytest.mark.parametrize(
    ("region", "size"), [((1, 2, 48, 33), (16, 11)), ((0, 0, 50, 37), (25, 1)), ((0, 0, 50, 37), (9, 20))]
)
def test_shrinking_averages_this_field(field: Field, region: tuple[int, ...], size: tuple[int, ...]) -> None:
    """By the least number of values a sample that leaves no gaps: those of samples where sides divide."""
    x, y, width, height = region
    down, right = -(-height // size[1]), -(-width // size[0])
    rows = y + (torch.arange(size[1] * down) + 0.5) * height / (size[1] * down)
    columns = x + (torch.arange(size[0] * right) + 0.5) * width / (size[0] * right)
    at = torch.stack(torch.meshgrid(rows / HEIGHT, columns / WIDTH, indexing="ij"), -1)
    values = field(at.view(-1, 2)).view(size[1], down, size[0], right, 3).mean((1, 3))
    torch.testing.assert_close(field.grid(size=size, region=region), values, atol=2e-5, rtol=0)


def test_field_is_continuous(field: Field) -> None:
    c = torch.rand(500, 2, generator=torch.Generator().manual_seed(0))
    for step in ((1e-5, 0), (0, 1e-5)):
        assert (field(c + torch.tensor(step)) - field(c)).abs().max() < 0.02


def test_gradients(field: Field) -> None:
    c = (torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1).requires_grad_()
    (gradient,) = torch.autograd.grad(field(c)[:, 0].sum(), c)
    h = 1e-3
    for axis in (0, 1):
        step = torch.zeros(2)
        step[axis] = h
        with torch.no_grad():
            slope = (field(c + step) - field(c - step))[:, 0] / (2 * h)
        error = (gradient[:, axis] - slope).abs() / (1 + slope.abs())
        assert error.median() < 0.05


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 1.37, 2, 3.5])
def test_scales(data: bytes, scale: float) -> None:
    decoded = inrcodec.decode(data, scale=scale)
    assert decoded.shape == (max(1, round(HEIGHT * scale)), max(1, round(WIDTH * scale)), 3)
    assert abs(decoded.mean() - inrcodec.decode(data).mean()) < 3


def test_regions_are_parts_of_the_whole(data: bytes) -> None:
    whole = inrcodec.decode(data).astype(int)
    part = inrcodec.decode(data, region=(7, 5, 20, 11)).astype(int)
    assert np.abs(part - whole[5:16, 7:27]).max() <= 1
    doubled = inrcodec.decode(data, region=(6, 4, 20, 10), scale=2).astype(int)
    assert np.abs(doubled - inrcodec.decode(data, scale=2).astype(int)[8:28, 12:52]).max() <= 1


def test_size(data: bytes) -> None:
    assert inrcodec.decode(data, size=(33, 21)).shape == (21, 33, 3)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 0},
        {"scale": float("inf")},
        {"size": (0, 4)},
        {"region": (40, 0, 20, 5)},
        {"scale": 2, "size": (5, 5)},
    ],
)
def test_bad_requests(data: bytes, options: dict) -> None:
    with pytest.raises(UsageError):
        inrcodec.decode(data, **options)


def test_channels() -> None:
    for channels in (1, 2, 4):
        stream = inrcodec.encode(picture(20, 24, channels), model="tiny", effort=0)
        assert inrcodec.open_field(stream)(torch.rand(5, 2)).shape == (5, channels)


def test_one_sample_and_no_coordinates() -> None:
    field = inrcodec.open_field(inrcodec.encode(picture(1, 1), model="tiny", effort=0))
    assert field(torch.rand(4, 2)).shape == (4, 3) and field(torch.zeros(0, 2)).shape == (0, 3)
    assert inrcodec.decode(inrcodec.encode(picture(1, 9), model="tiny", effort=0), scale=3).shape == (3, 27, 3)


@pytest.mark.parametrize("coordinates", [[[0.3]], [[0.3, 0.3, 0.3]], [0.3, 0.3], [[0.3, float("nan")]]])
def test_other_coordinates_are_refused(field: Field, coordinates: list) -> None:
    with pytest.raises(UsageError, match="coordinates"):
        field(torch.tensor(coordinates))


def test_a_grid_beyond_memory(field: Field) -> None:
    with pytest.raises(OutOfMemory, match="samples"):
        field.grid(scale=1e7)
    with pytest.raises(LimitExceeded, match="scale 1e\\+308"):
        field.grid(scale=1e308)


def test_shrinking_takes_no_more_at_once_than_enlarging(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fields.TILES, 2, 16)
    whole, most = field.grid(size=(6, 5)), 0
    original = field._at

    def counted(positions: torch.Tensor) -> torch.Tensor:
        nonlocal most
        most = max(most, len(positions))
        return original(positions)

    monkeypatch.setattr(field, "_at", counted)
    torch.testing.assert_close(field.grid(size=(6, 5)), whole)
    assert 8 * 9 <= most <= 16 * 16


def test_bytes_of_any_kind(data: bytes) -> None:
    for kind in (bytearray, memoryview):
        np.testing.assert_array_equal(inrcodec.decode(kind(data)), inrcodec.decode(data))
    png = formats.write(Signal.from_array(picture(8, 9)), ".png")
    assert inrcodec.encode(bytearray(png), model="tiny", effort=0) == inrcodec.encode(png, model="tiny", effort=0)
    with pytest.raises(UsageError, match="no kind 'nope'"):
        inrcodec.encode(png, modality="nope")
    with pytest.raises(UsageError, match="no variables"):
        inrcodec.encode(picture(8, 9), variable="x")
