"""Every command of the README runs, and its Python does what it says."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import picture, sound
from PIL import Image

from inrcodec import formats
from inrcodec.signal import Signal

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


COMMANDS = [
    line.split("  #")[0].strip()
    for block in blocks("")
    for line in block.splitlines()
    if line.strip() and not line.startswith("pip install '.[test]'")  # this very run
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    Image.fromarray(picture(600, 800)).resize((760, 570)).save(folder / "photo.png")
    (folder / "holiday").mkdir()
    Image.fromarray(picture(30, 40)).save(folder / "holiday" / "one.png")
    (folder / "voice.flac").write_bytes(formats.write(Signal.sound(sound(4000, 1), 16000), ".flac"))
    globe = {"latitude": [80.0, -20.0], "longitude": [0.0, 20.0], "units": "K", "variable": "t"}
    steps = 280 + np.arange(3 * 9 * 18, dtype=np.float32).reshape(3, 9, 18, 1) % 7
    weather = Signal.numbers(steps, "field", dims=2, info=globe)
    (folder / "weather.nc").write_bytes(formats.write(weather, ".nc"))
    head = Signal.numbers(np.arange(9 * 10 * 11, dtype=np.int16).reshape(9, 10, 11), "volume")
    (folder / "head.nii.gz").write_bytes(formats.write(head, ".nii.gz"))
    np.save(folder / "table.npy", np.sin(np.arange(300.0)).reshape(20, 15))
    shutil.copytree(ROOT / "docs", folder / "docs")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, folder: Path) -> None:
    command = re.sub(r"pip install \S+ && ", "", command)  # installed already, or this test would not run
    command = re.sub(r"\binrcodec (?=[a-z])", f"{shlex.quote(sys.executable)} -m inrcodec ", command)
    command = command.replace("--dataset kodak --download", "--dataset holiday --quality 40 --limit 1")
    command = command.replace(" bench ", " bench --effort 0 ")
    if " encode " in command and "--force" not in command:
        command += " --force"
    if " encode " in command and "--effort" not in command:
        command = command.replace(" encode ", " encode --effort 0 ")
    command = command.replace("--effort 9", "--effort 1")
    if " decode " in command and "--force" not in command:
        command += " --force"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(folder)
    (code,) = blocks("python")
    code = code.replace("quality=60", "quality=60, effort=0")
    names: dict[str, object] = {"coordinates": torch.rand(9, 2)}
    exec(code, names)
    assert names["pixels"].shape == (1140, 1520, 3)  # type: ignore[attr-defined]
    assert names["colours"].shape == (9, 3)  # type: ignore[attr-defined]
    assert names["patch"].shape == (192, 192, 3)  # type: ignore[attr-defined]
