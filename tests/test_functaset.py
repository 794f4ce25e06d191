"""Data sets of modulations: what the file holds, that it decodes to the pictures, and what is refused."""

import json
import os
import re
import runpy
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

from inrcodec import codec, files, functaset
from inrcodec.cli import main
from inrcodec.codec import Settings
from inrcodec.coordinates import patch_coordinates
from inrcodec.errors import InputNotFound, NothingToDo, OutputExists, OutputFailed, UnsupportedInput, UsageError
from inrcodec.signal import Signal

CLASSIFY = Path(__file__).parent.parent / "docs" / "examples" / "classify.py"


def save(path: Path, seed: int, *size: int, channels: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = picture(*(size or (8, 8)), channels, seed=seed)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k, name in enumerate(("cat/b.png", "cat/a.png", "ant/c.png")):
        save(tmp_path / "set" / name, k)
    return tmp_path / "set"


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "set.h5"
    assert run("functaset", folder, "-o", target, "--model", "tiny-functa", "--effort", 2, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["modulations"] == [3, 16] and said["classes"] == 2 and said["bytes"] == target.stat().st_size
    with h5py.File(target) as file:
        assert file["modulations"].dtype == np.float32 and file["modulations"].shape == (3, 16)
        assert file["names"].asstr()[:].tolist() == ["ant/c.png", "cat/a.png", "cat/b.png"]
        assert file["labels"][:].tolist() == [0, 1, 1]
        assert file["classes"].asstr()[:].tolist() == ["ant", "cat"]
        assert {"model": "tiny-functa", "method": "functa", "effort": 2, "patch": 8}.items() <= dict(file.attrs).items()
        info, model = functaset.network(file.attrs["model"], "cpu")
        assert file.attrs["model_id"] == info.id.hex() and json.loads(file.attrs["options"])["latent"] == 16
        rows = file["modulations"][:]
        names = {"rows": rows, "row": rows[0], "height": 8, "width": 8, "coordinates": patch_coordinates(8, 2)}
        code = file.attrs["decode"].replace("received(rows)", "received(__import__('torch').from_numpy(rows))")
        exec(code, names)
    assert names["samples"].shape == (8, 8, 3)  # type: ignore[attr-defined]
    features = names["features"].detach()[0].view(8, 8, 3)  # type: ignore[attr-defined]
    assert np.array_equal((features * 255).round().clamp(0, 255).byte().numpy(), names["samples"])


def test_modulations_are_those_that_are_coded(folder: Path) -> None:
    """Quantised and coded they are the stream of the picture."""
    _, model = functaset.network("tiny-coinpp", "cpu")
    made = functaset.make(model, files.expand([str(folder)], functaset.SUFFIXES), effort=5)
    signal = Signal.from_array(np.asarray(Image.open(folder / "ant" / "c.png")))
    encoded = codec.compress(signal, Settings(model="tiny-coinpp", effort=5, quality=100))
    field = codec.open_field(encoded.data)
    last = model.points - 1
    values = torch.from_numpy(made.modulations[:1])
    again = model.coder.dequantise(model.coder.quantise(values, last), last)
    torch.testing.assert_close(model.net.modulation.received(again), field.planes[0])  # type: ignore[attr-defined]


def test_pictures_come_back(folder: Path) -> None:
    """As far as a network of random weights goes: nearer than from no modulations."""
    _, model = functaset.network("tiny-functa", "cpu")
    found = files.expand([str(folder)], functaset.SUFFIXES)
    made = functaset.make(model, found, effort=8)
    for (path, _), row in zip(found, made.modulations, strict=True):
        original = np.asarray(Image.open(path)).astype(float)
        near, far = (functaset.picture(model, values, (8, 8)) for values in (row, np.zeros_like(row)))
        assert np.square(near - original).mean() < np.square(far - original).mean()


def test_patches(tmp_path: Path) -> None:
    """Larger pictures have an axis for patches; grey and alpha do not matter; labels need folders."""
    save(tmp_path / "a.png", 0, 13, 21)
    save(tmp_path / "b.png", 1, 16, 17, channels=1)
    save(tmp_path / "c.png", 2, 16, 24, channels=4)
    _, model = functaset.network("tiny-functa", "cpu")
    made = functaset.make(model, files.expand([str(tmp_path)], functaset.SUFFIXES), effort=1)
    assert made.modulations.shape == (3, 6, 16) and made.patches == (2, 3)
    assert made.labels is None and made.classes == [] and "labels" not in made.columns
    assert made.notes == ("c.png: alpha is left out",)
    assert functaset.picture(model, made.modulations[0], (13, 21)).shape == (13, 21, 3)
    with pytest.raises(UsageError, match="6 patches; a picture of 8 x 8 has 1"):
        functaset.picture(model, made.modulations[0], (8, 8))


def test_order_and_company_do_not_matter(folder: Path) -> None:
    """A picture has the same modulations alone as among others."""
    _, model = functaset.network("tiny-functa", "cpu")
    found = files.expand([str(folder)], functaset.SUFFIXES)
    together = functaset.make(model, found, effort=2).modulations
    alone = functaset.make(model, found[1:2], effort=2).modulations
    np.testing.assert_allclose(together[1:2], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["nowhere", "-o", "out.h5"], InputNotFound, "nowhere: there is no such folder"),
        (["empty", "-o", "out.h5"], NothingToDo, "no file in this folder"),
        (["set", "-o", "out.png"], OutputFailed, "cannot write '.png' files of modulations"),
        (["set", "-o", "there.h5"], OutputExists, "there.h5 exists already"),
        (["set", "-o", "no/out.h5"], OutputFailed, "there is no folder no"),
        (["set", "-o", "out.h5", "--model", "tiny"], UsageError, "is of method pyramid"),
        (["set", "-o", "out.h5", "--model", "coin"], UsageError, "method coin has no base network"),
        (["set", "-o", "out.h5", "--effort", "10"], UsageError, "effort must be within 0 and 9, not 10"),
        (["sizes", "-o", "out.h5"], UsageError, "sizes/z.png: 2x1 patches of 8 x 8, but a.png has 1x1"),
        (["damaged", "-o", "out.h5"], UnsupportedInput, "damaged/z.png"),
    ],
)
def test_refused(
    arguments: list[str],
    error: type,
    words: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one line, and nothing is written."""
    monkeypatch.chdir(folder.parent)
    Path("empty").mkdir()
    Path("there.h5").write_bytes(b"kept")
    save(Path("sizes/a.png"), 0)
    save(Path("sizes/z.png"), 1, 8, 9)
    save(Path("damaged/a.png"), 0)
    Path("damaged/z.png").write_bytes(Path("damaged/a.png").read_bytes()[:60])
    before = sorted(Path().rglob("*"))
    given = arguments if "--model" in arguments else [*arguments, "--model", "tiny-functa"]
    assert run("functaset", *given) == error.exit_code  # type: ignore[attr-defined]
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and not said.out
    assert sorted(Path().rglob("*")) == before and Path("there.h5").read_bytes() == b"kept"


def test_any_name(tmp_path: Path) -> None:
    """Names of files and folders need not be UTF-8."""
    save(tmp_path / "set" / os.fsdecode(b"b\xfe") / os.fsdecode(b"a\xff.png"), 0)
    target = tmp_path / "set.h5"
    assert run("functaset", tmp_path / "set", "-o", target, "--model", "tiny-functa", "--effort", 0, "-q") == 0
    with h5py.File(target) as file:
        assert file["names"].asstr()[:].tolist() == ["b\\xfe/a\\xff.png"]
        assert file["classes"].asstr()[:].tolist() == ["b\\xfe"]


def test_python_of_the_docs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("functaset", folder, "-o", "set.h5", "--model", "tiny-functa", "--effort", 0, "-q") == 0
    (code,) = re.findall(r"```python\n(.*?)```", (CLASSIFY.parent.parent / "functa.md").read_text(), re.S)
    names: dict[str, object] = {}
    exec(code.replace("(32, 32)", "(8, 8)"), names)
    assert names["samples"].shape == (8, 8, 3)  # type: ignore[attr-defined]


def test_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The classifier of docs/functa.md tells bright from dark pictures."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 6)):
        for k in range(count):
            for label, level in (("dark", 40), ("bright", 200)):
                path = tmp_path / part / label / f"{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(level, level + 15, (8, 8, 3)).astype(np.uint8)).save(path)
        target = tmp_path / f"{part}.h5"
        assert run("functaset", tmp_path / part, "-o", target, "--model", "tiny-functa", "--effort", 2, "-q") == 0
    capsys.readouterr()
    main_of = runpy.run_path(str(CLASSIFY))["main"]
    sets = [str(tmp_path / "train.h5"), str(tmp_path / "test.h5")]
    for more in ([], ["--pixels", str(tmp_path / "train"), str(tmp_path / "test")]):
        assert main_of([*sets, "--epochs", "80", "--width", "16", *more]) > 0.9
        assert capsys.readouterr().out.startswith("24 pictures: ")
