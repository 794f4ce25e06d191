"""What is trained together."""

import torch
from torch import Tensor, nn

from inrcodec.adaptation import adapt
from inrcodec.fields.head import Head
from inrcodec.fields.pyramid import Analysis, PyramidConfig, Synthesis
from inrcodec.priors.context import ContextPrior, half_up
from inrcodec.training.quantisation import TrainableLayer


class Trainee(nn.Module):
    """The networks of a pyramid; head and closing basis are trained afterwards, the others frozen."""

    def __init__(self, config: PyramidConfig):
        super().__init__()
        self.synthesis = Synthesis(config)
        self.analysis = Analysis(config)
        self.prior = ContextPrior(config.prior, TrainableLayer)
        self.head = Head(config.dims, config.channels, config.widths[0])
        self.closing = config.closing_basis()

    @property
    def codec(self) -> nn.ModuleList:
        """All but head and closing basis."""
        return nn.ModuleList([self.synthesis, self.analysis, self.prior])

    def refresh(self) -> None:
        """Follow the weights of the prior with their quantisation steps."""
        for module in self.modules():
            if isinstance(module, TrainableLayer):
                module.refresh()

    def symbols(self, x: Tensor, op: Tensor, effort: int = 0, places: Tensor | None = None) -> list[Tensor]:
        """What an encoder codes of x [B, C, *grid], finest first; op [B], all the same if there is an effort.

        A search takes the gradients of all parameters off.
        """
        with torch.no_grad():
            start, _, _ = self.analysis(x, op, self.synthesis, half_up, places)
        if not effort:
            return [half_up(y) for y in start]
        self.requires_grad_(False)
        with torch.enable_grad():
            return adapt(start, x, op[:1], self.synthesis, self.prior, effort, lambda _: None, places=places)
