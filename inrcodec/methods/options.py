"""What a meta-learned method can be told: fields that the papers vary, shared by COIN++ and all that followed it."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from inrcodec.fields.base import BaseNetwork
from inrcodec.fields.modulations import Modulation
from inrcodec.fields.siren import Siren

if TYPE_CHECKING:
    from inrcodec.methods.coders import Coder


@dataclass(frozen=True)
class Options:
    """Frozen, and written into the model or the stream; unknown keys are errors."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Raises TypeError for an unknown key, ValueError for a value of the wrong kind."""
        known = {field.name: field for field in fields(cls)}
        given = {}
        for key, value in values.items():
            if key not in known:
                raise TypeError(f"there is no option '{key}'; there are {', '.join(known)}")
            kind = type(known[key].default)
            if kind is float and isinstance(value, int):
                value = float(value)
            if kind is tuple and isinstance(value, list):
                value = tuple(value)
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise ValueError(f"option '{key}' is of type {kind.__name__}, not {value!r}")
            given[key] = value
        return cls(**given)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        return cls.of(json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class MetaOptions(Options, ABC):
    """A base network over patches. The defaults are the *small* preset, which two CPU cores train."""

    dims: int = 2  # axes of a signal
    channels: int = 3  # features
    patch: int = 32  # samples a side that one φ describes
    width: int = 128  # of the SIREN
    depth: int = 4  # layers of sines
    w0: float = 20.0
    latent: int = 384  # values of φ
    inner_steps: int = 3  # in training
    test_steps: int = 10  # in encoding, at the default effort
    inner_rate: float = 30.0  # α, or the unit of learned step sizes
    learned_rates: bool = False  # Meta-SGD: a step size for every value of φ, within ±5 units

    @abstractmethod
    def modulation(self, siren: Siren) -> Modulation:
        """What φ does; each method says."""

    @abstractmethod
    def coder(self) -> "Coder":
        """How the values of φ become bytes; each method says."""

    def network(self) -> BaseNetwork:
        """With random weights."""
        siren = Siren(self.dims, self.channels, self.width, self.depth, self.w0)
        return BaseNetwork(siren, self.modulation(siren), self.inner_rate, self.learned_rates)
