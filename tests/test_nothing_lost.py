"""What is on the disk after something went wrong: the old file or the new one, whole, and nothing else."""

import json
import os
import resource
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from kills import TEMPORARY
from PIL import Image

from inrcodec import codec, files, formats, stream
from inrcodec.cli import main
from inrcodec.errors import OutputFailed
from inrcodec.settings import Distortion
from inrcodec.signal import Signal

ENCODE = ("--model", "tiny", "--effort", "0")
OLD = b"what was there before"
NOBODY = 65534


@pytest.fixture(scope="module")
def photo_bytes() -> bytes:
    return formats.write(Signal.from_array(picture(48, 64)), ".png")


@pytest.fixture(scope="module")
def stream_bytes(photo_bytes: bytes) -> bytes:
    return codec.encode(photo_bytes, model="tiny", effort=0)


@pytest.fixture
def folder(tmp_path: Path, photo_bytes: bytes, stream_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a photo and a stream in it, and old outputs of both names."""
    (tmp_path / "photo.png").write_bytes(photo_bytes)
    (tmp_path / "coded.inr").write_bytes(stream_bytes)
    for name in ("photo.inr", "coded.png"):
        (tmp_path / name).write_bytes(OLD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> None:
    err = capsys.readouterr().err
    assert err.startswith("inrcodec: error: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err
    assert code


# Full disks


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [0, 100])
@pytest.mark.parametrize("arguments", [("encode", "photo.png", *ENCODE), ("decode", "coded.inr")], ids=lambda a: a[0])
def test_a_file_that_may_not_grow(
    folder: Path, arguments: tuple[str, ...], limit: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(folder)
    with small_files(limit):
        code = main([*arguments, "--force"])
    assert code == OutputFailed.exit_code
    refused(capsys, code, "cannot be written (File too large)")
    assert content(folder) == before


@pytest.fixture
def full_disk() -> Iterator[Path]:
    """A disk of 8 kB with an old file on it; skips where none can be mounted."""
    with tempfile.TemporaryDirectory() as place:
        mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "none", place]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no permission to mount a small disk")
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def test_a_full_disk(folder: Path, full_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = full_disk / "out.png"
    output.write_bytes(OLD)
    code = main(["decode", "coded.inr", "-o", str(output), "--scale", "3", "--force"])
    assert code == OutputFailed.exit_code
    refused(capsys, code, "No space left on device")
    assert content(full_disk) == {"out.png": OLD}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
@pytest.mark.parametrize("to_stdout", [True, False], ids=["data", "results"])
def test_standard_output_is_full(folder: Path, to_stdout: bool, stream_bytes: bytes) -> None:
    arguments = ["encode", "photo.png", *ENCODE, *(["-o", "-"] if to_stdout else ["--force"])]
    with open("/dev/full", "wb") as full:
        run = subprocess.run(
            [sys.executable, "-m", "inrcodec", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert run.returncode == OutputFailed.exit_code
    assert run.stderr == ("inrcodec: error: photo.png: standard output: cannot be written (No space left on device)\n")
    assert (folder / "photo.inr").read_bytes() == (OLD if to_stdout else stream_bytes)


# Folders without permission


@contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions do not bind root: be somebody else for a while, with no home to look for networks in."""
    root = os.getuid() == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", "/nowhere")
        if root:
            os.setresuid(NOBODY, NOBODY, 0)
        try:
            yield
        finally:
            if root:
                os.setresuid(0, 0, 0)


@pytest.fixture
def read_only(photo_bytes: bytes, stream_bytes: bytes) -> Iterator[Path]:
    """A folder that everybody may read and nobody write to."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for file, data in ("photo.png", photo_bytes), ("coded.inr", stream_bytes), ("photo.inr", OLD):
            (place / file).write_bytes(data)
        (place / "coded.png").write_bytes(OLD)
        place.chmod(0o555)
        yield place
        place.chmod(0o755)


@pytest.mark.parametrize("arguments", [("encode", "photo.png", *ENCODE), ("decode", "coded.inr")], ids=lambda a: a[0])
def test_a_folder_that_may_not_be_written_to(
    read_only: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(read_only)
    command, name, *rest = arguments
    with as_nobody():
        code = main([command, str(read_only / name), *rest, "--force"])
    assert code == OutputFailed.exit_code
    refused(capsys, code, "no permission to write into")
    assert content(read_only) == before


def test_a_source_that_may_not_be_deleted(
    read_only: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], stream_bytes: bytes
) -> None:
    with tempfile.TemporaryDirectory() as other:
        Path(other).chmod(0o777)
        with as_nobody():
            code = main(["encode", str(read_only / "photo.png"), "-o", f"{other}/a.inr", *ENCODE, "--delete-source"])
        assert (Path(other) / "a.inr").read_bytes() == stream_bytes
    assert code == OutputFailed.exit_code
    refused(capsys, code, "photo.png: cannot be deleted (Permission denied)")
    assert (read_only / "photo.png").exists()


# Signals


def kills(count: int) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.kills", "--count", str(count)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout)["broken"] == 0


def test_a_few_kills() -> None:
    kills(12)


@pytest.mark.slow
def test_many_kills() -> None:
    kills(1000)


# --test


def test_a_tested_stream(folder: Path, stream_bytes: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[bytes] = []
    original = files.os.replace

    def replace(*names: Path) -> None:
        assert (folder / "photo.inr").read_bytes() == OLD
        seen.append(names[0].read_bytes())
        original(*names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.os, "replace", replace)
        assert main(["encode", "photo.png", *ENCODE, "--test", "--force"]) == 0
    assert seen == [stream_bytes]
    assert (folder / "photo.inr").read_bytes() == stream_bytes
    assert capsys.readouterr().out.endswith("  tested\n")


def lying(data: bytes) -> bytes:
    return bytes([*data[:-1], data[-1] ^ 1])


@pytest.mark.parametrize("option", ["--test", "--delete-source"])
@pytest.mark.parametrize("what", ["disk", "decoder", "bound"])
def test_a_stream_that_fails_its_test(
    folder: Path, option: str, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, limit = content(folder), [] if what != "bound" else ["--quality", "50", "--max-error", "20"]
    if what == "disk":
        read = files._from_disk
        monkeypatch.setattr(files, "_from_disk", lambda path: lying(read(path)))
    else:
        mse, largest = (10.0, 20.0) if what == "decoder" else (9.0, 21.0)
        told = iter((Distortion(9.0, 20.0, 255.0, 1e4), Distortion(mse, largest, 255.0, 1e4)))
        monkeypatch.setattr(stream, "compare", lambda *_: next(told))
    said = {"disk": "read back", "decoder": "an RMSE of 3.16228, not 3", "bound": "an error of 21, beyond 20"}
    code = main(["encode", "photo.png", *ENCODE, *limit, option, "--force"])
    assert code == 9
    refused(capsys, code, "photo.png: ", said[what])
    assert content(folder) == before


# --delete-source


def test_a_source_is_deleted_last(folder: Path, stream_bytes: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", "photo.png", *ENCODE, "--delete-source", "--force", "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert fields["tested"] is True and fields["deleted"] is True
    assert not (folder / "photo.png").exists()
    assert (folder / "photo.inr").read_bytes() == stream_bytes


def test_a_source_outlives_a_folder_that_was_not_synced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    assert main(["encode", "photo.png", *ENCODE, "--delete-source", "--force"]) == OutputFailed.exit_code
    assert (folder / "photo.png").exists()


def test_a_source_that_changed_is_kept(
    folder: Path, photo_bytes: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compress = codec.compress

    def slowly(*arguments: object) -> codec.Encoded:
        (folder / "photo.png").write_bytes(photo_bytes + b"more")
        return compress(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(codec, "compress", slowly)
    code = main(["encode", "photo.png", *ENCODE, "--delete-source", "--force"])
    assert code == 4
    refused(capsys, code, "photo.png: changed while it was encoded, and is kept")
    assert (folder / "photo.png").read_bytes() == photo_bytes + b"more"


def test_a_source_that_is_not_all_in_the_stream_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 255)]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:])
    assert main(["encode", "a.gif", *ENCODE, "--delete-source", "--json"]) == 0
    assert (folder / "a.gif").exists()
    said = capsys.readouterr()
    assert "a.gif: note: the source is kept" in said.err
    assert json.loads(said.out)["deleted"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        ["-", "-o", "a.inr", "--delete-source"],
        ["photo.png", "-o", "-", "--delete-source"],
        ["photo.png", "-o", "-", "--test"],
        ["-", "--test"],
        ["photo.png", "--variable", "x", "--force", "--delete-source"],
    ],
)
def test_what_cannot_be_tested_or_deleted(
    folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(folder)
    code = main(["encode", *arguments])
    assert code == 2
    refused(capsys, code)
    assert content(folder) == before


def test_a_device_cannot_be_tested() -> None:
    with pytest.raises(OutputFailed, match="/dev/null: not a file that can be read back"):
        files.write(Path("/dev/null"), b"x", lambda _: None)


# Temporary files


def test_temporaries_are_recognised_and_never_coded(folder: Path, photo_bytes: bytes) -> None:
    name = files.temporary_name()
    assert TEMPORARY.fullmatch(name)
    Path("in").mkdir()
    Path("in", name).write_bytes(photo_bytes)
    Path("in/a.png").write_bytes(photo_bytes)
    assert main(["encode", "in", "-o", "out", *ENCODE]) == 0
    assert [p.name for p in Path("out").iterdir()] == ["a.inr"]


@pytest.mark.parametrize("write", [lambda p: files.write(p, b"x"), lambda p: files.write(p, b"x", lambda _: None)])
def test_the_folder_is_synced_after_the_file_took_its_name(
    tmp_path: Path, write: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note(handle: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "replace", lambda *names: (steps.append("name"), replace(*names)))
    write(tmp_path / "a")
    assert steps == ["file", "name", "folder"]
    assert np.array_equal(os.listdir(tmp_path), ["a"])
