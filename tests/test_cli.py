"""The command line as its users see it: exit codes, what is printed where, which files are there after."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inrcodec import basemodels, codec, container
from inrcodec.cli import main
from inrcodec.errors import InputNotFound, LimitExceeded, NotAStream, OutputFailed, UsageError
from inrcodec.formats import image
from inrcodec.signal import Signal

WIDTH, HEIGHT = 40, 31


@dataclass(frozen=True)
class Run:
    """What one run of the command line did."""

    code: int
    out: bytes
    err: str
    changed: set[str]  # names of the files that are new, gone or different

    @property
    def text(self) -> str:
        return self.out.decode()

    def refused(self, code: int, *words: str) -> None:
        """Assert a refusal: the exit code, one line on stderr with these words, and no other trace."""
        assert self.code == code, self.err
        assert re.fullmatch(r"inrcodec: error: [^\n]+\n", self.err), self.err
        for word in words:
            assert word in self.err
        assert self.out == b""
        assert self.changed == set()


Cli = Callable[..., Run]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def changes(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Cli:
    """Runs the command line in this process, in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: bytes = b"") -> Run:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        before = snapshot(tmp_path)
        capsysbinary.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return Run(code, out, err.decode(), changes(before, snapshot(tmp_path)))

    return run


def process(*arguments: str, stdin: bytes = b"", folder: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Runs the command line as a process of its own."""
    command = [sys.executable, "-m", "inrcodec", *arguments]
    path = str(Path(__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(command, input=stdin, capture_output=True, cwd=folder, env=environment, check=False)


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A small PNG, smooth with some texture."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    values = np.stack([x * 6, y * 8, (x * y) % 256], axis=2).astype(np.uint8)
    return image.write(Signal.from_array(values), ".png")


@pytest.fixture(scope="session")
def stream(picture: bytes) -> bytes:
    return codec.encode(picture, effort=0)


@pytest.fixture
def photo(tmp_path: Path, picture: bytes) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(picture)
    return path


@pytest.fixture
def coded(tmp_path: Path, stream: bytes) -> Path:
    path = tmp_path / "photo.inr"
    path.write_bytes(stream)
    return path


def size_of(data: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(data)).size


# In a process of its own


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["models"], ["info", "photo.inr"]])
def test_quick_commands_import_nothing_heavy(arguments: list[str], coded: Path) -> None:
    heavy = {"torch", "numpy", "PIL", "rich", "scipy", "constriction"}
    script = (
        "import sys; from inrcodec.cli import main; code = main(sys.argv[1:]);"
        f"print(sorted({heavy} & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    run = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        cwd=coded.parent,
        env=environment,
        check=True,
    )
    assert run.stderr == "[]\n"
    assert run.stdout


def test_pipes(picture: bytes, stream: bytes) -> None:
    encoded = process("encode", "-", "--effort", "0", stdin=picture)
    assert (encoded.returncode, encoded.stdout) == (0, stream), encoded.stderr
    assert re.fullmatch(rb"-  [\d,]+ bytes  [\d.]+ bpp  [\d.]+ dB  [\d.]+ s\n", encoded.stderr)
    decoded = process("decode", "-", stdin=stream)
    assert decoded.returncode == 0, decoded.stderr
    assert size_of(decoded.stdout) == (WIDTH, HEIGHT)
    assert re.fullmatch(rb"-  40x31  [\d.]+ s\n", decoded.stderr)


def test_exit_code_of_a_process(tmp_path: Path) -> None:
    run = process("info", "missing.inr", folder=tmp_path)
    assert (run.returncode, run.stdout) == (3, b"")
    assert run.stderr == b"inrcodec: error: missing.inr: there is no such file\n"


def test_a_reader_that_has_gone(coded: Path) -> None:
    arguments = " ".join([sys.executable, "-m", "inrcodec", "models", "verify", "|", "true"])
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    run = subprocess.run(["bash", "-c", arguments], capture_output=True, cwd=coded.parent, env=environment, check=True)
    assert run.stderr == b""


# Help


def test_help(cli: Cli) -> None:
    assert cli().text == cli("--help").text == cli("-h").text
    for command in ("encode", "decode", "info", "models", "train"):
        assert command in cli("--help").text
        assert f"inrcodec {command}" in cli(command, "--help").text
    assert "<bool>" not in cli("encode", "-h").text


def test_the_limit_that_help_states() -> None:
    assert codec.MAX_PIXELS == 2**28


# Encoding


def test_encode(cli: Cli, photo: Path, stream: bytes) -> None:
    run = cli("encode", "photo.png", "--effort", 0)
    assert (run.code, run.err, run.changed) == (0, "", {"photo.inr"})
    assert re.fullmatch(r"photo\.inr  [\d,]+ bytes  [\d.]+ bpp  [\d.]+ dB  [\d.]+ s\n", run.text)
    assert photo.with_suffix(".inr").read_bytes() == stream


def test_encode_to_stdout(cli: Cli, photo: Path, stream: bytes) -> None:
    run = cli("encode", "photo.png", "--effort", 0, "-o", "-")
    assert (run.code, run.out, run.changed) == (0, stream, set())
    assert run.err.startswith("-  ")
    assert cli("encode", "photo.png", "--effort", 0, "-o", "-", "-q").err == ""


def test_encode_from_stdin(cli: Cli, picture: bytes, stream: bytes) -> None:
    run = cli("encode", "-", "-o", "a.inr", "--effort", 0, stdin=picture)
    assert (run.code, run.changed) == (0, {"a.inr"})
    assert Path("a.inr").read_bytes() == stream


def test_encode_json(cli: Cli, photo: Path) -> None:
    run = cli("encode", "photo.png", "--effort", 0, "--json")
    fields = json.loads(run.text)
    assert list(fields) == (
        [
            "input",
            "output",
            "bytes",
            "bpp",
            "psnr",
            "snr",
            "rmse",
            "max_error",
            "seconds",
            "width",
            "height",
            "model",
            "operating_point",
            "notes",
        ]
    )
    assert (fields["input"], fields["output"]) == ("photo.png", "photo.inr")
    assert (fields["width"], fields["height"], fields["model"]) == (WIDTH, HEIGHT, "photo")
    assert fields["bytes"] == Path("photo.inr").stat().st_size
    assert fields["bpp"] == pytest.approx(8 * fields["bytes"] / WIDTH / HEIGHT, abs=1e-6)
    assert run.err == ""


def test_encode_verbose(cli: Cli, photo: Path) -> None:
    run = cli("encode", "photo.png", "--effort", 0, "--device", "cpu", "-v")
    assert re.fullmatch(r"photo\.png: model photo \(\w{8}\), operating point \d+, device cpu\n", run.err)


def test_notes(cli: Cli, tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 255)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    note = "a.gif: note: the file holds 2 images or frames: only the first is coded\n"
    assert cli("encode", "a.gif", "--effort", 0).err == note
    run = cli("encode", "a.gif", "--effort", 0, "-q", "--force")
    assert (run.out, run.err) == (b"", "")
    notes = json.loads(cli("encode", "a.gif", "--effort", 0, "--json", "--force").text)["notes"]
    assert "frames" in notes[0]


def test_quality_moves_the_operating_point(cli: Cli, photo: Path) -> None:
    points = []
    for option in (["--quality", 0], ["--quality", 100], []):
        run = cli("encode", "photo.png", "--effort", 0, "--json", "--force", *option)
        points.append(json.loads(run.text)["operating_point"])
    assert points[0] < points[2] < points[1]


@pytest.mark.parametrize("text", ["1.2kB", "1.2 KB", "1200", "1200 B", "0.0012MB", "1.171875KiB"])
def test_target_size(cli: Cli, photo: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    compress = codec.compress

    def spy(signal: codec.Signal, settings: codec.Settings, *rest: codec.Progress) -> codec.Encoded:
        seen.append(settings.target_bytes)
        return compress(signal, replace(settings, target_bytes=None), *rest)

    monkeypatch.setattr(codec, "compress", spy)
    assert cli("encode", "photo.png", "--effort", 0, "--target-size", text).code == 0
    assert seen == [1200]


def test_a_folder_keeps_its_structure(cli: Cli, tmp_path: Path, picture: bytes) -> None:
    for name in ("in/a.png", "in/sub/b.PNG", "in/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture)
    run = cli("encode", "in", "-o", "out", "--effort", 0)
    assert (run.code, run.changed) == (0, {"out/a.inr", "out/sub/b.inr"})
    assert [line.split()[0] for line in run.text.splitlines()] == ["out/a.inr", "out/sub/b.inr"]
    run = cli("decode", "out", "-o", "back", "--format", "bmp")
    assert (run.code, run.changed) == (0, {"back/a.bmp", "back/sub/b.bmp"})


def test_one_error_does_not_stop_the_others(cli: Cli, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    (tmp_path / "empty.png").touch()
    run = cli("encode", "bad.png", "photo.png", "empty.png", "--effort", 0)
    assert (run.code, run.changed) == (5, {"photo.inr"})
    assert run.text.startswith("photo.inr")
    first, second = run.err.splitlines()
    assert first.startswith("inrcodec: error: bad.png: ")
    assert second.startswith("inrcodec: error: empty.png: zero bytes")


# Decoding


def test_decode(cli: Cli, coded: Path) -> None:
    run = cli("decode", "photo.inr")
    assert (run.code, run.err, run.changed) == (0, "", {"photo.png"})
    assert re.fullmatch(r"photo\.png  40x31  [\d.]+ s\n", run.text)
    assert size_of(Path("photo.png").read_bytes()) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("arguments", [["-o", "a.webp"], ["--format", "webp"], ["--format", ".webp"]])
def test_the_format_of_the_output(cli: Cli, coded: Path, arguments: list[str]) -> None:
    run = cli("decode", "photo.inr", *arguments)
    (name,) = run.changed
    assert name.endswith(".webp")
    assert Image.open(name).format == "WEBP"


def test_decode_to_stdout(cli: Cli, coded: Path) -> None:
    for arguments, kind in ([], "PNG"), (["--format", "tiff"], "TIFF"):
        run = cli("decode", "photo.inr", "-o", "-", *arguments)
        assert Image.open(io.BytesIO(run.out)).format == kind
        assert (run.code, run.changed) == (0, set())


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        (["--scale", "2"], (80, 62)),
        (["--size", "17x50"], (17, 50)),
        (["--region", "30,1,10,20"], (10, 20)),
        (["--region", "30,1,10,20", "--scale", "0.5"], (5, 10)),
    ],
)
def test_what_to_decode(cli: Cli, coded: Path, arguments: list[str], size: tuple[int, int]) -> None:
    run = cli("decode", "photo.inr", "--json", *arguments)
    fields = json.loads(run.text)
    assert list(fields) == ["input", "output", "bytes", "width", "height", "seconds"]
    assert (fields["width"], fields["height"]) == size_of(Path("photo.png").read_bytes()) == size


def test_preview_of_a_stream_that_ends_early(cli: Cli, coded: Path, stream: bytes) -> None:
    _, lengths, start = container.read_header(stream)
    coded.write_bytes(stream[: start + lengths[0] + 1])
    cli("decode", "photo.inr").refused(22, "photo.inr: ")
    assert cli("decode", "photo.inr", "--preview").code == 0
    assert size_of(Path("photo.png").read_bytes()) == (WIDTH, HEIGHT)


# Streams and models


def test_info(cli: Cli, coded: Path, stream: bytes) -> None:
    run = cli("info", "photo.inr")
    assert (run.code, run.err, run.changed) == (0, "", set())
    title, *rows = run.text.splitlines()
    assert title == "photo.inr"
    assert re.fullmatch(r"  model +photo", rows[0])
    assert not any("missing" in row for row in rows)
    assert cli("info", ".").text.splitlines()[1:] == rows
    assert cli("info", "-", stdin=stream).text.splitlines()[1:] == rows


def test_info_json(cli: Cli, coded: Path, stream: bytes) -> None:
    fields = json.loads(cli("info", "photo.inr", "--json").text)
    assert (fields["input"], fields["model"], fields["bytes"]) == ("photo.inr", "photo", len(stream))


def test_info_of_a_stream_whose_model_is_missing(cli: Cli, coded: Path, stream: bytes) -> None:
    coded.write_bytes(with_header(stream, model_id=b"gone"))
    run = cli("info", "photo.inr")
    assert run.code == 0
    assert "not installed" in run.text


def test_models(cli: Cli) -> None:
    info = basemodels.by_name("photo")
    (line,) = [line for line in cli("models").text.splitlines() if line.startswith("photo ")]
    assert line.split("  ")[1:4] == [info.id.hex(), "pyramid", "image"]
    assert re.search(r"  \d+\.\d MB  ", line)
    assert line.endswith(info.description)


def test_verify(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"photo  {basemodels.by_name('photo').id.hex()}  ok\n" in cli("models", "verify").text
    assert cli("models", "verify", "photo").code == 0
    cli("models", "verify", "nope").refused(10, "nope")
    folder = tmp_path / "models/copy"
    folder.mkdir(parents=True)
    text = (basemodels.by_name("photo").folder / "model.toml").read_text()
    (folder / "model.toml").write_text(re.sub(r'(?m)^name = ".*"', 'name = "copy"', text))
    (folder / "weights.safetensors").write_bytes(b"damaged")
    monkeypatch.setenv("INRCODEC_MODELS", str(folder.parent))
    cli("models", "verify", "copy").refused(12, "SHA-256")
    run = cli("models", "verify")
    assert run.code == 12
    assert "photo" in run.text


# Refusals


def with_header(stream: bytes, **fields: object) -> bytes:
    header, sections = container.read(stream)
    return container.write(replace(header, **fields), sections)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["encode"], ["INPUTS"]),
        (["encode", "photo.png", "--nonsense"], ["--nonsense"]),
        (["encode", "photo.png", "--quality", "101"], ["quality", "101"]),
        (["encode", "photo.png", "--quality", "-1"], ["quality"]),
        (["encode", "photo.png", "--quality", "nan"], ["quality"]),
        (["encode", "photo.png", "--quality", "good"], ["--quality"]),
        (["encode", "photo.png", "--quality", "50", "--lmbda", "0.01"], ["quality", "lmbda"]),
        (["encode", "photo.png", "--lmbda", "0"], ["lmbda"]),
        (["encode", "photo.png", "--target-bpp", "-1"], ["bpp"]),
        (["encode", "photo.png", "--target-size", "40 parsecs"], ["40 parsecs", "40kB"]),
        (["encode", "photo.png", "--target-size", "0"], ["bytes"]),
        (["encode", "photo.png", "--effort", "10"], ["effort"]),
        (["encode", "photo.png", "--device", "tpu"], ["--device", "tpu"]),
        (["encode", "photo.png", "photo.jpg"], ["photo.png and photo.jpg"]),
        (["encode", "photo.png", "-o", "photo.png", "--force"], ["photo.png"]),
        (["encode", "photo.png", "-", "--force"], ["standard input"]),
        (["decode", "code.inr", "--scale", "0"], ["scale"]),
        (["decode", "code.inr", "--scale", "-2"], ["scale"]),
        (["decode", "code.inr", "--scale", "nan"], ["scale"]),
        (["decode", "code.inr", "--size", "0x0"], ["size", "0"]),
        (["decode", "code.inr", "--size", "12x"], ["--size", "'12x'"]),
        (["decode", "code.inr", "--size", "12x12", "--scale", "2"], ["size", "scale"]),
        (["decode", "code.inr", "--region", "0,0,41,31"], ["region", "41"]),
        (["decode", "code.inr", "--region", "0,0,0,0"], ["region"]),
        (["decode", "code.inr", "--region", "1,2,3"], ["--region", "'1,2,3'"]),
        (["frobnicate"], ["frobnicate"]),
    ],
)
def test_usage(cli: Cli, photo: Path, stream: bytes, arguments: list[str], words: list[str]) -> None:
    (photo.parent / "code.inr").write_bytes(stream)
    cli(*arguments).refused(2, *words)


@pytest.mark.parametrize(
    ("content", "code"), [(b"", 4), (b"no picture\n" * 9, 5), (b"\x89PNG\r\n\x1a\n" + bytes(99), 5)]
)
def test_bad_pictures(cli: Cli, tmp_path: Path, content: bytes, code: int) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    cli("encode", "bad.png").refused(code, "bad.png: ")
    cli("encode", "-", "-o", "a.inr", stdin=content).refused(code)


def test_a_truncated_picture(cli: Cli, photo: Path, picture: bytes) -> None:
    photo.write_bytes(picture[: len(picture) // 2])
    cli("encode", "photo.png").refused(5, "photo.png: ")


def test_missing_inputs(cli: Cli) -> None:
    cli("encode", "no.png").refused(3, "no.png: ")
    cli("decode", "no.inr").refused(3, "no.inr: ")
    cli("info", "no.inr").refused(3, "no.inr: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_inputs(cli: Cli, photo: Path) -> None:
    photo.chmod(0)
    cli("encode", "photo.png").refused(4, "photo.png: ", "ermission")


def test_a_folder_without_pictures(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cli("encode", "empty").refused(6, "empty")
    cli("decode", "empty").refused(6, "empty")


def test_existing_outputs(cli: Cli, photo: Path, coded: Path, stream: bytes) -> None:
    coded.write_bytes(b"precious")
    cli("encode", "photo.png", "--effort", 0).refused(7, "photo.inr", "--force")
    run = cli("encode", "photo.png", "--effort", 0, "--force")
    assert (run.code, run.changed) == (0, {"photo.inr"})
    assert coded.read_bytes() == stream
    cli("decode", "photo.inr").refused(7, "photo.png", "--force")


def test_outputs_that_cannot_be_written(cli: Cli, photo: Path, coded: Path) -> None:
    cli("encode", "photo.png", "-o", "no/photo.inr").refused(8, "no/photo.inr: ")
    cli("decode", "photo.inr", "-o", "photo.xyz").refused(8, "'.xyz'", ".png")
    cli("decode", "photo.inr", "-o", "-", "--format", "xyz").refused(8, "'.xyz'")


def test_unknown_models(cli: Cli, photo: Path) -> None:
    cli("encode", "photo.png", "--model", "nope").refused(10, "nope", "photo")


def test_a_stream_of_another_model(cli: Cli, coded: Path, stream: bytes) -> None:
    coded.write_bytes(with_header(stream, model_id=b"gone"))
    cli("decode", "photo.inr").refused(11, "photo.inr: ", b"gone".hex())


def test_not_a_stream(cli: Cli, coded: Path, picture: bytes) -> None:
    coded.write_bytes(picture)
    for command in ("decode", "info"):
        cli(command, "photo.inr").refused(20, "photo.inr: ")


def test_a_stream_of_a_later_version(cli: Cli, coded: Path, stream: bytes) -> None:
    coded.write_bytes(stream[:4] + b"\x63" + stream[5:])
    for command in ("decode", "info"):
        cli(command, "photo.inr").refused(21, "photo.inr: ", "99")


@pytest.mark.parametrize("left", [5, 12, 40, -1])
def test_truncated_streams(cli: Cli, coded: Path, stream: bytes, left: int) -> None:
    coded.write_bytes(stream[:left])
    cli("decode", "photo.inr").refused(22, "photo.inr: ")


@pytest.mark.parametrize("position", [-1, -20, -200])
def test_flipped_streams(cli: Cli, coded: Path, stream: bytes, position: int) -> None:
    damaged = bytearray(stream)
    damaged[position] ^= 1
    coded.write_bytes(damaged)
    cli("decode", "photo.inr").refused(23, "photo.inr: ")


@pytest.mark.parametrize("shape", [(1 << 24, 1 << 24), (1 << 15, 1 << 14)])
def test_absurd_dimensions(cli: Cli, coded: Path, stream: bytes, shape: tuple[int, int]) -> None:
    coded.write_bytes(with_header(stream, shape=shape))
    cli("decode", "photo.inr").refused(24, "photo.inr: ", str(shape[0] * shape[1]))


def test_more_pixels_than_allowed(cli: Cli, coded: Path) -> None:
    cli("decode", "photo.inr", "--max-pixels", WIDTH * HEIGHT - 1).refused(24, "photo.inr: ")
    cli("decode", "photo.inr", "--max-pixels", WIDTH * HEIGHT, "--scale", "3").refused(24, "photo.inr: ")
    cli("decode", "photo.inr", "--scale", "1e9").refused(24, "photo.inr: ")
    assert cli("decode", "photo.inr", "--max-pixels", WIDTH * HEIGHT).code == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_cuda_is_absent(cli: Cli, photo: Path, coded: Path) -> None:
    cli("encode", "photo.png", "--device", "cuda", "--force").refused(26, "CUDA")
    cli("decode", "photo.inr", "--device", "cuda", "--force").refused(26, "CUDA")


# Training


@pytest.mark.parametrize(
    ("text", "code"), [("name = 3 apples", 2), ("name = 'a'\nsteps = 1\nsecret = 1", 2), (None, 3)]
)
def test_bad_recipes(cli: Cli, tmp_path: Path, text: str | None, code: int) -> None:
    if text is not None:
        (tmp_path / "a.toml").write_text(text)
    cli("train", "--config", "a.toml", "--data", ".", "--out", "out").refused(code, "a.toml: ")


def test_training_without_data(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.toml").touch()
    cli("train", "--config", "a.toml", "--data", "no", "--out", "out").refused(3, "no: ")


# Bugs and interrupts


def failing(error: BaseException) -> Callable[..., codec.Encoded]:
    def compress(*_: object) -> codec.Encoded:
        raise error

    return compress


def test_a_bug_of_ours(cli: Cli, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "compress", failing(ZeroDivisionError("twice\nover")))
    run = cli("encode", "photo.png")
    sentence = "inrcodec: internal error: photo.png: ZeroDivisionError: twice over"
    assert (run.code, run.err) == (70, f"{sentence} (run with --debug for the traceback)\n")
    for arguments in (["--debug", "encode", "photo.png"], ["encode", "photo.png", "--debug"]):
        run = cli(*arguments)
        assert (run.code, run.changed) == (70, set())
        assert run.err.startswith("Traceback")
        assert run.err.endswith(f"{sentence}\n")


def test_no_memory(cli: Cli, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "compress", failing(MemoryError()))
    cli("encode", "photo.png").refused(25, "memory")


def test_interrupt(cli: Cli, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "compress", failing(KeyboardInterrupt()))
    run = cli("encode", "photo.png")
    assert (run.code, run.out, run.err, run.changed) == (130, b"", "", set())


def test_the_bar_is_for_terminals_only(cli: Cli, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compress = codec.compress

    def report(signal: codec.Signal, settings: codec.Settings, progress: codec.Progress) -> codec.Encoded:
        progress("adapting", 0.5)
        return compress(signal, settings)

    monkeypatch.setattr(codec, "compress", report)
    monkeypatch.setattr("inrcodec.cli.voice.BAR_AFTER", 0)
    assert cli("encode", "photo.png", "--effort", 0).err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert "photo.png: adapting" in cli("encode", "photo.png", "--effort", 0, "--force").err
    assert cli("encode", "photo.png", "--effort", 0, "--force", "-q").err == ""


def test_a_model_of_another_method(cli: Cli, photo: Path) -> None:
    run = cli("encode", photo, "--method", "coin", "--model", "tiny", "--effort", 0)
    assert run.code == UsageError.exit_code and "of method pyramid, not coin" in run.err and not run.changed


@pytest.mark.parametrize("name", ["missing.inr", "photo.png"])
def test_decoding_what_is_no_stream_to_a_sound(cli: Cli, photo: Path, name: str) -> None:
    run = cli("decode", name, "-o", "v.wav")
    expected = InputNotFound if name == "missing.inr" else NotAStream
    assert run.code == expected.exit_code and "cannot write" not in run.err


def test_numbers_beyond_reason(cli: Cli, photo: Path, coded: Path) -> None:
    for arguments, error in [
        (("decode", coded, "-o", "a.png", "--scale", "1e308"), LimitExceeded),
        (("decode", coded, "-o", "a.png", "--region", "1 0,0,9,9"), UsageError),
        (("decode", coded, "-o", "a.png", "--size", "9" * 5000 + "x2"), UsageError),
        (("encode", photo, "-o", "a.inr", "--target-size", "9" * 400), UsageError),
        (("bench", "--effort", "nan"), UsageError),
        (("bench", "--effort", "0.7"), UsageError),
        (("bench", "--quality", "500"), UsageError),
        (("bench", "--tsv", "nowhere/a.tsv"), OutputFailed),
    ]:
        run = cli(*arguments)
        assert run.code == error.exit_code and "internal" not in run.err, run.err
    assert cli("decode", coded, "-o", "a.png", "--region", "0, 0, 9, 9").code == 0


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_closed_streams_and_pipes(photo: Path, coded: Path) -> None:
    def shell(line: str) -> subprocess.CompletedProcess[bytes]:
        environment = os.environ | {
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "I": f"{sys.executable} -m inrcodec",
        }
        return subprocess.run(["bash", "-c", line], capture_output=True, cwd=photo.parent, env=environment, check=False)

    assert shell("$I encode photo.png -o a.inr --effort 0 >&-").returncode == 0
    assert (photo.parent / "a.inr").is_file()
    assert shell("$I info photo.inr 2>&-").returncode == 0
    closed = shell("$I decode photo.inr -o - >&-")
    assert closed.returncode == OutputFailed.exit_code and b"standard output: is closed" in closed.stderr
    piped = shell(
        "cat photo.png | $I encode /dev/stdin -o b.inr --effort 0 && cat b.inr | $I decode /dev/stdin -o b.png"
    )
    assert piped.returncode == 0, piped.stderr
    assert (photo.parent / "a.inr").read_bytes() == (photo.parent / "b.inr").read_bytes()
    assert size_of((photo.parent / "b.png").read_bytes()) == (WIDTH, HEIGHT)
