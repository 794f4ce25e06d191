import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from inrcodec.fields.grids import grid_sizes, merge_phases, split_phases
from inrcodec.priors import int8
from inrcodec.priors.context import (
    EXACT,
    MAX_BYTE_SHIFT,
    SCALES,
    ContextPrior,
    IntegerLayer,
    PriorConfig,
    compand,
    half_up,
    smooth,
)

CONFIGS = {
    1: PriorConfig(1, ((1,), (1,), (2,)), (4, 6, 4), magnitudes=True),
    2: PriorConfig(2, ((1, 1, 1, 3, 3), (3, 6), (4, 8)), (8, 6, 4), magnitudes=True, full_joins=True),
    3: PriorConfig(3, ((7, 7), (8, 8)), (4, 4)),
}
SHAPES = {1: (45,), 2: (37, 22), 3: (9, 6, 11)}
SHIFT = 7


def random_layer(layer: IntegerLayer, generator: torch.Generator) -> None:
    def draw(low: int, high: int, *size: int) -> Tensor:
        return torch.randint(low, high + 1, size, generator=generator)

    outputs = len(layer.weight)
    reach = min(127, int(127 / math.sqrt(layer.weight[0].numel() / 4) + 1))
    weight = draw(-reach, reach, *layer.weight.shape).to(torch.int8)
    bias = torch.stack([draw(-(1 << 30), 1 << 30, outputs), *draw(-(1 << 19), 1 << 19, 2, outputs)])
    bias[2] //= 256
    if layer.head:  # scales around the middle of the table
        bias[0, outputs // 2 :] = 300 << (SHIFT + 16)
    layer.load(weight, torch.full((outputs,), SHIFT, dtype=torch.int8), bias)


def random_prior(dims: int, seed: int = 0) -> ContextPrior:
    prior = ContextPrior(CONFIGS[dims])
    generator = torch.Generator().manual_seed(seed)
    for layer in prior.modules():
        if isinstance(layer, IntegerLayer):
            random_layer(layer, generator)
    return prior.requires_grad_(False)


def random_latents(dims: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = grid_sizes(SHAPES[dims], len(CONFIGS[dims].widths))[1:]
    out = []
    for size, groups in zip(sizes, CONFIGS[dims].groups, strict=True):
        x = torch.randn(1, sum(groups), *size, generator=generator) ** 3 * 20
        out.append(x.round().clamp(-32000, 32000))
    return out


class Writer:
    """Knows the latents; keeps what it was told about each part."""

    def __init__(self, config: PriorConfig, latents: list[Tensor]):
        self.groups = config.groups
        self.phases = [split_phases(y, config.dims) for y in latents]
        self.log: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}
        self.sent: list[Tensor] = []

    def __call__(self, level: int, phase: int, group: int, mean: Tensor, index: Tensor) -> Tensor:
        assert (level, phase, group) not in self.log
        self.log[level, phase, group] = mean.clone(), index.clone()
        self.sent.append(self.phases[level][phase].split(self.groups[level], 1)[group].clone())
        return self.sent[-1]


class Reader:
    """Sees only what a writer sent."""

    def __init__(self, sent: list[Tensor]):
        self.sent = iter(sent)
        self.log: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, level: int, phase: int, group: int, mean: Tensor, index: Tensor) -> Tensor:
        self.log[level, phase, group] = mean.clone(), index.clone()
        return next(self.sent)


Log = dict[tuple[int, int, int], tuple[Tensor, Tensor]]


def written(prior: ContextPrior, dims: int, latents: list[Tensor], point: int) -> Log:
    writer = Writer(CONFIGS[dims], latents)
    prior.walk(SHAPES[dims], torch.tensor([point]), writer)
    return writer.log


