"""A run of the bench: real encodes in other processes, results that are kept, tables and files."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from inrcodec.bench import bd, cache, datasets, ours, run, table, upscaling
from inrcodec.bench.model import Codec, Curve, Row, Source
from inrcodec.cli import main
from inrcodec.errors import UnknownModel, UsageError

SIDE = 48


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for k in range(2):
        Image.fromarray(picture(40, SIDE, seed=k)).save(images / f"{k}.png")
    return images


def row(codec: str, point: float, item: str, bpp: float, psnr: float) -> Row:
    return Row(
        item, "image", codec, "1", point, "cpu", 1, 100, 2.0, 0.5, metrics={"bpp": bpp, "psnr": psnr, "mse": 1e-4}
    )


def test_command(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    anchors = folder.parent / "anchors.json"
    anchors.write_text(json.dumps({"webp": {"bpp": [0.5, 2, 6], "psnr": [15, 25, 50]}, "no curve": {}}))
    command = ["bench", "--dataset", str(folder), "--codec", "inrcodec-e0,webp", "--quality", "20,60,90"]
    command += ["--effort", "0", "--model", "tiny", "--jobs", "1", "--anchors", str(anchors)]
    assert main([*command, "--tsv", str(folder.parent / "rows.tsv")]) == 0
    out = capsys.readouterr().out
    assert "inrcodec-e0" in out and "webp (published)" in out and "no curve" not in out
    rows = [line.split("\t") for line in (folder.parent / "rows.tsv").read_text().splitlines()]
    by_name = [dict(zip(rows[0], line, strict=True)) for line in rows[1:]]
    assert {r["item"] for r in by_name} == {"0.png", "1.png"} and {r["codec"] for r in by_name} == {
        "inrcodec-e0",
        "webp",
    }
    for r in by_name:
        assert float(r["bpp"]) == pytest.approx(8 * int(r["bytes"]) / (40 * SIDE), rel=1e-4)
    # everything is kept: nothing is measured again, and the rows come back as they were
    monkeypatch.setattr(run, "_measured", lambda tasks, _: iter(tasks and pytest.fail(f"{len(tasks)} measured again")))
    assert main([*command, "--json"]) == 0
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["item"], r["codec"], r["bytes"]) for r in again] == [
        (r["item"], r["codec"], int(r["bytes"])) for r in by_name
    ]


def test_batches(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One stream of ours for all pictures, a file each of others; rates and PSNR are means over the pictures."""
    command = ["bench", "--dataset", str(folder), "--codec", "inrcodec-e0,webp", "--quality", "60", "--jobs", "1"]
    command += ["--effort", "0", "--model", "tiny", "--json"]
    assert main(command) == 0
    apart = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert main([*command, "--batch", "2"]) == 0
    together = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {r["item"] for r in together} == {"0.png … 1.png"}
    for name in ("inrcodec-e0", "webp"):
        (whole, *_) = [r for r in together if r["codec"] == name]
        parts = [r for r in apart if r["codec"] == name and r["point"] == whole["point"]]
        size = sum(r["bytes"] for r in parts)
        assert whole["bpp"] == pytest.approx(8 * whole["bytes"] / (2 * 40 * SIDE))
        assert whole["bytes"] == size if name == "webp" else whole["bytes"] < size - 20  # one header
        assert whole["psnr"] == pytest.approx(np.mean([r["psnr"] for r in parts]), abs=0.02)


