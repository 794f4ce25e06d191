"""Closing modulations: the equations are those of the synthesis, coding is lossless, what is found helps."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import picture

import inrcodec
from inrcodec import closing, container, entropy
from inrcodec.closing import Equations, Modulations
from inrcodec.errors import CorruptStream
from inrcodec.fields.pyramid import PyramidConfig
from inrcodec.priors.tables import EACH, STRETCHES, UNIFORM, LatentTables
from inrcodec.training import closing as training
from inrcodec.training.export import logistic_tails
from inrcodec.training.networks import Trainee

CONFIG = PyramidConfig(widths=(6, 6, 6), blocks=(1, 1, 1), prior_widths=(8, 8, 8), closing=5)


def trainee(config: PyramidConfig) -> Trainee:
    torch.manual_seed(3)
    net = Trainee(config).eval().requires_grad_(False)
    torch.nn.init.normal_(net.closing.weight, std=0.02)
    torch.nn.init.normal_(net.closing.bias, std=0.02)
    net.closing.load(torch.tensor([4, 0, -3, 8, 2], dtype=torch.int8))
    return net


@pytest.fixture
def net() -> Trainee:
    return trainee(CONFIG)


@pytest.mark.parametrize("in_steps", [False, True])
@pytest.mark.parametrize("shape", [(32, 48), (31, 45)])
def test_equations_predict_the_error(shape: tuple[int, int], in_steps: bool) -> None:
    """Added up over two windows, they say what any modulations leave of the whole cells."""
    net = trainee(replace(CONFIG, in_steps=in_steps))
    op, even = torch.tensor([140]), tuple(n // 2 * 2 for n in shape)
    sizes = [tuple(-(-n // 2**i) for n in shape) for i in (1, 2, 3)]
    values = [torch.randint(-3, 4, (1, CONFIG.latents(i), *s)).float() for i, s in enumerate(sizes)]
    target = torch.randn(1, 3, *shape) * 0.1
    equations = Equations(net.synthesis)
    for window in (((0, 16), (0, shape[1])), ((16, shape[0]), (0, shape[1]))):
        equations.add(values, op, shape, window, target[:, :, window[0][0] : window[0][1]])
    matrix, moments = equations.through(net.closing, False)
    found = Modulations(10, np.array([3, -2, 1, 0, 4]))
    errors = []
    for change in (None, found.change(net.closing)):
        r = net.synthesis(values, op, shape, change=change)[0]
        errors.append(float((target - r)[:, :, : even[0], : even[1]].square().sum()))
    m = found.integers * np.exp(-0.12 * 10)
    assert errors[1] - errors[0] == pytest.approx(m @ matrix @ m - 2 * moments @ m, rel=1e-3)


@pytest.mark.parametrize(
    "found",
    [Modulations(), Modulations(20, np.array([0, 1, -2, 700, -31000])), Modulations(255, np.zeros(5, np.int64))],
)
def test_coding(net: Trainee, found: Modulations) -> None:
    tables = LatentTables(logistic_tails())
    decoder = entropy.Decoder(entropy.encode(closing.parts(net.closing, tables, found), tables), tables)
    back = closing.read(net.closing, tables, decoder)
    decoder.finish()
    assert back.step == found.step and back.integers.tolist() == found.integers.tolist()


def test_stretch_announced_as_several(net: Trainee) -> None:
    tables = LatentTables(logistic_tails())
    parts = [(np.array([9]), np.full(1, UNIFORM, np.uint16)), (np.array([EACH]), np.full(1, STRETCHES, np.uint16))]
    with pytest.raises(CorruptStream, match="several"):
        closing.read(net.closing, tables, entropy.Decoder(entropy.encode(parts, tables), tables))


def test_nothing_where_nothing_helps(net: Trainee) -> None:
    found = closing.find(net.closing, LatentTables(logistic_tails()), Equations(net.synthesis), torch.tensor([100]))
    assert found.step == 0 and found.change(net.closing) is None


def test_a_basis_saves(net: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was fitted takes away some of the error of signals alike, of which it has seen none."""
    monkeypatch.setattr(training, "STEPS", 5)
    x = torch.rand(10, 3, 32, 32)
    ops = torch.full((10,), 200)
    samples = training.samples(net, [(x, ops, None)])
    training.fit(net.closing, samples[:8])
    saved = [float(training._saved(net.closing.flat(), s)[0]) for s in samples[8:]]
    assert min(saved) > 0


def test_every_tile_is_closed_alike() -> None:
    """A region of the second tile needs what the first one's section says; without that section it is coarser."""
    data = inrcodec.encode(picture(1100, 40), quality=70, effort=1, model="tiny-closing")
    assert inrcodec.open_field(data).planes[0].modulations.step > 0
    whole = inrcodec.decode(data)
    np.testing.assert_array_equal(inrcodec.decode(data, region=(3, 1040, 30, 50)), whole[1040:1090, 3:33])
    header, sections = container.read(data)
    assert len(sections) == 6
    lost = inrcodec.decode(data[: len(data) - len(sections[-1]) - len(sections[-2]) - 4], preview=True)
    assert lost.shape == whole.shape and (lost != whole).any()