def assert_same(a: Log, b: Log) -> None:
    assert list(a) == list(b)
    for key, (mean, index) in a.items():
        assert torch.equal(mean, b[key][0]) and torch.equal(index, b[key][1]), key


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("point", [0, 100, 255])
def test_reader_sees_what_the_writer_saw(dims: int, point: int) -> None:
    prior, latents, op = random_prior(dims), random_latents(dims), torch.tensor([point])
    writer = Writer(CONFIGS[dims], latents)
    prior.walk(SHAPES[dims], op, writer)
    reader = Reader(writer.sent)
    prior.walk(SHAPES[dims], op, reader)
    assert_same(writer.log, reader.log)
    assert next(reader.sent, None) is None


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("point", [0, 100, 255])
def test_what_is_expected_of_known_symbols_is_what_the_coder_is_told(dims: int, point: int) -> None:
    prior, latents, op = random_prior(dims), random_latents(dims), torch.tensor([point])
    log, config = written(prior, dims, latents, point), CONFIGS[dims]
    for level, expected in enumerate(prior.expect(latents, SHAPES[dims], op)):
        groups, size = range(len(config.groups[level])), tuple(latents[level].shape[2:])
        for told, found in enumerate(expected):
            parts = [torch.cat([log[level, phase, g][told] for g in groups], 1) for phase in range(2**dims)]
            assert torch.equal(merge_phases(parts, size), found)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_everything_is_an_integer(dims: int) -> None:
    prior = random_prior(dims)
    activations = []
    for layer in prior.modules():
        if isinstance(layer, IntegerLayer):
            layer.register_forward_hook(lambda layer, _, out: activations.append((layer.head, out)))
    log = written(prior, dims, random_latents(dims), 77)
    for mean, index in log.values():
        assert torch.equal(mean, mean.round()) and torch.equal(index, index.round())
        assert index.min() >= 0 and index.max() < SCALES
    for head, x in activations:
        assert torch.equal(x, x.round())
        assert head or (x.min() >= 0 and x.max() <= 255)
    # the test would show little if the network were saturated or dead
    inner = torch.cat([x.flatten() for head, x in activations if not head])
    assert ((inner > 0) & (inner < 255)).float().mean() > 0.05
    assert len(torch.cat([index.flatten() for _, index in log.values()]).unique()) > 10


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_order_of_parts_is_frozen(dims: int) -> None:
    levels, groups = len(CONFIGS[dims].widths), CONFIGS[dims].groups
    order = list(written(random_prior(dims), dims, random_latents(dims), 9))
    assert order == [(i, k, g) for i in reversed(range(levels)) for k in range(2**dims) for g in range(len(groups[i]))]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_context_is_causal(dims: int) -> None:
    """Changing a part changes nothing that was said before it, and something after."""
    prior, config = random_prior(dims), CONFIGS[dims]
    reference = Writer(config, random_latents(dims))
    prior.walk(SHAPES[dims], torch.tensor([50]), reference)
    keys = list(reference.log)
    for n in range(0, len(keys) - 1, 3):
        sent = [x.clone() for x in reference.sent]
        sent[n] = 200 - sent[n]
        reader = Reader(sent)
        prior.walk(SHAPES[dims], torch.tensor([50]), reader)
        same = [all(map(torch.equal, reference.log[key], reader.log[key])) for key in keys]
        assert all(same[: n + 1]) and not all(same[n + 1 :])


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_thread_count_does_not_matter(dims: int) -> None:
    prior, latents = random_prior(dims), random_latents(dims)
    before = torch.get_num_threads()
    try:
        logs = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            logs.append(written(prior, dims, latents, 31))
    finally:
        torch.set_num_threads(before)
    assert_same(*logs)


@pytest.mark.parametrize("dims", [2, 3])
def test_memory_format_does_not_matter(dims: int) -> None:
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dims]
    latents = random_latents(dims)
    plain = written(random_prior(dims), dims, latents, 31)
    other = random_prior(dims).to(memory_format=layout)
    assert_same(plain, written(other, dims, [y.contiguous(memory_format=layout) for y in latents], 31))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_convolution_library_does_not_matter(dims: int) -> None:
    prior, latents = random_prior(dims), random_latents(dims)
    plain = written(prior, dims, latents, 31)
    with torch.backends.mkldnn.flags(enabled=False):
        assert_same(plain, written(prior, dims, latents, 31))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("stop", [0, 1])
def test_preview_stops_early(dims: int, stop: int) -> None:
    prior, latents = random_prior(dims), random_latents(dims)
    full = Writer(CONFIGS[dims], latents)
    prior.walk(SHAPES[dims], torch.tensor([5]), full)
    part = Reader(full.sent)
    prior.walk(SHAPES[dims], torch.tensor([5]), part, stop=stop)
    assert_same({key: value for key, value in full.log.items() if key[0] >= stop}, part.log)


