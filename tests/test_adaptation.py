"""The two searches for latents, on the small network of the tests."""

import math
import subprocess
import sys

import pytest
import torch
from conftest import picture
from torch import Tensor

from inrcodec import basemodels, devices
from inrcodec.adam import Adam
from inrcodec.adaptation import EFFORTS, _Search, adapt
from inrcodec.fields.pyramid import PyramidConfig, lmbda, operating_point
from inrcodec.methods.pyramid import PyramidModel
from inrcodec.priors.context import half_up, smooth

OP = torch.tensor([128])


@pytest.fixture(scope="module")
def model() -> PyramidModel:
    loaded = basemodels.load(basemodels.by_name("tiny"), "cpu")
    assert isinstance(loaded, PyramidModel)
    return loaded


def batch(count: int = 2) -> Tensor:
    """[B, 3, 40, 50] in 0…1."""
    return torch.stack([torch.from_numpy(picture(40, 50 + k)[:, k:]).movedim(2, 0) / 255 for k in range(count)])


def start(model: PyramidModel, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return model.analysis(x, OP, model.synthesis, half_up)[0]


def search(model: PyramidModel, x: Tensor, first_only: bool = False) -> _Search:
    return _Search(x, OP, model.synthesis, model.prior, lambda _: None, first_only, None)


@pytest.mark.parametrize("aim", [1.0, 1.05])
def test_a_search_minimises_the_lambda_that_was_asked_for(aim: float) -> None:
    for asked in (0.002, 0.03, 0.4):
        found = lmbda(operating_point(asked, aim) * torch.tensor(aim))
        assert abs(torch.log(found / asked)) < 0.02
    with pytest.raises(ValueError, match="aim of 0"):
        PyramidConfig.from_json(b'{"aim": 0}')


def test_more_effort_costs_less_and_is_counted(model: PyramidModel) -> None:
    x, costs = batch(), []
    for effort in (0, 2, 5, 7):
        told: list[int] = []
        found = adapt(start(model, x), x, OP, model.synthesis, model.prior, effort, told.append)
        assert told == [len(x)] * max(1, sum(EFFORTS[effort]))
        assert all(torch.equal(y, half_up(y)) for y in found)
        with torch.no_grad():
            costs.append(search(model, x).loss(found, half_up))
    assert all((more < less).all() for less, more in zip(costs, costs[1:], strict=False))


def test_bfloat16_costs_next_to_nothing(model: PyramidModel, monkeypatch: pytest.MonkeyPatch) -> None:
    x, costs = batch(), []
    for quick in (False, True):
        monkeypatch.setattr(devices, "multiplies_bfloat16", lambda _, quick=quick: quick)
        found = adapt(start(model, x), x, OP, model.synthesis, model.prior, 5, lambda _: None)
        monkeypatch.undo()
        with torch.no_grad():
            costs.append(search(model, x).loss(found, half_up))
    assert (costs[1] < 1.01 * costs[0]).all() and not torch.equal(*costs)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.98)])
def test_adam_is_that_of_torch(betas: tuple[float, float]) -> None:
    ours, theirs = ([torch.tensor([1.0, -2.0, 3.0]).requires_grad_() for _ in range(2)] for _ in range(2))
    own, other = Adam(ours, betas, eps=0.1), torch.optim.Adam(theirs, betas=betas, eps=0.1)
    for step in range(5):
        other.param_groups[0]["lr"] = 0.3 / (step + 1)
        for parameters in (ours, theirs):
            sum(p.pow(k + 2).sum() for k, p in enumerate(parameters)).backward()
        own.step(0.3 / (step + 1))
        other.step()
        other.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("method", ["pyramid", "coinpp"])
def test_an_encoder_does_not_wait_for_a_compiler(method: str) -> None:
    code = (
        "import sys, numpy, inrcodec\n"
        f"inrcodec.encode(numpy.arange(3072, dtype='u1').reshape(32, 32, 3), method='{method}', effort=6)\n"
        "print(*(name for name in ('torch._dynamo', 'sympy') if name in sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not told.stdout.strip()


def test_a_relaxed_search_that_fails_costs_nothing(model: PyramidModel, monkeypatch: pytest.MonkeyPatch) -> None:
    x = batch()
    first = start(model, x)

    def failed(_: _Search, latents: list[Tensor], steps: int) -> list[Tensor]:
        return [half_up(y) + torch.tensor([3.0, 0.0]).view(-1, 1, 1, 1) for y in latents]  # of the first item only

    monkeypatch.setattr(_Search, "relax", failed)
    found = adapt(first, x, OP, model.synthesis, model.prior, 5, lambda _: None)
    own = search(model, x)
    with torch.no_grad():
        assert (own.loss(found, half_up) < own.loss([half_up(y) for y in first], half_up)).all()


def test_refinement_makes_no_item_worse(model: PyramidModel) -> None:
    x = batch(3)
    own = search(model, x)
    y = [half_up(v) for v in start(model, x)]
    y[0][1, 0, 3, 3] += 4  # as a bad search would leave it
    anything = torch.full((3,), math.inf)
    better = own.refine(y, 8, y, anything)
    with torch.no_grad():
        assert (own.loss(better, smooth) < own.loss(y, smooth)).all()
    assert all(torch.equal(a, b) for a, b in zip(own.refine(y, 1, y, anything), y, strict=True))  # only looks


def test_refinement_goes_on_from_what_is_better(model: PyramidModel) -> None:
    x = batch()
    own = search(model, x)
    y = [half_up(v) for v in start(model, x)]
    bad = [v + torch.tensor([3.0, 0.0]).view(-1, 1, 1, 1) for v in y]
    with torch.no_grad():
        limit = own.loss(y, smooth)
    once, twice, better = (own.refine(bad, passes, y, limit) for passes in (1, 2, 8))
    for found in (once, twice):
        assert all(torch.equal(a[0], b[0]) for a, b in zip(found, y, strict=True))
    with torch.no_grad():
        assert (own.loss(better, smooth) < limit).all()


def test_promised_steps_help_when_taken_alone(model: PyramidModel) -> None:
    x = batch(1)
    own = search(model, x)
    y = [half_up(v) for v in start(model, x)]
    loss, steps = own._promising(y, own._curves(y))
    places = [(level, *at) for level, s in enumerate(steps) for at in s.nonzero().tolist()]
    assert len(places) > 20
    helped = 0
    for level, *at in places[:: len(places) // 20]:
        other = [v.clone() for v in y]
        other[level][tuple(at)] += steps[level][tuple(at)]
        with torch.no_grad():
            helped += bool(own.loss(other, smooth) < loss)
    assert helped > 0.8 * len(places[:: len(places) // 20])


def test_what_is_held_at_zero_stays_there(model: PyramidModel) -> None:
    x = batch().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    found = adapt(start(model, x), x, OP, model.synthesis, model.prior, 5, lambda _: None, first_only=True)
    for y, groups in zip(found, model.config.prior.groups, strict=True):
        assert not y[:, groups[0] :].any()
    assert any(y.any() for y in found)
