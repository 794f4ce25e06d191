"""Damage is contained: what is intact decodes to exactly what it was, and what is lost is named."""

import json
import random
import subprocess
import sys
import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import VECTORS, picture
from numpy.typing import NDArray

from inrcodec import basemodels, codec, container, formats, latents, stream
from inrcodec.cli import main
from inrcodec.errors import CorruptStream, InrcodecError, Recovered, TruncatedStream, UsageError
from inrcodec.samples.video import VideoFormat
from inrcodec.signal import Signal

SIDE = 32  # of a tile
TILES, PLANES, LEVELS = 4, 2, 3


@pytest.fixture(scope="module", autouse=True)
def small() -> pytest.MonkeyPatch:
    """Tiles of 32 x 32, and section checks in small streams too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(latents.TILES, 2, SIDE)
        patch.setattr(container, "CHECKED_FROM", 0)
        patch.setattr(container, "CHECKED_SECTION", 0)
        yield patch


def encoded(signal: Signal, model: str) -> bytes:
    return codec.compress(signal, codec.Settings(model=model, effort=0, quality=80)).data


@pytest.fixture(scope="module")
def photo(small: pytest.MonkeyPatch) -> bytes:
    """An image of two planes (colour, alpha) in a row of four tiles."""
    return encoded(Signal.from_array(picture(20, SIDE * TILES, 4)), "tiny")


@pytest.fixture(scope="module", params=["float32", "int16"])
def batch(small: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> bytes:
    """Five items of two tiles each."""
    values = (100 * picture(5 * 20, 40, 1)).reshape(5, 20, 40, 1).astype(request.param)
    return encoded(Signal.numbers(values, dims=2), "tiny-plane")


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :]


def ends(data: bytes) -> list[int]:
    """Where each section ends."""
    _, lengths, start = container.read_header(data)
    return [start + int(n) for n in np.cumsum(lengths)]


def places(data: bytes) -> dict[int, int]:
    """A byte in the middle of every section that has one."""
    lengths = container.read_header(data)[1]
    found = {k: end - (n + 1) // 2 for k, (n, end) in enumerate(zip(lengths, ends(data), strict=True)) if n}
    assert len(found) > len(lengths) / 2
    return found


def latents_of(sections: list[bytes | None], header: container.Header) -> NDArray[np.int16]:
    """One number for every latent: [plane, tile, level, …] as nested arrays, levels coarse to fine."""
    field = stream.read(header, sections, basemodels.load(basemodels.by_id(header.model_id), "cpu"))
    out = np.empty((PLANES, TILES, LEVELS), object)
    for p, plane in enumerate(coded.whole() for coded in field.planes):  # type: ignore[attr-defined]
        groups = [plane[2:], plane[1:2], plane[:1]]  # as in the sections
        first = [2, 1, 0]
        for k, (group, finest) in enumerate(zip(groups, first, strict=True)):
            for t in range(TILES):
                parts = [(y, SIDE >> finest + i + 1) for i, y in enumerate(group)]
                out[p, t, k] = torch.cat([y[..., t * s : (t + 1) * s].flatten() for y, s in parts]).numpy()
    return out


def expected_latents(whole: NDArray[np.int16], lost: list[int]) -> NDArray[np.int16]:
    """The latents of a whole stream without what needs a lost section."""
    out = whole.copy()
    for number in lost:
        level, plane, tile = number // (PLANES * TILES), number // TILES % PLANES, number % TILES
        for k in range(level, LEVELS):
            out[plane, tile, k] = np.zeros_like(whole[plane, tile, k])
    return out


def same(a: NDArray[np.int16], b: NDArray[np.int16]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.flat, b.flat, strict=True))


# An image


def test_every_section_in_turn(photo: bytes) -> None:
    header, sections = container.read(photo)
    assert len(sections) == LEVELS * PLANES * TILES
    whole = latents_of(list(sections), header)
    for number, position in places(photo).items():
        damaged = flipped(photo, position)
        with pytest.raises(CorruptStream, match=f"damaged: {number} of sections 0 to 23"):
            codec.decode(damaged)
        _, found = container.salvage(damaged)
        assert [k for k, section in enumerate(found) if section is None] == [number]
        assert same(latents_of(found, header), expected_latents(whole, [number])), number


def test_samples_far_from_the_damage_are_the_same(photo: bytes) -> None:
    before = codec.decode(photo)
    for number in 0, 7, 8, 15, 20:  # of tiles at either end
        with pytest.warns(UserWarning, match=rf"lost 1 of 24 sections \({number}, counted from 0\): of 8 tiles"):
            after = codec.decode(flipped(photo, places(photo)[number]), recover=True)
        plane, tile = number // TILES % PLANES, number % TILES
        channels, others = (np.s_[..., :3], np.s_[..., 3:])[:: 1 if plane == 0 else -1]
        assert not np.array_equal(before[channels], after[channels])
        assert np.array_equal(before[others], after[others])
        far = np.abs(np.arange(SIDE * TILES) - (tile + 0.5) * SIDE) > 2 * SIDE
        assert far.any() and np.array_equal(before[:, far], after[:, far])


def test_a_burst_over_many_sections(photo: bytes) -> None:
    draw = random.Random(1)
    header, sections = container.read(photo)
    whole, start = latents_of(list(sections), header), container.read_header(photo)[2]
    for kind in ("overwritten", "removed", "inserted") * 2:
        a = draw.randrange(start, len(photo) - 100)
        b = a + draw.randrange(1, 100)
        noise = draw.randbytes(b - a)
        rest = {"overwritten": noise + photo[b:], "removed": photo[b:], "inserted": noise + photo[a:]}[kind]
        damaged = photo[:a] + rest
        _, found = container.salvage(damaged)
        lost = [k for k, section in enumerate(found) if section is None]
        assert all(section in (None, sections[k]) for k, section in enumerate(found))
        assert set(lost) <= {k for k, end in enumerate(ends(photo)) if end > a}
        if any(found[: TILES * PLANES]):
            assert same(latents_of(found, header), expected_latents(whole, lost))


@pytest.mark.parametrize("checks", [True, False])
def test_a_file_that_ends_early(photo: bytes, checks: bool) -> None:
    header, sections = container.read(photo)
    whole = latents_of(list(sections), header)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container, "CHECKED_FROM", 0 if checks else 1 << 30)
        data = container.write(header, sections)
    assert container.describe(data)["section_checks"] is checks
    for number, end in enumerate(ends(data)):
        for cut in end, end - 1:
            with pytest.raises(TruncatedStream):
                container.read(data[:cut])
            _, found = container.salvage(data[:cut])
            lost = [k for k, e in enumerate(ends(data)) if e > cut]
            assert found == [None if k in lost else section for k, section in enumerate(sections)]
            if cut == end and number % 5 == 0:
                assert same(latents_of(found, header), expected_latents(whole, lost))
    nothing = data[: container.read_header(data)[2]]
    with pytest.raises(CorruptStream, match="24 of 24 sections are damaged"):
        codec.decode(nothing, recover=True)


def test_a_tile_without_its_coarsest_section_is_blank(photo: bytes) -> None:
    with pytest.warns(UserWarning, match="of 8 tiles 0 are coarser and 1 blank"):
        codec.decode(flipped(photo, places(photo)[2]), recover=True)
    with pytest.warns(UserWarning, match="of 8 tiles 1 are coarser and 0 blank"):
        codec.decode(flipped(photo, places(photo)[2 + TILES * PLANES]), recover=True)


def test_an_intact_stream_warns_of_nothing(photo: bytes) -> None:
    whole = codec.decode(photo)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in photo, photo + b"trailing bytes", flipped(photo, len(photo) - 1)[:-1]:
            assert np.array_equal(codec.decode(data, recover=True), whole)


def test_a_damaged_header_is_an_error(photo: bytes) -> None:
    _, lengths, start = container.read_header(photo)
    for position in range(start - 2 * len(lengths)):  # before the section checks
        with pytest.raises(InrcodecError):
            codec.decode(flipped(photo, position), recover=True)


def test_without_section_checks_there_is_nothing_to_go_by(photo: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container, "CHECKED_FROM", 1 << 30)
        data = container.write(*container.read(photo))
    with pytest.raises(CorruptStream, match="without section checks"):
        codec.decode(flipped(data, len(data) - 9), recover=True)


def test_an_error_bound_falls_with_what_it_rests_on() -> None:
    signal = Signal.from_array(picture(20, SIDE * TILES, 1))
    data = codec.compress(signal, codec.Settings(model="tiny", effort=0, quality=80, max_error=2)).data
    header, sections = container.read(data)
    own, rest = stream.split(header, sections)
    plain = codec.decode(container.write(replace(header, residual=False), list(own)))  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match=r"the error bound does not hold \(1 of its 2 sections are lost\)"):
        assert np.array_equal(codec.decode(flipped(data, len(data) - 5), recover=True), plain)
    with (
        pytest.warns(UserWarning, match=r"lost 1 of 12 sections \(11, counted from 0\)"),
        pytest.warns(UserWarning, match=r"the error bound does not hold \(0 of its 2 sections are lost\)"),
    ):
        damaged = codec.decode(flipped(data, places(data)[len(own) - 1]), recover=True)
    assert np.array_equal(damaged[:, :SIDE], plain[:, :SIDE])  # the last tile is coarser, the first one as it was


def test_other_methods_need_all_their_sections() -> None:
    data = container.write(*container.read((VECTORS / "vcinr.inr").read_bytes()))  # with section checks
    assert np.array_equal(codec.decode(data, recover=True), codec.decode(VECTORS / "vcinr.inr"))
    for position in places(data).values():
        with pytest.raises(CorruptStream, match="1 of the 2 sections of item 0 are damaged; it needs all of them"):
            codec.decode(flipped(data, position), recover=True)


# A batch


def test_every_section_of_a_batch_in_turn(batch: bytes) -> None:
    before = codec.decode(batch)
    filler = np.nan if before.dtype.kind == "f" else 0
    for number, position in places(batch).items():
        damaged, item = flipped(batch, position), number // 2
        with pytest.warns(UserWarning, match=rf"lost 1 of 5 items \({item}, counted from 0\): all samples are "):
            after = codec.decode(damaged, recover=True)
        expected = before.copy()
        expected[item] = filler
        assert np.array_equal(after, expected, equal_nan=before.dtype.kind == "f")


def test_one_item_of_a_damaged_batch(batch: bytes) -> None:
    damaged = flipped(batch, places(batch)[4])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(codec.decode(damaged, item=1, recover=True), codec.decode(batch, item=1))
    with pytest.raises(CorruptStream, match="1 of the 2 sections of item 2 are damaged"):
        codec.decode(damaged, item=2, recover=True)
    with pytest.warns(UserWarning, match="lost 1 of 5 items"):
        assert codec.decode(damaged, recover=True, scale=2).shape == (5, 40, 80, 1)


def test_a_batch_of_which_nothing_is_left(batch: bytes) -> None:
    with pytest.raises(CorruptStream, match="2 of the 2 sections of item 0 are damaged"):
        codec.decode(batch[: container.read_header(batch)[2]], recover=True)


@pytest.mark.slow
def test_streams_of_the_shipped_networks() -> None:
    run = subprocess.run([sys.executable, "-m", "tests.damage"], cwd=Path(__file__).parent.parent, check=False)
    assert run.returncode == 0


# The command line


@pytest.fixture
def folder(tmp_path: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.inr").write_bytes(flipped(photo, places(photo)[5]))
    return tmp_path


def test_the_exit_code_says_that_parts_are_lost(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "photo.inr"]) == CorruptStream.exit_code
    assert not (folder / "photo.png").exists()
    assert main(["decode", "photo.inr", "--recover", "--json"]) == Recovered.exit_code == 27
    out, err = capsys.readouterr()
    assert json.loads(out)["output"] == "photo.png" and (folder / "photo.png").exists()
    assert err.splitlines()[-1] == (
        "inrcodec: error: photo.inr: lost 1 of 24 sections (5, counted from 0): of 8 tiles 0 are coarser and 1 blank"
    )


def test_info_names_the_damage(folder: Path, photo: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "photo.inr"]) == 0
    rows = [line.split("  ")[1::] for line in capsys.readouterr().out.splitlines()]
    assert ["section checks", "", "yes"] in rows and ["damaged sections", "5"] in rows
    (folder / "photo.inr").write_bytes(photo)
    assert main(["info", "photo.inr"]) == 0
    assert "damaged" not in capsys.readouterr().out


def test_a_film_without_a_chunk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.stack([picture(20, 24, seed=k) for k in range(12)]).reshape(3, 4, 20, 24, 3)
    data = encoded(Signal(values, VideoFormat(Fraction(25), 11)), "tiny-film")
    (tmp_path / "film.inr").write_bytes(flipped(data, places(data)[1]))
    assert main(["decode", str(tmp_path / "film.inr"), "--recover"]) == Recovered.exit_code
    assert "lost 1 of 3 items (1, counted from 0): all samples are 0" in capsys.readouterr().err
    frames = formats.read(tmp_path / "film.mkv").values[...].reshape(-1, 20, 24, 3)[:11]
    assert not frames[4:8].any() and all(frame.any() for frame in (*frames[:4], *frames[8:]))


def test_a_time_step_of_a_variable_is_missing(tmp_path: Path) -> None:
    info = {"latitude": [85.0, -10.0], "longitude": [0.0, 4.0], "units": "K", "variable": "t"}
    values = (280 + picture(4 * 18, 30, 1) / 50).astype(np.float32).reshape(4, 18, 30, 1)
    data = encoded(Signal.numbers(values, "field", dims=2, info=info), "tiny-plane")
    whole = codec.decode(data)
    (tmp_path / "t.inr").write_bytes(flipped(data, places(data)[2]))
    assert main(["decode", str(tmp_path / "t.inr"), "--recover"]) == Recovered.exit_code
    back = np.asarray(formats.read(tmp_path / "t.nc").values[...])
    assert np.isnan(back[2]).all() and np.array_equal(back[[0, 1, 3]], whole[[0, 1, 3]])


def test_an_intact_file_recovers_with_code_0(folder: Path, photo: bytes) -> None:
    (folder / "photo.inr").write_bytes(photo)
    assert main(["decode", "photo.inr", "--recover"]) == 0


def test_preview_and_recover_exclude_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "photo.inr", "--recover", "--preview"]) == UsageError.exit_code
    assert "exclude" in capsys.readouterr().err
    assert [p.name for p in folder.iterdir()] == ["photo.inr"]