def by_the_book(head: bool, weight: Tensor, bias: Tensor, shift: int, x: Tensor, point: int) -> Tensor:
    """docs/format.md, "A layer", in int64 without a floating-point number."""
    outputs, inputs, kernel = weight.shape
    u = 2 * point - 255
    pad = torch.zeros(inputs, x.shape[-1] + kernel - 1, dtype=torch.int64)
    pad[:, kernel // 2 : kernel // 2 + x.shape[-1]] = x[0].long()
    w = weight.long()
    out = torch.zeros(outputs, x.shape[-1], dtype=torch.int64)
    for o in range(outputs):
        b = int(bias[0, o]) + int(bias[1, o]) * u + int(bias[2, o]) * u * u
        for p in range(x.shape[-1]):
            total = int((w[o] * pad[:, p : p + kernel]).sum()) + (b >> 16)
            scaled = shift + 3 if head else shift
            rounded = total + (1 << scaled >> 1) >> scaled
            out[o, p] = rounded if head else min(max(rounded, 0), 255)
    return out


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("shift", [0, 5, 13])
def test_layer_in_plain_integers(head: bool, kernel: int, shift: int) -> None:
    generator = torch.Generator().manual_seed(shift)
    layer = IntegerLayer(1, 11, 6, kernel, head)
    weight = torch.randint(-127, 128, layer.weight.shape, generator=generator, dtype=torch.int8)
    bias = torch.randint(-(1 << 25), 1 << 25, (3, 6), generator=generator) * torch.tensor([[64], [1], [0]])
    bias[2] = torch.randint(-5000, 5000, (6,), generator=generator)
    layer.load(weight, torch.full((6,), shift, dtype=torch.int8), bias)
    x = torch.randint(-127, 256, (1, 11, 40), generator=generator).float()
    for point in (0, 101, 255):
        out = layer(x, torch.tensor([point]), half_up)
        assert torch.equal(out[0].long(), by_the_book(head, weight, bias, shift, x, point))


on_bytes = pytest.mark.skipif(not int8.exact(torch.device("cpu")), reason="this processor multiplies no bytes")


@on_bytes
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("shift", [0, 1, 5, 13, MAX_BYTE_SHIFT])
@pytest.mark.parametrize("large", [False, True])
def test_layer_on_bytes(head: bool, kernel: int, shift: int, large: bool) -> None:
    """Every sum near a half is met at small shifts, and sums up to 2^24 with large weights."""
    generator = torch.Generator().manual_seed(shift)
    features, symbols = 3, [2, 1, 3]
    config = PriorConfig(1, ((6,),), (features,), magnitudes=True)
    inputs = features + config.inputs(sum(symbols))
    layer = IntegerLayer(1, inputs, 6, kernel, head, config.signed(features, symbols))
    reach = 127 if large else 1
    weight = torch.randint(-reach, reach + 1, layer.weight.shape, generator=generator, dtype=torch.int8)
    bias = torch.randint(-(1 << 22), 1 << 22, (3, 6), generator=generator) * torch.tensor([[1 << 16], [0], [0]])
    layer.load(weight, torch.full((6,), shift, dtype=torch.int8), bias if large else bias >> 12)
    x = torch.randint(0, 256, (1, features, 500), generator=generator)
    values = [torch.randint(-127, 128, (1, n, 500), generator=generator) for n in symbols]
    plain = torch.cat([x, *(part for v in values for part in (v, v.abs()))], 1)
    parts = [x, *(part for v in values for part in (v.clamp(min=0), (-v).clamp(min=0), v.abs()))]
    out = layer(torch.cat(parts, 1).to(torch.uint8), torch.tensor([101]), half_up)
    assert out.dtype == (torch.float32 if head else torch.uint8)
    assert torch.equal(out.float(), layer(plain.float(), torch.tensor([101]), half_up))


@on_bytes
@pytest.mark.parametrize("dims", [1, 2])
def test_bytes_do_not_matter(dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prior, latents = random_prior(dims), random_latents(dims)
    quick = written(prior, dims, latents, 31)
    assert any(layer.narrow for layer in prior.modules() if isinstance(layer, IntegerLayer))
    monkeypatch.setattr(int8, "exact", lambda *_: False)
    plain = random_prior(dims)
    assert_same(quick, written(plain, dims, latents, 31))
    assert not any(layer.narrow for layer in plain.modules() if isinstance(layer, IntegerLayer))


def small(weight: int, shift: int, bias: int, inputs: int = 1) -> IntegerLayer:
    layer = IntegerLayer(1, inputs, 1, 1)
    layer.load(
        torch.full((1, inputs, 1), weight, dtype=torch.int8),
        torch.tensor([shift], dtype=torch.int8),
        torch.tensor([[bias << 16], [0], [0]]),
    )
    return layer


def test_sums_that_could_leave_the_exact_range_are_refused() -> None:
    """sum |w|·255 + max |bias| + 2^shift·8 < 2^24, to the last unit."""
    spare = EXACT - 127 * 255 * 300 - 8 * (1 << 6)
    small(127, 6, spare - 1, 300)
    small(-127, 6, 1 - spare, 300)
    for refused in [
        (127, 6, spare, 300),
        (-127, 6, -spare, 300),
        (127, 6, spare - 1, 301),
        (127, 7, spare - 1, 300),
    ]:
        with pytest.raises(ValueError, match="beyond the exact range"):
            small(*refused)


@pytest.mark.parametrize(
    "refused", [(127, 0, 0, 519), (-128, 0, 0, 1), (1, 21, 0, 1), (1, 0, 1 << 24, 1), (0, 0, -(1 << 30), 1)]
)
def test_weights_and_biases_out_of_range_are_refused(refused: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError):
        small(*refused)


@pytest.mark.parametrize("shift", [-128, -1, 63, 64, 127])
def test_shifts_out_of_range_are_refused(shift: int) -> None:
    with pytest.raises(ValueError):
        small(1, shift, 0)


def test_a_bias_that_wraps_is_refused() -> None:
    layer = IntegerLayer(1, 1, 1, 1)
    with pytest.raises(ValueError):
        layer.load(
            torch.ones(1, 1, 1, dtype=torch.int8),
            torch.zeros(1, dtype=torch.int8),
            torch.tensor([[-(1 << 61)], [0], [1 << 61]]),  # an odd square is 8j + 1: zero modulo 2^64
        )


def test_largest_sums_are_exact() -> None:
    layer = small(127, 0, 0, 500)  # 500·127·255 = 16,192,500
    x = torch.full((1, 500, 8), 255.0)
    x[0, 0, :4] = 254
    y = torch.nn.functional.conv1d(x, layer.weight)
    assert y.flatten().tolist() == [127.0 * (500 * 255 - 1)] * 4 + [127.0 * 500 * 255] * 4


@given(st.integers(-(10**6), 10**6), st.integers(0, 10))
def test_rounding_is_half_up(numerator: int, bits: int) -> None:
    x = torch.tensor(numerator / 2**bits)
    assert half_up(x) == (2 * numerator + 2**bits) // 2 ** (bits + 1)


COMPANDED = {
    0: 0,
    1: 18,
    2: 29,
    3: 36,
    4: 42,
    5: 46,
    10: 60,
    20: 74,
    50: 92,
    100: 106,
    178: 117,
    179: 118,
    279: 126,
}


def test_companding_is_a_table() -> None:
    """What the context sees of a symbol, for every symbol there can be: docs/format.md has the table.

    20·asinh(y) stays 0.0012 away from every half, a hundred times the error of any float32 asinh, so that the table
    is what every machine computes.
    """
    y = torch.arange(-32000, 32001)
    seen = compand(y.float(), half_up).long()
    exact = 20 * torch.asinh(y.abs().double())
    inside = exact < 127
    assert ((exact + 0.5).frac() - (exact + 0.5).frac().round())[inside & (y != 0)].abs().min() > 1e-3
    assert torch.equal(seen, torch.sign(y) * half_up(exact.clamp(max=127)).long())
    assert {value: int(seen[32000 + value]) for value in COMPANDED} == COMPANDED
    assert seen[32000 + 280] == 127 and seen[0] == -127


def test_companding_without_rounding_stays_close_and_has_a_gradient() -> None:
    """A search takes gradients through it, of latents as large as streams can hold."""
    y = torch.arange(-32000.0, 32001.0).requires_grad_()
    seen = compand(y, smooth)
    (gradient,) = torch.autograd.grad(seen.sum(), y)
    assert (seen - compand(y.detach(), half_up)).abs().max() < 0.75  # half for the rounding, the rest for float32
    assert gradient.isfinite().all() and (gradient >= 0).all()
