"""The field of a meta-learned method: one network per patch, told apart by its modulations."""

import math
from itertools import product

import torch
from torch import Tensor

from inrcodec.coordinates import patch_coordinates
from inrcodec.fields.base import BaseNetwork
from inrcodec.fields.field import Field
from inrcodec.signal import SampleFormat
from inrcodec.window import Shape, Window

AT_ONCE = 1 << 16
"""Positions that are evaluated together."""


class PatchField(Field):
    """planes: φ [P, size] of every plane, patches in the order of rows. side: samples of a patch along each axis."""

    def __init__(
        self, net: BaseNetwork, side: int, shape: Shape, form: SampleFormat, planes: list[Tensor], item: int = 0
    ):
        super().__init__(shape, form, net.alpha.device, item)
        self.net, self.side, self.planes = net, side, planes
        self.patches = patch_grid(shape, side)

    def _on_grid(self, window: Window) -> Tensor:
        side, dims = self.side, len(self.shape)
        x = patch_coordinates(side, dims).to(self.device)
        inside = [range(a // side, -(-b // side)) for a, b in window]
        which = torch.tensor([self._number(place) for place in product(*inside)], device=self.device)
        many = max(1, AT_ONCE // len(x))
        count = [len(r) for r in inside]
        order = [axis for d in range(dims) for axis in (d, dims + d)]
        cut = tuple(slice(a - r.start * side, b - r.start * side) for (a, b), r in zip(window, inside, strict=True))
        parts = []
        for plane, phi in enumerate(self.planes):
            values = torch.cat([self.net(phi[w], x) for w in which.split(many)])
            tiles = values.view(*count, *[side] * dims, -1).permute(*order, 2 * dims)
            whole = tiles.reshape(*(n * side for n in count), -1)
            parts.append(self._channels(whole[cut], plane))
        return torch.cat(parts, -1)

    def _at(self, positions: Tensor) -> Tensor:
        """Positions are grouped by patch, and the groups padded to one length."""
        if not len(positions):
            return positions.new_zeros(0, self.format.channels, dtype=torch.float32)
        size = torch.tensor(self.shape, device=positions.device)
        positions = positions.clamp(min=-0.5).minimum(size - 0.5)
        most = torch.tensor(self.patches, device=positions.device) - 1
        place = torch.div(positions.detach() + 0.5, self.side, rounding_mode="floor").long().minimum(most)
        local = ((positions + 0.5 - place * self.side) * (2 / self.side) - 1).float()
        number = torch.zeros(len(place), dtype=torch.long, device=place.device)
        for axis, n in enumerate(self.patches):
            number = number * n + place[:, axis]
        which, group, counts = torch.unique(number, return_inverse=True, return_counts=True)
        order = torch.argsort(group, stable=True)
        rank = torch.arange(len(group), device=group.device) - (counts.cumsum(0) - counts)[group[order]]
        x = local.new_zeros(len(which), int(counts.max()), local.shape[1])
        x = x.index_put((group[order], rank), local[order])
        back = torch.empty_like(rank)
        back[order] = rank
        many = max(1, AT_ONCE // x.shape[1])
        parts = []
        for plane, phi in enumerate(self.planes):
            runs = torch.arange(len(which), device=which.device).split(many)
            values = torch.cat([self.net(phi[which[w]], x[w]) for w in runs])
            parts.append(self._channels(values[group, back], plane))
        return torch.cat(parts, -1)

    def _number(self, place: tuple[int, ...]) -> int:
        number = 0
        for k, n in zip(place, self.patches, strict=True):
            number = number * n + k
        return number

    def _channels(self, values: Tensor, plane: int) -> Tensor:
        """The features of the network [..., 3] → the channels of one plane."""
        own = len(self.format.planes[plane])
        return values.mean(-1, keepdim=True) if own < values.shape[-1] and own == 1 else values


def patch_grid(shape: Shape, side: int) -> tuple[int, ...]:
    """How many patches cover a grid along each axis."""
    return tuple(math.ceil(n / side) for n in shape)
