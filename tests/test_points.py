"""Reconstruction points: exact, in the stream's favour, and the same in the search as in the decoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import picture
from hypothesis import given
from hypothesis import strategies as st

from inrcodec import basemodels
from inrcodec.fields.grids import channels_last
from inrcodec.fields.pyramid import PyramidConfig
from inrcodec.latents import CodedLatents, write_symbols
from inrcodec.methods.pyramid import PyramidModel
from inrcodec.priors.context import OPERATING_POINTS, SCALES, half_up
from inrcodec.priors.points import NEAR, POINT_UNIT, SIDE, Points
from inrcodec.training import calibration, export
from inrcodec.training.networks import Trainee


def random_points(levels: int) -> Points:
    points, generator = Points(levels), torch.Generator().manual_seed(0)
    points.load(torch.randint(-POINT_UNIT, POINT_UNIT + 1, points.table.shape, generator=generator, dtype=torch.int16))
    return points


@given(
    st.integers(-40, 40),
    st.integers(-400, 400),
    st.integers(0, SCALES - 1),
    st.integers(0, OPERATING_POINTS - 1),
    st.integers(0, 1),
)
def test_a_shift_is_what_the_format_says(y: int, mean: int, index: int, op: int, level: int) -> None:
    points = random_points(2)
    near = min(max(8 * y - mean, -NEAR), NEAR) + NEAR
    a, b = points.table[:, level, int(y != 0), index, near].tolist()
    expected = (a + (2 * b * (2 * op - 255) + 255) // 510) / 256
    cells = (torch.full((1, 1, 1), float(v)) for v in (y, mean, index))
    assert points(level, *cells, torch.tensor([op])).item() == expected


def test_a_table_of_another_size_is_refused() -> None:
    for table in (torch.zeros(2, 3, 2, SCALES, SIDE, dtype=torch.int16), torch.zeros(2, 2, 2, SCALES, SIDE)):
        with pytest.raises(ValueError, match="reconstruction points"):
            Points(2).load(table)


@pytest.mark.parametrize("first_only", [False, True])
def test_decoder_and_search_agree_on_what_symbols_stand_for(first_only: bool) -> None:
    model = PyramidModel.from_bytes(basemodels.verify(basemodels.by_name("tiny")))
    model.synthesis.points = random_points(model.config.levels)
    shape, op = (37, 50), torch.tensor([90])
    x = channels_last(torch.from_numpy(picture(*shape)).movedim(2, 0)[None] / 255)
    y = [half_up(v) for v in model.analysis(x, op, model.synthesis, half_up)[0]]
    if first_only:
        for v, groups in zip(y, model.config.prior.groups, strict=True):
            v[:, groups[0] :] = 0
    coded = write_symbols(model, [v[0].to(torch.int16) for v in y], shape, 90, first_only)
    read = CodedLatents(model, coded, shape, 90, first_only).whole()
    expected = model.prior.expect(y, shape, op, half_up)
    for level, (v, p, found) in enumerate(zip(y, expected, read, strict=True)):
        luma = model.config.prior.groups[level][0] if first_only else v.shape[1]
        shifts = model.synthesis.points(level, v, *p, op)
        assert shifts.any() and torch.equal(found[:luma], (v + shifts)[0, :luma]) and not found[luma:].any()


def test_calibration_brings_symbols_nearer_to_the_signal() -> None:
    torch.manual_seed(6)
    config = PyramidConfig(2, 1, (8, 8, 8), (0, 0, 0), (8, 8, 8), ((1.0,),))
    net = Trainee(config).requires_grad_(False)
    net.refresh()
    rng, op = np.random.default_rng(0), torch.full((4,), 60)

    def crops(turn: int) -> list[calibration.Batch]:
        noise = rng.normal(size=(4, 4, 1, 32, 32)).cumsum(-1).cumsum(-2) * 0.02 + 0.5
        return [(torch.from_numpy(x).float(), op, None) for x in noise]

    calibration.points(net, crops)
    assert net.synthesis.points.table.any()
    gains = []
    for x, _, _ in crops(4):
        y = [half_up(v) for v in net.analysis(x, op, net.synthesis, half_up)[0]]
        expected = net.prior.expect(y, (32, 32), op, half_up)
        values = [v + net.synthesis.points(k, v, *p, op) for k, (v, p) in enumerate(zip(y, expected, strict=True))]
        target = net.synthesis.from_signal(x)
        plain, moved = ((net.synthesis(v, op, (32, 32))[0] - target).square().mean() for v in (y, values))
        gains.append(float(10 * torch.log10(plain / moved)))
    assert min(gains) > 0.02
    model = PyramidModel.from_bytes(export.to_bytes(net, export.logistic_tails()))
    again = export.from_bytes(export.to_bytes(net, export.logistic_tails()))
    for other in (model, again):
        assert torch.equal(other.synthesis.points.table, net.synthesis.points.table)
    assert model.config == replace(config, stretches=True)
