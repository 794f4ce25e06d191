"""Going on from an installed model with a larger network, which at first computes what the model did."""

import torch
from torch import Tensor

from inrcodec.errors import UsageError
from inrcodec.priors.context import PriorConfig
from inrcodec.training.networks import Trainee


@torch.no_grad()
def grow(net: Trainee, model: Trainee) -> None:
    """Take over the weights of a model. Raises UsageError.

    Blocks that it lacks start as the identity, magnitudes that its prior does not see with weights of zero.
    """
    if net.synthesis.config.in_steps != model.synthesis.config.in_steps:
        raise UsageError("the network does not continue the model: in_steps must be the same")
    state = model.state_dict()
    if net.prior.config.magnitudes and not model.prior.config.magnitudes:
        _add_magnitudes(state, net.prior.config)
    try:
        missing = net.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UsageError(f"the network does not continue the model: {str(error).splitlines()[-1].strip()}") from None
    new = [name for name in missing.missing_keys if ".conv2." in name]
    if missing.unexpected_keys or len(missing.missing_keys) != 3 * len(new):  # conv1, conv2, film
        raise UsageError(f"the network does not continue the model: {missing.missing_keys} {missing.unexpected_keys}")
    for name in new:
        net.get_parameter(name).zero_()


def _add_magnitudes(state: dict[str, Tensor], config: PriorConfig) -> None:
    """Inputs of weight zero after the symbols of every part that a layer of the prior sees."""
    for level, groups in enumerate(config.groups):
        prefix = f"prior.levels.{level}."
        for k in range(2**config.dims):
            _spread(state, f"{prefix}spatial.{k}.weight", [sum(groups)] * k)
            for g in range(1, len(groups)):
                _spread(state, f"{prefix}joins.{k}.{g - 1}.weight", list(groups[:g]))
        if level:
            _spread(state, f"{prefix}state_in.weight", [sum(groups)])


def _spread(state: dict[str, Tensor], name: str, parts: list[int]) -> None:
    """The last inputs of a weight [out, in, *kernel] are parts of so many symbols: as many zeros after each."""
    weight = state[name]
    first, *rest = weight.split([weight.shape[1] - sum(parts), *parts], 1)
    state[name] = torch.cat([first, *(x for part in rest for x in (part, torch.zeros_like(part)))], 1)
