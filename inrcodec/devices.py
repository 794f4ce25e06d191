"""Which device runs the networks."""

from functools import cache

import torch

from inrcodec.errors import DeviceUnavailable, UsageError


def choose(name: str) -> str:
    """ "auto", "cpu" or "cuda" → the device to use. Raises DeviceUnavailable, UsageError."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"no device '{name}'; choose auto, cpu or cuda")
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise DeviceUnavailable("CUDA was asked for, but this machine offers none")
    # Reduced precision and transformed convolutions (Winograd, FFT) would break the exactness of the integer prior
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.enabled = False
    torch.backends.nnpack.set_flags(False)
    return "cuda" if present and name != "cpu" else "cpu"


@cache
def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether it is a processor that multiplies bfloat16 at once, so that it is quicker than float32."""
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
