"""Pictures drawn from the priors: the same seed gives the same symbols, and they follow the tables."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inrcodec import functaset, sampling
from inrcodec.cli import main
from inrcodec.errors import OutputExists, OutputFailed, UnknownModel, UsageError
from inrcodec.methods.coders import Coder, SparseCoder, UniformCoder

METHODS = ("coinpp", "functa", "mscn", "vcinr", "flowcoin", "spatial-functa")

DRAWN = {
    "coinpp": [13, 12, 15, 6, 19, 17, 19, 16],
    "functa": [13, 12, 15, 6, 19, 17, 19, 16],
    "mscn": [16, 12, 20, 23, 23, 23, 13, 7],
    "vcinr": [-10, 0, -3, 2, -3, 0, 2, -2],
    "flowcoin": [0, -1, 1, 0, 2, 0, 0, 0],
    "spatial-functa": [-2, -3, -1, -4, -1, 0, 0, 3],
}
"""The first symbols of picture 3 of seed 7 at the middle operating point: the same on every machine."""


def coder(method: str) -> Coder:
    return functaset.network(f"tiny-{method}", "cpu")[1].coder


@pytest.mark.parametrize("method", METHODS)
def test_same_everywhere(method: str) -> None:
    drawn = sampling.symbols(coder(method), coder(method).points // 2, 7, 3)
    assert drawn.dtype == np.int32
    assert drawn[0, :8].tolist() == DRAWN[method]
    assert not np.array_equal(drawn, sampling.symbols(coder(method), coder(method).points // 2, 8, 3))
    assert not np.array_equal(drawn, sampling.symbols(coder(method), coder(method).points // 2, 7, 4))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_drawn_can_be_coded(method: str) -> None:
    """They are of the alphabets of the coder."""
    own = coder(method)
    for point in (0, own.points - 1):
        drawn = np.concatenate([sampling.symbols(own, point, 0, k) for k in range(6)])
        grid = (len(drawn), 1)
        assert np.array_equal(own.read(own.write(drawn, point, grid), point, grid), drawn)


def test_symbols_follow_the_histogram() -> None:
    own = coder("coinpp")
    assert isinstance(own, UniformCoder)
    drawn = np.concatenate([sampling.symbols(own, 1, 0, k) for k in range(200)]).ravel()
    wanted = own.tables().counts(1) / 2**20
    found = np.bincount(drawn, minlength=len(wanted)) / len(drawn)
    assert np.abs(found - wanted).max() < 5 * np.sqrt(0.25 / len(drawn))


def test_gates_follow_their_levels() -> None:
    own = coder("mscn")
    assert isinstance(own, SparseCoder)
    drawn = np.concatenate([sampling.symbols(own, 2, 0, k) for k in range(200)])
    wanted = (own.level.numpy() + 0.5) / own.LEVELS
    assert np.abs((drawn > 0).mean(0) - wanted).max() < 5 * np.sqrt(0.25 / 200)


def test_grid() -> None:
    pictures = [np.full((3, 4, 3), k, np.uint8) for k in range(1, 6)]
    whole = sampling.grid(pictures, gap=1)
    assert whole.shape == (2 * 4 - 1, 3 * 5 - 1, 3)
    assert (whole[:3, :4] == 1).all() and (whole[4:, 5:9] == 5).all() and not whole[4:, 10:].any()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file or a folder; picture k does not hang on how many there are."""
    draw = ["sample", "--model", "tiny-flowcoin", "--seed", "5"]
    assert main([*draw, "-n", "5", "-o", str(tmp_path / "all.png")]) == 0
    assert main([*draw, "-n", "2", "-o", f"{tmp_path / 'apart'}/"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 3 and out[0].endswith("28x18")
    whole = np.asarray(Image.open(tmp_path / "all.png"))
    for k in range(2):
        one = np.asarray(Image.open(tmp_path / "apart" / f"sample-{k:04}.png"))
        assert np.array_equal(one, whole[:8, 10 * k : 10 * k + 8])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--model", "tiny"], UsageError, "is of method pyramid"),
        (["--model", "coin"], UsageError, "method coin has no base network"),
        (["--model", "doh"], UsageError, "method doh has no base network"),
        (["--model", "none"], UnknownModel, "no model 'none'"),
        (["--model", "tiny-functa", "--quality", "101"], UsageError, "less than or equal to 100"),
        (["--model", "tiny-functa", "-n", "0"], UsageError, "greater than or equal to 1"),
        (["--model", "tiny-functa", "-o", "there.png"], OutputExists, "there.png exists already"),
        (["--model", "tiny-functa", "-o", "out.h5"], OutputFailed, "cannot write '.h5' files"),
    ],
)
def test_refused(
    arguments: list[str],
    error: type,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.png").write_bytes(b"kept")
    given = arguments if "-o" in arguments else [*arguments, "-o", "out.png"]
    assert main(["sample", *given]) == error.exit_code  # type: ignore[attr-defined]
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and not said.out
    assert [p.name for p in tmp_path.iterdir()] == ["there.png"]
