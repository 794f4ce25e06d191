"""The first stage of a training from nothing: the wavelet alone, and a prior for its bands.

The networks of synthesis and analysis start as corrections of zero, so a new network *is* the wavelet. Its prior is
what takes long to learn; trained alone it takes a third of the time, and what joins it later starts from a codec that
works.
"""

import torch
from torch import Tensor, nn

from inrcodec.adaptation import logistic_bits
from inrcodec.fields import wavelet
from inrcodec.fields.grids import grid_sizes
from inrcodec.fields.pyramid import Synthesis, embed
from inrcodec.priors.context import FRACTION, OPERATING_POINTS, SCALES, Rounding, half_up, scale_of
from inrcodec.training.networks import Trainee

POINTS = range(0, OPERATING_POINTS, 32)
SAMPLE = 4000  # symbols of a latent that its scale is fitted to


def code(synthesis: Synthesis, x: Tensor, op: Tensor, rounding: Rounding) -> tuple[list[Tensor], Tensor]:
    """Signals [B, C, *grid] → bands before rounding, finest first, and the decoded signals: no network takes part."""
    c = synthesis.config
    sizes = grid_sizes(tuple(x.shape[2:]), c.levels)
    gains = [synthesis.gain(i, op) for i in range(c.levels)]
    low, bands = synthesis.from_signal(x), []
    for i, gain in enumerate(gains):
        low, *details = wavelet.analyse(low, c.dims)
        kept = details if i + 1 < c.levels else [low, *details]
        bands.append(torch.stack(kept, 2).flatten(1, 2) * gain)
    r: list[Tensor] = []
    for y, gain, size in reversed(list(zip(bands, gains, sizes[:-1], strict=True))):
        details = (rounding(y) / gain).unflatten(1, (c.channels, -1)).unbind(2)
        r = [wavelet.synthesise([*r, *details], size)]
    return bands, synthesis.to_signal(r[0])


@torch.no_grad()
def prepare(net: Trainee, x: Tensor) -> None:
    """Corrections of zero, and scales of the prior that fit every latent of the signals x as if it had no context."""
    for module in (*net.synthesis.correct, *net.analysis.leave):
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
    scales = [_scales(y) for y in _bands_at_points(net.synthesis, x)]
    conditions = torch.cat([torch.ones(len(POINTS), 1), embed(torch.tensor(POINTS))], 1)
    for level, index in zip(net.prior.levels, scales, strict=True):
        fitted = torch.linalg.lstsq(conditions, index / FRACTION).solution  # [3, latents]
        for heads in level.heads:  # type: ignore[union-attr]
            groups = fitted.split([len(head.bias.bias) // 2 for head in heads], 1)
            for head, (level_of, *slopes) in zip(heads, groups, strict=True):
                count = len(level_of)
                head.bias.bias[count:] = level_of
                head.bias.weight[count:] = torch.stack(slopes, 1)
    net.refresh()


def _bands_at_points(synthesis: Synthesis, x: Tensor) -> list[Tensor]:
    """[points, latents, samples] of rounded bands per level."""
    rows = [code(synthesis, x, torch.tensor([point]), half_up)[0] for point in POINTS]
    levels = []
    for level in zip(*rows, strict=True):
        y = half_up(torch.stack([part.transpose(0, 1).flatten(1) for part in level]))
        levels.append(y[..., :: max(1, y.shape[-1] // SAMPLE)])
    return levels


def _scales(y: Tensor) -> Tensor:
    """[points, latents, samples] → the scale index [points, latents] with the fewest bits."""
    costs = [logistic_bits(y, y.new_zeros(()), scale_of(torch.tensor(float(k)))).mean(2) for k in range(SCALES)]
    return torch.stack(costs).argmin(0).float()
