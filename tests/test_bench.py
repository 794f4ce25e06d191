"""Rate-distortion arithmetic, and the bench through its command."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from inrcodec.bench import bd, run, upscaling
from inrcodec.cli import main
from inrcodec.errors import NothingToDo

RATES = [0.1, 0.2, 0.4, 0.8, 1.6]
PSNRS = [28.0, 31.0, 34.0, 37.0, 40.0]


def test_bd_rate_of_a_scaled_curve() -> None:
    test = ([0.8 * r for r in RATES], PSNRS)
    assert bd.rate(test, (RATES, PSNRS)) == pytest.approx(-20, abs=1e-9)
    assert bd.rate((RATES, PSNRS), test) == pytest.approx(25, abs=1e-9)
    assert bd.rate(test, (RATES, PSNRS), (0.2, 0.8)) == pytest.approx(-20, abs=1e-9)


def test_bd_rate_needs_overlap() -> None:
    assert bd.rate((RATES, [p + 20 for p in PSNRS]), (RATES, PSNRS)) is None


def test_gain_at_the_points_of_a_curve() -> None:
    gains = bd.psnr_gain((RATES, [p + 0.5 for p in PSNRS]), (RATES, PSNRS))
    assert [round(gain, 6) for _, gain in gains] == [0.5] * 5
    assert np.allclose([rate for rate, _ in gains], RATES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k in range(2):
        Image.fromarray(picture(40, 48, seed=k)).save(tmp_path / f"{k}.png")
    return tmp_path


def test_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anchors = folder / "anchors.json"
    anchors.write_text(json.dumps({"a codec": {"bpp": [0.5, 2, 6], "psnr": [15, 25, 50]}, "no curve": {}}))
    arguments = ["bench", "--data", str(folder), "--quality", "20,60,90", "--effort", "0", "--model", "tiny"]
    assert main([*arguments, "--anchors", str(anchors), "--tsv", str(folder / "rows.tsv")]) == 0
    out = capsys.readouterr().out
    assert "2 images" in out and "a codec" in out and "no curve" not in out
    rows = [line.split("\t") for line in (folder / "rows.tsv").read_text().splitlines()]
    assert len(rows) == 7 and rows[0][:2] == ["item", "quality"]
    by_name = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    for row in by_name:
        assert float(row["bpp"]) == pytest.approx(8 * int(row["bytes"]) / (40 * 48), rel=1e-4)


def test_means() -> None:
    rows = [run.Row(item, 5.0, 0, 10, b, p, 1.0, 0.5) for item, b, p in (("a", 1.0, 30.0), ("b", 3.0, 40.0))]
    assert run.means(rows) == [run.Point(5.0, 2.0, 35.0, 1.0, 0.5)]


def test_upscaling_reports_both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inrcodec import basemodels

    monkeypatch.setitem(basemodels.DEFAULT, "image", "tiny")
    assert "gain" in upscaling.run(folder, 90, 0, 1, lambda *_: None)


def test_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(NothingToDo):
        run.run(tmp_path, [50], 0, "tiny", 1, None, lambda *_: None)
