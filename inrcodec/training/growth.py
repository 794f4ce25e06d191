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


@torch.no_grad()
def grow(net: Trainee, model: Trainee) -> None:
    """Take over the weights of a model. Raises UsageError.

    What it lacks starts without effect: blocks and layers of the prior's state as the identity, what its prior does
    not see with weights of zero. Only a level beyond its coarsest changes what is computed: it starts as the bare
    wavelet, with the prior of what was the coarsest.
    """
    old, new = model.synthesis.config, net.synthesis.config
    if new.in_steps != old.in_steps or not 0 <= new.levels - old.levels <= 1:
        raise UsageError("the network does not continue the model: in_steps must be the same, levels one more at most")
    state, fresh = model.state_dict(), net.state_dict()
    if new.levels > old.levels:
        _add_level(state, old)
    state |= {k: v for k, v in _prior(state, old, new, fresh).items() if k in fresh}
    for name in fresh.keys() - state.keys():
        if not name.startswith("prior.") and any(f".{part}." in name for part in ("conv2", "up", "correct", "leave")):
            state[name] = torch.zeros_like(fresh[name])
        elif ".blocks." in name or ".enter." in name:
            state[name] = fresh[name]
    try:
        net.load_state_dict({k: v for k, v in state.items() if k in fresh or not k.startswith("prior.")})
    except RuntimeError as error:
        raise UsageError(f"the network does not continue the model: {str(error).splitlines()[-1].strip()}") from None


def _add_level(state: State, config: PyramidConfig) -> None:
    """What was the coarsest level of the transforms hands its low bands on to another one."""
    last, bands = config.levels - 1, 2**config.dims
    low = [k for k in range(config.latents(last)) if k % bands == 0]
    details = [k for k in range(config.latents(last)) if k % bands]
    gains = state["synthesis.gain_log"]
    state["synthesis.gain_log"] = gains = torch.cat([gains, gains[-1:]])
    gains[last, : len(details)] = gains[last, details]
    state[f"synthesis.enter.{last}.weight"] = state[f"synthesis.enter.{last}.weight"][:, details + low]
    for part in ("weight", "bias"):
        state[f"analysis.leave.{last}.{part}"] = state[f"analysis.leave.{last}.{part}"][details]


def _prior(state: State, old: PyramidConfig, new: PyramidConfig, fresh: State) -> State:
    """The prior of the new network, from that of the model."""
    out: State = {}
    for level in range(new.levels):
        source = min(level, old.levels - 1)
        was, now = f"prior.levels.{source}.", f"prior.levels.{level}."
        a, b = _Layers(old, source), _Layers(new, level)
        for name, inputs in b.inputs.items():
            before = a.origin(name, b)
            if before is None or f"{was}{before}.weight" not in state:
                _fill(out, now + name, fresh, _identity(fresh[f"{now}{name}.weight"]))
                continue
            weight = _matched(state[f"{was}{before}.weight"], 1, a.inputs[before], inputs)
            rows = (a.outputs[before], b.outputs[name])
            rest = fresh[f"{now}{name}.weight"] if name.startswith("joins") else None
            out[f"{now}{name}.weight"] = _matched(weight, 0, *rows, rest)
            for part in ("bias.weight", "bias.bias"):
                out[f"{now}{name}.{part}"] = _matched(state[f"{was}{before}.{part}"], 0, *rows)
            out[f"{now}{name}.unit"] = fresh[f"{now}{name}.unit"]
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
            self._add("state_up", above, _numbered("up", bands * (w // 2)))
            self._add("state_in", [*_numbered("up", w // 2), *seen("all", every)], h)
            for name in ("state_out", *(f"state_more.{k}" for k in range(prior.depth))):
                self._add(name, h, h)

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


def _fill(out: State, name: str, fresh: State, weight: Tensor) -> None:
    """A layer that starts with this weight and no bias."""
    out[f"{name}.weight"] = weight
    out[f"{name}.unit"] = fresh[f"{name}.unit"]
    for part in ("bias.weight", "bias.bias"):
        out[f"{name}.{part}"] = torch.zeros_like(fresh[f"{name}.{part}"])


def _identity(like: Tensor) -> Tensor:
    """The kernel [out, in, *kernel] that returns its first inputs."""
    weight = torch.zeros_like(like)
    centre = tuple(n // 2 for n in like.shape[2:])
    for k in range(min(like.shape[:2])):
        weight[(k, k, *centre)] = 1
    return weight
