"""What is trained together."""

from torch import nn

from inrcodec.fields.head import Head
from inrcodec.fields.pyramid import Analysis, PyramidConfig, Synthesis
from inrcodec.priors.context import ContextPrior
from inrcodec.training.quantisation import TrainableLayer


class Trainee(nn.Module):
    """The networks of a pyramid; the head is trained afterwards, the others frozen."""

    def __init__(self, config: PyramidConfig):
        super().__init__()
        self.synthesis = Synthesis(config)
        self.analysis = Analysis(config)
        self.prior = ContextPrior(config.prior, TrainableLayer)
        self.head = Head(config.dims, config.channels, config.widths[0])

    @property
    def codec(self) -> nn.ModuleList:
        """All but the head."""
        return nn.ModuleList([self.synthesis, self.analysis, self.prior])

    def refresh(self) -> None:
        """Follow the weights of the prior with their quantisation steps."""
        for module in self.modules():
            if isinstance(module, TrainableLayer):
                module.refresh()
