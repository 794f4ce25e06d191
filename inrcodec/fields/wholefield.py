"""The field of a method that fits one network to the whole signal."""

from collections.abc import Callable

import torch
from torch import Tensor

from inrcodec.coordinates import positions
from inrcodec.fields.field import Field, Slices
from inrcodec.signal import SampleFormat
from inrcodec.window import Shape, Window

ACTIVATIONS = 1 << 20  # of a layer that are held at once: what fits a cache, and any memory
REACH = 4096  # samples of a signal of one axis that a unit of coordinates spans at most


def network_coordinates(at: Tensor, shape: Shape) -> Tensor:
    """Positions [N, d] in samples → what networks see, float32 [N, d]: the signal lies in [−1, 1] along each axis.

    Long signals of one axis lie in a wider range, as in SIREN (Sitzmann et al. 2020, 4.2): their waves are as fast as
    those of pictures.
    """
    size = torch.tensor(shape, device=at.device)
    span = max(1, shape[0] // REACH) if len(shape) == 1 else 1
    return (((2 * at + 1) / size - 1) * span).float()


class WholeField(Field):
    """net: coordinates [N, d] → features [N, C] of all channels. width: of its layers."""

    def __init__(
        self,
        net: Callable[[Tensor], Tensor],
        width: int,
        shape: Shape,
        form: SampleFormat,
        device: torch.device,
        item: int = 0,
    ):
        super().__init__(shape, form, device, item)
        self.net, self.at_once = net, max(1, ACTIVATIONS // width)

    def _on_grid(self, window: Window) -> Tensor:
        axes = [torch.arange(a, b, dtype=torch.float64) for a, b in window]
        return self._evaluated(axes)

    def _at(self, positions: Tensor) -> Tensor:
        if not len(positions):
            return positions.new_zeros(0, self.format.channels, dtype=torch.float32)
        size = torch.tensor(self.shape, device=positions.device)
        x = network_coordinates(positions.clamp(min=-0.5).minimum(size - 0.5), self.shape)
        return torch.cat([self.net(part) for part in x.split(self.at_once)])

    def _resampled(self, window: Window, out: tuple[int, ...], where: Slices) -> Tensor:
        """One evaluation an output sample, also where the output is coarser: progressive decoding (COIN, 3.2.2)."""
        axes, repeats = positions(window, out, where)
        return self._evaluated([axis.view(-1, k).mean(1) for axis, k in zip(axes, repeats, strict=True)])

    def _evaluated(self, axes: list[Tensor]) -> Tensor:
        """Positions along each axis → features [*lengths, C]."""
        at = torch.cartesian_prod(*axes).view(-1, len(axes)).to(self.device)
        return self._at(at).view(*(len(axis) for axis in axes), -1)
