"""Reconstruction points: where in its cell a symbol is taken to lie, by what the prior expected of it.

Symbols are integers, what they stand for is not: of all the numbers that round to 1, most are below it where 0 was
expected (Sullivan 1996). The table is part of the model and free of charge in the stream. Its entries are whole
multiples of 1/256, computed from integers, so that what is synthesised starts from the same numbers everywhere.
"""

import torch
from torch import Tensor, nn

from inrcodec.priors.context import FRACTION, OPERATING_POINTS, SCALES, half_up

NEAR = 28  # eighths of a symbol between it and its mean, beyond which all are alike
POINT_UNIT = 256  # a shift of 256 is one symbol
SIDE = 2 * NEAR + 1


class Points(nn.Module):
    """Shifts by level, whether the symbol is zero, scale index, and eighths from the mean to the symbol."""

    table: Tensor  # [2, levels, 2, SCALES, SIDE] int16: at the middle operating point, and how much more at the last

    def __init__(self, levels: int):
        super().__init__()
        size = (2, levels, 2, SCALES, SIDE)
        self.register_buffer("table", torch.zeros(size, dtype=torch.int16), persistent=False)

    def load(self, table: Tensor) -> None:
        """Take over a table. Raises ValueError if it is not one."""
        if table.shape != self.table.shape or table.dtype != torch.int16:
            raise ValueError(f"reconstruction points {list(table.shape)} are not {list(self.table.shape)}")
        self.table.copy_(table)

    def forward(self, level: int, y: Tensor, mean: Tensor, index: Tensor, op: Tensor) -> Tensor:
        """Symbols, means in eighths and scale indices, [B, n, *grid] each, op [B], all the same → shifts of symbols."""
        middle, more = self.table[:, level].flatten(1).int()
        last = OPERATING_POINTS - 1
        own = middle + torch.div(2 * more * (2 * op[0] - last) + last, 2 * last, rounding_mode="floor")
        return (own / POINT_UNIT).take(self.places(y, mean, index))

    @staticmethod
    def places(y: Tensor, mean: Tensor, index: Tensor) -> Tensor:
        """Where in the table of a level the symbols are looked up."""
        distance = (FRACTION * y - half_up(mean)).clamp(-NEAR, NEAR) + NEAR
        return (((y != 0) * SCALES + half_up(index).clamp(0, SCALES - 1)) * SIDE + distance).long()
