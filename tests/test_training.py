"""A short run of everything, its resumption, and what export promises."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import picture, sound
from PIL import Image

from inrcodec import codec, formats
from inrcodec.adaptation import estimated_bits
from inrcodec.errors import NothingToDo, UsageError
from inrcodec.fields.pyramid import PyramidConfig
from inrcodec.methods.pyramid import PyramidModel
from inrcodec.priors.context import ContextPrior, half_up
from inrcodec.signal import Signal
from inrcodec.training import data, export, growth, loop, pipeline, skeleton
from inrcodec.training.loop import Recipe
from inrcodec.training.networks import Trainee

SIZES = {"widths": (16, 16, 16), "blocks": (1, 0, 0), "prior_widths": (16, 16, 16)}
FEWER = {name: sizes[:2] for name, sizes in SIZES.items()}
NETWORK = PyramidConfig(**SIZES, in_steps=True, magnitudes=True)  # type: ignore[arg-type]
RECIPE = Recipe("small", 6, batch=2, crop=32, valid_crop=32, skeleton=4, checkpoint=3, head_steps=2, network=NETWORK)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for k in range(40):
        Image.fromarray(picture(200, 208, seed=k)).save(folder / f"{k}.png")
    return folder


def test_a_resumed_run_equals_an_uninterrupted_one(photos: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def interrupt(step: int, *_: object) -> None:
        if step == 3:
            raise Stop

    whole = loop.train(RECIPE, photos, tmp_path / "whole")
    with pytest.raises(Stop):
        loop.train(RECIPE, photos, tmp_path / "parts", interrupt)
    parts = loop.train(RECIPE, photos, tmp_path / "parts")
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-5), name


def test_pipeline_makes_a_model(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import inrcodec

    seen = []
    folder = pipeline.train(RECIPE, photos, tmp_path, lambda *row: seen.append(row))
    assert seen and {p.name for p in folder.iterdir()} == {"weights.safetensors", "model.toml", "CARD.md"}
    monkeypatch.setenv("INRCODEC_MODELS", str(tmp_path))
    values = picture(33, 40)
    assert inrcodec.decode(inrcodec.encode(values, model="small", effort=0)).shape == values.shape
    again = export.from_bytes((folder / "weights.safetensors").read_bytes())
    assert again.synthesis.config == replace(NETWORK, stretches=True)


def test_export_computes_what_training_computed() -> None:
    torch.manual_seed(3)
    net = Trainee(NETWORK)
    net.refresh()
    model = PyramidModel.from_bytes(export.to_bytes(net, export.logistic_tails()))
    y = [half_up(3 * torch.randn(1, NETWORK.latents(i), 32 >> i, 48 >> i)) for i in range(3)]
    for point in (0, 100, 255):
        op = torch.tensor([point])
        trained, exported = (estimated_bits(prior, y, y, (64, 96), op, half_up) for prior in (net.prior, model.prior))
        # biases are rounded a second time, which may move a rare activation by one
        assert torch.allclose(trained, exported, rtol=2e-3)


def test_export_and_back_is_stable() -> None:
    torch.manual_seed(4)
    first = export.to_bytes(Trainee(NETWORK), export.logistic_tails())
    second = export.to_bytes(export.from_bytes(first), export.logistic_tails())
    a, b = (PyramidModel.from_bytes(data).prior.state_dict() for data in (first, second))
    for name in a:
        assert torch.allclose(a[name], b[name], atol=1e-2), name


def test_a_network_grows_without_changing_what_it_does() -> None:
    small = Trainee(replace(NETWORK, magnitudes=False))
    large = Trainee(replace(NETWORK, blocks=(1, 2, 1), apart=True, prior_widths=(24, 20, 24)))
    growth.grow(large, small)
    op, x = torch.tensor([30, 200]), torch.rand(2, 3, 40, 24)
    for net in (small, large):
        net.refresh()
    a, b = (net.analysis(x, op, net.synthesis, half_up) for net in (small, large))
    assert torch.equal(a[1], b[1]) and all(torch.equal(y, z) for y, z in zip(a[0], b[0], strict=True))
    y = [half_up(v) for v in a[0]]
    bits = [estimated_bits(net.prior, y, y, (40, 24), op, half_up) for net in (small, large)]
    assert torch.allclose(*bits, rtol=1e-4)
    for change in (
        {"widths": (16, 16, 32)},
        {"prior_widths": (16, 12, 16)},
        {"blocks": (0, 0, 0)},
        {"in_steps": False},
        FEWER,
    ):
        with pytest.raises(UsageError, match="does not continue the model"):
            growth.grow(Trainee(replace(NETWORK, **change)), small)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_prepared_network_is_the_wavelet_and_its_prior_knows_the_scales(dims: int) -> None:
    torch.manual_seed(5)
    net = Trainee(PyramidConfig(dims, 1, (8, 8, 8), (0, 0, 0), (8, 8, 8), ((1.0,),), magnitudes=True))
    x, op = torch.rand(4, 1, *[40] * dims) * 0.3, torch.tensor([20, 90, 160, 230])

    def bits() -> float:
        y = [half_up(v) for v in skeleton.code(net.synthesis, x, op, half_up)[0]]
        return estimated_bits(net.prior, y, y, tuple(x.shape[2:]), op, half_up).sum().item()

    before = bits()
    skeleton.prepare(net, x)
    assert bits() < 0.8 * before
    y, decoded, _ = net.analysis(x, op, net.synthesis, half_up)
    bands, same = skeleton.code(net.synthesis, x, op, half_up)
    assert torch.allclose(decoded, same, atol=1e-5)
    for a, b in zip(y, bands, strict=True):
        assert torch.allclose(a, b, atol=1e-3)


def test_there_is_no_skeleton_on_the_sphere(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="skeleton"):
        loop.train(replace(RECIPE, network=replace(NETWORK, sphere=True)), photos, tmp_path)


def test_the_first_steps_of_a_network_that_goes_on_train_its_prior_alone(photos: Path, tmp_path: Path) -> None:
    loop.train(replace(RECIPE, steps=2, skeleton=1), photos, tmp_path / "run")
    model = pipeline.train(replace(RECIPE, steps=2), photos, tmp_path)
    recipe = replace(RECIPE, name="next", start="small", steps=2, skeleton=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INRCODEC_MODELS", str(model.parent))
        net = loop.train(recipe, photos, tmp_path / "next")
    before = export.from_bytes((model / "weights.safetensors").read_bytes()).state_dict()
    moved = {name.split(".")[0] for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"prior"}


SHARE = """
import torch
from inrcodec.training import workers
rank, count = workers.join()
net = torch.nn.Linear(2, 1)
net.weight.grad = torch.tensor([[float(rank), 3.0]])
workers.share_gradients(net)
assert count == 2 and net.weight.grad.tolist() == [[0.5, 3.0]]
"""


@pytest.mark.parametrize("what", ["gradients", "training"])
def test_processes_share_their_gradients(photos: Path, tmp_path: Path, what: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(
        'name = "shared"\nsteps = 2\nbatch = 1\ncrop = 32\nvalid_crop = 32\ncheckpoint = 2\nhead_steps = 1\n'
        "[network]\nwidths = [16, 16, 16]\nblocks = [1, 0, 0]\nprior_widths = [16, 16, 16]\n"
    )
    command = [sys.executable, "-m", "inrcodec", "train", "--config", recipe, "--data", photos, "--out", out]
    command = [sys.executable, "-c", SHARE] if what == "gradients" else command
    both = [subprocess.Popen(command, env=os.environ | shared | {"RANK": rank}) for rank in ("0", "1")]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    if what == "training":
        assert len((out / "log.jsonl").read_text().splitlines()) == 1
        assert (out / "shared" / "weights.safetensors").exists()


def test_grain_is_noise_in_whole_steps() -> None:
    flat = [Signal.from_array(np.full((64, 64, 3), 128, np.uint8))]
    for share, deviations in ((0.0, (0.0, 0.0)), (1.0, (0.3, 7.0))):
        batch, _ = data.Files(data.Kind("image", 3, data.Variety(grain=share)), flat, flat).batch(6, (48, 48), 1)
        assert torch.allclose((batch * 255).round(), batch * 255, atol=1e-3)
        spread = 255 * batch.flatten(1).std(1)
        assert deviations[0] <= spread.min() and spread.max() <= deviations[1]


def test_subsampled_crops_keep_luma_and_lose_fine_chroma() -> None:
    luma = np.random.default_rng(0).integers(100, 140, (64, 64))
    stripes = 40 * (-1) ** np.arange(64)
    pixels = [luma + 1.402 * stripes, luma - 0.714 * stripes, np.broadcast_to(luma, (64, 64))]  # of red difference only
    signals = [Signal.from_array(np.stack(pixels, -1).round().astype(np.uint8))]
    for share in (0.0, 1.0):
        kind = data.Kind("image", 3, data.Variety(subsampled=share))
        batch = 255 * data.Files(kind, signals, signals).batch(6, (48, 48), 1)[0]
        assert torch.allclose(batch.round(), batch, atol=1e-3)
        brightness = (0.299 * batch[:, 0] + 0.587 * batch[:, 1] + 0.114 * batch[:, 2]).flatten(1)
        assert (brightness.std(1) > 10).all()
        difference = (batch[:, 0] - batch[:, 1]).flatten(1).std(1)
        assert difference.max() < 10 if share else difference.min() > 70


def test_subsampling_is_for_colour_images(tmp_path: Path) -> None:
    for recipe in (replace(RECIPE, modality="video"), replace(RECIPE, network=replace(RECIPE.network, channels=1))):
        with pytest.raises(UsageError, match="subsampled"):
            replace(recipe, subsampled=0.5).supply(tmp_path)


def test_the_decoder_learns_from_what_a_search_finds(photos: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=2, skeleton=0, checkpoint=2, searched=1)
    after = loop.train(recipe, photos, tmp_path)
    torch.manual_seed(recipe.seed)
    before = Trainee(recipe.network)

    def same(part: str) -> bool:
        pairs = zip(getattr(before, part).parameters(), getattr(after, part).parameters(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)

    assert [same(part) for part in ("analysis", "synthesis", "prior")] == [True, False, False]
    (row,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert '"J"' in row
    with pytest.raises(UsageError, match="searched"):
        replace(recipe, searched=10).supply(photos)


def test_sounds_are_trained_on_as_photographs_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(24):
        data = formats.write(Signal.sound(sound(20000, 1 + k % 2, seed=k), 16000), ".flac")
        (tmp_path / f"{k}.flac").write_bytes(data)
    config = PyramidConfig(1, 1, (16, 16, 16), (1, 0, 0), (16, 16, 16), ((1.0,),))
    recipe = replace(RECIPE, modality="audio", crop=512, valid_crop=1024, head_steps=1, network=config, valid_share=0.3)
    folder = pipeline.train(recipe, tmp_path, tmp_path / "run")
    monkeypatch.setenv("INRCODEC_MODELS", str(folder.parent))
    values = sound(700, 2)
    encoded = codec.compress(Signal.sound(values, 16000), codec.Settings(model="small", quality=90, effort=1))
    assert codec.decode(encoded.data).shape == values.shape


def test_enlarged_crops_are_softer_and_reduced_ones_sharper() -> None:
    ramp = np.repeat(np.arange(200, dtype=np.uint8), 200).reshape(200, 200, 1)

    def slope(resized: float, factor: float) -> float:
        signals = [Signal.from_array(ramp, "image")]
        kind = data.Kind("image", 3, data.Variety(resized=resized, factors=(factor, factor)))
        supply = data.Files(kind, signals, signals)
        batch, centres = supply.batch(4, (48, 48), 1)[0], supply.centres((48, 48))[0]
        assert batch.shape == (4, 3, 48, 48) and centres.shape == (2 if resized else 1, 3, 48, 48)
        assert torch.allclose((batch * 255).round(), batch * 255, atol=1e-4)
        return 255 * (batch[:, :, -1, -1] - batch[:, :, 0, 0]).abs().max().item()

    assert slope(0, 1) == pytest.approx(47)
    assert slope(1, 2) == pytest.approx(23.5, abs=2) and slope(1, 0.5) == pytest.approx(94, abs=3)


def test_a_picture_smaller_than_a_crop_is_enlarged_to_fill_it(tmp_path: Path) -> None:
    for k in range(20):
        Image.fromarray(picture(30, 90, seed=k)).save(tmp_path / f"{k}.png")
    supply = data.load(tmp_path, data.Kind("image", 3, data.Variety(resized=0.01, factors=(1.0, 2.0))), (48, 48), 0.3)
    assert len(supply.train) + len(supply.valid) == 20
    assert supply.batch(8, (48, 48), 1)[0].shape == (8, 3, 48, 48)
    with pytest.raises(NothingToDo):
        data.load(tmp_path, data.Kind("image", 3), (48, 48), 0.3)


def test_only_pictures_are_resized(photos: Path) -> None:
    with pytest.raises(UsageError, match="resized"):
        replace(RECIPE, modality="audio", resized=0.5).supply(photos)
    with pytest.raises(UsageError, match="factors"):
        replace(RECIPE, resized=0.5, factors=(0.0, 1.0)).supply(photos)


def test_recipes_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    for text in ("name = 'x'\nsteps = 5\nspeed = 3", "name = 'x'", "name = ", "[network]\nwidth = 3"):
        path.write_text(text)
        with pytest.raises(UsageError, match="recipe.toml"):
            Recipe.load(path)


def test_learning_rate_ends_at_zero() -> None:
    rates = [loop.learning_rate(RECIPE, step) for step in range(RECIPE.steps + 1)]
    assert rates[-1] == 0 and max(rates[RECIPE.skeleton :]) <= RECIPE.rate


def test_context_prior_of_training_and_codec_have_the_same_layers() -> None:
    net = Trainee(NETWORK)
    ours = {n for n, _ in net.prior.named_modules() if n.count(".") and not n.endswith(".bias")}
    theirs = {n for n, _ in ContextPrior(NETWORK.prior).named_modules() if n.count(".")}
    assert theirs <= ours
