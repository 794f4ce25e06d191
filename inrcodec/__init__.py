"""inrcodec: a codec for any signal on implicit neural representations.

data = inrcodec.encode("photo.png", quality=60)
pixels = inrcodec.decode(data)
field = inrcodec.open_field(data)
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["decode", "describe", "encode", "open_field"]

if TYPE_CHECKING:
    from inrcodec.codec import decode, describe, encode, open_field


def __getattr__(name: str) -> object:
    """Import the codec, and with it torch, only when it is needed: `inrcodec --help` starts without."""
    if name in __all__:
        return getattr(import_module("inrcodec.codec"), name)
    raise AttributeError(f"module 'inrcodec' has no attribute '{name}'")
