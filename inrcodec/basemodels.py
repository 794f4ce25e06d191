"""Base networks: found by name or content id, hash-checked, loaded from safetensors.

A model is a folder `models/<name>` with `model.toml` (what it is, and the SHA-256 of its weights), and
`weights.safetensors` (networks and integer prior, and the tensor `config`, which holds the sizes). The first four bytes
of the hash are the id by which a stream names the network it needs.
"""

import hashlib
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_data_path
from safetensors import SafetensorError

from inrcodec.container import MODEL_ID_BYTES
from inrcodec.errors import ModelDamaged, ModelMismatch, UnknownModel

if TYPE_CHECKING:
    from inrcodec.methods.method import Model


@dataclass(frozen=True)
class ModelInfo:
    """What `model.toml` says."""

    name: str
    method: str
    modality: str
    sha256: str
    description: str
    folder: Path
    range: tuple[float, float] | None = None  # kelvin that features 0 and 1 stand for, of a network for temperatures
    span: float = 1.0  # features that the range of other numbers is spread over, at quality 0 to 100

    @property
    def id(self) -> bytes:
        return bytes.fromhex(self.sha256)[:MODEL_ID_BYTES]

    @property
    def weights(self) -> Path:
        return self.folder / "weights.safetensors"


def folders() -> list[Path]:
    """Where models are looked for: $INRCODEC_MODELS, the user's data folder, and those that ship."""
    package = Path(__file__).parent
    extra = [Path(p) for p in os.environ.get("INRCODEC_MODELS", "").split(os.pathsep) if p]
    # an installed wheel has them inside the package, a checkout beside it
    return [*extra, user_data_path("inrcodec") / "models", package / "models", package.parent / "models"]


def installed() -> Iterator[ModelInfo]:
    """All models, each name once, in the order of `folders`."""
    seen = set()
    for root in folders():
        if not os.access(root, os.R_OK | os.X_OK):  # absent, or another user's
            continue
        for path in sorted(root.glob("*/model.toml")):
            if path.parent.name not in seen:
                seen.add(path.parent.name)
                yield _info(path)


def _info(path: Path) -> ModelInfo:
    try:
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in tomllib.loads(path.read_text()).items()
        }
        info = ModelInfo(**fields, folder=path.parent)
        if len(bytes.fromhex(info.sha256)) != 32:
            raise ValueError(f"a hash of {len(info.sha256)} digits")
    except (OSError, ValueError, TypeError) as error:
        raise ModelDamaged(f"{path}: {error}") from None
    return info


def by_name(name: str) -> ModelInfo:
    """Raises UnknownModel, which lists what is installed."""
    models = list(installed())
    for info in models:
        if info.name == name:
            return info
    raise UnknownModel(f"no model '{name}'; installed: {', '.join(m.name for m in models) or 'none'}")


def by_id(model_id: bytes) -> ModelInfo:
    """The model that a stream names. Raises ModelMismatch."""
    models = list(installed())
    for info in models:
        if info.id == model_id:
            return info
    have = ", ".join(f"{m.name} ({m.id.hex()})" for m in models) or "none"
    raise ModelMismatch(f"the stream needs base network {model_id.hex()}, which is not installed; installed: {have}")


def verify(info: ModelInfo) -> bytes:
    """The bytes of the weights. Raises ModelDamaged unless their SHA-256 is the one in model.toml."""
    try:
        data = info.weights.read_bytes()
    except OSError as error:
        raise ModelDamaged(f"{info.weights}: {error.strerror}") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != info.sha256:
        raise ModelDamaged(f"{info.weights}: SHA-256 {digest[:12]}…, model.toml says {info.sha256[:12]}…")
    return data


@lru_cache(maxsize=4)
def load(info: ModelInfo, device: str) -> "Model":
    """The networks on a device ("cpu", "cuda"), ready to run."""
    from inrcodec.methods.method import module

    try:
        return module(info.method).load(verify(info), {}).to(device)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelDamaged(f"{info.weights}: {str(error).splitlines()[0]}") from None
