"""The stages that all meta-learned methods share: patches → inner loop → quantiser → prior → bytes, and back.

A stream has one section for every plane of every item: the symbols of all its patches.
"""

import json
import math
from collections.abc import Callable

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inrcodec.container import Header
from inrcodec.coordinates import patch_coordinates
from inrcodec.errors import CorruptStream, TruncatedStream
from inrcodec.fields.patchfield import PatchField, patch_grid
from inrcodec.innerloop import distortion, fit
from inrcodec.methods.coders import Coder
from inrcodec.methods.method import Progress, plane_features
from inrcodec.methods.options import MetaOptions
from inrcodec.priors.context import IntegerLayer
from inrcodec.signal import SampleFormat, Signal
from inrcodec.window import Shape, Window

EFFORT = ((0.1, 0), (0.2, 0), (0.3, 0), (0.5, 0), (0.8, 0), (1.0, 0), (1.0, 20), (1.0, 60), (1.0, 150), (1.0, 400))
"""By effort 0…9: steps of the inner loop, as a multiple of the method's own `test_steps`, then steps of Adam."""

PLAIN = 5  # the highest effort without Adam

TOGETHER, ON_CPU = 256, 8  # patches that are adapted at once: more than a few fall out of the caches of a CPU


def least_sections(header: Header) -> int:
    """How many sections a stream has at the least, whatever its samples are."""
    return header.items or 1


def section_count(header: Header, form: SampleFormat) -> int:
    """How many sections a stream has."""
    return least_sections(header) * len(form.planes)


def unpacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a model file holds in 16 bits, or in 8 with a scale for every row, as floats."""
    out = {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}
    for key in [k for k in out if k.endswith(".scale")]:
        matrix = key.removesuffix(".scale")
        out[matrix] = out[matrix] * out.pop(key)
    return out


class MetaModel(nn.Module):
    """A base network, and the coder of its modulations."""

    def __init__(self, options: MetaOptions, coder: Coder):
        super().__init__()
        self.options = options
        self.net = options.network()
        self.coder = coder

    @classmethod
    def from_bytes(cls, data: bytes, kind: type[MetaOptions]) -> "MetaModel":
        """From the bytes of a safetensors file. Raises ValueError, KeyError, TypeError or RuntimeError."""
        tensors = unpacked(safetensors.torch.load(data))
        options = kind.of(json.loads(bytes(tensors.pop("config").tolist())))
        model = cls(options, options.coder())
        for name, layer in model.named_modules():
            if isinstance(layer, IntegerLayer):
                layer.load(*(tensors.pop(f"{name}.{part}") for part in ("weight", "shift", "bias")))
        if "coder.counts" in tensors:
            model.coder.counts = torch.zeros_like(tensors["coder.counts"])
        integer = {k: v for k, v in model.state_dict().items() if k.startswith("coder.flow.")}
        model.load_state_dict(tensors | integer)
        return model.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        return self.net.alpha.device

    @property
    def together(self) -> int:
        """Patches that are adapted at once."""
        return ON_CPU if self.device.type == "cpu" else TOGETHER

    @property
    def points(self) -> int:
        return self.coder.points

    @property
    def dims(self) -> int:
        return self.options.dims

    @property
    def channels(self) -> int:
        return self.options.channels

    def write(self, signal: Signal, header: Header, effort: int, progress: Progress) -> list[bytes]:
        """Adapt φ of every patch by the inner loop, quantise, code."""
        planes, grid = signal.format.planes, patch_grid(header.shape, self.options.patch)
        total, done = signal.items * len(planes) * math.prod(grid), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress("adapting", done / total)

        sections, patches = [], math.prod(grid)
        every = [(k, channels) for k in range(signal.items) for channels in planes]
        together = max(1, self.together // patches)
        for first in range(0, len(every), together):
            y = torch.cat(
                [
                    self.patches(plane_features(signal, k, channels, self.channels), header.shape)
                    for k, channels in every[first : first + together]
                ]
            )
            symbols = self.symbols(y, header.operating_point, effort, advance).cpu().numpy()
            for own in symbols.reshape(-1, patches, symbols.shape[-1]):
                sections.append(self.coder.write(own, header.operating_point, grid))
        return sections

    def symbols(self, y: Tensor, point: int, effort: int, advance: Callable[[int], None]) -> Tensor:
        """Features [P, N, C] → symbols [P, D].

        What Adam finds may lie where the quantiser is coarse, or beyond its range; then a patch takes the inner loop's.
        """
        with torch.no_grad():
            found = self.coder.quantise(self.adapt(y, effort, advance), point)
            if effort <= PLAIN:
                return found
            plain = self.coder.quantise(self.adapt(y, PLAIN), point)
            worse = self.error(found, y, point) > self.error(plain, y, point)
            return torch.where(worse[:, None], plain, found)

    def error(self, symbols: Tensor, y: Tensor, point: int) -> Tensor:
        """MSE of every patch [P] as it is decoded."""
        x = patch_coordinates(self.options.patch, self.dims).to(self.device)
        parts = zip(symbols.split(self.together), y.split(self.together), strict=True)
        return torch.cat([distortion(self.net(self.values(s, point), x), part) for s, part in parts])

    def values(self, symbols: Tensor, point: int) -> Tensor:
        """Symbols [P, D] → φ [P, size]."""
        return self.net.modulation.received(self.coder.dequantise(symbols, point))

    def read(self, header: Header, form: SampleFormat, sections: list[bytes], item: int) -> PatchField:
        """The inverse of `write`, of one item. Raises CorruptStream, TruncatedStream."""
        if header.operating_point >= self.points:
            raise CorruptStream(f"operating point {header.operating_point}; the base network has {self.points}")
        first = item * len(form.planes)
        own = sections[first : first + len(form.planes)]
        if len(own) < len(form.planes):
            raise TruncatedStream(f"{len(own)} of the {len(form.planes)} sections of item {item} are there")
        grid = patch_grid(header.shape, self.options.patch)
        symbols = [self.coder.read(data, header.operating_point, grid) for data in own]
        with torch.no_grad():
            planes = [self.values(torch.as_tensor(s, device=self.device), header.operating_point) for s in symbols]
        return PatchField(self.net, self.options.patch, header.shape, form, planes, item)

    def patches(self, features: Callable[[Window], Tensor], shape: Shape) -> Tensor:
        """Features of a window [C, *window] → all patches [P, side^d, C], rows slowest; borders are repeated."""
        side, dims = self.options.patch, len(shape)
        whole = features(tuple((0, n) for n in shape)).to(self.device)
        grid = patch_grid(shape, side)
        short = [g * side - n for g, n in zip(grid, shape, strict=True)]
        padding = [amount for missing in reversed(short) for amount in (0, missing)]
        whole = F.pad(whole[None], padding, mode="replicate")[0]
        split = whole.view(len(whole), *(n for g in grid for n in (g, side)))
        order = [1 + 2 * d for d in range(dims)] + [2 + 2 * d for d in range(dims)] + [0]
        return split.permute(*order).reshape(math.prod(grid), side**dims, -1)

    def adapt(self, y: Tensor, effort: int, advance: Callable[[int], None] = lambda _: None) -> Tensor:
        """Features [P, N, C] → the values of φ that are sent, [P, D]."""
        x = patch_coordinates(self.options.patch, self.dims).to(self.device)
        share, refinement = EFFORT[effort]
        steps = max(1, round(share * self.options.test_steps))
        out = []
        for part in y.split(self.together):
            phi = fit(self.net, x, part, steps, refinement)
            with torch.no_grad():
                out.append(self.net.modulation.sent(phi))
            advance(len(part))
        return torch.cat(out)
