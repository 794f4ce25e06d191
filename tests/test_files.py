import errno
import io
import os
import stat
from pathlib import Path

import pytest

from inrcodec import files
from inrcodec.errors import (
    InputNotFound,
    NothingToDo,
    OutputExists,
    OutputFailed,
    UnreadableInput,
    UsageError,
)
from inrcodec.files import Job

IMAGES = {".png", ".jpg"}


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def plan(*inputs: object, output: object = None, overwrite: bool = False) -> list[Job]:
    target = None if output is None else str(output)
    return files.plan([str(i) for i in inputs], target, IMAGES, lambda _: ".inr", overwrite)


# Where outputs go


def test_one_file_lands_beside_itself(tmp_path: Path) -> None:
    source = tmp_path / "photo.v2.png"
    assert plan(source) == [Job(source, tmp_path / "photo.v2.inr")]


@pytest.mark.parametrize("name", ["out.inr", "out"])
def test_one_file_goes_where_the_output_says(tmp_path: Path, name: str) -> None:
    assert plan(tmp_path / "a.png", output=tmp_path / name) == [Job(tmp_path / "a.png", tmp_path / name)]


@pytest.mark.parametrize("ending", ["", "/"])
def test_one_file_goes_into_a_folder(tmp_path: Path, ending: str) -> None:
    (tmp_path / "out").mkdir()
    assert plan("a.png", output=f"{tmp_path}/out{ending}") == [Job(Path("a.png"), tmp_path / "out/a.inr")]


def test_pipes(tmp_path: Path) -> None:
    assert plan("-") == plan("-", output="-") == [Job(None, None)]
    assert plan("-", output=tmp_path / "a.inr") == [Job(None, tmp_path / "a.inr")]
    assert plan("a.png", output="-") == [Job(Path("a.png"), None)]
    assert Job(None, None).name == Job(None, None).output == "-"


def test_a_folder_is_searched_and_its_structure_kept(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    touch(source / "b.png", source / "sub/deep/a.JPG", source / "notes.txt")
    assert plan(source, output=out) == [
        Job(source / "b.png", out / "b.inr", create=True),
        Job(source / "sub/deep/a.JPG", out / "sub/deep/a.inr", create=True),
    ]
    assert not out.exists()
    assert plan(source)[1] == Job(source / "sub/deep/a.JPG", source / "sub/deep/a.inr")


def test_several_files_share_a_folder(tmp_path: Path) -> None:
    jobs = plan(tmp_path / "a.png", tmp_path / "b.png", output=tmp_path / "out")
    assert [job.target for job in jobs] == [tmp_path / "out/a.inr", tmp_path / "out/b.inr"]


# What is refused before any work


def test_a_folder_without_images(tmp_path: Path) -> None:
    touch(tmp_path / "notes.txt")
    with pytest.raises(NothingToDo, match="ends in"):
        plan(tmp_path)


def test_two_inputs_of_one_output_are_both_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.png and .*a\.jpg"):
        plan(tmp_path / "a.png", tmp_path / "a.jpg")
    with pytest.raises(UsageError, match=r"x/a\.png and .*y/a\.png"):
        plan("x/a.png", "y/a.png", output=tmp_path)


def test_an_input_is_not_overwritten(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    with pytest.raises(UsageError, match="is an input"):
        plan(tmp_path / "a.png", output=tmp_path / "a.png", overwrite=True)


@pytest.mark.parametrize("output", ["-", "file"])
def test_several_inputs_need_a_folder(tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "file")
    with pytest.raises(UsageError):
        plan("a.png", "b.png", output=output)


def test_names_that_are_none() -> None:
    with pytest.raises(InputNotFound, match="''"):
        plan("")
    with pytest.raises(UsageError, match="name a file"):
        plan("-", output="folder/")


def test_stdin_stands_alone() -> None:
    with pytest.raises(UsageError, match="1 other"):
        plan("-", "a.png")


def test_a_terminal_gets_no_binary_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with pytest.raises(UsageError, match="terminal"):
        plan("a.png", output="-")
    assert len(plan("a.png", output="-", overwrite=True)) == 1


def test_existing_outputs(tmp_path: Path) -> None:
    touch(tmp_path / "a.inr", tmp_path / "b.inr")
    with pytest.raises(OutputExists, match=r"a\.inr exists.*--force"):
        plan(tmp_path / "a.png")
    with pytest.raises(OutputExists, match=r"a\.inr \(and 1 more\)"):
        plan(tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png")
    assert len(plan(tmp_path / "a.png", overwrite=True)) == 1


def test_the_output_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.inr").mkdir()
    with pytest.raises(OutputFailed, match="is a folder"):
        plan(tmp_path / "a.png", overwrite=True)
    with pytest.raises(OutputFailed, match="is a folder"):
        plan("-", output=tmp_path)


def test_prepare_makes_only_folders_it_may(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="there is no folder"):
        Job(None, tmp_path / "no/a.inr").prepare()
    Job(None, tmp_path / "no/deep/a.inr", create=True).prepare()
    assert (tmp_path / "no/deep").is_dir()
    touch(tmp_path / "file")
    with pytest.raises(OutputFailed):
        Job(None, tmp_path / "file/deep/a.inr", create=True).prepare()
    if os.path.exists("/dev/null"):
        Job(None, Path("/dev/null")).prepare()


# Reading


def test_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a")
    assert files.read(tmp_path / "a") == b"x"
    with pytest.raises(InputNotFound):
        files.read(tmp_path / "b")
    with pytest.raises(UnreadableInput, match="directory"):
        files.read(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(UnreadableInput, match="zero bytes"):
        files.read(tmp_path / "empty")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\x00")))
    assert files.read(None) == b"\xff\x00"
    with pytest.raises(UnreadableInput, match="standard input: zero bytes"):
        files.read(None)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UnreadableInput, match="standard input"):
        files.read(None)


# Writing


def test_write_makes_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "a.inr"
    files.write(target, b"first, and longer")
    files.write(target, b"second")
    assert target.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["a.inr"]


def test_write_heeds_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_failed_write_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, old: bytes | None
) -> None:
    target = tmp_path / "a.inr"
    if old is not None:
        target.write_bytes(old)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OutputFailed, match=r"a\.inr: cannot be written \(No space left on device\)"):
        files.write(target, b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({} if old is None else {"a.inr": old})


def test_an_interrupt_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "a.inr", b"new")
    assert os.listdir(tmp_path) == []


def test_write_without_its_folder(tmp_path: Path) -> None:
    touch(tmp_path / "file")
    for parent in ("missing", "file"):
        with pytest.raises(OutputFailed):
            files.write(tmp_path / parent / "a.inr", b"x")
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_keeps_pointing_where_it_did(tmp_path: Path) -> None:
    touch(tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    files.write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
def test_devices_are_written_to_and_never_replaced() -> None:
    files.write(Path("/dev/null"), b"x")
    with pytest.raises(OutputFailed, match="No space left"):
        files.write(Path("/dev/full"), b"x")
    assert not os.path.isfile("/dev/null")
    assert not os.path.isfile("/dev/full")
