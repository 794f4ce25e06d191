"""The trainable twin of `priors.context.IntegerLayer`, and its export."""

import math

import torch
from torch import Tensor, nn

from inrcodec.fields.grids import CONVOLVE
from inrcodec.fields.pyramid import embed
from inrcodec.priors.context import (
    ACTIVATION_MAX,
    ACTIVATION_UNIT,
    BIAS_BITS,
    EXACT,
    FRACTION,
    OPERATING_POINTS,
    Rounding,
    Runs,
    finish,
    smooth,
    straight_through,
    working,
)


class TrainableLayer(nn.Module):
    """Float weights; quantised in the forward pass whenever the rounding passed in is not `smooth`.

    It never runs on bytes, so which inputs are signed says nothing to it.
    """

    unit: Tensor  # [out, 1, …]: the quantisation step of the weights

    def __init__(self, dims: int, inputs: int, outputs: int, kernel: int, head: bool = False, signed: Runs = ()):
        super().__init__()
        self.dims, self.head = dims, head
        self.conv = CONVOLVE[dims]
        gain = (0.1 if head else math.sqrt(2)) / math.sqrt(inputs * kernel**dims)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *[kernel] * dims) * gain)
        self.bias = nn.Linear(2, outputs)
        nn.init.zeros_(self.bias.weight)
        nn.init.zeros_(self.bias.bias)
        if head:  # start at a scale of about one half symbol
            with torch.no_grad():
                self.bias.bias[outputs // 2 :] = 2.7
        self.register_buffer("unit", torch.ones(outputs, *[1] * (dims + 1)))
        self.refresh()

    @staticmethod
    def condition(op: Tensor) -> Tensor:
        return embed(op)

    def terms(self, condition: Tensor, rounding: Rounding) -> tuple[Tensor, Tensor]:
        """Weight, and bias [B, out, 1, …]."""
        weight: Tensor = self.weight
        if rounding is not smooth:
            weight = self.unit * straight_through(weight / self.unit)
        bias = (self.bias(condition) * ACTIVATION_UNIT).view(len(condition), -1, *[1] * self.dims)
        return working(weight, rounding, self.head), working(bias, rounding, self.head)

    def sums(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return self.conv(x, weight, padding=weight.shape[-1] // 2) + bias

    def forward(self, x: Tensor, condition: Tensor, rounding: Rounding) -> Tensor:
        x = working(x, rounding, self.head)
        return finish(self.sums(x, *self.terms(condition, rounding)), self.head, rounding)

    @torch.no_grad()
    def shift(self) -> Tensor:
        """The finest power of two per output at which weights fit int8 and sums stay exact."""
        flat = self.weight.detach().abs().flatten(1)
        ops = torch.arange(OPERATING_POINTS, device=flat.device)
        bias = (self.bias(embed(ops)) * ACTIVATION_UNIT).abs().amax(0)
        sums = flat.sum(1) * ACTIVATION_MAX + bias + ACTIVATION_UNIT / FRACTION
        rounding = 0.5 * flat.shape[1] * ACTIVATION_MAX + 1  # what rounding the weights may add
        by_weight = torch.log2(127.0 / flat.amax(1).clamp(min=1e-6))
        by_sum = torch.log2((EXACT - 1 - rounding) / sums)
        return torch.floor(torch.minimum(by_weight, by_sum)).clamp(0, 14)

    @torch.no_grad()
    def refresh(self) -> None:
        """Follow the weights with the quantisation step; cheap, but not needed at every step."""
        self.unit.copy_(torch.exp2(-self.shift()).view_as(self.unit))

    @torch.no_grad()
    def export(self) -> dict[str, Tensor]:
        """The tensors that `IntegerLayer.load` takes."""
        shift = self.shift()
        weight = torch.round(self.weight * torch.exp2(shift).view(-1, *[1] * (self.weight.ndim - 1)))
        # bias = w0·t + w1·(t² − 1/3) + b with t = u / 255, as a quadratic in u = 2·op − 255
        half = OPERATING_POINTS - 1
        slope, curve = self.bias.weight.double().unbind(1)
        quadratic = torch.stack([self.bias.bias.double() - curve / 3, slope / half, curve / half**2])
        scale = ACTIVATION_UNIT * torch.exp2(shift.double() + BIAS_BITS)
        bias = torch.round(quadratic * scale).long()
        bias[0] += 1 << (BIAS_BITS - 1)  # the loader's shift rounds down
        return {"weight": weight.to(torch.int8), "shift": shift.to(torch.int8), "bias": bias}

    @torch.no_grad()
    def restore(self, weight: Tensor, shift: Tensor, bias: Tensor) -> None:
        """The inverse of `export`, up to its rounding."""
        self.weight.copy_(weight * torch.exp2(-shift.float()).view(-1, *[1] * (weight.ndim - 1)))
        half = OPERATING_POINTS - 1
        bias = bias - torch.tensor([[1 << (BIAS_BITS - 1)], [0], [0]])
        level, slope, curve = bias.double() / (ACTIVATION_UNIT * torch.exp2(shift.double() + BIAS_BITS))
        self.bias.weight.copy_(torch.stack([slope * half, curve * half**2], 1))
        self.bias.bias.copy_(level + curve * half**2 / 3)
