"""Which base network a signal takes, and how plain numbers are mapped to its features.

Networks are trained on features in about [0, 1]. The finer the features that a range of numbers is spread over, the
finer the same network codes them: a factor on the features acts as its square on λ. So plain numbers reach any
quality with one network: a *level* is an operating point plus 128 times an octave, octaves scale the features.
"""

import math

import torch

from inrcodec import basemodels
from inrcodec.basemodels import ModelInfo
from inrcodec.errors import UsageError
from inrcodec.fields.pyramid import LMBDA_HALF_RANGE
from inrcodec.formats.cf import is_temperature
from inrcodec.methods.method import WITHOUT_NETWORK, Model
from inrcodec.methods.pyramid import PyramidModel
from inrcodec.priors.context import OPERATING_POINTS
from inrcodec.priors.tables import LARGEST
from inrcodec.samples.array import ArrayFormat
from inrcodec.samples.audio import AudioFormat
from inrcodec.signal import SampleFormat, Signal

OCTAVE = 128  # levels
FACTOR = math.exp(LMBDA_HALF_RANGE / (OPERATING_POINTS - 1) * OCTAVE)  # 8.49: of the features, in an octave
LOWEST = -OCTAVE
WIDE_BAND = 32000  # hertz, from which on a sound is taken for music

NOTHING = 1e-30  # the span of samples that are all the same

GRID, NORTH_FIRST = (46, 90), [90, -4]  # of temperatures on the globe; latitude as start and step

DEFAULT = {
    "image": "photo",
    "audio": "speech",
    "music": "music",
    "field": "field",
    "volume": "volume",
    "video": "video",
    "shape": "shape",
    "1d": "generic-1d",
    "2d": "generic-2d",
    "3d": "generic-3d",
}
"""The base network that `encode` takes for a kind of signals."""


def choose(signal: Signal, method: str = "pyramid") -> ModelInfo | None:
    """The base network for a signal, unless the user names one; None for a method that has none.

    Raises UsageError if no network of the method is for such signals.
    """
    if method in WITHOUT_NETWORK:
        return None
    if method == "pyramid":
        return basemodels.by_name(_pyramid(signal))
    return learned(method, signal.format.modality)


def learned(method: str, modality: str) -> ModelInfo:
    """The base network of a meta-learned method for a kind of signals. Raises UsageError."""
    own = [info for info in basemodels.installed() if info.method == method]
    for info in own:
        if info.modality == modality:
            return info
    kinds = ", ".join(sorted({info.modality for info in own})) or "nothing"
    raise UsageError(f"method {method} has base networks for {kinds}; this is of kind '{modality}'")


def _pyramid(signal: Signal) -> str:
    """The name of the pyramid for a signal."""
    form = signal.format
    kind = form.modality
    if isinstance(form, AudioFormat) and form.rate >= WIDE_BAND:
        kind = "music"
    if isinstance(form, ArrayFormat) and (kind == "array" or (kind == "field" and not _known(signal))):
        kind = f"{form.dims}d"
    return DEFAULT[kind]


def _known(signal: Signal) -> bool:
    """Whether a field is like those that the network on the sphere was trained on.

    On other grids it loses to the network for any plane: RMSE 1.2 K in 39 kB against 1.0 K in 9 kB for twelve months of
    CanESM2 on 64 x 128.
    """
    info = getattr(signal.format, "info", {})
    return is_temperature(info) is not None and signal.shape == GRID and list(info["latitude"]) == NORTH_FIRST


def check(signal: Signal, info: ModelInfo | None, model: Model) -> None:
    """Raises UsageError if the network is not for such a signal."""
    dims, channels = model.dims, max(len(plane) for plane in signal.format.planes)
    if info is None:
        return
    if dims != signal.format.dims or channels > model.channels:
        raise UsageError(
            f"base network {info.name} is for {dims} axes and {model.channels} channels at once;"
            f" this {signal.format.modality} has {signal.format.dims} and {channels}"
        )
    if info.range and not (isinstance(signal.format, ArrayFormat) and is_temperature(signal.format.info)):
        raise UsageError(f"base network {info.name} is for temperatures on the sphere")


def levels(signal: Signal, info: ModelInfo | None, model: Model) -> tuple[int, int]:
    """The lowest and the highest level at which no latent overflows."""
    if not isinstance(signal.format, ArrayFormat) or info is None or info.range or not isinstance(model, PyramidModel):
        return 0, model.points - 1
    config, points = model.config, torch.arange(OPERATING_POINTS, device=model.device)
    gain = model.synthesis.gain(config.levels - 1, points)[:, 0].flatten()
    # the low band grows by √2 along each axis at each level
    largest = info.span / 2 * 2 ** (config.dims * config.levels / 2) * gain
    highest = OPERATING_POINTS - 1
    while largest[split(highest + 1)[1]] * FACTOR ** split(highest + 1)[0] < LARGEST:
        highest += 1
    return LOWEST, highest


def split(level: int) -> tuple[int, int]:
    """Octave and operating point of a level: the octave nearest to zero."""
    above = max(0, level - (OPERATING_POINTS - 1))
    octave = -(-above // OCTAVE) if above else min(0, level // OCTAVE)
    return octave, level - octave * OCTAVE


def fitted(signal: Signal, info: ModelInfo | None, octave: int) -> SampleFormat:
    """The format of a signal with its numbers mapped to features. Raises UsageError."""
    form = signal.format
    if not isinstance(form, ArrayFormat):
        return form
    if info is not None and info.range and (kelvin := is_temperature(form.info)):
        (low, high), (offset, scale) = info.range, kelvin  # kelvin = offset + scale · sample
        return form.fitted(((low + high) / 2 - offset) / scale, (high - low) / abs(scale))
    low, high = (0.0, 1.0) if form.modality == "shape" else signal.extent
    return form.fitted(low + (high - low) / 2, (high - low or NOTHING) / (info.span if info else 1.0) / FACTOR**octave)
