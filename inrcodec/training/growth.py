"""Going on from an installed model with a larger network, which at first computes what the model did."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from inrcodec.errors import UsageError
from inrcodec.fields.pyramid import PyramidConfig
from inrcodec.training.networks import Trainee

State = dict[str, Tensor]
Labels = list[Hashable]
"""What each input or output of a layer is."""

BIAS = ("bias.weight", "bias.bias")


@torch.no_grad()
def grow(net: Trainee, model: Trainee) -> None:
    """Take over the weights of a model. Raises UsageError.

    What it lacks starts without effect: blocks as the identity; what its prior has not seen before, symbols or features
    of its own, with weights of zero.
    """
    old, new = model.synthesis.config, net.synthesis.config
    if any(a > b for a, b in zip(old.prior_widths, new.prior_widths, strict=False)):
        raise UsageError(
            f"the network does not continue the model: prior_widths {new.prior_widths} after {old.prior_widths}"
        )
    if new.in_steps != old.in_steps or new.levels != old.levels:
        raise UsageError("the network does not continue the model: in_steps and the number of levels must be the same")
    state, fresh = model.state_dict(), net.state_dict()
    state = {k: v for k, v in state.items() if not k.startswith("closing.")}  # of the finished network it belongs to
    state |= {k: v for k, v in fresh.items() if k.startswith("closing.")}
    state |= _prior(state, old, new, fresh)
    for name in fresh.keys() - state.keys():
        if ".blocks." in name:
            state[name] = torch.zeros_like(fresh[name]) if ".conv2." in name else fresh[name]
    try:
        net.load_state_dict({k: v for k, v in state.items() if k in fresh or not k.startswith("prior.")})
    except RuntimeError as error:
        raise UsageError(f"the network does not continue the model: {str(error).splitlines()[-1].strip()}") from None


def _prior(state: State, old: PyramidConfig, new: PyramidConfig, fresh: State) -> State:
    """The prior of the new network, from that of the model."""
    out: State = {}
    for level in range(new.levels):
        prefix, a, b = f"prior.levels.{level}.", _Layers(old, level), _Layers(new, level)
        for name, inputs in b.inputs.items():
            origin = a.origin(name, b)
            out[f"{prefix}{name}.unit"] = fresh[f"{prefix}{name}.unit"]
            if origin is None:
                out |= {f"{prefix}{name}.{part}": torch.zeros_like(fresh[f"{prefix}{name}.{part}"]) for part in BIAS}
                out[f"{prefix}{name}.weight"] = _identity(fresh[f"{prefix}{name}.weight"])
                continue
            weight = _matched(state[f"{prefix}{origin}.weight"], 1, a.inputs[origin], inputs)
            rows = (a.outputs[origin], b.outputs[name])
            out[f"{prefix}{name}.weight"] = _matched(weight, 0, *rows, fresh[f"{prefix}{name}.weight"])
            out |= {f"{prefix}{name}.{part}": _matched(state[f"{prefix}{origin}.{part}"], 0, *rows) for part in BIAS}
    return out


class _Layers:
    """The layers of one level of a prior: labels of their inputs and outputs."""

    def __init__(self, config: PyramidConfig, level: int):
        prior, bands = config.prior, 2**config.dims
        coarsest = level + 1 == config.levels
        self.groups: list[Labels] = []
        symbols = [(c, band) for c in range(config.channels) for band in range(0 if coarsest else 1, bands)]
        for n in prior.groups[level]:
            self.groups.append(list(symbols[:n]))
            symbols = symbols[n:]
        every = [s for group in self.groups for s in group]
        w = prior.widths[level]
        above: Labels = ["nothing"] if coarsest else _numbered("state", prior.widths[level + 1])
        h, join = _numbered("h", w), _numbered("h", w if prior.full_joins else w // 2)

        def seen(part: Hashable, labels: Labels) -> Labels:
            kinds = ("value", "magnitude") if prior.magnitudes else ("value",)
            return [(part, kind, label) for kind in kinds for label in labels]

        self.inputs: dict[str, Labels] = {}
        self.outputs: dict[str, Labels] = {}
        for k in range(bands):
            self._add(f"spatial.{k}", [*above, *(x for q in range(k) for x in seen(q, every))], h)
            self._add(f"pointwise.{k}", h, h)
            for g, group in enumerate(self.groups):
                if g:
                    known = [x for earlier in self.groups[:g] for x in seen("here", earlier)]
                    self._add(f"joins.{k}.{g - 1}", [*h, *known], join)
                self._add(f"heads.{k}.{g}", join if g else h, [(part, s) for part in ("mean", "index") for s in group])
        if level:
            self._add("state_up", above, [("up", phase, k) for phase in range(bands) for k in range(w // 2)])
            self._add("state_in", [*_numbered("up", w // 2), *seen("all", every)], h)
            self._add("state_out", h, h)

    def _add(self, name: str, inputs: Labels, outputs: Labels) -> None:
        self.inputs[name], self.outputs[name] = inputs, outputs

    def origin(self, name: str, new: "_Layers") -> str | None:
        """The layer here that `name` of the new network comes from; None: from none, it starts as the identity."""
        kind, *numbers = name.split(".")
        if kind not in ("heads", "joins"):
            return name
        k, g = numbers[0], int(numbers[1]) + (kind == "joins")
        own = next(i for i, group in enumerate(self.groups) if new.groups[g][0] in group)
        if kind == "joins" and own == 0:
            return None
        return f"{kind}.{k}.{own - (kind == 'joins')}"


def _numbered(name: str, count: int) -> Labels:
    return [(name, k) for k in range(count)]


def _matched(
    x: Tensor, axis: int, old: Sequence[Hashable], new: Sequence[Hashable], rest: Tensor | None = None
) -> Tensor:
    """x with what was labelled `old` along an axis where `new` has it; elsewhere zeros, or what `rest` has."""
    shape = list(x.shape)
    shape[axis] = len(new)
    out = torch.zeros(shape, dtype=x.dtype) if rest is None else rest.clone()
    at = {label: k for k, label in enumerate(old)}
    pairs = [(k, at[label]) for k, label in enumerate(new) if label in at]
    if pairs:
        to, source = (torch.tensor(indices) for indices in zip(*pairs, strict=True))
        out.index_copy_(axis, to, x.index_select(axis, source))
    return out


def _identity(like: Tensor) -> Tensor:
    """The kernel [out, in, *kernel] that returns its first inputs."""
    weight = torch.zeros_like(like)
    centre = tuple(n // 2 for n in like.shape[2:])
    for k in range(min(like.shape[:2])):
        weight[(k, k, *centre)] = 1
    return weight
