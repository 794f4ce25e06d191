"""Meta-learning: the inner loop, gradients through it, resumption, and what a finished run leaves."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import picture
from PIL import Image

import inrcodec
from inrcodec.coordinates import patch_coordinates
from inrcodec.errors import NothingToDo, UsageError
from inrcodec.innerloop import distortion, fit, inner_loop
from inrcodec.methods.options import MetaOptions
from inrcodec.training import meta, metapipeline, patches, principal
from inrcodec.training.meta import Schedule
from inrcodec.training.metapipeline import METHODS, MetaRecipe

TINY = {"patch": 8, "width": 8, "depth": 2, "latent": 8, "inner_rate": 3.0, "test_steps": 4}
SCHEDULE = Schedule(steps=4, batch=4, points=32, checkpoint=2)
RECIPES = sorted(p.name for p in resources.files("inrcodec.training").iterdir() if p.name.endswith(".toml"))


def options(method: str, **more: object) -> MetaOptions:
    own = {"vcinr": {"hidden": 8, "codes": 8, "transform_width": 8, "rates": 3}}
    grown = {"flowcoin": {"groups": 2, "flow_width": 8}, "spatial-functa": {"cells": 2}}
    small: MetaOptions = METHODS[method].PRESETS["small"]
    return replace(small, **{**TINY, **own.get(method, {}), **grown.get(method, {}), **more})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for k in range(40):
        Image.fromarray(picture(20, 28, seed=k)).save(folder / f"{k}.png")
    return folder


@pytest.fixture
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def signal() -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.from_numpy(np.stack([picture(8, 8, seed=k) for k in range(3)])).view(3, 64, 3).float() / 255
    return patch_coordinates(8, 2), y


@pytest.mark.parametrize("method", METHODS)
def test_inner_loop_is_gradient_descent_on_the_modulations(method: str, signal) -> None:
    x, y = signal
    torch.manual_seed(0)
    net = options(method).network().eval()
    start = net.start(3).detach().requires_grad_()
    loss = (distortion(net(start, x), y) + net.modulation.penalty(start)).sum()
    (gradient,) = torch.autograd.grad(loss, start)
    assert torch.allclose(inner_loop(net, x, y, 1), start - net.rates() * gradient, atol=1e-6)


def test_outer_gradient_sees_through_the_inner_loop(signal, doubles: None) -> None:
    """Against finite differences of the whole of inner loop and loss: a gradient of first order would fail."""
    x, y = (part.double() for part in signal)
    torch.manual_seed(0)
    net = options("coinpp", inner_rate=100.0).network()

    def loss(weight: torch.Tensor) -> torch.Tensor:
        moved = copy.deepcopy(net)
        moved.siren.weights[1].data.copy_(weight)
        phi = inner_loop(moved, x, y, 2, create_graph=True)
        return distortion(moved(phi, x), y).sum()

    phi = inner_loop(net, x, y, 2, create_graph=True)
    weight = net.siren.weights[1]
    (gradient,) = torch.autograd.grad(distortion(net(phi, x), y).sum(), weight)
    blind = torch.autograd.grad(distortion(net(phi.detach(), x), y).sum(), weight)[0]
    step = torch.randn_like(weight)
    found = (loss(weight + 1e-5 * step) - loss(weight - 1e-5 * step)) / 2e-5
    assert torch.isclose((gradient * step).sum(), found, rtol=1e-4)
    assert not torch.isclose((blind * step).sum(), found, rtol=1e-2)


def test_fit_keeps_the_best_iterate(signal) -> None:
    x, y = signal
    torch.manual_seed(0)
    net = options("coinpp").network().eval().requires_grad_(False)
    wild = copy.deepcopy(net)
    wild.alpha.mul_(1e4)  # steps that overshoot
    before = distortion(net(net.start(3), x), y)
    assert (distortion(wild(fit(wild, x, y, 5), x), y) <= before).all()
    assert (distortion(net(fit(net, x, y, 4, refinement=30), x), y) < distortion(net(fit(net, x, y, 4), x), y)).all()


def test_a_resumed_run_equals_an_uninterrupted_one(photos: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def interrupt(step: int, *_: object) -> None:
        if step == 2:
            raise Stop

    data = patches.load({photos: 1.0}, 8)
    whole = meta.train(options("vcinr"), SCHEDULE, data, tmp_path / "whole")
    with pytest.raises(Stop):
        meta.train(options("vcinr"), SCHEDULE, data, tmp_path / "parts", interrupt)
    parts = meta.train(options("vcinr"), SCHEDULE, data, tmp_path / "parts")
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-5), name


def test_principal_start_is_a_linear_decoder(photos: Path) -> None:
    """Few steps find what is left of as many principal components as there are latents, less two."""
    net = options("vcinr", width=64 + principal.CANCELLING, latent=66, hidden=66, codes=66, inner_rate=100.0).network()
    data = patches.load({photos: 1.0}, 8)
    principal.start(net, data, 8, 200, 1, lambda *_: None)
    y = data.batch(200, 8, np.random.default_rng(9))
    centred = (y - y.mean(0)).flatten(1)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :64]
    bound = (centred - centred @ axes @ axes.T).square().mean()
    x = patch_coordinates(8, 2)
    phi = fit(net, x, y, 5)
    found = distortion(net(phi, x), y).mean()
    assert found < 0.1 * centred.square().mean()
    assert bound < found < 4 * bound
    between = F.interpolate(y.mT.reshape(-1, 3, 8, 8), scale_factor=2, mode="bicubic").flatten(2).mT
    assert distortion(net(phi, patch_coordinates(16, 2)), between).mean() < 4 * bound


def test_training_leaves_the_sines_of_a_principal_start(photos: Path, tmp_path: Path) -> None:
    own = options("vcinr", width=24 + principal.CANCELLING, latent=26, hidden=26, codes=26, inner_rate=100.0)
    data, schedule = patches.load({photos: 1.0}, 8), replace(SCHEDULE, points=64, rate=1e-4)
    first = meta.train(own, replace(schedule, steps=2), data, tmp_path, features=20)
    before = {k: v.clone() for k, v in first.state_dict().items()}
    after = meta.train(own, schedule, data, tmp_path, features=20).state_dict()  # goes on, and does not start anew
    changed = {k for k, v in after.items() if not torch.equal(v, before[k])}
    assert changed and not any(k.startswith("siren.") for k in changed)


def test_large_matrices_are_stored_in_8_bits() -> None:
    torch.manual_seed(0)
    large, small = torch.randn(1 << 10, 1 << 9) * torch.logspace(-3, 3, 1 << 10)[:, None], torch.randn(40, 30)
    stored = metapipeline.packed({"large": large, "small": small})
    assert stored["large"].dtype == torch.int8 and stored["small"].dtype == torch.float16
    back = metapipeline.rounded({"large": large, "small": small})
    assert back.keys() == {"large", "small"}
    assert ((back["large"] - large).abs() <= large.abs().amax(1, keepdim=True) / 250).all()


def test_transforms_without_a_linear_part_keep_the_number_of_values() -> None:
    with pytest.raises(ValueError, match="6 codes of 8 latents"):
        options("vcinr", codes=6).coder()


LINEAR = {"transform_linear": True, "codes": 6}


@pytest.mark.parametrize("method, more", [*((m, {}) for m in METHODS), ("vcinr", LINEAR)])
def test_pipeline_makes_a_model(
    method: str, more: dict[str, object], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = MetaRecipe("made", method, "A test.", options(method, **more), SCHEDULE, (1.0,), samples=64, coder_steps=4)
    folder = metapipeline.train(recipe, [photos], tmp_path)
    assert {p.name for p in folder.iterdir()} == {"weights.safetensors", "model.toml", "CARD.md"}
    monkeypatch.setenv("INRCODEC_MODELS", str(tmp_path))
    values = picture(13, 20)
    for quality in (0, 100):
        data = inrcodec.encode(values, method=method, quality=quality, effort=1)
        assert inrcodec.describe(data)["method"] == method and inrcodec.decode(data).shape == values.shape


def test_pictures_are_held_out_by_name(photos: Path) -> None:
    data = patches.load({photos: 1.0}, 8)
    assert len(data.sources[0]) + len(data.valid[0]) == 40 and data.valid[0]
    with pytest.raises(NothingToDo, match="0 training and 0 validation pictures of 64"):
        patches.load({photos: 1.0}, 64)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_that_ship(name: str) -> None:
    text = resources.files("inrcodec.training").joinpath(name).read_text()
    if "\nmethod = " in text:
        with resources.as_file(resources.files("inrcodec.training").joinpath(name)) as path:
            recipe = MetaRecipe.read(path)
        assert recipe.options == METHODS[recipe.method].PRESETS["small"]


@pytest.mark.parametrize("line", ["secret = 1", "options = {secret = 1}", "schedule = {secret = 1}", "preset = 'no'"])
def test_bad_recipes(line: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(f'name = "a"\nmethod = "coinpp"\ndescription = ""\n{line}\n')
    with pytest.raises(UsageError, match="secret|no"):
        MetaRecipe.read(path)