def test_only_alike_signals_make_a_batch(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(picture(8, 8)).save(folder / "2.png")
    assert main(["bench", "--dataset", str(folder), "--codec", "webp", "--batch", "3"]) == UsageError.exit_code
    assert "must be alike" in capsys.readouterr().err
    sounds = [Source(f"{k}.wav", "audio", folder / f"{k}.wav") for k in range(2)]
    with pytest.raises(UsageError, match="kind 'audio'"):
        datasets.batches(sounds, 2)


def test_keys_tell_everything_apart() -> None:
    codec = Codec("a", "image", "1", (1.0,), lambda *_: b"", lambda _: picture(1, 1))
    keys = {
        cache.key(digest, Codec(name, "image", version, (1.0,), codec.encode, codec.decode), point, threads, repeats)
        for digest in ("x", "y")
        for name in ("a", "b")
        for version in ("1", "2")
        for point in (1.0, 2.0)
        for threads in (1, 2)
        for repeats in (0, 1)
    }
    assert len(keys) == 64


def test_a_damaged_result_is_measured_again() -> None:
    cache.store("k", row("a", 1, "x", 1, 30))
    assert cache.load("k") == row("a", 1, "x", 1, 30)
    (cache.folder() / "k").write_text("{")
    assert cache.load("k") is None and cache.load("absent") is None


def test_curves_are_means_in_order_of_rate() -> None:
    rows = [
        row("a", p, item, b, q)
        for item, p, b, q in (("x", 9, 3, 40), ("x", 5, 1, 30), ("y", 9, 5, 44), ("y", 5, 2, 31))
    ]
    (curve,) = run.curves(rows)
    assert curve == Curve("a", (5, 9), (1.5, 4.0), (30.5, 42.0), (2.0, 2.0), (0.5, 0.5))


def test_published_curves(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"x": {"bpp": [2, 1], "psnr": [40, 30]}, "y": {"bpp": [1], "psnr": [1]}}')
    x, y = run.published(str(path), "bpp", {"y"})
    assert (x.codec, x.rate, x.psnr, x.published) == ("x", (1, 2), (30, 40), True)
    assert y.codec == "y (published)"
    assert [c.codec for c in run.published(f"{path}:y", "bpp", set())] == ["y"]
    with pytest.raises(UsageError, match="no curve 'z'"):
        run.published(f"{path}:y,z", "bpp", set())
    for wrong in ("[]", "{", '{"x": {"bpp": [1], "psnr": []}}'):
        path.write_text(wrong)
        with pytest.raises(UsageError, match="a.json"):
            run.published(str(path), "bpp", set())


def test_tables() -> None:
    rates, psnrs = (0.1, 0.2, 0.4, 0.8, 1.6), (28.0, 31.0, 34.0, 37.0, 40.0)
    rows = [row("half", p, "x", p / 2, 30) for p in rates]
    half = Curve("half", rates, tuple(r / 2 for r in rates), psnrs, rates, rates)
    full = Curve("full", rates, rates, psnrs, published=True)
    deltas = table.deltas([half, full], bd.rate)
    assert deltas == {("half", "full"): pytest.approx(-50)}
    text = table.text(
        [table.matrix("BD-rate", deltas, " %"), table.gains([half, full], "half"), table.points([half], rows, "bpp")]
    )
    assert "-50.00 %" in text and "+3.00" in text and "40.000" in text


def test_infinity_is_null_in_json() -> None:
    assert json.loads(table.as_json([row("a", 1, "x", 8, math.inf)]))["psnr"] is None


def test_our_versions_follow_code_network_effort_and_device() -> None:
    def version(effort: int, model: str) -> str:
        (codec,) = ours.available("image", ["pyramid"], [effort], 5, (50.0,), model, "cpu")
        assert codec.name == ("inrcodec" if effort == 5 else f"inrcodec-e{effort}")
        return codec.version

    versions = {version(0, "tiny"), version(5, "tiny"), version(5, "photo")}
    assert len(versions) == 3 and all(ours.sources() in v for v in versions)
    with pytest.raises(UnknownModel):
        ours.available("image", ["pyramid"], [5], 5, (50.0,), "nothing", "cpu")


def test_unknown_codecs_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--dataset", str(folder), "--codec", "nonsense", "--model", "tiny"]) == 2
    assert "no codec 'nonsense' for image; here: inrcodec, jpeg" in capsys.readouterr().err


def test_upscaling_reports_both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inrcodec import fitting

    monkeypatch.setitem(fitting.DEFAULT, "image", "tiny")
    assert "gain" in upscaling.run(datasets.sources(str(folder), None, 1), 90, 0, lambda *_: None)
