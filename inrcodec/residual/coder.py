"""Integers on a grid ⇄ bytes, given what a field already says of them. Integer arithmetic throughout."""

import numpy as np
from numpy.typing import NDArray

from inrcodec import entropy
from inrcodec.residual import tables
from inrcodec.residual.order import Order, look
from inrcodec.residual.plan import EARLIER, Channel, Plan
from inrcodec.residual.symbols import Parts, from_parts, to_parts

Ints = NDArray[np.int64]


def encode(plan: Plan, values: Ints, guide: Ints | None) -> bytes:
    """values [*grid, C] of magnitude at most `symbols.LARGEST`, guide of the same shape in eighths → bytes."""
    order = Order(values.shape[:-1])
    parts: Parts = []
    earlier: list[tuple[Ints, Ints]] = []
    for channel, c in zip(plan.channels, plan.sequence, strict=True):
        x, g = values[..., c].ravel(), None if guide is None else guide[..., c].ravel()
        mean = means(order, plan.side, channel, x, g, earlier)
        errors = np.abs(8 * x - mean)
        scale = np.empty_like(x)
        for flat in order.chunks():
            scale[flat] = channel.scale(look(order, flat, x, errors, g, earlier))
        for front in order.fronts():
            parts += to_parts(x[front], mean[front], scale[front])
        earlier = [*earlier, (x, errors)][-EARLIER:]
    return entropy.encode(parts, tables.TABLES)


def decode(plan: Plan, data: bytes, shape: tuple[int, ...], guide: Ints | None) -> Ints:
    """The inverse of `encode`: [*shape, C]. Raises CorruptStream."""
    order = Order(shape)
    decoder = entropy.Decoder(data, tables.TABLES)
    out = np.empty((*shape, len(plan.channels)), np.int64)
    earlier: list[tuple[Ints, Ints]] = []
    for channel, c in zip(plan.channels, plan.sequence, strict=True):
        x, errors = np.zeros((2, out[..., c].size), np.int64)
        g = None if guide is None else guide[..., c].ravel()
        for front in order.fronts():
            known = look(order, front, x, errors, g, earlier)
            mean = channel.mean(known, order.block(front, plan.side))
            x[front] = from_parts(decoder, mean, channel.scale(known))
            errors[front] = np.abs(8 * x[front] - mean)
        out[..., c] = x.reshape(shape)
        earlier = [*earlier, (x, errors)][-EARLIER:]
    decoder.finish()
    return out


def means(
    order: Order, side: int, channel: Channel, x: Ints, guide: Ints | None, earlier: list[tuple[Ints, Ints]]
) -> Ints:
    """Of all places of a channel that is known, in eighths, [N]."""
    mean, unknown = np.empty_like(x), np.zeros_like(x)
    for flat in order.chunks():
        known = look(order, flat, x, unknown, guide, earlier)
        mean[flat] = channel.mean(known, order.block(flat, side))
    return mean
