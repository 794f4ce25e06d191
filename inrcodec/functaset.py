"""Pictures ⇄ data sets of modulations, "functasets" (Dupont et al. 2022; thesis, 5.3): one vector in place of each."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inrcodec import basemodels, formats
from inrcodec.basemodels import ModelInfo
from inrcodec.errors import UsageError
from inrcodec.fields.patchfield import PatchField, patch_grid
from inrcodec.methods.meta import MetaModel
from inrcodec.methods.method import WITHOUT_NETWORK, Progress, plane_features
from inrcodec.samples.image import ImageFormat
from inrcodec.settings import MAX_EFFORT
from inrcodec.window import Shape

SUFFIXES = formats.MODULES["image"].SUFFIXES

DECODE = """\
from inrcodec import functaset
info, model = functaset.network("{name}", "cpu")
samples = functaset.picture(model, row, (height, width))  # row: [D] or [patches, D]
phi = model.net.modulation.received(rows)  # rows: [P, D]
features = model.net(phi, coordinates)  # [P, N, 3]; coordinates: [N, 2] in [-1, 1], (row, column)
"""


@dataclass(frozen=True)
class Functaset:
    """Modulations of pictures: [N, D], or [N, P, D] where a picture has P > 1 patches. Labels from subfolders, if any.

    names: paths below the folder. labels [N] are places in `classes`. patches: along (rows, columns).
    """

    modulations: NDArray[np.float32]
    names: list[str]
    labels: NDArray[np.int64] | None
    classes: list[str]
    patches: Shape
    notes: tuple[str, ...]

    @property
    def columns(self) -> dict[str, object]:
        """What a file holds, by name."""
        columns: dict[str, object] = {"modulations": self.modulations, "names": self.names}
        return columns if self.labels is None else columns | {"labels": self.labels, "classes": self.classes}


def network(name: str, device: str) -> tuple[ModelInfo, MetaModel]:
    """A base network whose pictures are modulations. Raises UnknownModel, UsageError."""
    needs = "modulations of patches, which the meta-learned methods have (coinpp, functa, …)"
    if name in WITHOUT_NETWORK:
        raise UsageError(f"method {name} has no base network; this needs {needs}")
    info = basemodels.by_name(name)
    model = basemodels.load(info, device)
    if not isinstance(model, MetaModel) or info.modality != "image":
        raise UsageError(f"base network {name} is of method {info.method}, for {info.modality}s; this needs {needs}")
    return info, model


def make(
    model: MetaModel, found: Sequence[tuple[Path, Path]], effort: int, progress: Progress = lambda *_: None
) -> Functaset:
    """Adapt the modulations of pictures; found: (file, its path below the folder), as `files.expand` gives them.

    All pictures must have the same number of patches along each axis. Of a picture with alpha only colour is taken.
    Raises UsageError, and what `formats.read` raises.
    """
    if not 0 <= effort <= MAX_EFFORT:
        raise UsageError(f"effort must be within 0 and {MAX_EFFORT}, not {effort}")
    grids: list[Shape] = []
    waiting: list[Tensor] = []
    parts: list[NDArray[np.float32]] = []
    notes: list[str] = []
    for number, (path, below) in enumerate(found):
        signal = formats.read(path, "image")
        notes += [f"{below}: {note}" for note in signal.notes]
        grids.append(patch_grid(signal.shape, model.options.patch))
        if grids[-1] != grids[0]:
            first, own = ("x".join(map(str, grid[::-1])) for grid in (grids[0], grids[-1]))
            raise UsageError(
                f"{path}: {own} patches of {model.options.patch} x {model.options.patch}, but {found[0][1]} has "
                f"{first}: a data set has pictures of one size"
            )
        colour, *alpha = signal.format.planes
        notes += [f"{below}: alpha is left out"] if alpha else []
        waiting.append(model.patches(plane_features(signal, 0, colour, model.channels), signal.shape))
        if sum(map(len, waiting)) >= model.together or number + 1 == len(found):
            parts.append(model.adapt(torch.cat(waiting), effort).cpu().numpy())
            waiting = []
        progress("adapting", (number + 1) / len(found))
    values, patches = np.concatenate(parts), math.prod(grids[0])
    names = [os.fsencode(below.as_posix()).decode(errors="backslashreplace") for _, below in found]
    labelled = all("/" in name for name in names)
    folders = [name.split("/")[0] for name in names] if labelled else []
    classes = sorted(set(folders))
    return Functaset(
        modulations=values.reshape(len(found), patches, -1) if patches > 1 else values,
        names=names,
        labels=np.array([classes.index(folder) for folder in folders], np.int64) if labelled else None,
        classes=classes,
        patches=grids[0],
        notes=tuple(notes),
    )


def attributes(info: ModelInfo, model: MetaModel, effort: int, patches: Shape) -> dict[str, object]:
    """What a file says of its modulations; `decode` is Python."""
    return {
        "model": info.name,
        "model_id": info.id.hex(),
        "method": info.method,
        "options": model.options.to_json(),
        "effort": effort,
        "patch": model.options.patch,
        "patches": patches,
        "decode": DECODE.format(name=info.name),
    }


def picture(model: MetaModel, rows: NDArray[np.float32], shape: Shape) -> NDArray[np.uint8]:
    """The inverse, of one picture: [D] or [P, D] → samples [H, W, 3] of shape (H, W). Raises UsageError."""
    values = torch.as_tensor(rows, device=model.device).reshape(-1, rows.shape[-1])
    patches = patch_grid(shape, model.options.patch)
    if len(values) != math.prod(patches):
        raise UsageError(f"{len(values)} patches; a picture of {shape[1]} x {shape[0]} has {math.prod(patches)}")
    with torch.no_grad():
        phi = model.net.modulation.received(values)
        field = PatchField(model.net, model.options.patch, shape, ImageFormat("uint8", 3), [phi])
        return field.samples()
